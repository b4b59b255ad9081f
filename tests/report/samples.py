"""Made-up results for the tests of the pages."""

from __future__ import annotations

import numpy as np

from covidct.labels import CLASSES
from covidct.metrics import TriageReport, triage_report
from covidct.result import CohortResult, Preview, ScanResult
from covidct.volume import Finding

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
