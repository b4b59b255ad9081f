"""Any cohort listed in a table: one row per scan or image, with label, subject and what else is known."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.datasets.image_files import read_lungs
from covidct.datasets.kept_slices import keep_slices
from covidct.datasets.table import Row, read_slice_labels, read_table
from covidct.datasets.views import frontal_rows
from covidct.errors import InputError, ManifestError, UsageError
from covidct.io import cache_key, read_image, read_mask, read_scan
from covidct.io.faults import OnFault
from covidct.labels import class_map

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

    from covidct.volume import Intensity, Volume

__all__ = ("ManifestCXR", "ManifestSlices", "ManifestVolumes")


class _Manifest(BaseDataset):
    """What the three manifests share: the table, identities and digests."""

    def __init__(
        self,
        manifest: str | os.PathLike[str],
        *,
        classes: str | dict[str, str],
        intensity: Intensity,
        on_fault: OnFault,
        name: str,
        allow_subject_overlap: bool,
    ) -> None:
        super().__init__()
        self.allow_subject_overlap = allow_subject_overlap
        self.manifest = Path(manifest)
        self.classes = class_map(classes)
        self.intensity = intensity
        self.on_fault = on_fault
        self.name = name

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The checked rows of the table, in its order."""
        table = read_table(self.manifest, classes=self.classes, allow_subject_overlap=self.allow_subject_overlap)
        return self._usable(table)

    def _usable(self, rows: tuple[Row, ...]) -> tuple[Row, ...]:
        """The rows that the data set takes: all, unless a kind of data set leaves some out."""
        return rows

    @cached_property
    def _labels_slices(self) -> bool:
        """Whether any volume has slice labels: all samples of a data set have the same keys."""
        return self.kind == "ct_volume" and any(row.slice_labels is not None for row in self.rows)

    def make_records(self) -> tuple[Record, ...]:
        """One record per row."""
        return tuple(self._record(source, row) for source, row in enumerate(self.rows))

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the files of a row and of the reading options; names and places of the files do not matter."""
        row = self.rows[source]
        files = (row.path, row.mask, row.lesion_mask, row.slice_labels)
        config: dict[str, object] = {
            "kind": self.kind,
            "intensity": self.intensity,
            "on_fault": self.on_fault,
            "label": row.label,
            "classes": dict(self.classes.merge),  # slice labels are kept as classes
        }
        if row.slices is not None and self.kind == "ct_volume":
            config["slices"] = list(row.slices)
        if row.series_uid:
            config["series_uid"] = row.series_uid
        if row.slice_labels is None and self._labels_slices:
            config["slice_labels"] = "unknown"
        return cache_key(*("" if file is None else digest(file) for file in files), config=config, version=1)

    def _record(self, source: int, row: Row) -> Record:
        return Record(
            id=f"row-{row.number:05d}",
            subject=row.subject,
            label=row.label,
            source=source,
            split=row.split,
            site=row.site,
        )

    def _load_volume(self, row: Row) -> Raw:
        """Read a scan with the masks and slice labels of its row."""
        volume = read_scan(row.path, series=row.series_uid or None, on_fault=self.on_fault)
        if volume.intensity != self.intensity:
            raise InputError(
                f"Row {row.number} holds {_WORDS[volume.intensity]}, the data set is declared as "
                f"{_WORDS[self.intensity]}: set intensity={volume.intensity!r}, or list such scans separately."
            )
        return Raw(
            volume,
            lung_mask=None if row.mask is None else read_mask(row.mask, like=volume),
            lesion_mask=None if row.lesion_mask is None else read_mask(row.lesion_mask, like=volume),
            slice_label=self._slice_label(row, volume),
        )

    def _slice_label(self, row: Row, volume: Volume) -> NDArray[np.int64] | None:
        """The row's slice labels, one per slice of the volume; all unknown where other rows alone have some."""
        if row.slice_labels is None:
            return np.full(volume.shape[0], -1, dtype=np.int64) if self._labels_slices else None
        labels = read_slice_labels(row, classes=self.classes)
        if len(labels) != volume.shape[0]:
            raise ManifestError(
                f"Row {row.number} has {len(labels)} slice labels, the scan has {volume.shape[0]} slices: give one "
                "per slice, feet to head."
            )
        return labels

    def _load_image(self, row: Row) -> Raw:
        """Read a 2-D image with its masks."""
        image = read_image(row.path)
        shape = image.array.shape[:2]
        label = np.array([row.label]) if row.slice_labels is None else None
        return Raw(
            image,
            lung_mask=_image_mask(row.mask, shape, row),
            lesion_mask=_image_mask(row.lesion_mask, shape, row),
            slice_label=label if self.kind == "ct_slice" else None,
        )


class ManifestVolumes(_Manifest):
    """CT volumes of a user's own cohort.

    The table (CSV or Parquet) has the columns ``path`` (DICOM folder, file or zip, NIfTI, NRRD, MetaImage, folder of
    slice images), ``label`` (empty: unknown, for prediction), ``subject``, and may have ``split`` (train, val, test),
    ``mask`` (lungs: 1 right, 2 left, or 1), ``lesion_mask`` (1 ground-glass opacity, 2 consolidation),
    ``slice_labels``, ``site``, ``slices`` (those that are used, from 0 at the feet, such as ``0-10 12-63``, as
    ``covidct curate`` writes them) and ``series_uid`` (the SeriesInstanceUID, where a path holds several series).
    Paths are relative to the table's folder. The identity of patients stays in the table: records are called after row
    numbers, subjects become hashes. Where some rows have ``slice_labels``, the slices of the others are unknown (-1).
    """

    kind = "ct_volume"

    def __init__(
        self,
        manifest: str | os.PathLike[str],
        *,
        classes: str | dict[str, str] = "three",
        intensity: Intensity = "hu",
        on_fault: OnFault = "error",
        name: str = "manifest",
        allow_subject_overlap: bool = False,
    ) -> None:
        """Name the table; it is read at the first use of :attr:`records`.

        Args:
            manifest: the table.
            classes: ``"three"``, ``"covid_vs_rest"``, or a mapping from the table's words to class names.
            intensity: what the scans hold, ``"hu"``, or ``"unit"`` for folders of PNG or JPEG slices.
            on_fault: what to do with faulty geometry, see :func:`covidct.io.read_scan`.
            name: name of the cohort, part of the hashes of subjects and scans.
            allow_subject_overlap: take a table with one subject in two splits, with a warning: scores on it are too
                good to be true.

        Raises:
            UsageError: when the classes are unknown.
        """
        super().__init__(
            manifest,
            classes=classes,
            intensity=intensity,
            on_fault=on_fault,
            name=name,
            allow_subject_overlap=allow_subject_overlap,
        )

    def load(self, source: int) -> Raw:
        """Read scan ``source`` with its masks, without the slices that the table leaves out."""
        row = self.rows[source]
        raw = self._load_volume(row)
        try:
            return raw if row.slices is None else keep_slices(raw, row.slices)
        except ManifestError as error:
            raise ManifestError(f"Row {row.number}: {error}") from error


class ManifestSlices(_Manifest):
    """CT slices of a user's own cohort: slice images, or volumes with slice labels.

    Columns as for :class:`ManifestVolumes`. A row with ``slice_labels`` is a volume and gives one sample per slice; a
    row without is a single slice image (PNG, JPEG, TIFF, DICOM) in display values. ``label`` is the slice's own class,
    as ``slice_label``: an infected slice has its scan's, a clean one is normal, an unknown one is -1 and left out by
    data modules. With ``labels="scan"`` all slices of a volume have the class of the scan.
    """

    kind = "ct_slice"

    def __init__(
        self,
        manifest: str | os.PathLike[str],
        *,
        classes: str | dict[str, str] = "three",
        labels: Literal["slice", "scan"] = "slice",
        intensity: Intensity = "unit",
        on_fault: OnFault = "error",
        name: str = "manifest",
        allow_subject_overlap: bool = False,
    ) -> None:
        """Name the table; it is read at the first use of :attr:`records`.

        Args:
            manifest: the table.
            classes: ``"three"``, ``"covid_vs_rest"``, or a mapping from the table's words to class names.
            labels: whose class ``label`` is: ``"slice"``, the slice's own, or ``"scan"``, that of the volume it is of,
                which a clean slice does not show.
            intensity: ``"unit"`` for slice images, ``"hu"`` for volumes in Hounsfield units.
            on_fault: what to do with faulty geometry, see :func:`covidct.io.read_scan`.
            name: name of the cohort, part of the hashes of subjects and scans.
            allow_subject_overlap: take a table with one subject in two splits, with a warning: scores on it are too
                good to be true.

        Raises:
            UsageError: when the classes or ``labels`` are unknown.
        """
        if labels not in ("slice", "scan"):
            raise UsageError(f"labels={labels!r} is unknown: use 'slice' or 'scan'.")
        super().__init__(
            manifest,
            classes=classes,
            intensity=intensity,
            on_fault=on_fault,
            name=name,
            allow_subject_overlap=allow_subject_overlap,
        )
        self.labels = labels

    def make_records(self) -> tuple[Record, ...]:
        """One record per slice image, one per slice of a volume.

        Raises:
            ManifestError: when a row does not suit the declared intensity, or its slice labels cannot be read.
        """
        return tuple(record for source, row in enumerate(self.rows) for record in self._slices(source, row))

    def load(self, source: int) -> Raw:
        """Read row ``source``: a slice image, or the whole volume."""
        row = self.rows[source]
        return self._load_image(row) if row.slice_labels is None else self._load_volume(row)

    def _slices(self, source: int, row: Row) -> list[Record]:
        """The records of one row."""
        whole = self._record(source, row)
        if row.slice_labels is None:
            if self.intensity == "hu":
                raise ManifestError(
                    f"Row {row.number} has no slice_labels, so it is a slice image in display values, but the data "
                    "set is declared as Hounsfield units: give slice_labels, or set intensity='unit'."
                )
            return [whole]
        labels = read_slice_labels(row, classes=self.classes)
        count = len(labels)
        used = range(count) if row.slices is None else row.slices
        if used and used[-1] >= count:
            raise ManifestError(
                f"Row {row.number}: the column slices names slice {used[-1]}, there are {count} slice labels: slices "
                "count from 0."
            )
        return [
            Record(
                id=f"{whole.id}-s{index:04d}",
                subject=whole.subject,
                label=int(labels[index]) if self.labels == "slice" else whole.label,
                source=source,
                slice=index,
                split=whole.split,
                site=whole.site,
            )
            for index in used
        ]


class ManifestCXR(_Manifest):
    """Chest X-rays of a user's own cohort (PNG, JPEG, TIFF, DICOM).

    Columns as for :class:`ManifestVolumes`; ``mask`` holds the lungs, ``lesion_mask`` and ``slice_labels`` are not
    used. The column ``view`` may tell the projection, in words (``AP supine``, ``lateral``) or DICOM's codes (``PA``,
    ``LL``); rows without are taken for frontal views.
    """

    kind = "cxr"

    def __init__(
        self,
        manifest: str | os.PathLike[str],
        *,
        classes: str | dict[str, str] = "three",
        name: str = "manifest",
        other_views: Literal["error", "exclude"] = "error",
        allow_subject_overlap: bool = False,
    ) -> None:
        """Name the table; it is read at the first use of :attr:`records`.

        Args:
            manifest: the table.
            classes: ``"three"``, ``"covid_vs_rest"``, or a mapping from the table's words to class names.
            name: name of the cohort, part of the hashes of subjects and scans.
            other_views: what to do with lateral views, and with others that are not frontal: ``"error"``, or
                ``"exclude"`` them, with a warning that counts them.
            allow_subject_overlap: take a table with one subject in two splits, with a warning: scores on it are too
                good to be true.

        Raises:
            UsageError: when the classes or ``other_views`` are unknown.
        """
        if other_views not in ("error", "exclude"):
            raise UsageError(f"other_views={other_views!r} is unknown: use 'error' or 'exclude'.")
        super().__init__(
            manifest,
            classes=classes,
            intensity="unit",
            on_fault="error",
            name=name,
            allow_subject_overlap=allow_subject_overlap,
        )
        self.other_views = other_views

    def _usable(self, rows: tuple[Row, ...]) -> tuple[Row, ...]:
        """The rows with frontal views."""
        return frontal_rows(rows, table=self.manifest.name, exclude=self.other_views == "exclude")

    def load(self, source: int) -> Raw:
        """Read X-ray ``source`` with its lung mask."""
        row = self.rows[source]
        image = read_image(row.path)
        return Raw(image, lung_mask=_image_mask(row.mask, image.array.shape[:2], row))


_WORDS = {"hu": "Hounsfield units", "unit": "display values in [0, 1]"}


def _image_mask(path: Path | None, shape: tuple[int, ...], row: Row) -> NDArray[np.uint8] | None:
    """Read the mask of a 2-D image."""
    if path is None:
        return None
    mask = read_lungs(path)
    if mask.shape != tuple(shape):
        raise ManifestError(
            f"Row {row.number}: the mask has {mask.shape} pixels, the image {tuple(shape)}: give a mask of this image."
        )
    return mask
