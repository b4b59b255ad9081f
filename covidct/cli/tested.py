"""What a test of the same checkpoint says of its probabilities: read from the ``metrics.json`` of ``covidct test``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from covidct.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("calibration_record", "read_tested")

_KEPT = ("lower", "upper", "cases", "accuracy")


def calibration_record(path: Path | None, checkpoint_sha256: str, *, by_slices: bool) -> dict[str, Any]:
    """What goes into the record of a run about a test of its checkpoint: ``tested``, or nothing without a file.

    Args:
        path: as in :func:`read_tested`, or None.
        checkpoint_sha256: of the checkpoint that is applied now.
        by_slices: whether it classifies slices.

    Raises:
        UsageError: as :func:`read_tested`, and for a classifier of slices.
    """
    if path is None:
        return {}
    if by_slices:
        raise UsageError(
            "This checkpoint was tested slice by slice, and the probability of a scan is a mean over slices, of which "
            "such a test says nothing: leave --tested out."
        )
    return {"tested": read_tested(path, checkpoint_sha256=checkpoint_sha256)}


def read_tested(path: Path, *, checkpoint_sha256: str) -> dict[str, Any]:
    """Calibration of a checkpoint, as far as a page of a scan tells it.

    Args:
        path: ``metrics.json`` that ``covidct test --out`` wrote.
        checkpoint_sha256: of the checkpoint that is applied now.

    Returns:
        ``cases`` and ``subjects`` of the test, ``calibration_error`` (value, low, high; None where undefined) and
        ``calibration``: of each bin with cases ``lower``, ``upper``, ``cases`` and ``accuracy``.

    Raises:
        UsageError: when the file cannot be read, is none of a test, has no calibration, or is of another checkpoint.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        tested = record["run"]["checkpoint_sha256"]
        bins = [{key: entry[key] for key in _KEPT} for entry in record["calibration"] if entry["cases"]]
        found = {
            "cases": int(record["cases"]),
            "subjects": int(record["subjects"]),
            "calibration_error": dict(record["scores"]["calibration_error"]["overall"]),
            "calibration": bins,
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is no metrics.json of a test of a classifier ({type(error).__name__}): give the one that "
            "`covidct test --out` wrote for this checkpoint."
        ) from error
    if tested != checkpoint_sha256:
        raise UsageError(
            f"{path} is the test of another checkpoint (sha256 {tested}): give that of the checkpoint that is applied."
        )
    if not bins:
        raise UsageError(f"{path} has no calibration, since its test had no cases: leave it out.")
    return found
