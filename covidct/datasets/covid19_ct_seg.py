"""COVID-19-CT-Seg: 20 CT scans of COVID-19 with lungs and infections drawn by radiologists."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.datasets.layout import find_folder, list_scans, settle_sides
from covidct.errors import InputError, ManifestError, UsageError
from covidct.io import cache_key, find_series, read_mask, read_scan
from covidct.io.faults import check_on_fault
from covidct.io.hu import AIR_HU
from covidct.io.names import natural_key
from covidct.io.nifti import read_nifti_voxels
from covidct.labels import class_map
from covidct.sample import stable_hash
from covidct.volume import Finding

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from covidct.io.faults import OnFault
    from covidct.volume import Volume

__all__ = ("COVID19CTSeg",)

WINDOW = (-1250.0, 250.0)
"""HU that 0 and 255 stand for in the radiopaedia scans: "adjusted to lung window [-1250,250], and then normalized to
[0,255]", says the data set's benchmark page (COVID-19-CT-Seg-Benchmark, by its authors)."""

_LUNGS = {1: 2, 2: 1}
"""``Lung_Mask`` to ours: 1 left, 2 right. Recommendation, from third-party readers: the data set's page does
not say. Every mask is checked against the patient axis."""

_INFECTION = {1: 1}
_SUFFIXES = (".nii", ".nii.gz")
_FOLDERS = {
    "scan": ("COVID-19-CT-Seg_20cases", "ct_scans"),
    "lungs": ("Lung_Mask",),
    "infection": ("Infection_Mask",),
}
_NAMES = (
    re.compile(r"()(?:coronacases_)?(?:org_)?(?:case)?(\d{3})"),
    re.compile(r"(radiopaedia)_(?:org_covid-19-pneumonia-)?(\d+_\d+_\d+)(?:-dcm)?"),
)


@dataclass(frozen=True, slots=True)
class _Case:
    """Files of one scan, and its published name."""

    name: str
    scan: Path
    lungs: Path
    infection: Path

    @property
    def site(self) -> str:
        """The collection: coronacases or radiopaedia."""
        return self.name.partition("_")[0]

    @property
    def subject(self) -> str:
        """The patient: radiopaedia names are case_study_stack, and two cases have two scans each."""
        return "_".join(self.name.split("_")[:2])


class COVID19CTSeg(BaseDataset):
    """The COVID-19 CT Lung and Infection Segmentation Dataset (Ma et al., Medical Physics 2021; Zenodo 3757476).

    The folder holds ``COVID-19-CT-Seg_20cases``, ``Lung_Mask`` and ``Infection_Mask`` with NIfTI files of the same
    names (``coronacases_001``, ``radiopaedia_4_85506_1``; the longer names of other mirrors are known too).
    ``Lung_and_Infection_Mask`` is not used: there the infection overwrites the lung.

    The 20 scans are of 18 subjects (radiopaedia's cases 10 and 29 have two each), all with COVID-19. ``site`` is the
    collection, coronacases or radiopaedia. The infection mask does not tell ground-glass opacity from consolidation:
    all of it becomes 1 (ground-glass opacity), the commoner of the two. Slice labels are derived from it: covid where
    a slice has enough of it, else normal.

    The radiopaedia scans are no Hounsfield units but the lung window -1250 to 250 HU in 256 steps; ``windowed`` says
    what becomes of them. The values decide, not the name: a scan in HU is taken as it is.
    """

    name = "covid19_ct_seg"
    kind = "ct_volume"
    intensity = "hu"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        windowed: Literal["map", "exclude", "error"] = "map",
        min_infection_pixels: int = 1,
        classes: str | dict[str, str] = "covid_vs_rest",
        on_fault: OnFault = "error",
    ) -> None:
        """Name the folder; it is listed at the first use of :attr:`records`.

        Args:
            root: folder with the three folders.
            windowed: what to do with scans in display values: ``"map"`` puts 0..255 back to -1250..250 HU (steps of
                5.9 HU; all below and above is lost) and says so in ``Volume.findings``; ``"exclude"`` leaves them out
                (see :attr:`excluded`; this reads the ten scans once); ``"error"`` refuses them when they are read.
            min_infection_pixels: pixels of infection that make a slice covid, of the scan's own grid.
            classes: ``"covid_vs_rest"``, ``"three"`` or a mapping from normal and covid to class names.
            on_fault: what to do with faulty geometry (:func:`covidct.io.read_scan`) and with masks of swapped sides.

        Raises:
            UsageError: when an argument is wrong.
        """
        super().__init__()
        if windowed not in ("map", "exclude", "error"):
            raise UsageError(f"windowed={windowed!r} is unknown: use 'map', 'exclude' or 'error'.")
        if min_infection_pixels < 1:
            raise UsageError(f"min_infection_pixels={min_infection_pixels} must be at least 1.")
        check_on_fault(on_fault)
        self.root = Path(root)
        self.windowed = windowed
        self.min_infection_pixels = min_infection_pixels
        self.classes = class_map(classes)
        self.on_fault = on_fault

    @cached_property
    def excluded(self) -> Mapping[str, str]:
        """Published name of each scan that ``windowed="exclude"`` leaves out, and why."""
        if self.windowed != "exclude":
            return {}
        return {
            case.name: "display values from 0 to 255 in place of Hounsfield units"
            for case in self._all_cases
            if case.site == "radiopaedia" and _is_display(read_nifti_voxels(case.scan)[0])
        }

    @cached_property
    def cases(self) -> tuple[_Case, ...]:
        """The scans that are used, in natural order of their published names."""
        return tuple(case for case in self._all_cases if case.name not in self.excluded)

    @cached_property
    def _all_cases(self) -> tuple[_Case, ...]:
        files = {part: self._named(names) for part, names in _FOLDERS.items()}
        for part in ("lungs", "infection"):
            missing = sorted(files["scan"].keys() - files[part].keys(), key=natural_key)
            if missing:
                raise ManifestError(
                    f"{len(missing)} scan(s) of COVID-19-CT-Seg have no mask in {_FOLDERS[part][0]}, the first is "
                    f"{missing[0]}: unpack {_FOLDERS[part][0]}.zip completely."
                )
        return tuple(
            _Case(name, files["scan"][name], files["lungs"][name], files["infection"][name])
            for name in sorted(files["scan"], key=natural_key)
        )

    def _named(self, folders: tuple[str, ...]) -> dict[str, Path]:
        """Published name to file."""
        folder = find_folder(self.root, folders, dataset="COVID-19-CT-Seg")
        named: dict[str, Path] = {}
        for path in list_scans(folder, suffixes=_SUFFIXES):
            name = _published_name(path)
            if named.setdefault(name, path) != path:
                raise ManifestError(f"{folder.name} holds the scan {name} twice: keep one of the files.")
        if not named:
            raise ManifestError(f"There is no NIfTI file in {folder}: unpack {folder.name}.zip there.")
        return named

    def make_records(self) -> tuple[Record, ...]:
        """One record per scan, called by its published name.

        Raises:
            ManifestError: when a folder or mask is missing, or a file has an unknown name.
        """
        covid = self.classes.label("covid")
        return tuple(
            Record(id=case.name, subject=case.subject, label=covid, source=source, site=case.site)
            for source, case in enumerate(self.cases)
        )

    def load(self, source: int) -> Raw:
        """Read scan ``source`` with its masks and slice labels.

        Raises:
            InputError: when a file cannot be read, holds display values that ``windowed`` refuses, a mask holds an
                unknown code, or its sides are swapped.
        """
        case = self.cases[source]
        volume = read_scan(case.scan, on_fault=self.on_fault) if case.site == "coronacases" else self._display(case)
        lungs = read_mask(case.lungs, volume, mapping=_LUNGS, unlisted="error")
        lungs, findings = settle_sides(lungs, on_fault=self.on_fault)
        infection = read_mask(case.infection, volume, mapping=_INFECTION, unlisted="error")
        infected = np.count_nonzero(infection, axis=(1, 2)) >= self.min_infection_pixels
        words = np.array([self.classes.label("normal"), self.classes.label("covid")], dtype=np.int64)
        return Raw(
            volume.with_findings(*findings),
            lung_mask=lungs,
            lesion_mask=infection,
            slice_label=words[infected.astype(np.int64)],
        )

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of scan and masks, and of the arguments that change what is read."""
        case = self.cases[source]
        config = {
            "name": self.name,
            "windowed": self.windowed,
            "min_infection_pixels": self.min_infection_pixels,
            "classes": dict(self.classes.merge),
            "on_fault": self.on_fault,
        }
        files = (case.scan, case.lungs, case.infection)
        return cache_key(*(digest(file) for file in files), config=config, version=1)

    def scan_hash(self, record: Record) -> int:
        """Stable hash of (data set, published name): the same whichever scans are left out."""
        return stable_hash(self.name, self.cases[record.source].name)

    def _display(self, case: _Case) -> Volume:
        """Read a scan of radiopaedia: HU where it holds such, else its display values put back to HU."""
        if not _is_display(read_nifti_voxels(case.scan)[0]):
            return read_scan(case.scan, on_fault=self.on_fault)
        if self.windowed != "map":
            raise InputError(
                f"The scan {case.name} holds display values from 0 to 255, no Hounsfield units: use windowed='map' to "
                "put them back to -1250..250 HU, or windowed='exclude'."
            )
        refused = [finding for finding in find_series(case.scan)[0].findings if finding.action == "refused"]
        if refused and self.on_fault != "warn":
            raise InputError(f"{refused[0].message[:-1]} ({refused[0].code}): correct the file {case.scan.name}.")
        volume = read_scan(case.scan, on_fault="warn")  # the values are known to be no HU, the geometry is checked
        scale = (WINDOW[1] - WINDOW[0]) / (1.0 if volume.intensity == "unit" else 255.0)
        hu = np.maximum(np.rint(volume.array * np.float32(scale) + np.float32(WINDOW[0])), AIR_HU).astype(np.int16)
        message = f"Display values from 0 to 255 became {WINDOW[0]:g} to {WINDOW[1]:g} HU, the window of this data set."
        others = tuple(finding for finding in volume.findings if finding.code != "not_hu")
        findings = (*others, Finding("display_values", message, "repaired"))
        return replace(volume, array=hu, intensity="hu", findings=findings)


def _published_name(path: Path) -> str:
    """``coronacases_001`` for ``coronacases_org_001.nii``, ``radiopaedia_4_85506_1`` for the long names of mirrors."""
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name.lower())
    for pattern in _NAMES:
        if match := pattern.fullmatch(stem):
            return f"{match[1] or 'coronacases'}_{match[2]}"
    raise ManifestError(
        f"The file {path.name} in {path.parent.name} has no name of COVID-19-CT-Seg (coronacases_001.nii.gz, "
        "radiopaedia_4_85506_1.nii.gz): remove it, or give it its published name."
    )


def _is_display(values: NDArray[np.generic]) -> bool:
    """Whether the values are 0..255: a CT in HU has air around -1000."""
    return bool(values.min() >= 0 and 1 < values.max() <= 255)
