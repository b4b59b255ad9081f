"""The X-ray system's augmentation: masks move along, sizes and probabilities are as said, seeded."""

from __future__ import annotations

import pickle

import numpy as np
import torch
from scipy import ndimage

from covidct.sample import Sample, check_sample
from covidct.transforms import fpn_densenet_augment

SIZE = 96


def marked() -> Sample:
    """A bright square that is the right lung's mask too, and a left lung."""
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    mask[:, 24:66, 18:40], mask[:, 24:66, 58:80] = 1, 2
    return Sample(
        image=0.1 + 0.8 * (mask > 0).float(),
        lung_mask=mask,
        label=torch.tensor(0),
        subject=torch.tensor(0),
        scan=torch.tensor(0),
        id="x",
    )


def test_masks_move_with_the_image() -> None:
    augment, moved = fpn_densenet_augment(), 0
    before = marked()
    for seed in range(30):
        after = augment(before, seed=seed)
        check_sample(after, "cxr")
        inside = after["lung_mask"] > 0
        assert after["image"][inside].mean() > 0.8
        assert after["image"][~inside].mean() < 0.2
        assert set(np.unique(after["lung_mask"].numpy())) == {0, 1, 2}
        moved += not torch.equal(after["image"], before["image"])
    assert 18 <= moved <= 30  # all but 0.5 * 0.7 * 0.5


def test_same_seed_same_sample_and_pickles() -> None:
    augment = fpn_densenet_augment()
    again = pickle.loads(pickle.dumps(augment))  # noqa: S301
    for seed in range(5):
        first, second = augment(marked(), seed=seed), again(marked(), seed=seed)
        assert torch.equal(first["image"], second["image"])
        assert torch.equal(first["lung_mask"], second["lung_mask"])


def test_the_deformation_is_albumentations() -> None:
    """Uniform noise blurred with sigma 6 px, times 120: 3.3 px rms, by its definition in pixels."""
    elastic = fpn_densenet_augment().transform.transforms[1].transforms[0]  # type: ignore[attr-defined]
    torch.manual_seed(0)
    params = elastic.make_params([torch.zeros(1, 256, 256)])
    pixels = params["displacement"].numpy() * 256 / 2  # of a grid from -1 to 1
    noise = np.random.default_rng(0).uniform(-1, 1, (400, 400))
    expected = 120 * ndimage.gaussian_filter(noise, 6)
    np.testing.assert_allclose(pixels.std(), expected.std(), rtol=0.1)
