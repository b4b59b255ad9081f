"""``TwoViews`` and ``moco_views``: two augmented views of each image, for contrastive tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from covidct.errors import UsageError
from covidct.transforms.augment import Augment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covidct.sample import Sample

__all__ = ("TwoViews", "moco_views")

# MoCo's published code (main_moco.py): crop scale, jitter (with its share of samples), blur and their probabilities.
_SCALE = (0.2, 1.0)
_JITTER = 0.4
_JITTERED = {"v1": 1.0, "v2": 0.8}
_BLUR, _BLURRED, _TAPS = (0.1, 2.0), 0.5, 13  # px; 13 taps reach three of the widest standard deviations


class TwoViews(Augment):
    """Adds two views of the image, augmented apart, as ``views``; everything else in the sample stays as it is.

    Args:
        transform: as of :class:`Augment`; it must keep the size of the image.
    """

    def __init__(self, transform: torch.nn.Module) -> None:
        """Keep the transform; it must pickle, since it goes to worker processes."""
        super().__init__(transform)

    def __call__(self, sample: Sample, *, seed: int | Sequence[int]) -> Sample:
        """Add the views.

        Args:
            sample: a slice or an X-ray as a data module gives it, image (C, H, W) in [0, 1].
            seed: all random numbers follow from it.

        Returns:
            A new sample with ``views`` (2, C, H, W) float32 in [0, 1].

        Raises:
            UsageError: when the transform changes the size of the image, or gives NaN.
        """
        start = (seed,) if isinstance(seed, int) else tuple(seed)
        bare = cast("Sample", {key: sample[key] for key in ("image", "id")})
        views = [super(TwoViews, self).__call__(bare, seed=(*start, view))["image"] for view in range(2)]
        if views[0].shape != sample["image"].shape:
            raise UsageError(
                f"The views are {tuple(views[0].shape)}, the image is {tuple(sample['image'].shape)}: give the "
                "augmentation the size of the data module."
            )
        return cast("Sample", {**sample, "views": torch.stack(views)})


def moco_views(version: Literal["v1", "v2"] = "v2", *, size: int = 224) -> TwoViews:
    """Two views by the augmentation of MoCo, as far as it applies to grey images.

    A random crop of 20 to 100 % of the area, resized to ``size``; brightness and contrast times 0.6 to 1.4 (v2: of 80 %
    of the views); in v2 Gaussian blur, standard deviation 0.1 to 2 px, of half of the views; mirrored half of the time.
    Numbers are those of MoCo's published code. Its jitter of hue and saturation and its greyscale are left out, which
    change nothing of grey images. In a configuration::

        train_transform:
          class_path: covidct.transforms.moco_views
          init_args:
            version: v2
            size: 224

    Args:
        version: ``"v1"`` or ``"v2"``.
        size: pixels per side of the views; that of the data module.

    Returns:
        For ``train_transform`` of a data module; it pickles.

    Raises:
        UsageError: for an unknown version, or a size below 8.
    """
    if version not in _JITTERED or size < 8:
        raise UsageError(f"version={version!r} and size={size} must be 'v1' or 'v2' and at least 8 pixels.")
    from torchvision.transforms import v2  # heavy

    jitter = v2.ColorJitter(brightness=_JITTER, contrast=_JITTER)
    steps: list[Any] = [
        v2.RandomResizedCrop(size, scale=_SCALE, antialias=True),
        v2.RandomApply([jitter], p=_JITTERED[version]),
    ]
    if version == "v2":
        steps.append(v2.RandomApply([v2.GaussianBlur(_TAPS, sigma=_BLUR)], p=_BLURRED))
    steps.append(v2.RandomHorizontalFlip(0.5))
    return TwoViews(v2.Compose(steps))
