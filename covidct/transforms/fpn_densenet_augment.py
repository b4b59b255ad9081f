"""``fpn_densenet_augment``: the augmentation of the chest X-ray system's lung segmentation."""

from __future__ import annotations

from covidct.transforms.augment import Augment

__all__ = ("fpn_densenet_augment",)

# "Classification of COVID-19 from chest X-ray images using Deep Neural Networks" (2022) names horizontal flip, elastic
# deformation and rotation, in the words of albumentations, and no parameters. All values are recommendations.
_MIRROR = 0.5  # probability, here and below
_ELASTIC, _ROTATION = 0.3, 0.5
_ALPHA, _SIGMA = 120.0, 6.0  # px of albumentations: 3.3 px rms
_DEGREES = 15.0


def fpn_densenet_augment() -> Augment:
    """Horizontal flip, elastic deformation and rotation of a chest X-ray with its lung mask, as published.

    The deformation is albumentations' with alpha 120 and sigma 6 px (noise in [-1, 1], blurred, times alpha: 3.3 px
    rms), for images of about 256 px, at least 25. torchvision's alpha counts half pixels and is twice that. A mirrored
    chest has its heart on the other side, which the union of both lungs allows.

    Returns:
        An augmentation for ``train_transform`` of :class:`covidct.datamodules.CXRDataModule`.
    """
    from torchvision.transforms import v2

    bilinear = v2.InterpolationMode.BILINEAR  # masks are always moved by nearest neighbour
    elastic = v2.ElasticTransform(alpha=2 * _ALPHA, sigma=_SIGMA, interpolation=bilinear)
    steps = [
        v2.RandomHorizontalFlip(_MIRROR),
        v2.RandomApply([elastic], p=_ELASTIC),
        v2.RandomApply([v2.RandomRotation(_DEGREES, interpolation=bilinear)], p=_ROTATION),
    ]
    return Augment(v2.Compose(steps))
