"""``rates_table``: a confusion matrix as the table of one-vs-rest rates in COVID-CT-Mask-Net's slides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from covidct.metrics.scores import averaged, ratio
from covidct.metrics.triage import report_from_confusion

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike

    from covidct.metrics.estimates import TriageReport

__all__ = ("RATES", "rates_table")

RATES = {
    "accuracy": ("accuracy", False),
    "f1": ("f1", False),
    "false_discovery_rate": ("precision", True),
    "false_negative_rate": ("sensitivity", True),
    "false_positive_rate": ("specificity", True),
    "negative_predictive_value": ("negative_predictive_value", False),
    "positive_predictive_value": ("precision", False),
    "precision": ("precision", False),
    "recall": ("sensitivity", False),
    "sensitivity": ("sensitivity", False),
    "specificity": ("specificity", False),
    "true_negative_rate": ("specificity", False),
    "true_positive_rate": ("sensitivity", False),
}
"""Rows of the table: the score behind each, and whether the row is what that score lacks of one."""


def rates_table(confusion: ArrayLike, class_names: Sequence[str], *, macro: bool = False) -> pd.DataFrame:
    """The table of section 6.2 of COVID-CT-Mask-Net's slides: 13 rates of each class against the rest.

    A view of :func:`covidct.metrics.report_from_confusion`, with its rules for what is not defined; for the negative
    predictive value TN / (TN + FN) they are the precision's, with the rest in the place of the class. The micro-average
    pools the four counts of all classes; its accuracy, (TP + TN) / all, is therefore not the share of cases that are
    right, which is its sensitivity.

    Args:
        confusion: (C, C) counts, rows truth, columns prediction.
        class_names: C names.
        macro: add a column ``macro-average``, the mean over the classes that have true cases.

    Returns:
        Float64, 13 rows named as in :data:`RATES`, a column for each class and ``micro-average``; NaN where a rate is
        not defined.

    Raises:
        UsageError: when the matrix is not square, not of counts, or empty.
    """
    import pandas as pd  # takes a while to import

    report = report_from_confusion(confusion, class_names, resamples=0)
    scopes = {name: name for name in report.class_names} | {"micro": "micro-average"}
    scopes |= {"macro": "macro-average"} if macro else {}
    values = {
        metric: {scope: estimate.value for scope, estimate in estimates.items()}
        for metric, estimates in report.scores.items()
    }
    values["negative_predictive_value"] = _negative_predictive_value(report)
    rows = {
        rate: [1 - values[metric][scope] if rest else values[metric][scope] for scope in scopes]
        for rate, (metric, rest) in RATES.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(scopes.values()))


def _negative_predictive_value(report: TriageReport) -> dict[str, float]:
    """TN / (TN + FN) by scope."""
    name, matrix = "negative_predictive_value", np.asarray(report.confusion, dtype=np.float64)
    total, true, predicted = matrix.sum(), matrix.sum(1), matrix.sum(0)
    rejected = total - true - predicted + np.diagonal(matrix)  # true negatives
    values = ratio(rejected, total - predicted)
    values[(predicted == total) & (true < total)] = 0.0  # never predicted to be of the rest, which is there
    scores = averaged(name, values[None], true[None], report.class_names, true > 0)
    pooled = ratio(rejected.sum(), (total - predicted).sum())
    return {scope: float(value[0]) for (_, scope), value in scores.items()} | {"micro": float(pooled)}
