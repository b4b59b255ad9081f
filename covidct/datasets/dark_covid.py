"""The X-rays of DarkCovidNet: COVID-19, pneumonia and no findings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from covidct.datasets.image_files import ImageFiles, XrayFile
from covidct.datasets.layout import find_folder, list_scans
from covidct.datasets.published_tables import read_columns
from covidct.datasets.splits import SPLITS
from covidct.errors import ManifestError, UsageError
from covidct.io.raster import IMAGE_SUFFIXES
from covidct.labels import class_map

if TYPE_CHECKING:
    import os

    from covidct.datasets.base import Split

__all__ = ("DarkCovid",)

_DATASET = "the DarkCovidNet data"
_FOLDERS = ("No_findings", "Pneumonia", "Covid-19")
_INSIDE = ("X-Ray Image DataSet", "images")
_COLUMNS = ("path", "class", "split", "group")
_NIH = re.compile(r"(\d{8})_\d{3}")  # ChestX-ray8: patient, follow-up
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PANEL = re.compile(
    r"\.pdf.*|[-_.]f(?:ig|x)?\d.*|_fig.*|-gr?\d.*|-?\d+-(?:hours|days).*|[-_]day[-_]?\d.*|-admission.*|-[pa][ap]$"
    r"|(?<=\d)[a-d]$|-[a-d]\d?(?:-.*)?$",
    re.IGNORECASE,
)
"""What follows the article or case in names of the Cohen collection: figure, panel, day, view."""


class DarkCovid(ImageFiles):
    """The X-rays of DarkCovidNet (Ozturk et al., 2020, Comput Biol Med 121:103792): 125 COVID-19, 500 and 500 others.

    The folder holds ``Covid-19``, ``No_findings`` and ``Pneumonia`` (or these in ``X-Ray Image DataSet`` or
    ``images``). A table ``split.csv`` beside them, with the columns path, class, split (train, val or test) and group,
    names the images that are used, their part and their subject. Without it all images are used and there is no split;
    the subject is the patient of a ChestX-ray8 name (``00001280_004.png`` is of 1280) and else the article or case that
    a name begins with, as far as names tell.

    **The class is confounded with the source**: all COVID-19 images are of the Cohen collection (figures of articles,
    with letters, arrows and cropped borders), all others of ChestX-ray8, whose labels were mined from reports; ``site``
    says which. There are no lung masks. Records are called by class and file name.
    """

    name = "dark_covid"

    def __init__(self, root: str | os.PathLike[str], *, task: Literal["three", "binary"] = "three") -> None:
        """Name the folder; it is listed at the first use of :attr:`records`.

        Args:
            root: folder of the images.
            task: ``"three"``: normal 0, cap 1, covid 2; ``"binary"``: normal 0, covid 1, without the images of
                pneumonia, as published.

        Raises:
            UsageError: when the task is unknown.
        """
        super().__init__()
        if task not in ("three", "binary"):
            raise UsageError(f"task={task!r} is unknown: use 'three' or 'binary'.")
        self.root = Path(root)
        self.task = task
        self.classes = class_map("three" if task == "three" else {"normal": "normal", "covid": "covid"})

    def list_files(self) -> tuple[XrayFile, ...]:
        """The images in the order of the table, or by class in natural order.

        Raises:
            ManifestError: when folders, images and table do not fit together.
        """
        table = self.root / "split.csv"
        files = self._listed(table) if table.is_file() else self._found()
        return tuple(file for file in files if self.task == "three" or file.word != "Pneumonia")

    def _found(self) -> list[XrayFile]:
        """All images of the three folders."""
        root = next((self.root / name for name in _INSIDE if (self.root / name).is_dir()), self.root)
        return [
            _file(path, word, subject=named_subject(path.stem))
            for word in _FOLDERS
            for path in list_scans(find_folder(root, [word], dataset=_DATASET), suffixes=tuple(IMAGE_SUFFIXES))
        ]

    def _listed(self, table: Path) -> list[XrayFile]:
        """The images that the table names."""
        files = []
        for number, row in enumerate(read_columns(table, _COLUMNS), start=1):
            place = f"Row {number} of {table.name}"
            if row["class"] not in _FOLDERS or row["split"] not in SPLITS or not row["group"]:
                raise ManifestError(
                    f"{place} is wrong: class is one of {', '.join(_FOLDERS)}, split is train, val or test, and group "
                    "names the subject."
                )
            path = self.root / row["path"]
            if not path.is_file():
                raise ManifestError(f"{place} names {row['path']}, which is not there: paths are relative to {table}.")
            files.append(_file(path, row["class"], subject=row["group"], split=row["split"]))
        if len({file.path for file in files}) < len(files):
            raise ManifestError(f"{table.name} names an image twice: keep one row.")
        return files


def named_subject(stem: str) -> str:
    """Whose image it is, as far as its name tells.

    Args:
        stem: file name without suffix.

    Returns:
        The patient number of ChestX-ray8; else the article or case, and the whole name where it is neither.
    """
    if patient := _NIH.fullmatch(stem):
        return patient[1]
    return stem if _GUID.fullmatch(stem) else (_PANEL.sub("", stem) or stem)


def _file(path: Path, word: str, *, subject: str, split: Split | None = None) -> XrayFile:
    site = "Cohen collection" if word == "Covid-19" else "ChestX-ray8"
    return XrayFile(id=f"{word}-{path.stem}", path=path, word=word, subject=subject, split=split, site=site)
