"""Writes MetaImage scans with SimpleITK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

sitk: Any = SimpleITK


def save_mhd(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write a (D, H, W) array on the canonical grid as ``.mhd`` with ``.raw``; the folder is made when absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    sitk.WriteImage(image, str(path))
