"""Made-up results for the tests of the pages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from covidct.inference.network_maps import NetworkMaps
from covidct.inference.viewer import make_viewer
from covidct.labels import CLASSES
from covidct.metrics import TriageReport, triage_report
from covidct.result import CohortResult, Preview, ScanResult
from covidct.volume import Finding, Volume

RUN = {
    "covidct": "0.1.0",
    "checkpoint": {"sha256": "ab" * 32},
    "preprocessing": {"window": [-1250.0, 250.0], "size": 128, "enhancement": None, "masked": False},
}


def preview(slices: int = 3, *, weights: bool = True) -> Preview:
    """Two discs as lungs on grey slices of 24 x 32 pixels."""
    y, x = np.mgrid[:24, :32]
    mask = 1 * ((x - 9) ** 2 + (y - 12) ** 2 < 30) + 2 * ((x - 22) ** 2 + (y - 12) ** 2 < 30)
    grey = np.where(mask > 0, 40, 160) + np.arange(slices)[:, None, None]
    even = np.full((slices, 7, 7), 1 / 49, np.float32)
    return Preview(
        slices=grey.astype(np.uint8),
        lung_mask=np.repeat(mask[None], slices, axis=0).astype(np.uint8),
        weights=even if weights else None,
        indices=tuple(range(10, 10 + slices)),
    )


def scan(number: int, prob: list[float], label: str = "", **changes: object) -> ScanResult:
    """A result with everything filled in."""
    values = {
        "id": f"case-{number:03d}",
        "status": "done",
        "probabilities": dict(zip(CLASSES, prob, strict=True)),
        "predicted": CLASSES[int(np.argmax(prob))],
        "label": label,
        "findings": (Finding("shuffled_names", "The file names are not in order.", "sorted"),),
        "geometry": {"shape": (90, 512, 500), "spacing": (2.5, 0.7, 0.71), "format": "dicom", "tilt": 0.0},
        "lungs_ml": {"right": 2710.4, "left": 2301.6},
        "slice_scores": tuple(np.linspace(0, 1, 40).tolist()),
        "seconds": {"read": 0.21, "network": 2.7},
        "preview": preview(),
    } | changes
    return ScanResult(**values)  # type: ignore[arg-type]


def viewed() -> ScanResult:
    """A result with a viewer of 12 slices of 48 x 64 pixels that has every layer; slice k is of -900 + 50 k HU."""
    hu = np.broadcast_to(-900 + 50 * np.arange(12, dtype=np.int16)[:, None, None], (12, 48, 64))
    lungs, lesions = np.zeros(hu.shape, np.uint8), np.zeros(hu.shape, np.uint8)
    lungs[2:10, 10:40, 8:28], lungs[2:10, 10:40, 36:56] = 1, 2
    lesions[4:6, 20:30, 12:20], lesions[5, 20:24, 12:16] = 1, 2
    affine = np.diag([0.8, 0.8, 2.5, 1.0])
    cam = np.zeros((12, 3, 4), np.float32)
    cam[5, 1, 1] = 1.0
    weights = np.full((12, 3, 4), 1 / 12, np.float32)
    shares = tuple(np.where((np.arange(12) > 1) & (np.arange(12) < 10), 1 / 8, np.nan).tolist())
    scores = tuple([0.1, 0.1, 0.2, 0.3, 0.6, 0.9, 0.5, 0.3, 0.2, 0.1, 0.1, float("nan")])
    found = scan(1, [0.1, 0.2, 0.7], slice_scores=scores, attention=shares)
    volume = Volume(hu, affine)
    maps = NetworkMaps(affine, (12, 48, 64), cam, "covid", weights)
    found = replace(found, preview=None if found.preview is None else replace(found.preview, indices=(3, 4, 5)))
    viewer = make_viewer(volume, found, lung_mask=lungs, lesion_mask=lesions, maps=maps)
    return replace(found, viewer=replace(viewer, cam_class="covid"))


def failed(number: int, error: str = "The folder is empty.") -> ScanResult:
    """A refused input."""
    return ScanResult(id=f"bad-{number:03d}", status="failed", error=error)


def evaluated(cases: int = 20) -> tuple[TriageReport, CohortResult]:
    """A report and the cohort it was made from, two inputs failed."""
    rng = np.random.default_rng(0)
    target = np.arange(cases) % 3
    logits = rng.normal(size=(cases, 3)) + 2 * np.eye(3)[target]
    prob = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scans = [scan(i, prob[i].tolist(), CLASSES[target[i]]) for i in range(cases)]
    report = triage_report(prob, target, np.arange(cases) // 2, CLASSES, resamples=50)
    return report, CohortResult((*scans, failed(0), failed(1, "It is an X-ray.")), RUN)
