"""A small cohort on disk: NIfTI chests and PNG pictures with their tables."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import cv2
import nibabel as nib
import numpy as np

from covidct.volume import Volume
from tests.fakes.chests import WORDS, chest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.datasets import Raw

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def save_nifti(array: NDArray[Any], affine: NDArray[np.float64], path: Path) -> None:
    """Write a (D, H, W) array on the canonical grid."""
    nib.save(nib.Nifti1Image(np.ascontiguousarray(array.T), _LPS_TO_RAS @ affine), path)  # type: ignore[no-untyped-call]


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write a manifest."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def chest_of(number: int) -> Raw:
    """The chest that stands in row ``number`` (from 0)."""
    return chest(lesion=number % 3 == 2, seed=number)


def write_volumes(folder: Path, count: int = 6, *, splits: Sequence[str] | None = None) -> Path:
    """``count`` NIfTI scans with masks and slice labels, the three classes in turn."""
    rows = []
    for number in range(count):
        raw = chest_of(number)
        assert isinstance(raw.scan, Volume)
        assert raw.lung_mask is not None
        assert raw.lesion_mask is not None
        assert raw.slice_label is not None
        save_nifti(raw.scan.array, raw.scan.affine, folder / f"{number}.nii.gz")
        save_nifti(raw.lung_mask, raw.scan.affine, folder / f"{number}-lungs.nii.gz")
        save_nifti(raw.lesion_mask, raw.scan.affine, folder / f"{number}-lesions.nii.gz")
        infected = (raw.slice_label > 0).astype(int)
        (folder / f"{number}.txt").write_text("\n".join(map(str, infected)), encoding="utf-8")
        row = {
            "path": f"{number}.nii.gz",
            "label": WORDS[number % 3],
            "subject": f"Doe-{number}",
            "mask": f"{number}-lungs.nii.gz",
            "lesion_mask": f"{number}-lesions.nii.gz",
            "slice_labels": f"{number}.txt",
        }
        rows.append(row | ({"split": splits[number]} if splits else {}))
    return write_table(folder / "volumes.csv", rows)


def write_images(folder: Path, count: int = 6, *, shape: tuple[int, int] = (40, 32)) -> Path:
    """``count`` PNG pictures with masks; picture ``number`` has the grey value 40 + number outside a brighter field."""
    rows = []
    for number in range(count):
        picture = np.full(shape, 40 + number, dtype=np.uint8)
        picture[10:20, 4:12] = 200
        mask = np.zeros(shape, dtype=np.uint8)
        mask[10:20, 4:12] = 255
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        cv2.imwrite(str(folder / f"{number}-lungs.png"), mask)
        rows.append(
            {
                "path": f"{number}.png",
                "label": WORDS[number % 3],
                "subject": f"Doe-{number}",
                "mask": f"{number}-lungs.png",
            }
        )
    return write_table(folder / "images.csv", rows)
