"""Small scans and files for the tests of readers and writers, made by nibabel and SimpleITK, not by covidct."""

from __future__ import annotations

import struct
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

import nibabel
import nibabel.orientations
import numpy as np
import SimpleITK

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

nib: Any = nibabel  # both carry types that say nothing about their methods
sitk: Any = SimpleITK

SHAPE = (9, 11, 13)
SPACING = (2.5, 0.8, 0.7)  # (d, h, w) mm
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

AXCODES = [
    "".join(codes[axis][flip] for codes, axis, flip in zip([("LR", "AP", "IS")] * 3, order, flips, strict=True))
    for order in permutations(range(3))
    for flips in product((0, 1), repeat=3)
]
"""The 48 ways in which three voxel axes can run, in nibabel's letters (towards left, anterior, ...)."""


def scan(shape: tuple[int, int, int] = SHAPE, *, seed: int = 0) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A noisy body with two unlike lungs, unlike in every direction: HU and lung mask on the canonical grid."""
    rng = np.random.default_rng(seed)
    d, h, w = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    mask = np.zeros(shape, dtype=np.uint8)
    mask[(d / 0.8) ** 2 + (h / 0.6) ** 2 + ((w + 0.5) / 0.35) ** 2 < 1] = 1
    mask[((d - 0.2) / 0.7) ** 2 + ((h - 0.1) / 0.7) ** 2 + ((w - 0.45) / 0.3) ** 2 < 1] = 2
    hu = np.where((h / 0.95) ** 2 + (w / 0.98) ** 2 < 1, 40.0, -1000.0)
    hu[mask > 0] = -850
    hu += rng.normal(0, 15, shape)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16), mask


def affine(
    spacing: tuple[float, float, float] = SPACING, *, origin: tuple[float, float, float] = (-31.0, 17.5, -240.0)
) -> NDArray[np.float64]:
    """Canonical affine (w, h, d) to LPS mm for a spacing (d, h, w)."""
    result = np.diag([*spacing[::-1], 1.0])
    result[:3, 3] = origin
    return result


def rotation(degrees: float) -> NDArray[np.float64]:
    """A (4, 4) turn about an axis that is none of the body's."""
    axis = np.array([0.3, -0.5, 0.8])
    axis /= np.linalg.norm(axis)
    cross = np.cross(np.eye(3), axis)
    angle = np.radians(degrees)
    result = np.eye(4)
    result[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return result


def nifti(array: NDArray[Any], lps: NDArray[np.float64], axcodes: str = "LPS") -> Any:  # noqa: ANN401
    """A NIfTI image of a canonical array (D, H, W), its voxel axes running as ``axcodes`` says, by nibabel."""
    image = nib.Nifti1Image(array.T, LPS_TO_RAS @ lps)
    tools: Any = nibabel.orientations
    start = tools.io_orientation(image.affine)
    image = image.as_reoriented(tools.ornt_transform(start, tools.axcodes2ornt(axcodes)))
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    return image


def save_nifti(path: Path, array: NDArray[Any], lps: NDArray[np.float64] | None = None, axcodes: str = "LPS") -> Any:  # noqa: ANN401
    image = nifti(array, affine() if lps is None else lps, axcodes)
    nib.save(image, path)
    return image


def itk(array: NDArray[Any], lps: NDArray[np.float64]) -> Any:  # noqa: ANN401
    """A SimpleITK image of a canonical array."""
    image = sitk.GetImageFromArray(array)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def reoriented(image: Any, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Any:  # noqa: ANN401
    """The same image with its voxel axes in another order and direction, by SimpleITK's filters."""
    return sitk.Flip(sitk.PermuteAxes(image, order), flips)


def index_grid(shape: ArrayLike) -> NDArray[np.float64]:
    """Voxel indices (..., 3)."""
    return np.stack(np.meshgrid(*[np.arange(n) for n in np.asarray(shape)], indexing="ij"), axis=-1).astype(float)


def centroid(labels_ijk: NDArray[Any], voxel_to_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean place in mm of the marked voxels."""
    points = index_grid(labels_ijk.shape)[labels_ijk > 0] @ voxel_to_mm[:3, :3].T + voxel_to_mm[:3, 3]
    mean: NDArray[np.float64] = points.mean(axis=0)
    return mean


def tiff(
    pixels: NDArray[Any], bits: int, *, photometric: int = 1, tags: tuple[tuple[int, int, int], ...] = ()
) -> bytes:
    """An uncompressed little-endian TIFF by the letter of TIFF 6.0; 12 bits are packed, two values in three bytes."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if bits == 12:
        first, second = pixels[:, 0::2].astype(np.uint16), pixels[:, 1::2].astype(np.uint16)
        packed = np.stack([first >> 4, ((first & 15) << 4) | (second >> 8), second & 255], axis=-1)
        data = packed.astype(np.uint8).tobytes()
    else:
        data = pixels.astype("<u2" if bits == 16 else np.uint8).tobytes()
    entries = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (277, 3, channels),
    ]
    entries += [(278, 4, height), (279, 4, len(data)), *tags]
    start = 8 + 2 + 12 * (len(entries) + 1) + 4
    extra = struct.pack(f"<{channels}H", *[bits] * channels) if channels > 1 else b""
    entries.append((273, 4, start + len(extra)))
    body = struct.pack("<H", len(entries))
    for tag, kind, value in sorted(entries):
        if tag == 258 and channels > 1:
            body += struct.pack("<HHII", tag, kind, channels, start)
        else:
            body += struct.pack("<HHI", tag, kind, 1) + (
                struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value)
            )
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", 0) + extra + data
