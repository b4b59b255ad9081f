"""``self_trans_augment``: the augmentation of fine-tuning in Self-Trans."""

from __future__ import annotations

from covidct.errors import UsageError
from covidct.transforms.augment import Augment

__all__ = ("self_trans_augment",)

# Fine-tuning script of Self-Trans, UCSD-AI4H/COVID-CT, "baseline methods/Self-Trans/CT-predict-pretrain.py".
_SCALE = (0.5, 1.0)
_JITTER = 0.2


def self_trans_augment(*, size: int = 224) -> Augment:
    """Random crop of 50 to 100 % of the area, mirror, brightness and contrast times 0.8 to 1.2, as published.

    The published script crops from images whose shorter side is 256 px, so that a crop is enlarged less; here crops
    are taken from images as the data module keeps them, which is the size they are used at.

    Args:
        size: pixels per side of the result; that of the data module.

    Returns:
        For ``train_transform`` of a data module; it pickles.

    Raises:
        UsageError: for a size below 8.
    """
    if size < 8:
        raise UsageError(f"size={size} must be at least 8 pixels.")
    from torchvision.transforms import v2  # heavy

    steps = [
        v2.RandomResizedCrop(size, scale=_SCALE, antialias=True),
        v2.RandomHorizontalFlip(0.5),
        v2.ColorJitter(brightness=_JITTER, contrast=_JITTER),
    ]
    return Augment(v2.Compose(steps))
