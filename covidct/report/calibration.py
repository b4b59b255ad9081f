"""How often a probability like that of a scan was right, where a test of the same checkpoint is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from covidct.metrics import Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("CalibrationNote", "calibration_note")


@dataclass(frozen=True, slots=True)
class CalibrationNote:
    """What a test says of a probability.

    Attributes:
        lower: edge of the bin that the probability lies in.
        upper: its other edge.
        cases: test cases in the bin.
        right: how many of them were predicted right.
        share: ``right`` of ``cases`` with Wilson's 95 % interval; NaN without cases.
        tested: cases of the whole test.
        error: its expected calibration error, NaN where undefined.
    """

    lower: float
    upper: float
    cases: int
    right: int
    share: Estimate
    tested: int
    error: Estimate


def calibration_note(run: Mapping[str, Any], confidence: float) -> CalibrationNote | None:
    """Find what ``run["tested"]`` says of a confidence; None where no test is known, or the confidence is not finite.

    Args:
        run: the record of a run; ``tested`` holds ``cases``, ``calibration_error`` and the bins of ``calibration``.
        confidence: probability of the predicted class.
    """
    tested = run.get("tested")
    if not tested or not math.isfinite(confidence):
        return None
    error = {key: math.nan if value is None else value for key, value in tested["calibration_error"].items()}
    held = next((entry for entry in tested["calibration"] if entry["lower"] < confidence <= entry["upper"]), None)
    if held is None:  # no test case had such a confidence
        nothing = Estimate(math.nan)
        return CalibrationNote(math.nan, math.nan, 0, 0, nothing, tested["cases"], Estimate(**error))
    cases = int(held["cases"])
    right = round(cases * held["accuracy"])
    return CalibrationNote(
        held["lower"], held["upper"], cases, right, _share(right, cases), tested["cases"], Estimate(**error)
    )


def _share(right: int, cases: int) -> Estimate:
    """A share with Wilson's interval, which holds for few cases and shares near 0 and 1 too."""
    from scipy.stats import binomtest

    interval = binomtest(right, cases).proportion_ci(0.95, method="wilson")
    return Estimate(right / cases, float(interval.low), float(interval.high))
