"""Published enhancements in MONAI's dictionary form, for pipelines outside the data modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

from covidct.functional import stochastic_enhance, tone_map

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

__all__ = ("StochasticEnhanced", "ToneMapd")


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
