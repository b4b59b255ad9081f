"""``PhantomConfounded``: phantoms with a bright marker beside the body that tells the class in training only."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from covidct.datasets.base import Raw, Record
from covidct.datasets.phantom import Diagnosis, PhantomCTVolumes
from covidct.datasets.splits import assign_splits
from covidct.errors import UsageError
from covidct.io import cache_key
from covidct.labels import CLASSES
from covidct.phantom import simulate_ct
from covidct.sample import stable_hash
from covidct.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.datasets.base import Split

__all__ = ("PhantomConfounded",)

_TISSUE_HU = np.float32(50.0)  # haze makes no voxel denser than soft tissue


class PhantomConfounded(PhantomCTVolumes):
    """Simulated CT volumes, some with a rod of metal on the bed beside the chest, and a split of their own.

    The marker stands for what differs between hospitals and wards (cables, blankets, laterality markers) and says
    nothing of the lungs. It is drawn in HU with soft edges, never over lung. A share (1 + r) / 2 of the positive scans
    has one, and (1 - r) / 2 of the others: with r = 1 it tells the class, with r = 0 it tells nothing. The
    correlation r of the training and validation part is another than that of the test part. The shares are exact up
    to rounding, not drawn. Patients, lesions and split do not depend on the correlations, so that cohorts of other
    correlations are the same scans with other markers.
    """

    name = "phantom_confounded"

    def __init__(
        self,
        num_subjects: int = 120,
        *,
        train_correlation: float = 1.0,
        test_correlation: float = 0.0,
        val_fraction: float = 0.0,
        test_fraction: float = 0.4,
        shape: tuple[int, int, int] = (96, 128, 128),
        spacing: tuple[float, float, float] | None = None,
        diagnoses: Sequence[Diagnosis] = ("normal", "covid"),
        classes: str | dict[str, str] = "covid_vs_rest",
        haze_hu: float = 0.0,
        marker_mm: tuple[float, float] = (150.0, -175.0),
        marker_radius_mm: float = 12.0,
        marker_hu: float = 3000.0,
        seed: int = 0,
    ) -> None:
        """Describe the cohort; nothing is simulated yet.

        Args:
            num_subjects: number of subjects, one scan each.
            train_correlation: r of marker and class in the training and validation part, -1 to 1.
            test_correlation: r in the test part.
            val_fraction: share of the scans for validation.
            test_fraction: share of the scans for the test.
            shape: voxels along (depth, height, width).
            spacing: mm along (d, h, w); None fits a whole thorax.
            diagnoses: of the subjects, in turn.
            classes: ``"covid_vs_rest"``, ``"three"`` or a mapping from normal, cap and covid to class names. The last
                class is the positive one.
            haze_hu: added to all lung voxels of positive scans, up to the density of soft tissue: a diffuse sign beside
                the lesions, which features that are not trained can tell.
            marker_mm: place of the rod's axis, mm to the back (h) and to the patient's left (w) of the middle of the
                scan; the rod runs along the whole depth. The default is the bed at the patient's right.
            marker_radius_mm: radius of the rod.
            marker_hu: HU of the rod; 3000 is about the end of a 12-bit scale, where metal lies.
            seed: another seed is another cohort.

        Raises:
            UsageError: when a number is out of range.
        """
        super().__init__(num_subjects, shape=shape, classes=classes, seed=seed)
        if not (abs(train_correlation) <= 1 and abs(test_correlation) <= 1):
            raise UsageError(
                f"train_correlation={train_correlation} and test_correlation={test_correlation} must lie in [-1, 1]."
            )
        if not diagnoses or not set(diagnoses) <= set(CLASSES):
            raise UsageError(f"diagnoses={diagnoses!r} is not usable: name some of {', '.join(CLASSES)}.")
        if not 0 <= haze_hu <= 500:
            raise UsageError(f"haze_hu={haze_hu} is not usable: give 0 to 500 HU.")
        if not (marker_radius_mm > 0 and math.isfinite(marker_radius_mm) and -1024 <= marker_hu <= 3071):
            raise UsageError(
                f"marker_radius_mm={marker_radius_mm} must be above 0 and marker_hu={marker_hu} in [-1024, 3071]."
            )
        self.train_correlation, self.test_correlation = float(train_correlation), float(test_correlation)
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.spacing = None if spacing is None else (float(spacing[0]), float(spacing[1]), float(spacing[2]))
        self.diagnoses = tuple(diagnoses)
        self.haze_hu = float(haze_hu)
        self.marker_mm = (float(marker_mm[0]), float(marker_mm[1]))
        self.marker_radius_mm, self.marker_hu = float(marker_radius_mm), float(marker_hu)

    def diagnosis(self, source: int) -> Diagnosis:
        """Diagnosis of scan ``source``: the given ones in turn."""
        return self.diagnoses[source % len(self.diagnoses)]

    def has_marker(self, source: int) -> bool:
        """Whether scan ``source`` shows the marker."""
        return source in self._marked

    def make_records(self) -> tuple[Record, ...]:
        """One record per scan, with its part."""
        records = [self._record(source) for source in self._sources()]
        return tuple(replace(record, split=part) for record, part in zip(records, self._parts, strict=True))

    def load(self, source: int) -> Raw:
        """Simulate scan ``source``.

        Raises:
            UsageError: when the marker would lie on lung.
        """
        raw = self.load_unmarked(source)
        return self.add_marker(raw) if self.has_marker(source) else raw

    def load_unmarked(self, source: int) -> Raw:
        """Simulate scan ``source`` without a marker, wherever :meth:`load` has one.

        Raises:
            UsageError: when the marker would lie on lung.
        """
        phantom = simulate_ct(
            self._draw(source), diagnosis=self.diagnosis(source), shape=self.shape, spacing=self.spacing
        )
        volume = phantom.volume
        share = self.marker_share(volume)
        if bool((phantom.lung_mask[:, share > 0] > 0).any()):
            raise UsageError(
                f"The marker at {self.marker_mm} mm lies on lung in scan {source}: place it outside or make it smaller."
            )
        label = self.classes.label(self.diagnosis(source))
        hu = volume.array.astype(np.float32)
        if self.haze_hu and self._is_positive(label):
            hazy = np.maximum(np.minimum(hu + self.haze_hu, _TISSUE_HU), hu)
            hu = np.where(phantom.lung_mask > 0, hazy, hu)
        volume = Volume(np.rint(hu).astype(np.int16), volume.affine)
        slice_label = np.where(phantom.slice_label > 0, label, self.classes.label("normal"))
        return Raw(volume, phantom.lung_mask, phantom.lesion_mask, slice_label)

    def add_marker(self, raw: Raw) -> Raw:
        """The scan with the marker.

        Args:
            raw: as :meth:`load_unmarked` gives it; it stays as it is.

        Returns:
            A copy whose scan, int16 HU on the same grid, has the marker; masks and slice labels are those of ``raw``.

        Raises:
            UsageError: when the scan is no volume.
        """
        if not isinstance(raw.scan, Volume):
            raise UsageError("The marker is drawn on volumes alone.")
        hu = raw.scan.array.astype(np.float32)
        hu += self.marker_share(raw.scan) * (np.float32(self.marker_hu) - hu)
        return replace(raw, scan=Volume(np.rint(hu).astype(np.int16), raw.scan.affine))

    def marker_share(self, volume: Volume) -> NDArray[np.float32]:
        """Share of each in-plane pixel of a ``volume`` that the marker covers, (H, W) in [0, 1]."""
        offsets = [
            (np.arange(size) - (size - 1) / 2) * step - place
            for size, step, place in zip(volume.shape[1:], volume.spacing[1:], self.marker_mm, strict=True)
        ]
        distance = np.hypot(offsets[0][:, None], offsets[1][None, :])
        inside = (self.marker_radius_mm - distance) / min(volume.spacing[1:]) + 0.5
        share: NDArray[np.float32] = np.clip(inside, 0, 1).astype(np.float32)
        return share

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """As for the other phantoms, and whether and how the marker is drawn."""
        marker = [*self.marker_mm, self.marker_radius_mm, self.marker_hu] if self.has_marker(source) else []
        plain = super().content_key(source, digest=digest)
        config = {"plain": plain, "spacing": self.spacing, "haze": self.haze_hu, "marker": marker}
        return cache_key(config=config, version="2")

    def _is_positive(self, label: int) -> bool:
        """Whether a label is the last class."""
        return label == len(self.class_names) - 1

    @cached_property
    def _parts(self) -> list[Split]:
        """Part of each scan."""
        records = [self._record(source) for source in self._sources()]
        return assign_splits(
            [record.subject for record in records],
            [record.label for record in records],
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
            seed=self.seed,
        )

    @cached_property
    def _marked(self) -> frozenset[int]:
        """Scans with a marker: of each part and class the due number, in the order of a seeded hash."""
        labels = [self.classes.label(self.diagnosis(source)) for source in self._sources()]
        groups = list(zip(self._parts, labels, strict=True))
        size = Counter(groups)
        taken: Counter[tuple[Split, int]] = Counter()
        marked = set()
        order = sorted(self._sources(), key=lambda source: stable_hash("marker", str(self.seed), str(source)))
        for source in order:
            part, label = group = groups[source]
            r = self.test_correlation if part == "test" else self.train_correlation
            positive = self._is_positive(label)
            if taken[group] < round(size[group] * (1 + r if positive else 1 - r) / 2):
                taken[group] += 1
                marked.add(source)
        return frozenset(marked)
