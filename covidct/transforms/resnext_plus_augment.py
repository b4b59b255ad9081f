"""``resnext_plus_augment``: the augmentation of the slice-attention system."""

from __future__ import annotations

import logging
import math
from typing import Any

from covidct.transforms.augment import Augment
from covidct.transforms.in_plane import InPlaned

__all__ = ("resnext_plus_augment",)

_LOGGER = logging.getLogger(__name__)
_MASKS = ("lung_mask", "lesion_mask")
_SPATIAL = ("image", *_MASKS)
_COVID = 1  # of the document's two classes

# "Semi-supervised Network for Detection of COVID-19 in Chest CT Scans", section V.C, names the operations and no
# parameters. All values are recommendations: mild, so that lesions of a few pixels survive at 224 px.
_PROBABILITY = 0.5
_STRETCH = 0.2  # contrast about the mean, times 0.8 to 1.2
_NOISE = 0.02  # greatest standard deviation, in units of the window
_BLUR = (0.25, 1.0)  # standard deviation in px
_ZOOM = (0.9, 1.1)
_SCALE = 0.1
_DEGREES = 10.0
_OFFSET, _CONTROL = 2.0, 12.0  # elastic: offsets up to 2 px at control points 12 px apart, as in default_augment


def resnext_plus_augment(*, positives_only: bool = False) -> Augment:
    """Contrast stretching, Gaussian noise and blur; zoom, scaling, rotation and elastic deformation, as published.

    One geometric transform is drawn for a volume and applied in-plane to all slices and masks alike; contrast, noise
    level and blur are drawn once per volume too.

    Args:
        positives_only: augment the volumes of class 1 only, as published, instead of all. Interpolation and noise then
            mark the positive class: a network can tell it by them without looking at the lungs. A warning says so.

    Returns:
        An augmentation for ``train_transform`` of :class:`covidct.datamodules.CTVolumeDataModule`.
    """
    from monai.transforms import (
        Compose,
        Rand2DElasticd,
        RandGaussianNoised,
        RandGaussianSmoothd,
        RandScaleIntensityFixedMeand,
        RandZoomd,
    )

    modes = ("bilinear", "nearest", "nearest")
    zoom = RandZoomd(
        _SPATIAL,
        prob=_PROBABILITY,
        min_zoom=_ZOOM[0],
        max_zoom=_ZOOM[1],
        mode=modes,
        padding_mode="constant",
        allow_missing_keys=True,
    )
    warp = Rand2DElasticd(
        _SPATIAL,
        spacing=(_CONTROL, _CONTROL),
        magnitude_range=(0.0, _OFFSET),
        prob=_PROBABILITY,
        rotate_range=math.radians(_DEGREES),
        scale_range=(_SCALE, _SCALE),
        mode=modes,
        padding_mode="zeros",
        allow_missing_keys=True,
    )
    blur = RandGaussianSmoothd("image", sigma_x=_BLUR, sigma_y=_BLUR, prob=_PROBABILITY)
    steps: list[Any] = [
        InPlaned(_SPATIAL, zoom),
        InPlaned(_SPATIAL, warp),
        RandScaleIntensityFixedMeand("image", factors=_STRETCH, preserve_range=True, prob=_PROBABILITY),
        InPlaned(("image",), blur),
        RandGaussianNoised("image", prob=_PROBABILITY, std=_NOISE),
    ]
    if positives_only:
        _LOGGER.warning(
            "Only positive volumes are augmented, as published: traces of the augmentation give the label away, so "
            "validate on data of another source."
        )
    return Augment(Compose(steps), labels=(_COVID,) if positives_only else None)
