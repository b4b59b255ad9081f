"""Not tests: a chest of analytic bodies, and readers of the real scans that do not go through the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

Spacing = tuple[float, float, float]


def dice(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Overlap of two masks."""
    return float(2 * np.sum(a & b) / max(float(np.sum(a) + np.sum(b)), 1.0))


def ellipsoid_chest(
    spacing: Spacing = (3.0, 2.5, 2.5),
    *,
    noise: float = 20.0,
    gap: float = 24.0,
    trachea: bool = True,
    nodule: bool = False,
    extent: Spacing = (300.0, 280.0, 360.0),
    lung_hu: float = -850.0,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Two ellipsoids of -850 HU in an elliptic cylinder of 40 HU, air around, a trachea tube above the carina.

    ``gap`` is the tissue between the lungs in mm. Returns the scan and the lungs (1 right, 2 left), canonical LPS.
    """
    shape = tuple(int(e / s) for e, s in zip(extent, spacing, strict=True))
    z, y, x = (
        ((np.arange(n) + 0.5) * s - e / 2).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (n, s, e) in enumerate(zip(shape, spacing, extent, strict=True))
    )
    hu = np.full(shape, -1000.0, np.float32)
    hu[np.broadcast_to((y / 125) ** 2 + (x / 165) ** 2 < 1, shape)] = 40.0
    lungs = np.zeros(shape, np.uint8)
    half = (65.0, 55.0)
    for side, (sign, wide) in enumerate(zip((-1, 1), half, strict=True), 1):
        lungs[(z / 120) ** 2 + (y / 85) ** 2 + ((x - sign * (gap / 2 + wide)) / wide) ** 2 < 1] = side
    hu[lungs > 0] = lung_hu
    if nodule:  # attached to the wall of the right lung
        ball = z**2 + y**2 + (x + gap / 2 + 2 * half[0] - 6) ** 2 < 8**2
        hu[ball] = 40.0
    if trachea:
        tube = (y**2 + x**2 < 9**2) & (z > 30)
        hu[np.broadcast_to(tube, shape)] = -1000.0
        lungs[np.broadcast_to(tube, shape)] = 0
    hu += noise * np.random.default_rng(0).standard_normal(shape, np.float32)
    return np.clip(hu, -1024, 3071).astype(np.int16), lungs


def read(path: Path) -> tuple[NDArray[Any], Spacing]:
    """A NIfTI or NRRD file as array (D, H, W) on the LPS grid with its spacing, by SimpleITK."""
    itk: Any = SimpleITK  # without types
    image = itk.DICOMOrient(itk.ReadImage(str(path)), "LPS")
    w, h, d = image.GetSpacing()
    return np.asarray(itk.GetArrayFromImage(image)), (d, h, w)


def real_scan(folder: Path, name: str) -> tuple[NDArray[np.int16], Spacing, NDArray[np.uint8] | None]:
    """A real scan clipped at -1024 HU, its spacing, and its lungs (1 right, 2 left) where they are given."""
    if name.startswith("id"):
        (path,) = (folder / "ct_imlab_lung3d").glob(f"*{name}*_ct.nii.gz")
        hu, spacing = read(path)
        lungs, _ = read(path.with_name(path.name.replace("_ct.nii.gz", "_lung_lr_derived.nii.gz")))
    elif name == "ct-64":
        hu, spacing = read(folder / "ct_cip" / "ct-64.nrrd")
        labels, _ = read(folder / "ct_cip" / "lm-64.nrrd")
        region = labels & 255  # 12-14 right, 9-11 left
        lungs = np.select([(region >= 12) & (region <= 14), (region >= 9) & (region <= 11)], [1, 2], 0)
    else:
        hu, spacing = read(folder / name)
        return np.maximum(hu, -1024).astype(np.int16), spacing, None
    return np.maximum(hu, -1024).astype(np.int16), spacing, lungs.astype(np.uint8)
