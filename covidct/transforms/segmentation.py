"""``segmentation_augment``: augmentation in 3-D for networks that segment the lungs."""

from __future__ import annotations

import math

from covidct.errors import UsageError
from covidct.transforms.augment import Augment

__all__ = ("segmentation_augment",)

_KEYS = ("image", "lung_mask", "lesion_mask")
_AIR = (-1024 + 1250) / 1500  # what fills the cube outside a scan, in the default window


def segmentation_augment(
    *,
    flip: float = 0.5,
    affine: float = 0.5,
    degrees: float = 10.0,
    scale: float = 0.15,
    shift: float = 8.0,
    crop: float = 0.25,
    smallest_field: float = 0.7,
    intensity: float = 0.3,
    brightness: float = 0.1,
    gamma: tuple[float, float] = (0.7, 1.5),
    noise: float = 0.05,
    blur: float = 1.0,
) -> Augment:
    """Mirror, move, crop the view of and change the look of CT volumes in [0, 1], by MONAI.

    A mirrored volume swaps the labels 1 and 2, of a scan with one lung too: masks are taken to have sides
    (:class:`covidct.transforms.Augment`). The document is silent about augmentation; the kinds are those of nnU-Net
    (Isensee et al. 2021), the ranges are a recommendation, smaller than nnU-Net's, since a cube always shows a patient
    in one of few positions. In a configuration::

        train_transform:
          class_path: covidct.transforms.segmentation_augment
          init_args:
            degrees: 15.0

    Args:
        flip: how often left and right are mirrored.
        affine: how often the volume is rotated, scaled and shifted, in one interpolation.
        degrees: greatest rotation about each axis.
        scale: greatest change of size, as a share; each axis draws its own.
        shift: greatest shift along each axis in voxels.
        crop: how often a part of the chest is cut off (:class:`covidct.transforms.RandFieldOfViewd`).
        smallest_field: least share of each axis that is left then.
        intensity: how often each of brightness, gamma, noise and blur is applied.
        brightness: greatest factor from 1, and greatest offset; 0.1 is 150 HU in the default window.
        gamma: range of the exponent.
        noise: greatest standard deviation of Gaussian noise; 0.05 is 75 HU in the default window.
        blur: greatest width of a Gaussian in voxels.

    Returns:
        For ``train_transform`` of a data module; it pickles.

    Raises:
        UsageError: for a value out of range.
    """
    shares = {"flip": flip, "affine": affine, "crop": crop, "intensity": intensity}
    wrong = {name: value for name, value in shares.items() if not 0 <= value <= 1}
    sizes = {"degrees": degrees, "shift": shift, "brightness": brightness, "noise": noise, "blur": blur}
    wrong |= {name: value for name, value in sizes.items() if not value >= 0}
    if wrong or not 0 <= scale < 1 or not 0 < smallest_field <= 1 or len(gamma) != 2 or not 0 < gamma[0] <= gamma[1]:
        rest = f"scale={scale}, smallest_field={smallest_field}, gamma={gamma}"
        raise UsageError(
            f"The augmentation has values out of range ({wrong or rest}): probabilities lie in [0, 1], a scale in "
            "[0, 1), a field in (0, 1], gamma is a range (low, high) above 0, other sizes are not negative."
        )
    from monai import transforms as mt  # heavy

    from covidct.transforms.field_of_view import RandFieldOfViewd

    warp = mt.RandAffined(
        _KEYS,
        prob=affine,
        rotate_range=(math.radians(degrees),) * 3,
        scale_range=(scale,) * 3,
        translate_range=(shift,) * 3,
        mode=("bilinear", "nearest", "nearest"),
        padding_mode="zeros",
        allow_missing_keys=True,
    )
    width = (min(0.25, blur), blur)  # below a quarter of a voxel nothing changes
    steps = [
        mt.RandFlipd(_KEYS, prob=flip, spatial_axis=2, allow_missing_keys=True),
        warp,
        RandFieldOfViewd(_KEYS, prob=crop, smallest=smallest_field, fill=_AIR, allow_missing_keys=True),
        mt.RandGaussianSmoothd("image", prob=intensity, sigma_x=width, sigma_y=width, sigma_z=width),
        mt.RandScaleIntensityd("image", prob=intensity, factors=brightness),
        mt.RandShiftIntensityd("image", prob=intensity, offsets=brightness),
        mt.RandAdjustContrastd("image", prob=intensity, gamma=(gamma[0], gamma[1])),
        mt.RandGaussianNoised("image", prob=intensity, std=noise),
    ]
    return Augment(mt.Compose(steps), sided=True)
