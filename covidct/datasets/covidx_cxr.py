"""COVIDx CXR-3: chest X-rays of many collections, with and without COVID-19, and a published split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from covidct.datasets.image_files import ImageFiles, XrayFile
from covidct.datasets.layout import find_folder, list_scans
from covidct.datasets.published_tables import read_split_files
from covidct.datasets.splits import SPLITS
from covidct.errors import ManifestError, UsageError
from covidct.io.raster import IMAGE_SUFFIXES
from covidct.labels import class_map

if TYPE_CHECKING:
    import os

    from covidct.datasets.base import Split
    from covidct.datasets.published_tables import SplitLine

__all__ = ("COVIDxCXR3",)

_DATASET = "COVIDx CXR-3"


class COVIDxCXR3(ImageFiles):
    """COVIDx CXR-3 (Pavlova et al., 2022, arXiv:2206.03671): 30,386 X-rays, two classes.

    The folder holds ``train`` and ``test`` with the images, and ``train.txt`` and ``test.txt`` with lines
    ``patient file class source``, such as ``ANON56 CR.1.2.840.png negative actmed``. The published system counts
    13,992 negative and 15,994 positive ones for training, and 200 and 200 for the test; nothing is set aside for
    validation, so that the data module does. A part without its list is left out; ``val`` and ``val.txt`` are read
    where they are there, as in later releases.

    **The class is confounded with the source**: negatives are mostly of ``rsna``, positives of other collections
    (``site`` of a record), so that a network can be right without a look at the lungs. There are no lung masks. Patient
    numbers count within a source. Records are called by part and file name, which are pseudonyms.
    """

    name = "covidx_cxr3"

    def __init__(self, root: str | os.PathLike[str], *, classes: str | dict[str, str] = "covid_vs_rest") -> None:
        """Name the folder; it is listed at the first use of :attr:`records`.

        Args:
            root: folder of the download.
            classes: ``"covid_vs_rest"``, or a mapping from positive and negative to class names; ``"three"`` for lists
                with the words normal, pneumonia and COVID-19.

        Raises:
            UsageError: when the classes are unknown.
        """
        super().__init__()
        self.root = Path(root)
        self.classes = class_map(classes)

    def list_files(self) -> tuple[XrayFile, ...]:
        """The listed images, in the order of the lists.

        Raises:
            ManifestError: when lists, words and images do not fit together.
        """
        lists: dict[Split, Path] = {part: self.root / f"{part}.txt" for part in SPLITS}
        there = {part: path for part, path in lists.items() if path.is_file()}
        if not there:
            raise ManifestError(
                f"There is no train.txt or test.txt in {self.root}: give the folder that {_DATASET} was unpacked into."
            )
        lines = read_split_files(there, name_at=1)
        wrong = next((line for line in lines.values() if len(line.fields) != 3), None)
        if wrong is not None:
            raise ManifestError(
                f"{_beginning(wrong)} is wrong: a line has four words, patient, file, class and source."
            )
        images = {
            part: {path.name: path for path in list_scans(self._folder(part), suffixes=tuple(IMAGE_SUFFIXES))}
            for part in there
        }
        missing = [(name, line) for name, line in lines.items() if name not in images[line.split]]
        if missing:
            name, line = missing[0]
            raise ManifestError(
                f"{len(missing)} image(s) of the lists are not in {_DATASET}, the first is {name} ({line.place}): "
                "unpack it completely."
            )
        return tuple(self._file(images[line.split][name], line) for name, line in lines.items())

    def _folder(self, part: Split) -> Path:
        return find_folder(self.root, [part], dataset=_DATASET)

    def _file(self, path: Path, line: SplitLine) -> XrayFile:
        """One image with what its line tells."""
        patient, word, source = line.fields
        try:
            self.classes.label(word)
        except UsageError as error:
            raise ManifestError(f"{_beginning(line)}: {error}") from error
        return XrayFile(
            id=f"{line.split}-{path.stem}",
            path=path,
            word=word,
            subject=f"{source} {patient}",
            split=line.split,
            site=source,
        )


def _beginning(line: SplitLine) -> str:
    """The place of a line as the beginning of a sentence."""
    return line.place[0].upper() + line.place[1:]
