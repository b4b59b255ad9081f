"""The slice-attention system's augmentation: one geometry for all slices and masks, seeded, a warning."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest
import torch

from covidct.sample import Sample, check_sample
from covidct.transforms import resnext_plus_augment

SIZE, DEPTH = 64, 5


def marked(label: int = 1) -> Sample:
    """A bright square that is lung mask and lesion mask too, alike on all slices."""
    plane = torch.zeros(SIZE, SIZE)
    plane[16:44, 12:34] = 1
    stack = plane.expand(1, DEPTH, SIZE, SIZE).clone()
    return Sample(
        image=0.1 + 0.8 * stack,
        lung_mask=stack.to(torch.uint8),
        lesion_mask=stack.to(torch.uint8),
        label=torch.tensor(label),
        subject=torch.tensor(0),
        scan=torch.tensor(0),
        slice_label=torch.arange(DEPTH) % 2,
        affine=torch.eye(4, dtype=torch.float64),
        id="x",
    )


def test_masks_move_with_the_image_alike_on_all_slices() -> None:
    augment, moved = resnext_plus_augment(), 0
    for seed in range(40):
        after = augment(marked(), seed=seed)
        check_sample(after, "ct_volume")
        assert "affine" not in after
        mask = after["lung_mask"]
        assert mask.equal(mask[:, :1].expand_as(mask))
        assert mask.equal(after["lesion_mask"])
        moved += not mask.equal(marked()["lung_mask"])
        bright = after["image"] > (after["image"].max() + after["image"].min()) / 2
        assert (bright == (mask > 0)).float().mean() > 0.97
        assert after["slice_label"].equal(marked()["slice_label"])
    assert 16 < moved < 40


def test_all_operations_happen() -> None:
    augment = resnext_plus_augment()
    spread, area, edge, noise = [], [], [], []
    for seed in range(60):
        after = augment(marked(), seed=seed)
        image, mask = after["image"][0, 2], after["lung_mask"][0, 2] > 0
        middle = image[24:36, 18:28]
        spread.append(float(middle.mean() - image[:4, -4:].mean()))
        area.append(float(mask.float().mean()))
        noise.append(float(middle.std()))
        edge.append(float(image.diff(dim=1).abs().max()))
    assert np.ptp(spread) > 0.1  # contrast
    assert np.ptp(area) > 0.2 * np.mean(area)  # zoom and scaling
    assert min(noise) < 1e-3 < 5e-3 < max(noise) < 0.05
    assert min(edge) < 0.5 < max(edge)  # blur


def test_depends_on_the_seed_alone() -> None:
    augment = resnext_plus_augment()
    first = augment(marked(), seed=(0, 1, 2, 3))
    augment(marked(), seed=9)
    again = pickle.loads(pickle.dumps(augment))(marked(), seed=(0, 1, 2, 3))  # noqa: S301
    assert again["image"].equal(first["image"])
    assert not augment(marked(), seed=(0, 2, 2, 3))["image"].equal(first["image"])


@pytest.mark.parametrize("positives_only", [False, True])
def test_all_classes_unless_asked_otherwise_with_a_warning(
    caplog: pytest.LogCaptureFixture, *, positives_only: bool
) -> None:
    with caplog.at_level(logging.WARNING):
        augment = resnext_plus_augment(positives_only=positives_only)
    assert ("give the label away" in caplog.text) == positives_only
    changed = [
        any(not augment(marked(label), seed=s)["image"].equal(marked()["image"]) for s in range(4)) for label in (0, 1)
    ]
    assert changed == [not positives_only, True]
    assert augment(marked(0), seed=0).keys() == augment(marked(1), seed=0).keys()
