"""Background removal in MONAI's dictionary form, for pipelines outside the data modules."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

from covidct.errors import UsageError
from covidct.functional import lung_mask_2d, remove_background

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from numpy.typing import NDArray

    from covidct.functional.background import Intensity

__all__ = ("RemoveBackgroundd",)


class RemoveBackgroundd(MapTransform):
    """Sets all but the lungs of each slice to one value; see :func:`covidct.functional.remove_background`.

    Args:
        keys: keys of the images, (..., H, W) in HU or in display values.
        method: ``"morphology"`` (:func:`covidct.functional.lung_mask_2d`), or what makes a mask of an array of that
            shape: a trained U-Net as
            :meth:`SliceLungSegmenter.from_checkpoint() <covidct.models.SliceLungSegmenter.from_checkpoint>` reads it.
        mask_key: key that the mask gets, uint8, 1 inside; with more than one key of images it is that of the last.
            None: it is not kept.
        fill: the value outside; None: 0 for display values, -1024 for HU.
        intensity: ``"hu"`` or ``"unit"`` where the values do not tell, as floats of a patch inside the body; None: by
            the values. A segmenter judges by itself.
        allow_missing_keys: pass over keys that are absent.

    Raises:
        UsageError: for an unknown method.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        method: Literal["morphology"] | Callable[[NDArray[Any]], NDArray[np.uint8]] = "morphology",
        mask_key: str | None = None,
        fill: float | None = None,
        intensity: Intensity | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        """Keep the options."""
        super().__init__(keys, allow_missing_keys)
        if method != "morphology" and not callable(method):
            raise UsageError(f"method={method!r} is unknown: use 'morphology', or give a segmenter.")
        self.find = partial(lung_mask_2d, intensity=intensity) if method == "morphology" else method
        self.mask_key, self.fill, self.intensity = mask_key, fill, intensity

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Remove the background; dtypes stay as they are."""
        out = dict(data)
        for key in self.key_iterator(out):
            image = np.asarray(out[key])
            mask = self.find(image)
            clean = remove_background(image, mask, fill=self.fill, intensity=self.intensity)
            if self.mask_key is not None:
                out[self.mask_key] = torch.from_numpy(mask) if isinstance(out[key], torch.Tensor) else mask
            out[key] = convert_to_dst_type(clean, out[key], dtype=out[key].dtype)[0]
        return out
