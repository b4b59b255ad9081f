"""The paper's table from its matrices, and the confounder that plain pooling leans on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from covidct.errors import UsageError
from covidct.report import Study
from covidct.studies import (
    CONFOUNDER_DATA,
    CONFOUNDER_PHANTOMS,
    CONFOUNDER_TASK,
    PUBLISHED_CONFUSION,
    confounder_study,
    pooling_variants,
    published_reports,
    write_study,
)

# Table II as it is printed: accuracy, sensitivity, specificity, F1 in percent
PRINTED = {"mean": (94.6, 95.3, 92.8, 96.1), "mask": (95.5, 96.4, 93.3, 96.8)}


@pytest.mark.parametrize("pooling", ["mean", "mask"])
def test_the_published_table_follows_from_the_published_matrices(pooling: str) -> None:
    report = published_reports(resamples=0)[pooling]
    (tn, fp), (fn, tp) = PUBLISHED_CONFUSION[pooling]
    assert (tn + fp, fn + tp) == (597, 1465)  # of the 2062 scans of section III.B
    figures = ((tn + tp) / 2062, tp / 1465, tn / 597, 2 * tp / (2 * tp + fp + fn))
    found = [report.scores["accuracy"]["overall"].value]
    found += [report.scores[metric]["covid"].value for metric in ("sensitivity", "specificity", "f1")]
    assert found == pytest.approx(figures)
    for value, printed in zip(found, PRINTED[pooling], strict=True):
        cut = math.floor(1000 * value) / 10  # the paper rounds, but for 96.45, which it cuts off
        assert printed in (round(100 * value, 1), cut)


def test_the_variants_differ_in_the_pooling_alone() -> None:
    first, second = pooling_variants({"backbone": "resnet18"})
    assert (first.options["pooling"], second.options["pooling"]) == ("mean", "mask")
    assert {**first.options, "pooling": ""} == {**second.options, "pooling": ""}


def small(**options: Any) -> dict[str, Any]:  # noqa: ANN401
    """The shipped cohort with fewer subjects."""
    return {**CONFOUNDER_PHANTOMS, "num_subjects": 12, **options}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A study without meaning: every part once."""
    out = tmp_path_factory.mktemp("study")
    data = {**CONFOUNDER_DATA, "cache_dir": str(out / "cache")}
    task = {**CONFOUNDER_TASK, "slice_size": 40}
    made = confounder_study(
        small(), data, out=out, task_options=task, seeds=(0,), epochs=1, trainer_options={"accelerator": "cpu"}
    )
    return made, out


def test_both_trainings_are_tested_on_the_same_scans(study: tuple[Study, Path]) -> None:
    made, out = study
    runs = {}
    for section in ("plain", "confounded"):
        for file in (out / section / "runs").glob("*.json"):
            record = json.loads(file.read_text())
            runs[section, record["run"]] = record["tests"]["test"]
    assert set(runs) == {(s, f"{v}-seed0") for s in ("plain", "confounded") for v in ("mean", "mask")}
    first = next(iter(runs.values()))
    assert all((run["id"], run["label"]) == (first["id"], first["label"]) for run in runs.values())
    assert [section.name for section in made.sections] == ["plain", "confounded"]


def test_the_files_are_written_and_the_picture_shows_the_marker(study: tuple[Study, Path]) -> None:
    made, out = study
    assert [path.name for path in write_study(made, out)] == ["study.html", "study.json", "study.csv"]
    assert made.preview is not None
    row, column = (round(place / 3.7 + 55.5) for place in CONFOUNDER_PHANTOMS["marker_mm"])
    plain, marked = made.preview.slices
    assert marked[row, column] == 255
    assert plain[row, column] < 128
    assert not made.preview.lung_mask[:, row, column].any()


def test_no_correlation_is_no_confounder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no confounder"):
        confounder_study(small(train_correlation=0.0), CONFOUNDER_DATA, out=tmp_path)
