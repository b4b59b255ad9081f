"""Cohorts of simulated chests: deterministic by index, made on demand, no file needed. Test objects, not patients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from covidct import __version__
from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.errors import UsageError
from covidct.io import cache_key
from covidct.labels import CLASSES, class_map
from covidct.phantom import simulate_ct, simulate_cxr
from covidct.sample import stable_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ("PhantomCTSlices", "PhantomCTVolumes", "PhantomCXR")

Diagnosis = Literal["normal", "cap", "covid"]
_DIAGNOSES: tuple[Diagnosis, ...] = ("normal", "cap", "covid")


class _Phantoms(BaseDataset):
    """Subjects with one or more scans each, the three diagnoses in turn; what volumes, slices and X-rays share."""

    def __init__(
        self,
        num_subjects: int,
        *,
        scans_per_subject: int,
        shape: tuple[int, ...],
        contrast: Literal["high", "low"],
        classes: str | Mapping[str, str],
        seed: int,
    ) -> None:
        if num_subjects < 1 or scans_per_subject < 1:
            raise UsageError(
                f"num_subjects={num_subjects} and scans_per_subject={scans_per_subject} must both be at least 1."
            )
        super().__init__()
        self.num_subjects = num_subjects
        self.scans_per_subject = scans_per_subject
        self.shape = tuple(int(size) for size in shape)  # YAML gives lists
        self.contrast = contrast
        self.classes = class_map(classes)
        self.seed = seed

    def diagnosis(self, source: int) -> Diagnosis:
        """Diagnosis of scan ``source``: normal, cap, covid in turn by subject."""
        return _DIAGNOSES[self._subject(source) % 3]

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the arguments and of the release that draws the phantom; no file is involved."""
        config = {
            "name": self.name,
            "draw": self._draw(source),
            "diagnosis": self.diagnosis(source),
            "shape": self.shape,
            "contrast": self.contrast,
            "slices": self.slices.get(source, []),
            "classes": dict(self.classes.merge),
        }
        return cache_key(config=config, version=__version__)

    def _subject(self, source: int) -> int:
        return source // self.scans_per_subject

    def _draw(self, source: int) -> int:
        """Seed of scan ``source``, alike for the same scan in cohorts of another size."""
        subject, scan = divmod(source, self.scans_per_subject)
        return stable_hash("phantom", str(self.seed), str(subject), str(scan)) % 2**32

    def _record(self, source: int) -> Record:
        subject, scan = divmod(source, self.scans_per_subject)
        return Record(
            id=f"phantom-{subject:04d}-{scan}",
            subject=f"phantom-{subject:04d}",
            label=self.classes.label(self.diagnosis(source)),
            source=source,
        )

    def _sources(self) -> range:
        return range(self.num_subjects * self.scans_per_subject)

    def _simulate_ct(self, source: int) -> Raw:
        phantom = simulate_ct(
            self._draw(source), diagnosis=self.diagnosis(source), shape=self.shape, contrast=self.contrast
        )
        words = np.array([self.classes.label(name) for name in CLASSES])
        return Raw(
            phantom.volume,
            lung_mask=phantom.lung_mask,
            lesion_mask=phantom.lesion_mask,
            slice_label=words[phantom.slice_label].astype(np.int64),
        )


class PhantomCTVolumes(_Phantoms):
    """Simulated CT volumes in HU with lung masks, lesion masks and slice labels.

    Subject i has the diagnosis normal, cap, covid in turn, so that any multiple of three is balanced.
    """

    name = "phantom_ct"
    kind = "ct_volume"
    intensity = "hu"

    def __init__(
        self,
        num_subjects: int = 60,
        *,
        scans_per_subject: int = 1,
        shape: tuple[int, int, int] = (96, 128, 128),
        contrast: Literal["high", "low"] = "high",
        classes: str | dict[str, str] = "three",
        seed: int = 0,
    ) -> None:
        """Describe the cohort; nothing is simulated yet.

        Args:
            num_subjects: number of subjects.
            scans_per_subject: scans of each subject; more than one makes splits by subject matter.
            shape: voxels along (depth, height, width).
            contrast: image quality of the scans, ``"high"`` or ``"low"``.
            classes: ``"three"``, ``"covid_vs_rest"`` or a mapping from normal, cap and covid to class names.
            seed: another seed is another cohort.

        Raises:
            UsageError: when a number is below 1 or the classes are unknown.
        """
        super().__init__(
            num_subjects,
            scans_per_subject=scans_per_subject,
            shape=shape,
            contrast=contrast,
            classes=classes,
            seed=seed,
        )

    def make_records(self) -> tuple[Record, ...]:
        """One record per scan."""
        return tuple(self._record(source) for source in self._sources())

    def load(self, source: int) -> Raw:
        """Simulate scan ``source``."""
        return self._simulate_ct(source)


class PhantomCTSlices(_Phantoms):
    """Axial slices of simulated CT volumes in HU, evenly spaced through the middle of the chest."""

    name = "phantom_ct"
    kind = "ct_slice"
    intensity = "hu"

    def __init__(
        self,
        num_subjects: int = 30,
        *,
        scans_per_subject: int = 1,
        slices_per_scan: int = 8,
        shape: tuple[int, int, int] = (96, 128, 128),
        contrast: Literal["high", "low"] = "high",
        classes: str | dict[str, str] = "three",
        seed: int = 0,
    ) -> None:
        """Describe the cohort; nothing is simulated yet.

        Args:
            num_subjects: number of subjects.
            scans_per_subject: scans of each subject.
            slices_per_scan: slices taken from each scan, out of the middle 60 % of its depth.
            shape: voxels of a scan along (depth, height, width).
            contrast: image quality of the scans, ``"high"`` or ``"low"``.
            classes: ``"three"``, ``"covid_vs_rest"`` or a mapping from normal, cap and covid to class names.
            seed: another seed is another cohort.

        Raises:
            UsageError: when a number is out of range or the classes are unknown.
        """
        super().__init__(
            num_subjects,
            scans_per_subject=scans_per_subject,
            shape=shape,
            contrast=contrast,
            classes=classes,
            seed=seed,
        )
        if not 1 <= slices_per_scan <= 0.6 * self.shape[0]:
            raise UsageError(f"slices_per_scan={slices_per_scan} must lie between 1 and 60 % of the depth.")
        self.slices_per_scan = slices_per_scan

    def make_records(self) -> tuple[Record, ...]:
        """One record per slice, scan by scan, feet to head."""
        return tuple(self._slice_record(source, index) for source in self._sources() for index in self._indices())

    def load(self, source: int) -> Raw:
        """Simulate the whole scan ``source``."""
        return self._simulate_ct(source)

    def _indices(self) -> list[int]:
        depth = self.shape[0]
        places: NDArray[np.float64] = np.linspace(0.2 * depth, 0.8 * depth, self.slices_per_scan, endpoint=False)
        return [int(place) for place in places]

    def _slice_record(self, source: int, index: int) -> Record:
        scan = self._record(source)
        return Record(id=f"{scan.id}-s{index:03d}", subject=scan.subject, label=scan.label, source=source, slice=index)


class PhantomCXR(_Phantoms):
    """Simulated frontal chest X-rays in [0, 1] with projected lung masks."""

    name = "phantom_cxr"
    kind = "cxr"
    intensity = "unit"

    def __init__(
        self,
        num_subjects: int = 60,
        *,
        images_per_subject: int = 1,
        shape: tuple[int, int] = (256, 256),
        classes: str | dict[str, str] = "three",
        seed: int = 0,
    ) -> None:
        """Describe the cohort; nothing is simulated yet.

        Args:
            num_subjects: number of subjects.
            images_per_subject: X-rays of each subject.
            shape: pixels along (height, width).
            classes: ``"three"``, ``"covid_vs_rest"`` or a mapping from normal, cap and covid to class names.
            seed: another seed is another cohort.

        Raises:
            UsageError: when a number is below 1 or the classes are unknown.
        """
        super().__init__(
            num_subjects,
            scans_per_subject=images_per_subject,
            shape=shape,
            contrast="high",
            classes=classes,
            seed=seed,
        )

    def make_records(self) -> tuple[Record, ...]:
        """One record per X-ray."""
        return tuple(self._record(source) for source in self._sources())

    def load(self, source: int) -> Raw:
        """Simulate X-ray ``source``."""
        phantom = simulate_cxr(self._draw(source), diagnosis=self.diagnosis(source), shape=self.shape)
        return Raw(phantom.image, lung_mask=phantom.lung_mask)
