"""A smooth random deformation for torchvision v2, of any size of image."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from covidct.errors import UsageError

__all__ = ("RandomElastic",)


class RandomElastic(v2.Transform):  # type: ignore[misc]
    """Moves control points by random offsets and everything between them smoothly along.

    Images are interpolated bilinearly, masks by nearest neighbour; boxes and key points move too. (torchvision's own
    ``ElasticTransform`` blurs noise with a kernel that may be larger than the image, and fails then.)

    Args:
        offset: greatest offset in px; each call draws its amplitude between 0 and this.
        control: distance of the control points in px.
    """

    def __init__(self, offset: float = 2.0, *, control: int = 12) -> None:
        """Keep the settings."""
        super().__init__()
        if offset < 0 or control < 1:
            raise UsageError(f"offset={offset} must not be negative and control={control} must be at least 1.")
        self.offset = offset
        self.control = control

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the displacement field, (1, H, W, 2) in the units of a grid from -1 to 1."""
        height, width = v2.query_size(flat_inputs)
        coarse = (height // self.control + 2, width // self.control + 2)
        amplitude = self.offset * torch.rand(())
        noise = amplitude * (2 * torch.rand(1, 2, *coarse) - 1)
        field = F.interpolate(noise, size=(height, width), mode="bicubic", align_corners=True)
        per_pixel = torch.tensor([2 / width, 2 / height])
        return {"displacement": field.permute(0, 2, 3, 1) * per_pixel}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401  (v2's own signature)
        """Move one input."""
        return self._call_kernel(tvf.elastic, inpt, **params, interpolation=v2.InterpolationMode.BILINEAR)
