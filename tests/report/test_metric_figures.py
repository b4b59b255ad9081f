"""Which figures there are, and what their lines are."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from covidct.metrics import triage_report
from covidct.report import figure_pixels, metric_figures

NAMES = ("non_covid", "covid")


def test_lines_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    target = np.arange(30) % 2
    score = np.clip(0.3 * target + 0.6 * random.random(30), 0, 1)
    prob = np.stack([1 - score, score], 1)
    report = triage_report(prob, target, np.arange(30), NAMES, resamples=20)
    figures: dict[str, Any] = dict(metric_figures(report, prob, target))
    assert list(figures) == ["confusion", "roc", "precision_recall", "calibration"]
    line = figures["roc"].axes[0].lines[1]
    rate, sensitivity, _ = roc_curve(target, score)
    corners = {(round(x, 9), round(y, 9)) for x, y in zip(rate.tolist(), sensitivity.tolist(), strict=True)}
    found = [(round(x, 9), round(y, 9)) for x, y in line.get_xydata().tolist()]
    assert set(found) <= corners  # points on a straight line are left out
    assert found[0] == (0, 0)
    assert found[-1] == (1, 1)
    precision, recall, _ = precision_recall_curve(target, score)
    line = figures["precision_recall"].axes[0].lines[2]  # of the first class a curve and its share
    np.testing.assert_allclose(line.get_xydata(), np.stack([recall, precision], 1))
    texts = [text.get_text().split("\n")[0] for text in figures["confusion"].axes[0].texts]
    assert texts == [str(count) for row in report.confusion for count in row]
    pixels = figure_pixels(figures["calibration"], dpi=50)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (230, 230, 3)
    assert np.ptp(pixels) == 255


def test_a_cohort_of_one_class_has_no_curves() -> None:
    prob = np.array([[0.9, 0.1], [0.4, 0.6]])
    target = np.zeros(2, np.int64)
    report = triage_report(prob, target, np.arange(2), NAMES, resamples=0)
    figures = metric_figures(report, prob, target)
    assert list(figures) == ["confusion", "calibration"]
    assert figure_pixels(figures["confusion"]).shape[2] == 3
