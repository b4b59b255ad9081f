"""Mean and standard deviation of prepared images, for networks that normalise by their data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covidct.errors import UsageError
from covidct.functional.moments import add_values

if TYPE_CHECKING:
    from covidct.datamodules.prepared import PreparedSamples
    from covidct.functional.moments import Moments

__all__ = ("image_statistics",)

_LEAST_STD = 1e-6  # recommendation: below a fifteenth of the step in which prepared images are kept


def image_statistics(samples: PreparedSamples) -> tuple[float, float]:
    """Mean and population standard deviation over all pixels, image by image in float64.

    Args:
        samples: at least one, without augmentation; slices of a volume that are padding do not count.

    Returns:
        Mean in [0, 1] and standard deviation > 0 of ``image``.

    Raises:
        UsageError: when all pixels of all images have one value.
    """
    moments: Moments | None = None
    for index in range(len(samples)):
        sample = samples[index]
        image = sample["image"]
        if "slice_mask" in sample:
            image = image[:, sample["slice_mask"]]
        moments = add_values(moments, image.numpy().reshape(-1))
    if moments is None or not moments.std > _LEAST_STD:
        raise UsageError(
            f"All pixels of the {len(samples)} training images have one value, so their standard deviation is 0 and "
            "nothing can be divided by it: look at the images, or normalise by ImageNet's statistics."
        )
    return float(moments.mean), float(moments.std)
