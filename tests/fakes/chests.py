"""A chest of a few ellipsoids and data sets of it in memory: milliseconds a scan, every shape known in closed form."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.datasets import BaseDataset, Raw, Record
from covidct.errors import InputError
from covidct.io import cache_key
from covidct.labels import class_map
from covidct.volume import Image, Volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.sample import Kind
    from covidct.volume import Intensity

WORDS = ("normal", "cap", "covid")


def ellipsoid(
    shape: tuple[int, int, int], centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Voxels inside an ellipsoid; centre and radii as shares of the shape."""
    axes = [(np.arange(n) + 0.5) / n for n in shape]
    grid = np.meshgrid(*axes, indexing="ij")
    distance = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True))
    return np.asarray(distance < 1)


def chest(
    shape: tuple[int, int, int] = (24, 32, 32),
    *,
    spacing: tuple[float, float, float] = (10.0, 10.0, 10.0),
    lesion: bool = False,
    seed: int = 0,
) -> Raw:
    """A body with a larger right lung (1, at low width) and a smaller left lung (2), int16 HU."""
    body = ellipsoid(shape, (0.5, 0.5, 0.5), (0.9, 0.42, 0.46))
    right = ellipsoid(shape, (0.5, 0.5, 0.3), (0.4, 0.25, 0.14))
    left = ellipsoid(shape, (0.5, 0.5, 0.7), (0.36, 0.22, 0.12))
    spot = ellipsoid(shape, (0.4, 0.55, 0.3), (0.12, 0.1, 0.07)) & right
    noise = np.random.default_rng(seed).normal(0, 5, shape)
    hu = np.where(body, 40.0, -1000.0) + noise
    hu[right | left] -= 850
    lesions = spot & np.bool_(lesion)
    hu[lesions] += 450
    lungs = right.astype(np.uint8) + 2 * left.astype(np.uint8)
    affine = np.diag([spacing[2], spacing[1], spacing[0], 1.0])
    slices = np.where(lesions.any(axis=(1, 2)), 2, 0).astype(np.int64)
    return Raw(
        Volume(np.rint(hu).astype(np.int16), affine),
        lung_mask=lungs,
        lesion_mask=lesions.astype(np.uint8),
        slice_label=slices,
    )


class FakeVolumes(BaseDataset):
    """``count`` chests of ``count // scans`` subjects, the three classes in turn; ``broken`` ones cannot be read."""

    kind: Kind = "ct_volume"
    intensity: Intensity = "hu"
    name = "fake"

    def __init__(
        self, count: int = 6, *, scans: int = 1, broken: tuple[int, ...] = (), version: int = 1, empty: bool = False
    ) -> None:
        super().__init__()
        self.count, self.scans, self.broken, self.version, self.empty = count, scans, broken, version, empty
        self.classes = class_map("three")

    def make_records(self) -> tuple[Record, ...]:
        return tuple(self.record(source) for source in range(self.count))

    def record(self, source: int) -> Record:
        subject = source // self.scans
        return Record(id=f"scan-{source}", subject=f"s{subject}", label=subject % 3, source=source)

    def load(self, source: int) -> Raw:
        if source in self.broken:
            raise InputError(f"Scan {source} is broken: throw it away.")
        return chest(lesion=self.record(source).label == 2, seed=source + 1000 * self.version)

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        return cache_key(config={"source": source, "kind": self.kind}, version=self.version)


class FakeSlices(FakeVolumes):
    """Four slices of each chest."""

    kind: Kind = "ct_slice"

    def make_records(self) -> tuple[Record, ...]:
        return tuple(
            Record(f"{whole.id}-{index}", whole.subject, whole.label, whole.source, slice=index)
            for whole in super().make_records()
            for index in (6, 9, 12, 15)
        )


class FakeCXR(FakeVolumes):
    """The middle coronal plane of each chest as an image in [0, 1], 72 x 96 pixels."""

    kind: Kind = "cxr"
    intensity: Intensity = "unit"

    def load(self, source: int) -> Raw:
        raw = super().load(source)
        assert isinstance(raw.scan, Volume)
        assert raw.lung_mask is not None
        unit = np.clip((raw.scan.array[:, 16] + 1000) / 1100, 0, 1).astype(np.float32)
        return Raw(Image(_enlarged(unit)), lung_mask=_enlarged(raw.lung_mask[:, 16]))


def _enlarged(plane: NDArray[Any]) -> NDArray[Any]:
    """Three times the pixels along each side, without values in between."""
    return plane.repeat(3, axis=0).repeat(3, axis=1)


def paint(raw: Raw) -> NDArray[np.float32]:
    """A picture that tells the lungs apart by brightness alone: right 1, left 0.5, the rest 0."""
    assert raw.lung_mask is not None
    return np.array([0.0, 1.0, 0.5], dtype=np.float32)[raw.lung_mask]


def assert_moved_together(image: NDArray[np.float32], mask: NDArray[np.uint8], *, mirrored: bool) -> None:
    """A painted image and its mask show the same lungs, and the right one lies at lower widths; rims may differ."""
    bright = {1: 0.5, 2: 1.0} if mirrored else {1: 1.0, 2: 0.5}
    for side, value in bright.items():
        assert abs(float(np.median(image[mask == side])) - value) < 0.02
    assert (image[mask == 0] > 0.25).mean() < 0.05
    assert (image[mask > 0] < 0.25).mean() < 0.25
    right, left = (np.argwhere(mask == side)[:, -1].mean() for side in (1, 2))
    assert right < left


class PaintedVolumes(FakeVolumes):
    """Volumes in [0, 1] whose brightness is the lung mask."""

    intensity: Intensity = "unit"
    name = "painted"

    def load(self, source: int) -> Raw:
        raw = super().load(source)
        assert isinstance(raw.scan, Volume)
        return replace(raw, scan=replace(raw.scan, array=paint(raw), intensity="unit"))

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        return cache_key(config={"source": source, "kind": self.kind, "painted": True}, version=self.version)


class PaintedSlices(PaintedVolumes, FakeSlices):
    """Slices whose brightness is the lung mask."""


class PaintedCXR(PaintedVolumes):
    """Images whose brightness is the lung mask."""

    kind: Kind = "cxr"

    def load(self, source: int) -> Raw:
        raw = super().load(source)
        assert isinstance(raw.scan, Volume)
        assert raw.lung_mask is not None
        return Raw(Image(_enlarged(raw.scan.array[:, 16])), lung_mask=_enlarged(raw.lung_mask[:, 16]))
