"""COVID-CT: slices cut out of articles on COVID-19 and of other collections, with the publishers' split."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidct.datasets.base import BaseDataset, Raw, Record, Split
from covidct.datasets.covid_ct_names import image_key, named_subject, read_patients
from covidct.datasets.layout import find_folder, list_scans
from covidct.datasets.published_tables import SplitLine, read_split_files
from covidct.datasets.splits import SPLITS
from covidct.errors import ManifestError
from covidct.io import cache_key, read_image
from covidct.io.names import natural_key
from covidct.io.raster import IMAGE_SUFFIXES, to_grey
from covidct.labels import class_map
from covidct.sample import stable_hash

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ("COVIDCT",)

_log = logging.getLogger(__name__)
_DATASET = "COVID-CT"
_IMAGES, _LISTS = ("images-processed", "images"), ("data-split", "split")  # published, and the names of a mirror


@dataclass(frozen=True, slots=True)
class _Class:
    """One of the two classes: its word, its folder, the end of its split files, and its table of patients."""

    word: str
    folder: str
    table: str
    image: str
    patient: str


_CLASSES = (
    _Class("covid", "CT_COVID", "COVID-CT-MetaInfo", "file name", "patient id"),
    _Class("non_covid", "CT_NonCOVID", "NonCOVID-CT-MetaInfo", "image name", "patient id"),
)


@dataclass(frozen=True, slots=True)
class _Slice:
    """What is known of one image; ``name`` is free of its suffix, with ``_`` where the publishers write ``%``."""

    name: str
    path: Path
    word: str
    subject: str
    split: Split | None


class COVIDCT(BaseDataset):
    """COVID-CT (Zhao et al., 2020, arXiv:2003.13865): 349 slices with and 397 without COVID-19.

    The folder holds ``Images-processed/CT_COVID`` and ``Images-processed/CT_NonCOVID`` (or these two in ``images``, or
    directly) and ``Data-split/COVID/trainCT_COVID.txt``, ``Data-split/NonCOVID/valCT_NonCOVID.txt`` and so on (or in
    ``split``): the publishers' split, train 191 and 234, val 60 and 58, test 98 and 105 slices with and without
    COVID-19. With split files only listed images are used, and a listed image that is missing is an error; a part
    without its two files is left out, with a warning. Without any split file all images are used, without a split.

    **Label 1 is COVID-19.** In the publishers' scripts it is 0, so that their printed precision, recall and F1 are
    those of the other class.

    The pictures are figures of articles and of teaching collections in display values, some with arrows and letters;
    nothing tells their window. Colour becomes grey. The class was given to each slice, so ``slice_label`` is the label.

    The publishers split by patient. Their tables ``COVID-CT-MetaInfo.csv`` (published as ``.xlsx``, which needs
    openpyxl) and ``NonCOVID-CT-MetaInfo.csv`` in the folder tell the patient of every image. Without them the names
    have to: ``10%0.jpg`` and ``10%1.jpg`` are of one patient, the panels of one figure of an article are taken as one
    subject within a part (they may be of several), and every other image is a subject of its own, though some are of
    one patient. Records are called by folder and file name.
    """

    name = "covid_ct"
    kind = "ct_slice"
    intensity = "unit"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        classes: str | dict[str, str] = "covid_vs_rest",
        allow_subject_overlap: bool = False,
    ) -> None:
        """Name the folder; it is listed at the first use of :attr:`records`.

        Args:
            root: folder of the download.
            classes: ``"covid_vs_rest"`` or a mapping from covid and non_covid to class names.
            allow_subject_overlap: take split files that put one subject into two parts, with a warning: scores on them
                are too good to be true. The published ones do not.

        Raises:
            UsageError: when the classes are unknown, or do not name both.
        """
        super().__init__()
        self.root = Path(root)
        self.classes = class_map(classes)
        self.allow_subject_overlap = allow_subject_overlap
        self._labels = {one.word: self.classes.label(one.word) for one in _CLASSES}

    @cached_property
    def slices_found(self) -> tuple[_Slice, ...]:
        """The images that are used: in the order of the split files, or in natural order."""
        images = _inside(self.root, _IMAGES)
        lists = self._lists()
        found = []
        for one in _CLASSES:
            paths = _images(find_folder(images, [one.folder], dataset=_DATASET))
            patients = read_patients(self.root / one.table, image=one.image, patient=one.patient)
            parts = _parts(lists[one.folder], paths) if lists else dict.fromkeys(paths)
            for key, part in parts.items():
                subject = f"{one.folder}: {patients.get(key) or named_subject(key, part)}"
                found.append(_Slice(f"{one.folder}-{key}", paths[key], one.word, subject, part))
        return tuple(found)

    def _lists(self) -> dict[str, dict[Split, Path]]:
        """Folder of a class to part to split file; empty without any."""
        names = {f"{part}{one.folder}.txt".lower(): (one.folder, part) for one in _CLASSES for part in SPLITS}
        lists: dict[str, dict[Split, Path]] = {one.folder: {} for one in _CLASSES}
        for path in list_scans(_inside(self.root, _LISTS), suffixes=(".txt",)):
            if path.name.lower() in names:
                folder, part = names[path.name.lower()]
                if lists[folder].setdefault(part, path) != path:
                    raise ManifestError(f"There are two split files {path.name} in {self.root}: keep one of them.")
        here, other = (set(lists[one.folder]) for one in _CLASSES)
        for part in SPLITS:
            if (part in here) != (part in other):
                lacking = _CLASSES[part in here].folder
                raise ManifestError(
                    f"The split file {part}{lacking}.txt is missing in {self.root}, the other class has its own: "
                    "download both, or remove both to leave the part out."
                )
        missing = [part for part in SPLITS if part not in here]
        if missing and here:
            _log.warning("COVID-CT: left out %s, whose split files are not in the folder.", " and ".join(missing))
        ordered = {folder: {part: files[part] for part in SPLITS if part in files} for folder, files in lists.items()}
        return ordered if here else {}

    def make_records(self) -> tuple[Record, ...]:
        """One record per image.

        Raises:
            ManifestError: when folders, images, split files and tables do not fit together.
        """
        return tuple(
            Record(id=one.name, subject=one.subject, label=self._labels[one.word], source=source, split=one.split)
            for source, one in enumerate(self.slices_found)
        )

    def load(self, source: int) -> Raw:
        """Read image ``source`` as grey.

        Raises:
            InputError: when it cannot be read.
        """
        one = self.slices_found[source]
        image = read_image(one.path)
        grey = replace(image, array=np.ascontiguousarray(to_grey(image.array), dtype=np.float32))
        return Raw(grey, slice_label=np.array([self._labels[one.word]], dtype=np.int64))

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the image and of its class."""
        one = self.slices_found[source]
        config = {"name": self.name, "label": self._labels[one.word], "classes": dict(self.classes.merge)}
        return cache_key(digest(one.path), config=config, version=1)

    def scan_hash(self, record: Record) -> int:
        """Stable hash of (data set, subject): the images of a subject are of one scan."""
        return stable_hash(self.name, record.subject)


def _inside(root: Path, names: tuple[str, ...]) -> Path:
    """The first of the named folders that is in the root, whatever the case of its name; else the root."""
    below = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()} if root.is_dir() else {}
    return next((below[name] for name in names if name in below), root)


def _images(folder: Path) -> dict[str, Path]:
    """Key of each image to its file, in natural order."""
    paths: dict[str, Path] = {}
    for path in list_scans(folder, suffixes=tuple(IMAGE_SUFFIXES)):
        other = paths.setdefault(image_key(path.name), path)
        if other != path:
            raise ManifestError(f"{folder.name} holds one image as {other.name} and as {path.name}: keep one of them.")
    if not paths:
        raise ManifestError(f"There is no image in {folder}: unpack {folder.name}.zip there.")
    return dict(sorted(paths.items(), key=lambda item: natural_key(item[0])))


def _parts(files: dict[Split, Path], paths: dict[str, Path]) -> dict[str, Split]:
    """Key of each listed image to its part."""
    lines: dict[str, tuple[str, SplitLine]] = {}
    for name, line in read_split_files(files).items():
        other, its_line = lines.setdefault(image_key(name), (name, line))
        if its_line is not line:
            raise ManifestError(
                f"The split names an image as {other} in {its_line.place} and as {name} in {line.place}: keep one."
            )
    missing = [(name, line) for key, (name, line) in lines.items() if key not in paths]
    if missing:
        name, line = missing[0]
        raise ManifestError(
            f"{len(missing)} image(s) of the split are not in {_DATASET}, the first is {name} ({line.place}): unpack "
            "it completely, or remove the split files of parts that are not there."
        )
    return {key: line.split for key, (_, line) in lines.items()}
