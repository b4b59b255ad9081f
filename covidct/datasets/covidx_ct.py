"""COVIDx CT: slices of many collections with three classes, a published split and a table of patients."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.datasets.covidx_ct_names import CLASSES, cncb_name, slice_key
from covidct.datasets.layout import list_scans
from covidct.datasets.published_tables import SplitLine, check_split_files, read_columns, read_split_files
from covidct.errors import InputError, ManifestError, UsageError
from covidct.io import cache_key, read_image
from covidct.io.raster import IMAGE_SUFFIXES
from covidct.labels import WORDS, class_map
from covidct.sample import stable_hash

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from covidct.datasets.base import Split

__all__ = ("COVIDxCT",)

Site = Literal["source", "country", "both"]

_WORD = {"normal": "Normal", "cap": "CP", "covid": "NCP"}  # canonical name to that of the file names
_OTHER = re.compile(r"(.+)[-_][^-_]+")
_PATIENT, _SOURCE, _COUNTRY, _FINDING, _VERIFIED = "patient id", "source", "country", "finding", "verified finding"
_IS_VERIFIED = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}
"""Words of the column "verified finding"; the published table has Yes and No, an empty cell tells nothing."""


@dataclass(frozen=True, slots=True)
class _Slice:
    """What is known of one image."""

    path: Path
    word: str
    patient: str
    scan: str
    split: Split | None
    box: tuple[int, int, int, int] | None
    site: str


class COVIDxCT(BaseDataset):
    """COVIDx CT (Gunraj et al., 2020 and 2022), and the same slices as COVID-CT-Mask-Net names them.

    The images lie anywhere below the folder. Their names tell the class, the patient and the scan:
    ``NCP_96_1328_0032.png`` is slice 32 of scan 1328 of patient 96, class NCP (COVID-19), CP (pneumonia) or Normal;
    COVID-CT-Mask-Net writes ``2_96_1328_0032.png``, 0 normal, 1 CP, 2 NCP, which is the same slice: split files may
    have either name, whichever the image has, and a slice that is there or listed under both is refused. Images of
    other collections (``HUST-Patient97-0001.png``, version 2 on) get their class from the split files or the table of
    patients. The patient of such an image is the longest id of the table that its name begins with; without the table
    it is the name without its last part, the scan, so that two scans of one patient may pass for two subjects.

    Labels are those of patients; published slices of NCP and CP show abnormalities, so ``slice_label`` is the label.
    Records are called by the published names, which are pseudonyms.
    """

    name = "covidx_ct"
    kind = "ct_slice"
    intensity = "unit"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split_files: dict[str, str] | None = None,
        metadata: str | os.PathLike[str] | None = None,
        verified_only: bool = False,
        site: Site = "source",
        crop: bool = False,
        classes: str | dict[str, str] = "three",
    ) -> None:
        """Name the files; they are read at the first use of :attr:`records`.

        Args:
            root: folder with the images, in folders of any depth.
            split_files: ``"train"``, ``"val"`` or ``"test"`` to a text file with lines ``name``, or
                ``name class xmin ymin xmax ymax`` as published; only listed images are then used. None: all images,
                without a split.
            metadata: the published table ``metadata.csv``, one row per patient.
            verified_only: leave out patients whose finding is not verified (:attr:`excluded`); needs ``metadata``,
                whose column says yes, true or 1, or no, false, 0 or nothing.
            site: what ``site`` of a record is, out of ``metadata``: ``"source"`` (the collection), ``"country"``, or
                ``"both"``, such as ``"iCTCF, China"``.
            crop: cut images to the box around the body that the split files give, as the network of the publishers
                does; COVID-CT-Mask-Net does not.
            classes: ``"three"``, ``"covid_vs_rest"`` or a mapping from ncp, cp and normal to class names.

        Raises:
            UsageError: when an argument is wrong, or lacks the file it needs.
        """
        super().__init__()
        if site not in ("source", "country", "both"):
            raise UsageError(f"site={site!r} is unknown: use 'source', 'country' or 'both'.")
        if verified_only and metadata is None:
            raise UsageError("verified_only=True needs the table of patients: give metadata=.")
        if crop and not split_files:
            raise UsageError("crop=True needs the boxes of the split files: give split_files=.")
        self.root = Path(root)
        self.split_files = check_split_files(split_files)
        self.metadata = None if metadata is None else Path(metadata)
        self.verified_only, self.site, self.crop = verified_only, site, crop
        self.classes = class_map(classes)

    @cached_property
    def patients(self) -> Mapping[str, Mapping[str, str]]:
        """Rows of the table of patients by patient id; empty without a table."""
        if self.metadata is None:
            return {}
        return {
            row[_PATIENT]: row
            for row in read_columns(self.metadata, (_PATIENT, _SOURCE, _COUNTRY, _FINDING, _VERIFIED))
        }

    @cached_property
    def excluded(self) -> Mapping[str, str]:
        """Patient id of each patient that ``verified_only`` leaves out, and why."""
        if not self.verified_only:
            return {}
        return {
            patient: f"verified finding: {row[_VERIFIED] or 'unknown'}"
            for patient, row in self.patients.items()
            if not _is_verified(row[_VERIFIED], patient)
        }

    @cached_property
    def slices_found(self) -> tuple[_Slice, ...]:
        """The images that are used: in natural order, or in that of the split files."""
        paths = self._paths()
        lines = self._lines()
        missing = [(name, line) for key, (name, line) in lines.items() if key not in paths]
        if missing:
            raise ManifestError(
                f"{len(missing)} image(s) of the split are not below {self.root}, the first is {missing[0][0]} "
                f"({missing[0][1].place}): unpack COVIDx CT completely, or give the split of this version."
            )
        found = [self._slice(paths[key], lines[key][1] if lines else None) for key in lines or paths]
        kept = tuple(one for one in found if one.patient not in self.excluded)
        if not kept:
            raise ManifestError(
                f"None of the {len(found)} images is of a patient whose finding is verified: give the published table "
                "as metadata, or set verified_only=False."
            )
        return kept

    def _paths(self) -> dict[str, Path]:
        """Key of each slice to its image."""
        if not self.root.is_dir():
            raise ManifestError(f"There is no folder {self.root}: give the folder with the images of COVIDx CT.")
        paths: dict[str, Path] = {}
        for path in list_scans(self.root, suffixes=tuple(IMAGE_SUFFIXES)):
            other = paths.setdefault(slice_key(path.name), path)
            if other != path:
                raise ManifestError(
                    f"The slice {other.name} is in {other.parent.name} and again in {path.parent.name} as {path.name}: "
                    "keep one."
                )
        if not paths:
            raise ManifestError(f"There is no image below {self.root}: unpack COVIDx CT there.")
        return paths

    def _lines(self) -> dict[str, tuple[str, SplitLine]]:
        """Key of each slice to its name in the split files and its line."""
        lines: dict[str, tuple[str, SplitLine]] = {}
        for name, line in read_split_files(self.split_files).items():
            other, its_line = lines.setdefault(slice_key(name), (name, line))
            if other != name:
                raise ManifestError(
                    f"The split names a slice as {other} in {its_line.place} and as {name} in {line.place}: keep one."
                )
        return lines

    def _slice(self, path: Path, line: SplitLine | None) -> _Slice:
        """Class, patient, scan, part and place of one image."""
        word, patient, scan = self._named(path)
        row = self.patients.get(patient)
        if self.patients and row is None:
            raise ManifestError(
                f"The image {path.name} is of no patient of {'' if self.metadata is None else self.metadata.name}: "
                "give the table of this version."
            )
        box = None
        if line is not None and line.fields:
            listed, box = _fields(path.name, line)
            if word and word != listed:
                raise ManifestError(f"{path.name} is {word} by its name and {listed} in {line.place}: mend the split.")
            word = listed
        if self.crop and line is not None and box is None:
            raise ManifestError(f"There is no box in {line.place}, which crop=True needs: set crop=False.")
        if not word and row is not None:
            word = _WORD.get(WORDS.get(row[_FINDING].lower(), ""), "")
        if not word:
            raise ManifestError(
                f"The class of {path.name} is unknown: names begin with NCP_, CP_, Normal_, 0_, 1_ or 2_, or give the "
                "class by split_files or metadata."
            )
        site = "" if row is None else ", ".join(filter(None, (row[key] for key in _SITES[self.site])))
        return _Slice(path, word, patient, scan, None if line is None else line.split, box, site)

    def _named(self, path: Path) -> tuple[str, str, str]:
        """Class (empty where the name does not tell), patient and scan."""
        if found := cncb_name(path.stem):
            word, patient, scan, _ = found
            return word, f"{word}_{patient}", f"{word}_{patient}_{scan}"
        other = _OTHER.fullmatch(path.stem)
        scan = other[1] if other else path.stem
        cuts = [len(path.stem), *(match.start() for match in reversed([*re.finditer("[-_]", path.stem)]))]
        return "", next((path.stem[:cut] for cut in cuts if path.stem[:cut] in self.patients), scan), scan

    def make_records(self) -> tuple[Record, ...]:
        """One record per image.

        Raises:
            ManifestError: when images, split files and the table of patients do not fit together.
        """
        return tuple(
            Record(
                id=one.path.stem,
                subject=one.patient,
                label=self.classes.label(one.word),
                source=source,
                split=one.split,
                site=one.site,
            )
            for source, one in enumerate(self.slices_found)
        )

    def load(self, source: int) -> Raw:
        """Read image ``source``, cut to its box where ``crop`` is set.

        Raises:
            InputError: when it cannot be read, or its box leaves it.
        """
        one = self.slices_found[source]
        image = read_image(one.path)
        if self.crop and one.box is not None:
            x0, y0, x1, y1 = one.box
            height, width = image.array.shape[:2]
            if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
                raise InputError(
                    f"The box {one.box} of {one.path.name} is empty or leaves its {height} x {width} pixels: give the "
                    "split of this version, or set crop=False."
                )
            image = replace(image, array=np.ascontiguousarray(image.array[y0:y1, x0:x1]))
        return Raw(image, slice_label=np.array([self.classes.label(one.word)], dtype=np.int64))

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the image, its class and its box."""
        one = self.slices_found[source]
        config = {
            "name": self.name,
            "label": self.classes.label(one.word),
            "classes": dict(self.classes.merge),
            "box": list(one.box) if self.crop and one.box is not None else None,
        }
        return cache_key(digest(one.path), config=config, version=1)

    def scan_hash(self, record: Record) -> int:
        """Stable hash of (data set, scan): groups the slices of a scan."""
        return stable_hash(self.name, self.slices_found[record.source].scan)


_SITES: Mapping[Site, tuple[str, ...]] = {
    "source": (_SOURCE,),
    "country": (_COUNTRY,),
    "both": (_SOURCE, _COUNTRY),
}


def _is_verified(word: str, patient: str) -> bool:
    """What the table of patients says of a finding."""
    if word.lower() not in _IS_VERIFIED:
        raise ManifestError(
            f"The table of patients says {word!r} of the verified finding of {patient}: write yes or no there."
        )
    return _IS_VERIFIED[word.lower()]


def _fields(name: str, line: SplitLine) -> tuple[str, tuple[int, int, int, int]]:
    """Class and box (x0, y0, x1, y1) of a line of a split file."""
    try:
        number, x0, y0, x1, y1 = (int(field) for field in line.fields)
        return CLASSES[("0", "1", "2").index(str(number))], (x0, y0, x1, y1)
    except ValueError as error:
        raise ManifestError(
            f"{line.place[0].upper()}{line.place[1:]} is wrong: behind {name} stand the class (0, 1 or 2) and the box "
            "xmin ymin xmax ymax, five whole numbers."
        ) from error
