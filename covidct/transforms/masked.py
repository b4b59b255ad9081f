"""``mask_again``: the masking variant of a sample, once more after its augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covidct.preprocessing import Masking
    from covidct.sample import Sample

__all__ = ("mask_again",)


def mask_again(sample: Sample, masking: Masking) -> Sample:
    """Set to 0 what the masking variant takes away: noise and interpolation put something there again.

    COVNet's published code sets the voxels outside the lungs to 0 after its augmentation.

    Args:
        sample: augmented, with ``image`` and ``lung_mask`` where the variant needs it.
        masking: ``"original"`` (nothing is taken away), ``"lungs"`` (all but the lungs) or ``"no_lungs"``.

    Returns:
        The sample, with another ``image`` unless nothing is taken away.
    """
    if masking == "original" or "lung_mask" not in sample or "image" not in sample:
        return sample
    gone = (sample["lung_mask"] == 0) == (masking == "lungs")
    return {**sample, "image": sample["image"].masked_fill(gone, 0)}
