"""``PhantomLesions``: slices of simulated scans whose lesions are objects, to train lesion detectors without files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from covidct import __version__
from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.errors import UsageError
from covidct.functional import MIN_OBJECT_AREA, keep_large_objects
from covidct.io import cache_key
from covidct.labels import CLASSES, LESION_CLASSES, class_map
from covidct.phantom import simulate_ct
from covidct.sample import stable_hash
from covidct.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.labels import MaskType

__all__ = ("PhantomLesions",)

Diagnosis = Literal["normal", "cap", "covid"]
_DIAGNOSES: tuple[Diagnosis, ...] = ("normal", "cap", "covid")

_PUBLISHED_PIXELS = 512**2  # of a slice that MIN_OBJECT_AREA is meant for
_ENOUGH = 0.25  # of the fullest slice's lesion (normal: lung) area: what a chosen slice should show


class PhantomLesions(BaseDataset):
    """Axial slices in HU of simulated scans, with lesions as objects (``instances``), lung masks and three classes.

    Subject i is normal, cap, covid in turn and has one scan. Its slices are evenly spaced, as far apart as the disease
    allows: of cap and covid they lie where there is much lesion, of normal where there is much lung. A source is these
    few slices as one volume, whose spacing along the body is the true distance between them.

    Lesions of no object are taken out of ``lesion_mask``, so that mask and objects agree. Deterministic by index, made
    on demand, no file needed. Test objects, not patients.
    """

    name = "phantom_lesions"
    kind = "ct_slice"
    intensity = "hu"

    def __init__(
        self,
        num_subjects: int = 60,
        *,
        slices_per_scan: int = 4,
        shape: tuple[int, int, int] = (96, 256, 256),
        contrast: Literal["high", "low"] = "high",
        mask_type: MaskType = "both",
        min_area: int | None = None,
        lesions_only: bool = False,
        classes: str | dict[str, str] = "three",
        seed: int = 0,
    ) -> None:
        """Describe the cohort; nothing is simulated yet.

        Args:
            num_subjects: number of subjects, those that ``lesions_only`` leaves out included.
            slices_per_scan: slices taken from each scan.
            shape: voxels of a scan along (depth, height, width).
            contrast: image quality of the scans, ``"high"`` or ``"low"``.
            mask_type: which lesions are objects, ``"both"``, ``"ggo"`` or ``"merge"``; see
                :func:`covidct.functional.lesion_instances`.
            min_area: an object has more pixels than this; None: the same share of the slice as the published 100
                pixels of 512 x 512, which are 25 of 256 x 256.
            lesions_only: leave out the normal subjects, whose slices are negatives of a detector.
            classes: ``"three"``, ``"covid_vs_rest"`` or a mapping from normal, cap and covid to class names.
            seed: another seed is another cohort.

        Raises:
            UsageError: when an argument is out of range or unknown.
        """
        super().__init__()
        self.shape = tuple(int(size) for size in shape)  # YAML gives lists
        if num_subjects < 1:
            raise UsageError(f"num_subjects={num_subjects} must be at least 1.")
        if not 1 <= slices_per_scan <= self.shape[0]:
            raise UsageError(f"slices_per_scan={slices_per_scan} must lie between 1 and the depth {self.shape[0]}.")
        if mask_type not in LESION_CLASSES:
            raise UsageError(f"mask_type={mask_type!r} is unknown: use one of {', '.join(LESION_CLASSES)}.")
        if min_area is not None and min_area < 0:
            raise UsageError(f"min_area={min_area} must be at least 0 pixels.")
        self.slices_per_scan = slices_per_scan
        self.contrast: Literal["high", "low"] = contrast
        self.mask_type = mask_type
        share = self.shape[1] * self.shape[2] / _PUBLISHED_PIXELS
        self.min_area = round(MIN_OBJECT_AREA * share) if min_area is None else min_area
        self.classes = class_map(classes)
        self.seed = seed
        self._subjects = tuple(i for i in range(num_subjects) if not lesions_only or _DIAGNOSES[i % 3] != "normal")

    def diagnosis(self, source: int) -> Diagnosis:
        """Diagnosis of scan ``source``: normal, cap, covid in turn by subject."""
        return _DIAGNOSES[self._subjects[source] % 3]

    def make_records(self) -> tuple[Record, ...]:
        """One record per slice, scan by scan, feet to head."""
        return tuple(
            Record(
                id=f"phantom-lesions-{subject:04d}-s{index}",
                subject=f"phantom-lesions-{subject:04d}",
                label=self.classes.label(self.diagnosis(source)),
                source=source,
                slice=index,
            )
            for source, subject in enumerate(self._subjects)
            for index in range(self.slices_per_scan)
        )

    def load(self, source: int) -> Raw:
        """Simulate scan ``source`` and keep the chosen slices of it."""
        made = simulate_ct(
            self._draw(source), diagnosis=self.diagnosis(source), shape=self.shape, contrast=self.contrast
        )
        lesions = keep_large_objects(made.lesion_mask, mask_type=self.mask_type or "both", min_area=self.min_area)
        shown = lesions == 1 if self.mask_type == "ggo" else lesions > 0
        if not shown.any():
            shown = made.lung_mask > 0
        first, step = _evenly(np.count_nonzero(shown, axis=(1, 2)), self.slices_per_scan)
        chosen = first + step * np.arange(self.slices_per_scan)
        affine = made.volume.affine.copy()
        affine[:3, 3] += affine[:3, 2] * first
        affine[:3, 2] *= step
        words = np.array([self.classes.label(name) for name in CLASSES], dtype=np.int64)
        return Raw(
            Volume(made.volume.array[chosen], affine),
            lung_mask=made.lung_mask[chosen],
            lesion_mask=lesions[chosen],
            slice_label=words[made.slice_label[chosen]],
        )

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the arguments and of the release that draws the phantom; no file is involved."""
        config = {
            "name": self.name,
            "draw": self._draw(source),
            "diagnosis": self.diagnosis(source),
            "shape": self.shape,
            "contrast": self.contrast,
            "slices_per_scan": self.slices_per_scan,
            "mask_type": self.mask_type,
            "min_area": self.min_area,
            "classes": dict(self.classes.merge),
        }
        return cache_key(config=config, version=__version__)

    def scan_hash(self, record: Record) -> int:
        """Stable hash of (data set, subject): the same whether normal subjects are left out or not."""
        return stable_hash(self.name, record.subject)

    def _draw(self, source: int) -> int:
        """Seed of scan ``source``, alike for the same subject in cohorts of another size."""
        return stable_hash(self.name, str(self.seed), str(self._subjects[source])) % 2**32


def _evenly(area: NDArray[np.int64], count: int) -> tuple[int, int]:
    """First slice and step of ``count`` evenly spaced slices.

    Of all choices those with the most slices of enough area, of these the widest, of these the one of the most area.
    """
    enough = area >= max(1.0, _ENOUGH * float(area.max()))
    best, choice = (-1, 0, 0), (0, 1)
    for step in range(1, (len(area) - 1) // max(count - 1, 1) + 1 if count > 1 else 2):
        for first in range(len(area) - step * (count - 1)):
            chosen = slice(first, first + step * (count - 1) + 1, step)
            worth = (int(np.count_nonzero(enough[chosen])), step, int(area[chosen].sum()))
            if worth > best:
                best, choice = worth, (first, step)
    return choice
