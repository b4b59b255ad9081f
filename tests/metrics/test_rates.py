"""The slides' table of rates and the repository's published matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import classification_report, multilabel_confusion_matrix

from covidct.errors import UsageError
from covidct.metrics import RATES, rates_table

SLIDES = [[423, 8, 0], [10, 336, 5], [0, 11, 207]]
# slides of COVID-CT-Mask-Net, section 6.2, as printed there
PRINTED = """\
                                  0         1         2  micro-average
accuracy                   0.982000  0.966000  0.984000       0.977333
f1                         0.979167  0.951841  0.962791       0.966000
false_discovery_rate       0.023095  0.053521  0.023585       0.034000
false_negative_rate        0.018561  0.042735  0.050459       0.034000
false_positive_rate        0.017575  0.029276  0.006394       0.017000
negative_predictive_value  0.985891  0.976744  0.986041       0.983000
positive_predictive_value  0.976905  0.946479  0.976415       0.966000
precision                  0.976905  0.946479  0.976415       0.966000
recall                     0.981439  0.957265  0.949541       0.966000
sensitivity                0.981439  0.957265  0.949541       0.966000
specificity                0.982425  0.970724  0.993606       0.983000
true_negative_rate         0.982425  0.970724  0.993606       0.983000
true_positive_rate         0.981439  0.957265  0.949541       0.966000"""
# README of AlexTS1980/COVID-CT-Mask-Net: matrix; accuracy and sensitivities in percent; macro F1 computed from it
PUBLISHED = {
    "merged masks": ([[9236, 188, 26], [116, 7150, 129], [20, 298, 4028]], 96.33, (97.74, 96.69, 92.68), 0.9591),
    "both masks": ([[9158, 278, 14], [204, 7030, 161], [15, 251, 4080]], 95.64, (96.91, 95.06, 93.88), 0.9539),
}
NAMES = ("control", "pneumonia", "covid")


def by_column(matrix: object, names: tuple[str, ...], *, macro: bool = True) -> dict[str, dict[str, float]]:
    """The table as column to row to value."""
    table = rates_table(np.asarray(matrix), names, macro=macro)
    return {str(column): {str(row): float(value) for row, value in table[column].items()} for column in table.columns}


def test_prints_the_table_of_the_slides() -> None:
    table = rates_table(SLIDES, ("0", "1", "2"))
    assert table.to_string() == PRINTED
    numbers = [[float(cell) for cell in line.split()[1:]] for line in PRINTED.splitlines()[1:]]
    assert table.shape == (13, 4)
    np.testing.assert_array_equal(table.round(6).to_numpy(), numbers)


@pytest.mark.parametrize("system", PUBLISHED)
def test_published_matrices(system: str) -> None:
    matrix, accuracy, sensitivities, f1 = PUBLISHED[system]
    table = by_column(matrix, NAMES)
    assert round(100 * table["micro-average"]["sensitivity"], 2) == accuracy
    assert tuple(round(100 * table[name]["sensitivity"], 2) for name in NAMES) == sensitivities
    assert round(table["macro-average"]["f1"], 4) == f1


def test_macro_average_is_the_mean_over_classes() -> None:
    table = rates_table(SLIDES, NAMES, macro=True)
    assert list(table.columns) == [*NAMES, "micro-average", "macro-average"]
    np.testing.assert_allclose(table["macro-average"], table[list(NAMES)].mean(axis=1), rtol=1e-12)
    assert round(by_column(SLIDES, NAMES)["macro-average"]["f1"], 4) == 0.9646


@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, 3, (2, 60))
    matrix = np.zeros((3, 3), dtype=int)
    np.add.at(matrix, (true, predicted), 1)
    table = by_column(matrix, NAMES)
    report = classification_report(true, predicted, target_names=NAMES, output_dict=True)
    for column, name in [*zip(NAMES, NAMES, strict=True), ("macro-average", "macro avg")]:
        found = table[column]
        assert found["precision"] == pytest.approx(report[name]["precision"])
        assert found["recall"] == pytest.approx(report[name]["recall"])
        assert found["f1"] == pytest.approx(report[name]["f1-score"])
    counts = multilabel_confusion_matrix(true, predicted)
    for name, ((tn, fp), (fn, tp)) in zip((*NAMES, "micro-average"), (*counts, counts.sum(0)), strict=True):
        expected = {
            "accuracy": (tp + tn) / (tn + fp + fn + tp),
            "false_discovery_rate": fp / (fp + tp),
            "false_negative_rate": fn / (fn + tp),
            "false_positive_rate": fp / (fp + tn),
            "negative_predictive_value": tn / (tn + fn),
            "specificity": tn / (tn + fp),
        }
        assert {rate: table[name][rate] for rate in expected} == pytest.approx(expected), name


def test_zero_division() -> None:
    """No true case: no sensitivity. Present and never predicted: precision 0, and so for the rest and its value."""
    table = by_column([[5, 3], [0, 0]], ("here", "absent"))
    absent, here = table["absent"], table["here"]
    assert all(math.isnan(absent[name]) for name in ("sensitivity", "recall", "false_negative_rate", "f1"))
    assert all(math.isnan(here[name]) for name in ("specificity", "false_positive_rate"))
    assert (absent["precision"], absent["false_discovery_rate"], here["negative_predictive_value"]) == (0.0, 1.0, 0.0)
    assert table["macro-average"]["sensitivity"] == 5 / 8
    table = by_column([[5, 0], [3, 0]], ("always", "never"))
    assert (table["never"]["precision"], table["never"]["f1"]) == (0.0, 0.0)
    assert table["always"]["negative_predictive_value"] == 0.0
    table = by_column([[5, 0], [0, 0]], ("here", "absent"))
    assert math.isnan(table["here"]["negative_predictive_value"])  # no rest, and none predicted


def test_rows_and_refusals() -> None:
    assert list(rates_table(SLIDES, NAMES).index) == list(RATES)
    with pytest.raises(UsageError, match="need a square one"):
        rates_table([[1, 2]], ("a", "b"))
