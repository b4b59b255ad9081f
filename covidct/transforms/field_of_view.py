"""``RandFieldOfViewd``: scans that show less of the chest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("RandFieldOfViewd",)


class RandFieldOfViewd(RandomizableTransform, MapTransform):
    """Keep a random box of a volume; outside it the image is air and the masks are background.

    What a scan that ends above the lung bases, or was reconstructed too narrowly, looks like in its cube. Nothing is
    moved or resized, so spacing and affine stay right.

    Args:
        keys: arrays with channel first; all but ``"image"`` are masks.
        prob: how often.
        smallest: least share of each axis that is kept, above 0 and at most 1.
        fill: of the image outside the box.
        allow_missing_keys: pass over absent keys.

    Raises:
        UsageError: for a value out of range.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        prob: float = 0.25,
        smallest: float = 0.7,
        fill: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        """Keep the settings."""
        if not (0 <= prob <= 1 and 0 < smallest <= 1):
            raise UsageError(f"prob={prob} must lie in [0, 1] and smallest={smallest} in (0, 1].")
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.smallest = smallest
        self.fill = fill

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Crop the view of a sample."""
        out = dict(data)
        self.randomize(None)
        present = [str(key) for key in self.keys if key in out or not self.allow_missing_keys]
        if not self._do_transform:
            return out
        size = out[present[0]].shape[1:]
        box: list[slice] = [slice(None)]
        for side in size:
            kept = max(round(side * self.R.uniform(self.smallest, 1.0)), 1)
            start = self.R.randint(0, side - kept + 1)
            box.append(slice(start, start + kept))
        for key in present:
            view = out[key].clone()
            view[:] = self.fill if key == "image" else 0
            view[tuple(box)] = out[key][tuple(box)]
            out[key] = view
        return out
