"""COVID-QU-Ex: chest X-rays of three classes, each with a lung mask, and a published split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from covidct.datasets.image_files import ImageFiles, XrayFile
from covidct.datasets.layout import find_folder, list_scans
from covidct.errors import ManifestError
from covidct.io.raster import IMAGE_SUFFIXES
from covidct.labels import class_map

if TYPE_CHECKING:
    import os

    from covidct.datasets.base import Split

__all__ = ("COVIDQUEx",)

_DATASET = "COVID-QU-Ex"
_LUNGS = "Lung Segmentation Data"
_PARTS: dict[Split, str] = {"train": "Train", "val": "Val", "test": "Test"}
_WORDS = {"COVID-19": "covid", "Non-COVID": "cap", "Normal": "normal"}
"""Folder to canonical class: Non-COVID is viral or bacterial pneumonia (page of the data set)."""


class COVIDQUEx(ImageFiles):
    """COVID-QU-Ex (Tahir et al., 2021, Comput Biol Med 139:105002): 33,920 X-rays of 256 x 256 with lung masks.

    11,956 of COVID-19, 11,263 of other pneumonia, 10,701 normal. The folder holds ``Lung Segmentation Data`` (once or,
    as in the published archive, one in the other; or is that folder), in it ``Train``, ``Val`` and ``Test``, in them
    ``COVID-19``, ``Non-COVID`` and ``Normal`` with ``images`` and ``lung masks``, of one file name each. A part that is
    not there is left out.

    Masks are of people and machine together, without sides (1 = lung). Nothing tells the patients: every image is a
    subject of its own, though some are of one patient. Records are called by part and file name.
    """

    name = "covid_qu_ex"

    def __init__(self, root: str | os.PathLike[str], *, classes: str | dict[str, str] = "three") -> None:
        """Name the folder; it is listed at the first use of :attr:`records`.

        Args:
            root: folder of the download.
            classes: ``"three"``, ``"covid_vs_rest"`` or a mapping from covid, cap and normal to class names.

        Raises:
            UsageError: when the classes are unknown, or do not name all three.
        """
        super().__init__()
        self.root = Path(root)
        self.classes = class_map(classes)
        for word in _WORDS.values():
            self.classes.label(word)

    def list_files(self) -> tuple[XrayFile, ...]:
        """The images, by part and class, in natural order.

        Raises:
            ManifestError: when a folder or a mask is missing.
        """
        root = self.root
        while (root / _LUNGS).is_dir():
            root = root / _LUNGS
        parts = [(part, folder) for part, folder in _PARTS.items() if (root / folder).is_dir()]
        if not parts:
            raise ManifestError(
                f"There is no folder Train, Val or Test in {root}: give the folder with {_LUNGS!r} of {_DATASET}."
            )
        return tuple(
            file
            for part, folder in parts
            for name, word in _WORDS.items()
            for file in _pairs(find_folder(root / folder, [name], dataset=_DATASET), part, word)
        )


def _pairs(folder: Path, part: Split, word: str) -> list[XrayFile]:
    """The images of one class of one part with their masks."""
    masks = find_folder(folder, ["lung masks"], dataset=_DATASET)
    files = []
    for path in list_scans(find_folder(folder, ["images"], dataset=_DATASET), suffixes=tuple(IMAGE_SUFFIXES)):
        mask = masks / path.name
        if not mask.is_file():
            raise ManifestError(
                f"The image {path.name} of {part} has no file of its name in {masks.name!r}: unpack {_DATASET} "
                "completely."
            )
        name = f"{part}-{folder.name}-{path.stem}"
        files.append(XrayFile(id=name, path=path, word=word, subject=name, split=part, mask=mask))
    return files
