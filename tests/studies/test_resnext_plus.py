"""The ablation study: its plan, the printed tables, slice scores against scikit-learn, and the whole on phantoms."""

from __future__ import annotations

import csv
import json
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from covidct.__main__ import main
from covidct.datasets import PhantomCTVolumes
from covidct.errors import UsageError
from covidct.functional import tone_map
from covidct.labels import BINARY_CLASSES
from covidct.metrics import compare_predictions, report_from_confusion
from covidct.studies import (
    ENHANCEMENT_ROWS,
    NETWORK_ROWS,
    PUBLISHED_TABLES,
    StudyData,
    plan_trainings,
    resnext_plus_study,
    write_ablation,
)
from covidct.studies.published_resnext_plus import VOLUMES
from covidct.studies.runs import TestPredictions
from covidct.studies.slice_scores import slice_labels, with_slice_scores
from tests.report.page import Page

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.report import Ablation


def test_each_network_is_trained_once() -> None:
    plan = plan_trainings((*NETWORK_ROWS, *ENHANCEMENT_ROWS), ("original", "lungs"))
    assert [(t.name, t.tests) for t in plan] == [
        ("proposed-none-original", ("none", "stochastic", "tone")),
        ("proposed-stochastic-original", ("stochastic",)),
        ("proposed-tone-original", ("tone",)),
        ("proposed-none-lungs", ("none", "stochastic", "tone")),
        ("proposed-stochastic-lungs", ("stochastic",)),
        ("proposed-tone-lungs", ("tone",)),
        ("N-SCA-none-original", ("none",)),
        ("N-MSCA-none-original", ("none",)),
        ("N-SLA-none-original", ("none",)),
    ]
    assert [t.name for t in plan_trainings(("N-SLA",), ("lungs",))] == ["N-SLA-none-original"]
    assert [t.tests for t in plan_trainings(("tone",), ("lungs",))] == [("none", "tone"), ("tone",)]


@pytest.mark.parametrize(("rows", "regions"), [(("N-XYZ",), ("original",)), ((), ("original",)), (("tone",), ("x",))])
def test_unknown_rows_and_regions_are_refused(rows: Any, regions: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match="make no study"):
        plan_trainings(rows, regions)


def test_printed_volume_rows_are_those_of_the_implied_confusion_matrices() -> None:
    negatives, positives = VOLUMES["negatives"], VOLUMES["positives"]
    matrices = {"N-MSCA": [[negatives, 0], [positives, 0]], "proposed": [[negatives, 0], [0, positives]]}
    for row, matrix in matrices.items():
        found, printed = report_from_confusion(matrix, BINARY_CLASSES, resamples=0), PUBLISHED_TABLES["Table 2"]
        for metric, value in printed["volume"][row].items():
            score = found.scores[metric]["overall" if metric == "accuracy" else "covid"].value
            assert math.isnan(score) or f"{score:.3f}" == f"{value:.3f}", (row, metric)


def test_printed_slice_rows_cannot_be_pooled() -> None:
    for table in PUBLISHED_TABLES.values():
        assert table["slice"]["proposed" if "proposed" in table["slice"] else "none"]["accuracy"] == 0.776
    proposed = PUBLISHED_TABLES["Table 2"]["slice"]["proposed"]
    assert proposed["accuracy"] < min(proposed["sensitivity"], proposed["specificity"])
    precision, sensitivity = proposed["precision"], proposed["sensitivity"]
    assert abs(2 * precision * sensitivity / (precision + sensitivity) - proposed["f1"]) > 0.02


def runs_and_labels() -> tuple[dict[str, dict[int, TestPredictions]], dict[str, np.ndarray[Any, Any]]]:
    """Two seeds of one network on six scans of 5 to 7 slices, the last three positive; a padded slice each."""
    rng = np.random.default_rng(0)
    ids, depth = [f"scan-{k}" for k in range(6)], [5, 6, 7, 5, 6, 7]
    labels = {
        name: np.r_[rng.integers(0, 2, n) * (k > 2), [-1] * (8 - n)]
        for k, (name, n) in enumerate(zip(ids, depth, strict=True))
    }
    runs = {}
    for seed in (3, 4):
        positive = rng.uniform(size=6)
        shares = [(*rng.dirichlet(np.ones(n)).tolist(), *[None] * (8 - n)) for n in depth]
        order = np.arange(6) if seed == 3 else np.arange(6)[::-1]
        runs[seed] = TestPredictions(
            BINARY_CLASSES,
            tuple(ids[k] for k in order),
            tuple(int(k > 2) for k in order),
            tuple(int(k) for k in order),
            tuple((1 - positive[k], positive[k]) for k in order),
            tuple(shares[k] for k in order),
        )
    return {"net": runs}, labels


def test_slice_scores_average_the_seeds_and_are_scikit_learns() -> None:
    runs, labels = runs_and_labels()
    first, second = runs["net"].values()
    prob = {"net": {3: np.array(first.prob), 4: second.ordered(first, what="")}}
    comparison = compare_predictions(prob, np.array(first.label), np.arange(6), BINARY_CLASSES, resamples=0)
    found = with_slice_scores(comparison, runs, labels, resamples=0).reports["net"].slices
    assert found is not None
    times, decided, truth = [], [], []
    for k, name in enumerate(first.id):
        pair = [run.attention[run.id.index(name)] for run in (first, second)]
        real = [[share for share in row if share is not None] for row in pair]
        mean = np.mean(real, axis=0)
        positive = np.mean([run.prob[run.id.index(name)][1] for run in (first, second)]) > 0.5
        times += (len(mean) * mean).tolist()
        decided += ((len(mean) * mean >= 1) & positive).tolist()
        truth += labels[name][: len(mean)].tolist()
        assert first.label[k] == int(name[-1] > "2")
    assert found.scores["auroc"]["pooled"].value == pytest.approx(roc_auc_score(truth, times))
    assert found.scores["accuracy"]["pooled"].value == pytest.approx(accuracy_score(truth, decided))
    assert found.scores["sensitivity"]["pooled"].value == pytest.approx(recall_score(truth, decided))


def test_without_attention_or_labels_there_are_no_slice_scores() -> None:
    runs, labels = runs_and_labels()
    first = runs["net"][3]
    comparison = compare_predictions(
        {"net": {3: np.array(first.prob)}}, first.label, first.id, BINARY_CLASSES, resamples=0
    )
    assert with_slice_scores(comparison, {"net": {3: first}}, {}, resamples=0).reports["net"].slices is None
    bare = TestPredictions(first.class_names, first.id, first.label, first.group, first.prob)
    assert with_slice_scores(comparison, {"net": {3: bare}}, labels, resamples=0).reports["net"].slices is None
    again = TestPredictions.from_dict(json.loads(json.dumps(vars_of(first))))
    assert again == first


def vars_of(run: TestPredictions) -> dict[str, Any]:
    return {name: getattr(run, name) for name in ("class_names", "id", "label", "group", "prob", "attention")}


def phantoms(cache: Path, **changes: Any) -> StudyData:  # noqa: ANN401
    classes = {"normal": "normal", "cap": "pneumonia", "covid": "pneumonia"}
    options = {"size": 32, "grid": "slices", "mask_source": "file", "val_fraction": 0.0, "test_fraction": 0.34}
    return StudyData(
        PhantomCTVolumes(9, shape=(12, 32, 32), classes=classes),
        options={**options, "augment": False, "max_slices": 8, "cache_dir": str(cache), **changes},
    )


def test_slice_labels_are_those_of_the_test_part(tmp_path: Path) -> None:
    cohort = phantoms(tmp_path)
    labels = slice_labels(cohort)
    data = cohort.build()
    data.prepare_data()
    data.setup("test")
    records = {record.id: record.source for record in data.records("test")}
    assert set(labels) == set(records)
    for name, found in labels.items():
        np.testing.assert_array_equal(found, cohort.dataset.load(records[name]).slice_label)


def test_cohorts_that_do_not_suit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sets enhancement itself"):
        resnext_plus_study(phantoms(tmp_path, enhancement="tone"), out=tmp_path)
    three = StudyData(PhantomCTVolumes(6), options={"grid": "slices"})
    with pytest.raises(UsageError, match="two classes"):
        resnext_plus_study(three, out=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [([], "--manifest FILE or --phantoms"), (["--phantoms", "--rows", "N-SLA", "cube"], "cube.* make no study")],
)
def test_command_refuses(arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "resnext-plus", "--out", str(tmp_path / "o"), *arguments]) == 2
    assert re.search(words, " ".join(capsys.readouterr().err.split()))


@pytest.mark.slow
def test_study_from_training_to_page(tmp_path: Path) -> None:
    studies: list[Ablation] = []

    def run() -> list[str]:
        done: list[str] = []
        study = resnext_plus_study(
            phantoms(tmp_path / "cache"),
            out=tmp_path,
            rows=("N-SLA", "proposed", "none", "tone"),
            regions=("original",),
            task_options={"backbone": "resnet10", "slice_size": 32},
            seeds=(0,),
            epochs=2,
            trainer_options={"accelerator": "cpu"},
            resamples=20,
            on_run=done.append,
        )
        write_ablation(study, tmp_path)
        studies.append(study)
        return done

    assert run() == ["proposed-none-original-seed0", "proposed-tone-original-seed0", "N-SLA-none-original-seed0"]
    record = json.loads((tmp_path / "study.json").read_text())
    own, moved = (record["sections"][f"trained_{name}_original"] for name in ("per_enhancement", "on_originals"))
    network = record["sections"]["network"]
    assert own["reports"]["none"] == moved["reports"]["none"] == network["reports"]["proposed"]
    assert own["reports"]["tone"] != moved["reports"]["tone"]
    assert "slices" in network["reports"]["proposed"]
    assert "slices" not in network["reports"]["N-SLA"]
    assert own["published"]["slice"]["tone"]["sensitivity"] == 0.773
    page = Page(tmp_path / "study.html")
    assert "no slice attention, so no slice scores" in page.text
    assert "simulated test objects" in page.text
    assert "as low as 0.40" in page.text  # Clopper-Pearson of 4 of 4
    plain, toned = (studies[0].slices[row] / 255 for row in ("none", "tone"))
    assert (tmp_path / "study.html").read_text().count("data:image/png") >= 2
    np.testing.assert_allclose(toned, tone_map(plain), atol=0.02)  # both are rounded to 8 bits
    with (tmp_path / "study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cell = {(r["section"], r["row"], r["seed"], r["level"], r["metric"], r["scope"]): r["value"] for r in rows}
    assert cell["network", "N-SLA", "published", "volume", "accuracy", ""] == "1.0"
    pooled = network["reports"]["proposed"]["slices"]["scores"]["auroc"]["pooled"]["value"]
    assert float(cell["network", "proposed", "mean", "slice", "auroc", "pooled"]) == pooled
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    run()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()} == kept
