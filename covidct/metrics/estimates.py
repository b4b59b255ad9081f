"""``TriageReport``: all scores of one evaluation, as plain data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from covidct.metrics.curves import CalibrationBin, RocCurve
    from covidct.metrics.slices import SliceReport

__all__ = ("Estimate", "TriageReport")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score and its interval; NaN where it is not defined.

    Attributes:
        value: of the cohort itself.
        low: lower end of the percentile bootstrap interval; NaN without resamples.
        high: upper end.
    """

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True)
class TriageReport:
    """All scores of one evaluation.

    Attributes:
        class_names: C names, index = label.
        cases: number of cases.
        subjects: number of subjects, the unit of resampling.
        confidence: of the intervals.
        resamples: bootstrap resamples behind the intervals.
        seed: of the resampling.
        scores: metric to scope to estimate; metrics ``sensitivity``, ``specificity``, ``precision``, ``f1``,
            ``accuracy``, ``auroc``, ``auprc``, ``calibration_error``; scopes are the class names (one-vs-rest),
            ``macro``, ``micro``, ``weighted`` and ``overall``, as far as they apply.
        confusion: C rows of C counts, rows truth, columns prediction.
        roc: class name to curve, for the classes that have one.
        calibration: the bins behind the expected calibration error.
        notes: what a reader must know: undefined scores and why.
        slices: slice-level scores, of a network with slice attention on scans with slice labels.
    """

    class_names: tuple[str, ...]
    cases: int
    subjects: int
    confidence: float
    resamples: int
    seed: int
    scores: Mapping[str, Mapping[str, Estimate]]
    confusion: tuple[tuple[int, ...], ...]
    roc: Mapping[str, RocCurve]
    calibration: tuple[CalibrationBin, ...]
    notes: tuple[str, ...]
    slices: SliceReport | None = None

    @property
    def support(self) -> dict[str, int]:
        """True cases per class."""
        return {name: sum(row) for name, row in zip(self.class_names, self.confusion, strict=True)}

    def table(self) -> list[dict[str, Any]]:
        """Rows with the columns metric, scope, value, low, high, in a stable order; NaN where undefined."""
        return [
            {"metric": metric, "scope": scope, **asdict(estimate)}
            for metric, scopes in self.scores.items()
            for scope, estimate in scopes.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not defined is None, and ``notes`` say why."""
        return {
            "kind": "covidct.triage_report",
            "version": 1,
            "research_use": RESEARCH_USE,
            "class_names": list(self.class_names),
            "cases": self.cases,
            "subjects": self.subjects,
            "confidence": self.confidence,
            "resamples": self.resamples,
            "seed": self.seed,
            "support": self.support,
            "scores": {m: {s: _plain(asdict(e)) for s, e in scopes.items()} for m, scopes in self.scores.items()},
            "confusion": {"rows": "truth", "columns": "prediction", "counts": [list(row) for row in self.confusion]},
            "roc": {name: {k: list(v) for k, v in asdict(curve).items()} for name, curve in self.roc.items()},
            "calibration": [_plain(asdict(entry)) for entry in self.calibration],
            "notes": list(self.notes),
            **({} if self.slices is None else {"slices": self.slices.to_dict()}),
        }


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """NaN becomes None, which JSON has."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in record.items()}
