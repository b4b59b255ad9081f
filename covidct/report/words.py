"""Figures and records in words: what the templates print."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from covidct.report.plain import plain

if TYPE_CHECKING:
    from covidct.metrics import Estimate

__all__ = (
    "METRICS",
    "NESTED",
    "class_colour",
    "class_title",
    "facts",
    "figure",
    "geometry_sentence",
    "interval",
    "mask_words",
    "metric_title",
    "p_value",
    "percent",
    "scope_title",
    "seconds",
    "span_percent",
    "value",
)

METRICS: Mapping[str, tuple[str, str]] = {
    "sensitivity": ("Sensitivity", "share of the class that is found"),
    "specificity": ("Specificity", "share of the rest that is left alone"),
    "precision": ("Precision", "share of the calls that are right"),
    "f1": ("F1", "harmonic mean of precision and sensitivity"),
    "accuracy": ("Accuracy", "share of right decisions, class against rest"),
    "auroc": ("AUROC", "chance that a case of the class ranks above another"),
    "auprc": ("AUPRC", "average precision over all thresholds"),
    "calibration_error": ("Calibration error", "mean gap between confidence and accuracy, 15 bins"),
}
"""Metric to its title and what it means."""

NESTED = " / "
"""Between the names of a record inside a record, see :func:`facts`."""

_NONE, _TIMES = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"
_CLASSES = {"normal": "Normal", "cap": "Other pneumonia", "covid": "COVID-19", "non_covid": "Not COVID-19"}
_COLOURS = {"normal": 0, "non_covid": 0, "cap": 1, "covid": 2}
_SCOPES = {"macro": "Macro", "micro": "Micro", "weighted": "Weighted", "overall": "Overall"}
_MASKS = {
    "": "",
    "none": "",
    "threshold": "an air threshold and anatomy",
    "lung_field": "the published lung field",
    "file": "a file",
}
_FORMATS = {"dicom": "DICOM", "nifti": "NIfTI", "nrrd": "NRRD", "metaimage": "MetaImage", "raster": "picture files"}


def figure(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits; an en dash where it is not defined."""
    return _NONE if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def value(number: float | None) -> str:
    """A number for scripts, of six digits; empty where it is not defined."""
    return "" if number is None or not math.isfinite(number) else f"{number:.6g}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage; an en dash where it is not defined."""
    return _NONE if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def interval(estimate: Estimate, digits: int = 3) -> str:
    """The interval of an estimate, empty where there is none."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    return f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}"


def span_percent(estimate: Estimate, digits: int = 1) -> str:
    """The interval of a share as percentages, empty where there is none."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    return f"{100 * estimate.low:.{digits}f} to {100 * estimate.high:.{digits}f} %"


def p_value(value: float) -> str:
    """A p value with two digits that matter; never 0."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def seconds(value: float) -> str:
    """A duration with the digits that matter."""
    if not math.isfinite(value):
        return _NONE
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


def class_title(name: str) -> str:
    """A class as people call it; own classes keep their name."""
    return _CLASSES.get(name, name)


def class_colour(name: str, index: int) -> str:
    """The CSS variable of a class; the canonical classes have the same colour on every page."""
    return f"var(--c{_COLOURS.get(name, index % 6)})"


def scope_title(name: str) -> str:
    """A class or an average."""
    return _SCOPES.get(name) or class_title(name)


def metric_title(name: str) -> str:
    """A metric as people call it."""
    return METRICS.get(name, (name, ""))[0]


def facts(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten a run record to (name, text) rows; what is empty is left out."""
    rows: list[tuple[str, str]] = []
    for key, value in plain(record).items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            rows += facts(value, f"{name}{NESTED}")
        elif value not in (None, "", []):
            rows.append((name, _text(value)))
    return rows


def _text(value: object) -> str:
    """One value of a record."""
    if isinstance(value, list):
        return ", ".join(_text(entry) for entry in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def mask_words(source: str) -> str:
    """Where a lung mask is from; empty when there is none."""
    kind, _, digest = source.partition(":")
    if kind == "checkpoint":
        return f"a trained network, sha256 {digest}"
    return _MASKS.get(source, source)


def geometry_sentence(geometry: Mapping[str, Any]) -> str:
    """Size, spacing and format of a scan in one or two plain sentences; empty when nothing is known."""
    record = plain(geometry)
    shape, spacing = record.get("shape"), record.get("spacing")
    kind = record.get("format") or record.get("kind")
    sentences = []
    if isinstance(shape, list) and len(shape) == 3:
        depth, height, width = shape
        sentences.append(f"{depth} slices of {width} {_TIMES} {height} pixels{_steps(spacing)}.")
    elif isinstance(shape, list) and len(shape) == 2:
        sentences.append(f"{shape[1]} {_TIMES} {shape[0]} pixels.")
    if kind:
        sentences.append(f"Read from {_FORMATS.get(str(kind), str(kind))}.")
    return " ".join(sentences)


def _steps(spacing: object) -> str:
    """The spacing as the end of a sentence."""
    if not isinstance(spacing, list) or len(spacing) != 3 or any(step is None for step in spacing):
        return "; the spacing is unknown"
    depth, height, width = (f"{step:.4g}" for step in spacing)
    return f", {depth} mm apart, a pixel covers {width} {_TIMES} {height} mm"
