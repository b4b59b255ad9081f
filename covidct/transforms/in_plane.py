"""A MONAI transform of 2-D images, applied alike to all slices of a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("InPlaned",)


class InPlaned(Randomizable, MapTransform):
    """Shows the slices of (C, D, H, W) volumes to a 2-D dictionary transform as channels of one image.

    One deformation is drawn and applied to all slices, as 2-D networks were trained with; it costs one 2-D grid
    instead of a 3-D one. Slices keep their order and number.

    Args:
        keys: keys to pass on; absent ones are left out.
        transform: a MONAI dictionary transform for (C, H, W) arrays, with ``allow_missing_keys=True``.
    """

    def __init__(self, keys: KeysCollection, transform: Any) -> None:  # noqa: ANN401  (MONAI has no types)
        """Keep the transform."""
        super().__init__(keys, allow_missing_keys=True)
        self.transform = transform

    def set_random_state(self, seed: int | None = None, state: Any = None) -> InPlaned:  # noqa: ANN401
        """Hand the random state on to the transform."""
        if isinstance(self.transform, Randomizable):
            self.transform.set_random_state(seed=seed, state=state)
        return self

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Transform a sample; what the keys do not name passes unchanged."""
        out = dict(data)
        present = [key for key in self.keys if key in out]
        flat = {key: _tensor(out[key]).flatten(0, 1) for key in present}
        moved = self.transform(flat)
        for key in present:
            channels, depth = out[key].shape[:2]
            volume = _tensor(moved[key]).unflatten(0, (channels, depth))
            out[key] = MetaTensor(volume, affine=out[key].affine) if isinstance(out[key], MetaTensor) else volume
        return out


def _tensor(value: Any) -> Any:  # noqa: ANN401
    """Without meta data, whose affine has one axis too many for a slice."""
    return value.as_tensor() if isinstance(value, MetaTensor) else value
