"""CaseMetrics in one process and in two."""

from __future__ import annotations

import json
import multiprocessing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import distributed
from torchmetrics import MetricCollection

from covidct.errors import UsageError
from covidct.labels import CLASSES
from covidct.metrics import CaseMetrics, case_scores, subject_cases, triage_report
from tests.metrics.cohorts import random_cohort


def fill(metric: CaseMetrics, rows: list[int], *, cases: int = 21, step: int = 4) -> CaseMetrics:
    """Give ``metric`` some rows of a fixed cohort, in batches."""
    prob, target, subject = (torch.from_numpy(array) for array in random_cohort(3, cases=cases, classes=3, subjects=9))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        metric.update(prob[part].float(), target[part], scan=torch.tensor(part) + 2**60, subject=subject[part])
    return metric


def test_scores_are_those_of_the_report() -> None:
    found = fill(CaseMetrics(CLASSES), list(range(21))).compute()
    prob, target, subject = random_cohort(3, cases=21, classes=3, subjects=9)
    report = triage_report(prob.astype(np.float32), target, subject, CLASSES, resamples=0)
    expected = {f"{m}_{n}": report.scores[m][n].value for m in ("sensitivity", "f1") for n in (*CLASSES, "macro")}
    expected |= {"accuracy": report.scores["accuracy"]["overall"].value}
    expected |= {"auroc": report.scores["auroc"]["macro"].value, "auroc_covid": report.scores["auroc"]["covid"].value}
    for name, figure in expected.items():
        assert float(found[name]) == pytest.approx(figure, abs=1e-6), name
    assert all(value.ndim == 0 and value.dtype == torch.float32 for value in found.values())


def test_subjects_are_the_mean_of_their_cases_and_as_ill_as_the_worst() -> None:
    cases = fill(CaseMetrics(CLASSES), list(range(21))).cases()
    found = subject_cases(cases)
    frame = pd.DataFrame(cases.prob.astype(np.float64)).assign(subject=cases.subject, target=cases.target)
    grouped = frame.groupby("subject")
    assert len(found.target) == frame["subject"].nunique() < 21
    np.testing.assert_array_equal(found.subject, list(grouped.groups))
    np.testing.assert_array_equal(found.target, grouped["target"].max())
    np.testing.assert_allclose(found.prob, grouped[[0, 1, 2]].mean(), rtol=1e-6)


def test_duplicates_count_once_and_keys_are_exact() -> None:
    once = fill(CaseMetrics(CLASSES), list(range(21)))
    twice = fill(fill(CaseMetrics(CLASSES), [5, 5, 0, *range(21)]), [20, 1])
    assert once.compute() == twice.compute()
    np.testing.assert_array_equal(twice.cases().scan, np.arange(21) + 2**60)  # beyond what a float64 tells apart


def test_a_collection_names_the_values() -> None:
    collection = MetricCollection({"cases": CaseMetrics(CLASSES)}, prefix="val_")
    prob, target, subject = (torch.from_numpy(array) for array in random_cohort(3, cases=8, classes=3))
    collection.update(prob.bfloat16(), target, scan=subject, subject=subject)
    assert {"val_auroc", "val_sensitivity_covid", "val_f1_macro", "val_accuracy"} <= set(collection.compute())
    collection.reset()
    metric = collection["cases"]
    assert isinstance(metric, CaseMetrics)
    assert len(metric.cases().scan) == 0


def test_no_case_gives_nan() -> None:
    metric = CaseMetrics(CLASSES)
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        found = metric.compute()
    assert all(bool(torch.isnan(value)) for value in found.values())


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="it needs"):
        CaseMetrics(CLASSES).update(torch.ones(2, 2), torch.zeros(2), scan=torch.zeros(2), subject=torch.zeros(3))
    with pytest.raises(UsageError, match="two classes"):
        CaseMetrics(("covid",))


@pytest.mark.filterwarnings("error")
def test_a_network_that_gives_nan_has_no_scores(caplog: pytest.LogCaptureFixture) -> None:
    metric, keys = CaseMetrics(CLASSES), torch.arange(3)
    prob = torch.tensor([[0.2, 0.3, 0.5], [float("nan")] * 3, [1.0, 0.0, 0.0]])
    metric.update(prob, keys, scan=keys, subject=keys)
    found = metric.compute()
    assert set(found) == set(fill(CaseMetrics(CLASSES), list(range(21))).compute())
    assert all(bool(torch.isnan(value)) for value in found.values())
    assert "1 of 3 cases" in caplog.text


@pytest.mark.parametrize("target", [-1, 3])
def test_targets_without_a_class_are_refused(target: int) -> None:
    metric, keys = CaseMetrics(CLASSES), torch.arange(2)
    metric.update(torch.eye(3)[:2], torch.tensor([0, target]), scan=keys, subject=keys)
    with pytest.raises(UsageError, match="unknown class"):
        metric.compute()


SHARES: dict[str, list[list[int]]] = {
    "duplicate": [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 0]],
    "one idle": [list(range(7)), []],
    "other idle": [[], [3]],
    "no case": [[], []],
}


def _work(rank: int, folder: str) -> None:
    """One process: take a share of the cases, gather, save what came out; for each way of sharing."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    records = {}
    for name, shares in SHARES.items():
        metric = fill(CaseMetrics(CLASSES), shares[rank])
        found = {key: float(value) for key, value in metric.compute().items()}
        with metric.sync_context():
            scans = metric.cases().scan.tolist()
        records[name] = {"scans": scans, "local": metric.cases().scan.tolist(), "found": found}
    Path(folder, f"{rank}.json").write_text(json.dumps(records))
    distributed.destroy_process_group()


@pytest.mark.ddp
@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_two_processes_score_like_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_work, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=200)
    assert [process.exitcode for process in processes] == [0, 0]
    saved = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for name, shares in SHARES.items():
        rows = sorted({*shares[0], *shares[1]})
        expected = {key: float(value) for key, value in fill(CaseMetrics(CLASSES), rows).compute().items()}
        for rank in range(2):
            record = saved[rank][name]
            assert record["scans"] == [row + 2**60 for row in rows], name
            assert record["local"] == [row + 2**60 for row in sorted(shares[rank])], name
            assert record["found"] == pytest.approx(expected, abs=1e-7, nan_ok=True), name


def test_scores_of_a_vote_take_calls_and_means() -> None:
    target = np.array([0, 0, 1, 1])
    mean = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    found = case_scores(mean, target, ("non_covid", "covid"), predicted=np.array([0, 1, 1, 1]))
    assert found["accuracy"] == 3 / 4
    assert found["specificity_covid"] == 1 / 2
    assert found["auroc"] == 3 / 4  # of the means: one of four pairs is the wrong way round
    metrics = CaseMetrics(("non_covid", "covid"))
    keys = torch.arange(4)
    metrics.update(torch.tensor(mean), torch.tensor(target), scan=keys, subject=keys)
    plain = {name: value.item() for name, value in metrics.compute().items()}
    assert case_scores(mean, target, ("non_covid", "covid")) == pytest.approx(plain, rel=1e-6, nan_ok=True)
