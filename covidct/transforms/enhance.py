"""Published enhancements in MONAI's dictionary form, for pipelines outside the data modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

from covidct.functional import clahe, equalise, equalise_histogram, stochastic_enhance, tone_map

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from numpy.typing import NDArray

__all__ = ("CLAHEd", "EqualiseHistogramd", "Equalised", "StochasticEnhanced", "ToneMapd")

Window = tuple[float, float]


class ToneMapd(MapTransform):
    """Inverse gamma and sigmoid; see :func:`covidct.functional.tone_map`.

    Args:
        keys: keys of the images, any shape, in [0, 1].
        slope: a of the equation.
        gamma: of the equation.
        allow_missing_keys: pass over keys that are absent.
    """

    def __init__(
        self, keys: KeysCollection, slope: float = 0.35, gamma: float = 1.5, *, allow_missing_keys: bool = False
    ) -> None:
        """Keep the curve."""
        super().__init__(keys, allow_missing_keys)
        self.slope = slope
        self.gamma = gamma

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Map the images; float32 in [0, 1]."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = tone_map(out[key], slope=self.slope, gamma=self.gamma)
        return out


class StochasticEnhanced(MapTransform):
    """Random walks over each slice; see :func:`covidct.functional.stochastic_enhance`.

    Args:
        keys: keys of the images, (..., H, W) in [0, 1].
        seed: decides the walks.
        walks: number of walks from each pixel.
        steps: of each walk.
        mixing: share of the local contrast against the local detail.
        gain: factor of both.
        shared_walks: all pixels take the same walks.
        allow_missing_keys: pass over keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        seed: int = 0,
        walks: int = 250,
        steps: int = 20,
        mixing: float = 0.5,
        gain: float = 1.0,
        shared_walks: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        """Keep the options."""
        super().__init__(keys, allow_missing_keys)
        self.seed, self.walks, self.steps = seed, walks, steps
        self.mixing, self.gain, self.shared_walks = mixing, gain, shared_walks

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Enhance the images; float32 in [0, 1]."""
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            enhanced = stochastic_enhance(
                image.reshape(-1, *image.shape[-2:]),
                seed=self.seed,
                walks=self.walks,
                steps=self.steps,
                mixing=self.mixing,
                gain=self.gain,
                shared_walks=self.shared_walks,
            )
            # keeps a MetaTensor's meta data
            out[key] = convert_to_dst_type(enhanced.reshape(image.shape), image, dtype=enhanced.dtype)[0]
        return out


class EqualiseHistogramd(MapTransform):
    """Global histogram equalisation of each slice; see :func:`covidct.functional.equalise_histogram`.

    Args:
        keys: keys of the images, (..., H, W): uint8, float in [0, 1], or HU with a ``window``.
        mask_key: key of a mask of what counts, of the images' shape or one that fits it; None: all pixels.
        window: (low, high) in HU, applied first.
        allow_missing_keys: pass over keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        mask_key: str | None = None,
        window: Window | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        """Keep the options."""
        super().__init__(keys, allow_missing_keys)
        self.mask_key, self.window = mask_key, window

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Equalise the images; uint8 stays uint8, the rest becomes float32 in [0, 1]."""
        out = dict(data)
        mask = None if self.mask_key is None else np.asarray(out[self.mask_key])
        for key in self.key_iterator(out):
            image = np.asarray(out[key])
            inside = None if mask is None else np.broadcast_to(mask, image.shape)
            out[key] = _like(equalise_histogram(image, mask=inside, window=self.window), out[key])
        return out


class CLAHEd(MapTransform):
    """Contrast limited adaptive histogram equalisation of each slice; see :func:`covidct.functional.clahe`.

    Args:
        keys: keys of the images, (..., H, W): uint8, float in [0, 1], or HU with a ``window``.
        tiles: rows and columns of tiles.
        clip_limit: highest bin as a multiple of the mean bin; 0: no limit.
        window: (low, high) in HU, applied first.
        allow_missing_keys: pass over keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        tiles: tuple[int, int] = (8, 8),
        clip_limit: float = 2.0,
        window: Window | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        """Keep the options."""
        super().__init__(keys, allow_missing_keys)
        self.tiles, self.clip_limit, self.window = tiles, clip_limit, window

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Equalise the images; uint8 stays uint8, the rest becomes float32 in [0, 1]."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = _like(self._equalise(np.asarray(out[key])), out[key])
        return out

    def _equalise(self, image: NDArray[Any]) -> NDArray[Any]:
        return clahe(image, tiles=self.tiles, clip_limit=self.clip_limit, window=self.window)


class Equalised(CLAHEd):
    """Global equalisation, then CLAHE, of each slice; see :func:`covidct.functional.equalise`.

    Args:
        keys: keys of the images, (..., H, W): uint8, float in [0, 1], or HU with a ``window``.
        tiles: as :class:`CLAHEd`.
        clip_limit: as :class:`CLAHEd`.
        window: (low, high) in HU, applied first.
        allow_missing_keys: pass over keys that are absent.
    """

    def _equalise(self, image: NDArray[Any]) -> NDArray[Any]:
        return equalise(image, tiles=self.tiles, clip_limit=self.clip_limit, window=self.window)


def _like(values: NDArray[Any], image: Any) -> Any:  # noqa: ANN401
    """The values as the kind of ``image``; a MetaTensor's meta data stays."""
    kind = torch.from_numpy(values).dtype if isinstance(image, torch.Tensor) else values.dtype
    return convert_to_dst_type(values, image, dtype=kind)[0]
