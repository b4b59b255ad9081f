"""What the published data sets share: folders as they are downloaded, and lung masks whose sides are checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidct.errors import ManifestError
from covidct.io.faults import settle
from covidct.io.names import natural_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.io.faults import OnFault
    from covidct.volume import Finding

__all__ = ("find_folder", "list_scans", "settle_sides")


def find_folder(root: Path, names: Sequence[str], *, dataset: str) -> Path:
    """A folder of a download, whatever the case of its name, by any of its published names.

    Raises:
        ManifestError: when it is not there.
    """
    if not root.is_dir():
        raise ManifestError(f"There is no folder {root}: give the folder that {dataset} was unpacked into.")
    below = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    for name in names:
        if name.lower() in below:
            return below[name.lower()]
    raise ManifestError(
        f"There is no folder {' or '.join(names)} in {root}: give the folder that {dataset} was unpacked into, with "
        "its folders as they were published."
    )


def list_scans(folder: Path, *, suffixes: tuple[str, ...]) -> list[Path]:
    """All files below a folder with one of the suffixes, hidden ones left out, in the natural order of their names."""
    found = [
        path
        for path in folder.rglob("*")
        if path.name.lower().endswith(suffixes) and not path.name.startswith(".") and path.is_file()
    ]
    return sorted(found, key=lambda path: (natural_key(path.name), natural_key(str(path))))


def settle_sides(mask: NDArray[np.uint8], *, on_fault: OnFault) -> tuple[NDArray[np.uint8], tuple[Finding, ...]]:
    """See to it that the right lung of a mask lies on the patient's right.

    The sides in the files of a data set are somebody's word; the LPS x axis is the scan's own.

    Args:
        mask: uint8 (D, H, W) on the canonical grid (width towards the patient's left), 1 right lung, 2 left lung.
        on_fault: ``"error"`` refuses a mask of swapped sides, ``"repair"`` swaps them, ``"warn"`` takes them as they
            are.

    Returns:
        The mask, and the finding ``"swapped_sides"`` where there was one. A mask of one lung alone is taken as it is.

    Raises:
        InputError: for swapped sides under ``"error"``.
    """
    places = np.arange(mask.shape[2])
    counts = [np.count_nonzero(mask == side, axis=(0, 1)) for side in (1, 2)]
    if not all(count.any() for count in counts):
        return mask, ()
    right, left = ((count @ places) / count.sum() for count in counts)
    if right < left:
        return mask, ()
    message = "the right lung of the mask lies on the patient's left, so the sides of mask or scan are swapped"
    done = "taken as they are" if on_fault == "warn" else "the sides of the mask swapped"
    finding = settle("swapped_sides", message, done, on_fault=on_fault)
    return (np.array([0, 2, 1], dtype=np.uint8)[mask] if on_fault == "repair" else mask), (finding,)
