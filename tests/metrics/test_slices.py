"""Slice-level scores against scikit-learn, loops over volumes, and the inequality that pooled scores obey."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from covidct.errors import UsageError
from covidct.metrics import SliceMetrics, VolumeSlices, slice_decisions, slice_report

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cohort(seed: int, *, volumes: int = 12, skill: float = 1.0) -> list[VolumeSlices]:
    """Volumes of unlike depth, a third without findings; attention prefers true slices with ``skill``."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(volumes):
        depth = int(rng.integers(2, 30))
        label = (rng.random(depth) < rng.random()) * (index % 3 != 0)
        score = np.exp(rng.normal(size=depth) + skill * label)
        made.append(
            VolumeSlices(score / score.sum(), label.astype(np.int64), bool(rng.random() < 0.8), subject=index // 2)
        )
    return made


def decided(volume: VolumeSlices) -> NDArray[np.int64]:
    """The rule once more, slice by slice."""
    depth = len(volume.attention)
    return np.array([int(volume.diagnosed and share >= 1 / depth) for share in volume.attention])


def test_pooled_scores_are_scikit_learns() -> None:
    volumes = cohort(0)
    truth = np.concatenate([volume.label for volume in volumes])
    found = np.concatenate([decided(volume) for volume in volumes])
    shares = np.concatenate([volume.attention * len(volume.attention) for volume in volumes])
    report = slice_report(volumes, positive="covid")
    value = {metric: scopes["pooled"].value for metric, scopes in report.scores.items()}
    assert value["accuracy"] == pytest.approx(accuracy_score(truth, found))
    assert value["precision"] == pytest.approx(precision_score(truth, found))
    assert value["sensitivity"] == pytest.approx(recall_score(truth, found))
    assert value["specificity"] == pytest.approx(recall_score(truth, found, pos_label=0))
    assert value["f1"] == pytest.approx(f1_score(truth, found))
    assert value["auroc"] == pytest.approx(roc_auc_score(truth, shares))
    diseased = np.concatenate([np.full(len(volume.label), volume.label.any()) for volume in volumes])
    assert report.scores["auroc"]["pooled_positive"].value == pytest.approx(
        roc_auc_score(truth[diseased], shares[diseased])
    )
    diagnosed = np.concatenate([np.full(len(volume.label), volume.diagnosed) for volume in volumes])
    assert report.scores["auroc"]["pooled_diagnosed"].value == pytest.approx(roc_auc_score(truth, shares * diagnosed))
    assert report.slices == len(truth)
    assert report.positives == truth.sum()
    assert np.sum(report.confusion) == len(truth)


def test_volume_means_are_means_over_volumes_with_a_score() -> None:
    volumes = cohort(1)
    report = slice_report(volumes)
    with_findings = [volume for volume in volumes if volume.label.any()]
    recalls = [recall_score(volume.label, decided(volume)) for volume in with_findings]
    assert report.scores["sensitivity"]["volume_mean"].value == pytest.approx(np.mean(recalls))
    accuracies = [accuracy_score(volume.label, decided(volume)) for volume in volumes]
    assert report.scores["accuracy"]["volume_mean"].value == pytest.approx(np.mean(accuracies))
    areas = [roc_auc_score(v.label, v.attention) for v in volumes if 0 < v.label.sum() < len(v.label)]
    assert report.scores["auroc"]["volume_mean"].value == pytest.approx(np.mean(areas))
    with_rest = [volume for volume in volumes if not volume.label.all()]
    rejected = [recall_score(volume.label, decided(volume), pos_label=0) for volume in with_rest]
    assert report.scores["specificity"]["volume_mean"].value == pytest.approx(np.mean(rejected))


@pytest.mark.parametrize("seed", range(40))
def test_pooled_accuracy_lies_between_sensitivity_and_specificity(seed: int) -> None:
    report = slice_report(cohort(seed, skill=seed / 20))
    accuracy, *ends = (report.scores[m]["pooled"].value for m in ("accuracy", "sensitivity", "specificity"))
    assert min(ends) - 1e-12 <= accuracy <= max(ends) + 1e-12


def test_mean_accuracy_may_lie_below_both_as_in_the_document() -> None:
    one_miss = VolumeSlices(np.array([0.3, 0.7]), np.array([1, 1]), diagnosed=True, subject=0)
    no_miss = VolumeSlices(np.array([0.1, 0.1, 0.8]), np.array([0, 0, 1]), diagnosed=True, subject=1)
    report = slice_report([one_miss, no_miss, one_miss])
    accuracy, sensitivity, specificity = (
        report.scores[m]["volume_mean"].value for m in ("accuracy", "sensitivity", "specificity")
    )
    assert accuracy == pytest.approx((0.5 + 1 + 0.5) / 3) == sensitivity
    assert specificity == 1
    all_false = VolumeSlices(np.array([0.5, 0.5]), np.array([0, 0]), diagnosed=True, subject=2)
    report = slice_report([no_miss, no_miss, no_miss, all_false, one_miss, one_miss])
    mean = {m: report.scores[m]["volume_mean"].value for m in ("accuracy", "sensitivity", "specificity")}
    assert mean["accuracy"] < min(mean["sensitivity"], mean["specificity"])


def test_perfect_attention_is_perfect() -> None:
    label = np.array([0, 0, 1, 1, 0])
    volumes = [VolumeSlices(label / 2, label, diagnosed=True, subject=0)]
    volumes.append(VolumeSlices(np.full(4, 0.25), np.zeros(4, np.int64), diagnosed=False, subject=1))
    scores = slice_report(volumes).scores
    assert all(scores[m]["pooled"].value == 1 for m in scores)


def test_decisions() -> None:
    assert slice_decisions(np.array([0.1, 0.5, 0.4]), diagnosed=True).tolist() == [False, True, True]
    assert not slice_decisions(np.array([0.1, 0.5, 0.4]), diagnosed=False).any()
    for depth in (3, 7, 75, 350):
        assert slice_decisions(torch.zeros(depth).softmax(0).numpy(), diagnosed=True).all()


def test_unknown_slices_count_in_the_number_but_are_not_scored() -> None:
    volume = VolumeSlices(np.array([0.1, 0.3, 0.3, 0.3]), np.array([0, 1, -1, -1]), diagnosed=True, subject=0)
    report = slice_report([volume])
    assert report.slices == 2
    assert report.confusion == ((1, 0), (0, 1))  # 0.3 >= 1/4, though not >= 1/2
    with pytest.raises(UsageError, match="No slice has a known label"):
        slice_report([VolumeSlices(np.ones(1), np.array([-1]), diagnosed=True, subject=0)])


def test_intervals_hold_the_value_and_resample_subjects() -> None:
    volumes = cohort(3, volumes=24)
    report = slice_report(volumes, resamples=200)
    for scopes in report.scores.values():
        for estimate in scopes.values():
            assert estimate.low <= estimate.value <= estimate.high
            assert estimate.low < estimate.high
    one = [VolumeSlices(v.attention, v.label, v.diagnosed, subject=9) for v in volumes]
    alone = slice_report(one, resamples=20).scores["auroc"]["pooled"]
    assert alone.low == pytest.approx(alone.high) == pytest.approx(alone.value)
    record = report.to_dict()
    assert record["scores"]["auroc"]["pooled"]["value"] == report.scores["auroc"]["pooled"].value


@pytest.mark.parametrize(
    ("attention", "label"),
    [([0.5, 0.4], [0, 1]), ([1.5, -0.5], [0, 1]), ([float("nan"), 1], [0, 1]), ([1.0], [0, 1]), ([0.5, 0.5], [0, 2])],
)
def test_what_is_no_attention_is_refused(attention: list[float], label: list[int]) -> None:
    with pytest.raises(UsageError):
        slice_report([VolumeSlices(np.array(attention), np.array(label), diagnosed=True, subject=0)])


def test_metric_collects_batches_and_counts_repeated_scans_once() -> None:
    volumes = cohort(5)
    depth = max(len(volume.label) for volume in volumes)
    metric = SliceMetrics()
    for numbers in ([0, 1, 2, 3], [4, 5, 6, 7, 8], [9, 10, 11, 0]):
        attention, label = torch.full((len(numbers), depth), 9.0), torch.full((len(numbers), depth), -1)
        real = torch.zeros(len(numbers), depth, dtype=torch.bool)
        for row, number in enumerate(numbers):
            n = len(volumes[number].label)
            real[row, depth - n :] = True  # padding may stand below
            attention[row, depth - n :] = torch.from_numpy(volumes[number].attention)
            label[row, depth - n :] = torch.from_numpy(volumes[number].label)
        metric.update(
            attention,
            label,
            real=real,
            diagnosed=torch.tensor([volumes[number].diagnosed for number in numbers]),
            scan=torch.tensor(numbers),
            subject=torch.tensor(numbers),
        )
    found = metric.compute()
    expected = slice_report(volumes).scores
    assert found["auroc"].item() == pytest.approx(expected["auroc"]["pooled"].value, abs=1e-6)
    assert found["f1_volume_mean"].item() == pytest.approx(expected["f1"]["volume_mean"].value, abs=1e-6)
    assert set(found) == {
        metric if scope == "pooled" else f"{metric}_{scope}" for metric, scopes in expected.items() for scope in scopes
    }


def test_metric_without_slices_or_labels_says_nothing() -> None:
    metric = SliceMetrics()
    assert metric.compute() == {}
    one = torch.ones(1, dtype=torch.int64)
    metric.update(torch.ones(1, 1), -torch.ones(1, 1).long(), real=None, diagnosed=one > 0, scan=one, subject=one)
    assert metric.compute() == {}
