"""Reports: published tables, intervals against brute force and closed form, and cohorts that lack something."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from covidct import RESEARCH_USE
from covidct.errors import UsageError
from covidct.labels import BINARY_CLASSES, CLASSES
from covidct.metrics import TriageReport, report_from_confusion, triage_report
from tests.metrics.cohorts import random_cohort


def value(report: TriageReport, metric: str, scope: str) -> float:
    return report.scores[metric][scope].value


# Published matrices and the tables printed beside them -----------------------------------------------------------

GAP = ([[554, 43], [69, 1396]], (94.6, 95.3, 92.8, 96.1))
WEIGHTED_GAP = ([[557, 40], [52, 1413]], (95.5, 96.4, 93.3, 96.8))


@pytest.mark.parametrize(("matrix", "printed"), [GAP, WEIGHTED_GAP])
def test_table_ii_of_the_mask_weighted_gap_paper(matrix: list[list[int]], printed: tuple[float, ...]) -> None:
    report = report_from_confusion(matrix, BINARY_CLASSES, resamples=0)
    keys = (("accuracy", "overall"), ("sensitivity", "covid"), ("specificity", "covid"), ("f1", "covid"))
    for key, figure in zip(keys, printed, strict=True):
        percent = 100 * value(report, *key)
        assert figure in (round(percent, 1), math.floor(10 * percent) / 10)  # the paper cuts 96.45 and 96.85 off


def test_table_ii_is_cut_off_not_rounded_where_it_says_96_4() -> None:
    report = report_from_confusion(WEIGHTED_GAP[0], BINARY_CLASSES, resamples=0)
    assert 100 * value(report, "sensitivity", "covid") == pytest.approx(100 * 1413 / 1465)  # 96.45
    assert 100 * value(report, "f1", "covid") == pytest.approx(100 * 2826 / 2918)  # 96.85


LOW_CONTRAST = (
    [[12, 0, 0], [1, 12, 0], [0, 0, 20]],
    {"normal": (0.92, 1.00, 0.96), "cap": (1.00, 0.92, 0.96), "covid": (1.00, 1.00, 1.00), "macro": (0.97, 0.97, 0.97)},
    0.98,
)
HIGH_CONTRAST = (
    [[16, 0, 0], [0, 15, 1], [1, 1, 9]],
    {"normal": (0.94, 1.00, 0.97), "cap": (0.94, 0.94, 0.94), "covid": (0.90, 0.82, 0.86), "macro": (0.93, 0.92, 0.92)},
    0.93,
)


@pytest.mark.parametrize(("matrix", "rows", "accuracy"), [LOW_CONTRAST, HIGH_CONTRAST])
def test_tables_of_the_gated_ensemble(
    matrix: list[list[int]], rows: dict[str, tuple[float, float, float]], accuracy: float
) -> None:
    report = report_from_confusion(matrix, CLASSES, resamples=0)
    for scope, printed in rows.items():
        found = [round(value(report, metric, scope), 2) for metric in ("precision", "sensitivity", "f1")]
        assert found == list(printed)
    weighted = [round(value(report, metric, "weighted"), 2) for metric in ("precision", "sensitivity", "f1")]
    assert weighted == [accuracy] * 3  # printed .98 and .93, like the accuracies
    assert round(value(report, "accuracy", "overall"), 2) == accuracy


def test_table_of_the_mask_net_slides() -> None:
    report = report_from_confusion([[423, 8, 0], [10, 336, 5], [0, 11, 207]], CLASSES, resamples=0)
    printed = {
        "sensitivity": (0.9814, 0.9573, 0.9495),
        "specificity": (0.9824, 0.9707, 0.9936),
        "f1": (0.9792, 0.9518, 0.9628),
    }
    for metric, figures in printed.items():
        for name, figure in zip(CLASSES, figures, strict=True):
            assert abs(value(report, metric, name) - figure) < 1e-4  # slides cut and round at the fourth digit
    assert [round(value(report, "accuracy", name), 3) for name in CLASSES] == [0.982, 0.966, 0.984]
    assert round(value(report, "f1", "macro"), 4) == 0.9646
    assert [round(value(report, m, "micro"), 4) for m in ("accuracy", "f1", "specificity")] == [0.9773, 0.966, 0.983]


@pytest.mark.parametrize(
    ("matrix", "accuracy", "f1"),
    [
        ([[9236, 188, 26], [116, 7150, 129], [20, 298, 4028]], 96.33, 0.9591),
        ([[9158, 278, 14], [204, 7030, 161], [15, 251, 4080]], 95.64, 0.9539),
    ],
)
def test_mask_net_readme(matrix: list[list[int]], accuracy: float, f1: float) -> None:
    report = report_from_confusion(matrix, CLASSES, resamples=0)
    assert abs(100 * value(report, "accuracy", "overall") - accuracy) < 0.01
    assert value(report, "f1", "macro") == pytest.approx(f1, abs=5e-5)


# Values and intervals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_values_equal_scikit_learn(classes: int) -> None:
    names = [f"class{i}" for i in range(classes)]
    prob, target, subject = random_cohort(1, cases=90, classes=classes, subjects=50, ties=True)
    report = triage_report(prob, target, subject, names, resamples=10)
    for index, name in enumerate(names):
        truth, score = target == index, prob[:, index]
        assert value(report, "auroc", name) == pytest.approx(sk.roc_auc_score(truth, score))
        assert value(report, "auprc", name) == pytest.approx(sk.average_precision_score(truth, score))
    mean = np.mean([sk.roc_auc_score(target == i, prob[:, i]) for i in range(classes)])
    assert value(report, "auroc", "macro") == pytest.approx(mean)
    np.testing.assert_array_equal(report.confusion, sk.confusion_matrix(target, prob.argmax(1)))
    assert report.cases == 90
    assert report.subjects == len(np.unique(subject))


def test_intervals_equal_a_brute_force_bootstrap_over_subjects() -> None:
    prob, target, _ = random_cohort(2, cases=24, classes=2)
    subject = np.repeat(np.arange(8), 3)
    report = triage_report(prob, target, subject, BINARY_CLASSES, resamples=200, confidence=0.9, seed=5)
    auroc, f1 = [], []
    for draw in np.random.default_rng(5).integers(8, size=(200, 8)):  # the documented draw: subjects, with replacement
        rows = np.concatenate([np.flatnonzero(subject == one) for one in draw])
        auroc.append(sk.roc_auc_score(target[rows], prob[rows, 1]))
        f1.append(sk.f1_score(target[rows], prob[rows].argmax(1)))
    for metric, drawn in (("auroc", auroc), ("f1", f1)):
        found = report.scores[metric]["covid"]
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, (0.05, 0.95))))


def test_interval_of_the_accuracy_is_the_binomial_one_when_subjects_have_one_case() -> None:
    cases, right = 100, 83
    prob = np.tile([0.2, 0.8], (cases, 1))
    target = (np.arange(cases) < right).astype(int)
    report = triage_report(prob, target, np.arange(cases), BINARY_CLASSES, resamples=20_000)
    expected = stats.binom.ppf((0.025, 0.975), cases, right / cases) / cases
    found = report.scores["accuracy"]["overall"]
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1 / cases)


def test_interval_from_a_matrix_is_the_binomial_one() -> None:
    report = report_from_confusion([[50, 10], [7, 33]], BINARY_CLASSES, resamples=20_000)
    expected = stats.binom.ppf((0.025, 0.975), 100, 0.83) / 100
    found = report.scores["accuracy"]["overall"]
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.01)


def test_scans_of_one_subject_widen_the_interval() -> None:
    prob, target, _ = random_cohort(4, cases=50, classes=2)
    wide = triage_report(
        np.repeat(prob, 6, axis=0), np.repeat(target, 6), np.repeat(np.arange(50), 6), BINARY_CLASSES
    ).scores["accuracy"]["overall"]
    single = triage_report(prob, target, np.arange(50), BINARY_CLASSES).scores["accuracy"]["overall"]
    assert (wide.low, wide.high) == pytest.approx((single.low, single.high))  # copies of a scan say nothing new


def rounded(report: TriageReport) -> dict[str, Any]:
    """A report as JSON has it, to twelve decimals: matrix products of other shapes round otherwise."""
    found: dict[str, Any] = json.loads(json.dumps(report.to_dict()), parse_float=lambda text: round(float(text), 12))
    return found


def test_names_of_subjects_and_block_size_do_not_matter_but_the_seed_does(monkeypatch: pytest.MonkeyPatch) -> None:
    prob, target, subject = random_cohort(6, cases=40, classes=3, subjects=20)
    first = rounded(triage_report(prob, target, subject, CLASSES, resamples=60))
    monkeypatch.setattr("covidct.metrics.resampling._BLOCK", 7 * 40)
    names = np.array([f"s{number:03d}" for number in subject])
    assert rounded(triage_report(prob, target, names, CLASSES, resamples=60)) == first
    assert rounded(triage_report(prob, target, subject, CLASSES, resamples=60, seed=1))["scores"] != first["scores"]


# Cohorts that lack something ---------------------------------------------------------------------------------------


def no_nan(record: dict[str, Any]) -> bool:
    return "NaN" not in json.dumps(record)


@pytest.mark.filterwarnings("error")
def test_an_absent_class_gives_nan_and_a_note() -> None:
    prob, target, subject = random_cohort(8, cases=40, classes=3)
    keep = target != 1
    report = triage_report(prob[keep], target[keep], subject[keep], CLASSES, resamples=50)
    for metric in ("sensitivity", "f1", "auroc", "auprc"):
        assert math.isnan(value(report, metric, "cap"))
        present = [value(report, metric, name) for name in ("normal", "covid")]
        assert value(report, metric, "macro") == pytest.approx(np.mean(present))
    assert any("No true case of cap" in note for note in report.notes)
    assert "cap" not in report.roc
    assert report.to_dict()["scores"]["auroc"]["cap"] == {"value": None, "low": None, "high": None}
    assert no_nan(report.to_dict())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("cases", [1, 12])
def test_a_cohort_of_one_class(cases: int) -> None:
    prob, _, _ = random_cohort(8, cases=12, classes=2)
    report = triage_report(prob[:cases], np.ones(cases, int), np.arange(cases), BINARY_CLASSES, resamples=50)
    assert math.isnan(value(report, "auroc", "macro"))
    assert math.isnan(value(report, "specificity", "covid"))
    assert value(report, "sensitivity", "covid") == value(report, "accuracy", "overall")
    assert any("one class" in note for note in report.notes)
    assert no_nan(report.to_dict())


def test_notes_on_lost_resamples_and_on_perfect_scores() -> None:
    prob = np.array([[0.9, 0.1]] * 5 + [[0.1, 0.9]])
    report = triage_report(prob, [0] * 5 + [1], np.arange(6), BINARY_CLASSES, resamples=200)
    assert any("of the resamples" in note for note in report.notes)
    assert any("no width" in note for note in report.notes)
    sensitivity = report.scores["sensitivity"]["covid"]
    assert (sensitivity.low, sensitivity.high) == (1.0, 1.0)


def test_one_subject_gives_no_meaningful_interval() -> None:
    report = triage_report([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7]], [0, 1, 0], ["p"] * 3, BINARY_CLASSES, resamples=20)
    assert any("one subject" in note for note in report.notes)
    assert not any("no error to resample" in note for note in report.notes)


def test_a_class_never_predicted_is_noted() -> None:
    report = report_from_confusion([[5, 0], [3, 0]], BINARY_CLASSES, resamples=20)
    assert value(report, "precision", "covid") == 0 == value(report, "f1", "covid")
    assert any("Never predicted: covid" in note for note in report.notes)


def test_without_resamples_there_are_no_intervals() -> None:
    prob, target, subject = random_cohort(8, cases=40, classes=3)
    report = triage_report(prob, target, subject, CLASSES, resamples=0)
    assert all(math.isnan(row["low"]) and math.isnan(row["high"]) for row in report.table())
    assert report.roc["covid"].low == ()


def test_record_and_table_hold_the_same_figures() -> None:
    prob, target, subject = random_cohort(8, cases=40, classes=3)
    report = triage_report(prob, target, subject, CLASSES, resamples=20)
    record = report.to_dict()
    assert record["research_use"] == RESEARCH_USE
    assert record["support"] == {name: int((target == index).sum()) for index, name in enumerate(CLASSES)}
    for row in report.table():
        assert record["scores"][row["metric"]][row["scope"]]["value"] == row["value"]
    assert json.loads(json.dumps(record)) == record


GOOD: dict[str, Any] = {"prob": [[0.5, 0.5]], "target": [0], "subject": [0], "class_names": ("a", "b")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prob": [[0.5, 0.4, 0.1]]}, "do not fit together"),
        ({"target": [0, 1]}, "do not fit together"),
        ({"subject": [[0]]}, "do not fit together"),
        ({"prob": np.empty((0, 2)), "target": np.empty(0, int), "subject": np.empty(0, int)}, "no cases"),
        ({"prob": [[float("nan"), 0.5]]}, "no probabilities"),
        ({"prob": [[1.5, -0.5]]}, "no probabilities"),
        ({"prob": [[0.5, 0.1]]}, "no probabilities"),
        ({"target": [2]}, "class indices"),
        ({"target": [-1]}, "class indices"),
        ({"target": [0.0]}, "class indices"),
        ({"class_names": ("a", "a")}, "class names"),
        ({"class_names": ("a", "macro")}, "class names"),
        ({"resamples": -1}, "resamples"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": float("nan")}, "confidence"),
        ({"resamples": 10.5}, "resamples"),
        ({"seed": -1}, "seed"),
        ({"class_names": "ab"}, "class names"),
        ({"prob": [["a", "b"]]}, "numbers"),
        ({"prob": [[0.5, 0.5], [1.0]]}, "numbers"),
        ({"prob": [[None, 1.0]]}, "no probabilities"),
        ({"target": ["covid"]}, "class indices"),
        ({"subject": [float("nan")]}, "subject"),
        ({"prob": [[0.5, 0.5]] * 2, "target": [0, 1], "subject": np.array([1, "a"], object)}, "subject"),
    ],
)
def test_bad_input_is_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        triage_report(**(GOOD | change))


@pytest.mark.parametrize(
    "matrix",
    [[[1, 2]], [[1, -1], [0, 1]], [[0.5, 1], [0, 1]], [[0, 0], [0, 0]], [["a", 1], [0, 1]], [[1], [0, 1]]],
)
def test_bad_matrices_are_refused(matrix: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match="confusion matrix"):
        report_from_confusion(matrix, BINARY_CLASSES)
