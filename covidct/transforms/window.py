"""Domain transforms in MONAI's dictionary form, for pipelines outside the data modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from covidct.errors import InputError
from covidct.functional import segment_lungs, window_hu

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

__all__ = ("LungMaskd", "WindowHUd")


class WindowHUd(MapTransform):
    """Maps a window of Hounsfield units to [0, 1], clipped; see :func:`covidct.functional.window_hu`.

    Args:
        keys: keys of the images, any shape, HU.
        low: HU that becomes 0. The default window is COVNet's published one.
        high: HU that becomes 1.
        allow_missing_keys: pass over keys that are absent.
    """

    def __init__(
        self, keys: KeysCollection, low: float = -1250.0, high: float = 250.0, *, allow_missing_keys: bool = False
    ) -> None:
        """Keep the window."""
        super().__init__(keys, allow_missing_keys)
        self.low = low
        self.high = high

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Window the images; float32."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = window_hu(out[key], self.low, self.high)
        return out


class LungMaskd(MapTransform):
    """Adds a lung mask by threshold; see :func:`covidct.functional.segment_lungs`.

    Args:
        keys: key of the image, (1, D, H, W) in HU on the canonical grid.
        mask_key: key that the mask gets, (1, D, H, W) uint8, 1 right and 2 left lung.
        spacing_key: key of the spacing, (3,) mm along depth, height and width.
        threshold: HU below which a voxel is air.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        *,
        mask_key: str = "lung_mask",
        spacing_key: str = "spacing",
        threshold: float = -500.0,
    ) -> None:
        """Keep names and threshold."""
        super().__init__(keys)
        self.mask_key = mask_key
        self.spacing_key = spacing_key
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Segment the lungs.

        Raises:
            InputError: when the image is no single-channel volume.
        """
        out = dict(data)
        for key in self.key_iterator(out):
            image = np.asarray(out[key])
            if image.ndim != 4 or image.shape[0] != 1:
                raise InputError(f"{key!r} must be (1, D, H, W) for a lung mask, its shape is {image.shape}.")
            depth, height, width = (float(step) for step in out[self.spacing_key])
            mask = segment_lungs(image[0], (depth, height, width), threshold=self.threshold)[None]
            out[self.mask_key] = torch.from_numpy(mask) if isinstance(out[key], torch.Tensor) else mask
        return out
