"""Masked images stay masked when they are augmented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from covidct.transforms import mask_again

if TYPE_CHECKING:
    from covidct.preprocessing import Masking


@pytest.mark.parametrize("masking", ["original", "lungs", "no_lungs"])
@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 3, 5, 6)])
def test_takes_away_voxel_by_voxel(masking: Masking, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    image = 0.1 + torch.rand(shape, generator=generator)
    mask = torch.randint(0, 3, (1, *shape[1:]), generator=generator, dtype=torch.uint8)
    found = mask_again({"image": image, "lung_mask": mask, "id": "x"}, masking)
    assert found["id"] == "x"
    for channel in range(2):
        for value, before, lung in zip(
            found["image"][channel].flatten().tolist(), image[channel].flatten(), mask.flatten().tolist(), strict=True
        ):
            kept = {"original": True, "lungs": lung > 0, "no_lungs": lung == 0}[masking]
            assert value == (before if kept else 0)


def test_samples_without_a_mask_or_image_are_left_alone() -> None:
    samples: tuple[Any, ...] = (
        {"image": torch.ones(1, 2, 2)},
        {"lung_mask": torch.zeros(1, 2, 2), "views": torch.ones(2, 1, 2, 2)},
    )
    for sample in samples:
        assert mask_again(sample, "lungs") is sample
