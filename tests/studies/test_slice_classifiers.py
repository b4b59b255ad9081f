"""The study of slice classifiers on pictures as small as can be: folds, choice, fusion, resuming, files, refusals."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.metrics import f1_score

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import ManifestSlices
from covidct.errors import UsageError
from covidct.report import ScoreBoard
from covidct.studies import SliceCombination, StudyData, combine, slice_classifier_study, write_score_board
from covidct.studies.runs import TestPredictions
from covidct.studies.slice_classifier_figures import choose_members, cross_validation_section, join_folds
from covidct.studies.slice_classifier_figures import test_section as section_of_test
from tests.fakes.cohort import write_table
from tests.report.page import Page

WORDS = ("normal", "cap", "covid")
TWO = combine(backbones=("resnet18",), attentions=("none", "se"), losses=("focal",), optimizers=("sgd",))
Done = tuple[Path, StudyData, ScoreBoard]


def pictures(folder: Path, subjects: int = 18) -> Path:
    """Two pictures of each subject, brighter from class to class."""
    rng, rows = np.random.default_rng(0), []
    for number in range(2 * subjects):
        subject = number // 2
        picture = rng.integers(0, 60, (32, 32)) + 60 * (subject % 3)
        cv2.imwrite(str(folder / f"{number}.png"), picture.astype(np.uint8))
        rows.append({"path": f"{number}.png", "label": WORDS[subject % 3], "subject": f"Doe-{subject}"})
    return write_table(folder / "slices.csv", rows)


def study(cohort: StudyData, out: Path, **changes: Any) -> ScoreBoard:  # noqa: ANN401
    small: dict[str, Any] = {"combinations": TWO, "folds": 2, "members": 2, "epochs": 1, "resamples": 20}
    return slice_classifier_study(cohort, out=out, trainer_options={"accelerator": "cpu"}, **{**small, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A finished study of two combinations and two folds."""
    folder = tmp_path_factory.mktemp("slices")
    options = {"window": None, "size": 32, "batch_size": 8, "test_fraction": 0.34, "cache_dir": str(folder / "cache")}
    cohort = StudyData(ManifestSlices(str(pictures(folder))), CTSliceDataModule, options)
    return folder / "out", cohort, study(cohort, folder / "out")


def kept(out: Path) -> dict[str, dict[str, Any]]:
    """Run name to its record."""
    return {
        record["run"]: record for record in (json.loads(file.read_text()) for file in (out / "runs").glob("*.json"))
    }


def figures(board: ScoreBoard) -> list[dict[str, Any]]:
    """All reports."""
    return [row.report.to_dict() for section in board.sections for row in section.rows]


def subjects_of(cohort: StudyData) -> dict[str, str]:
    """Record to its subject."""
    return {record.id: record.subject for record in cohort.dataset.records}


def test_folds_are_the_same_for_all_and_no_subject_is_on_two_sides(done: Done) -> None:
    out, cohort, _ = done
    subject, runs = subjects_of(cohort), kept(out)
    assert set(runs) == {f"resnet18-{block}-focal-sgd-fold{fold}" for block in ("none", "se") for fold in (0, 1)}
    ids = {name: {part: set(cases["id"]) for part, cases in run["tests"].items()} for name, run in runs.items()}
    for fold in (0, 1):
        assert ids[f"resnet18-none-focal-sgd-fold{fold}"] == ids[f"resnet18-se-focal-sgd-fold{fold}"]
    first, second = (ids[f"resnet18-none-focal-sgd-fold{fold}"] for fold in (0, 1))
    assert first["test"] == second["test"]
    parts = [{subject[name] for name in part} for part in (first["held_out"], second["held_out"], first["test"])]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 18
    for fold, data in enumerate(cohort.build(num_folds=2, fold=fold) for fold in (0, 1)):
        data.prepare_data()
        data.setup("fit")
        trained = {record.subject for record in data.records("train")}
        assert trained == parts[1 - fold], "what is trained on is neither predicted nor tested"


def test_the_table_is_made_of_out_of_fold_predictions(done: Done) -> None:
    out, _, board = done
    runs, (table, tested) = kept(out), board.sections
    assert [section.name for section in board.sections] == ["cross_validation", "test"]
    for row in table.rows:
        cases = [runs[f"{row.name}-fold{fold}"]["tests"]["held_out"] for fold in (0, 1)]
        truth = np.concatenate([one["label"] for one in cases])
        called = np.concatenate([np.array(one["prob"]).argmax(1) for one in cases])
        assert row.report.scores["f1"]["macro"].value == pytest.approx(f1_score(truth, called, average="macro"))
        assert row.report.scores["accuracy"]["overall"].low <= row.report.scores["accuracy"]["overall"].value
        mean = np.mean([runs[f"{row.name}-fold{fold}"]["tests"]["test"]["prob"] for fold in (0, 1)], axis=0)
        (alone,) = [one for one in tested.rows if one.name == row.name]
        label = runs[f"{row.name}-fold0"]["tests"]["test"]["label"]
        assert alone.report.scores["accuracy"]["overall"].value == pytest.approx(np.mean(mean.argmax(1) == label))
    assert sum(board.run["members"].values()) == pytest.approx(1)


def test_a_second_start_trains_nothing(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    out, cohort, board = done

    def refuse(*_: object, **__: object) -> None:
        message = "a finished run is trained again"
        raise AssertionError(message)

    monkeypatch.setattr("covidct.studies.slice_classifiers.train_task", refuse)
    assert figures(study(cohort, out)) == figures(board)
    with pytest.raises(AssertionError, match="trained again"):
        study(cohort, out, seed=1)


def test_the_files_say_how_it_was_done(done: Done, tmp_path: Path) -> None:
    page, record, table = write_score_board(done[2], tmp_path)
    text = Page(page).text
    assert "The test part is set aside first" in text
    assert "Fusion of the 2 members" in text
    assert "Doe-" not in page.read_text() + record.read_text() + table.read_text()
    assert set(json.loads(record.read_text())["sections"]) == {"cross_validation", "test"}
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["section"] == "test"]
    assert {row["row"] for row in rows} >= {"fusion", "resnet18-se-focal-sgd", "fusion - resnet18-se-focal-sgd"}


def judged(skills: Mapping[str, float]) -> dict[SliceCombination, list[dict[str, TestPredictions]]]:
    """Runs of two folds and a test part, each combination right in a share of the cases."""
    rng = np.random.default_rng(0)
    runs: dict[SliceCombination, list[dict[str, TestPredictions]]] = {}
    for name, skill in skills.items():
        one = SliceCombination(name, "none", "focal", "sgd")
        runs[one] = []
        for fold in (0, 1):
            parts = {}
            for part, count in (("held_out", 30), ("test", 60)):
                label = np.arange(count) % 3
                called = np.where(np.arange(count) < skill * count, label, (label + 1) % 3)
                prob = 0.1 + 0.7 * np.eye(3)[called]
                order = rng.permutation(count)
                parts[part] = TestPredictions(
                    WORDS,
                    tuple(f"{part}-{fold * (part == 'held_out')}-{k}" for k in order),
                    tuple(label[order].tolist()),
                    tuple(np.argsort(order).argsort()[order].tolist()),
                    tuple(map(tuple, prob[order].tolist())),
                )
            runs[one].append(parts)
    return runs


def test_the_best_out_of_fold_are_chosen_and_the_fusion_is_scored_beside_them() -> None:
    held_out, tested, found = join_folds(judged({"weak": 0.4, "best": 0.9, "good": 0.8}))
    assert len(set(held_out.subject.tolist())) == 60, "subjects of two folds are not the same"
    chosen = choose_members(found, held_out, 2)
    assert [one.backbone for one in chosen] == ["best", "good"]
    weights = np.array([0.75, 0.25])
    table = cross_validation_section(found, held_out, chosen, weights, 0)
    assert [row.note for row in table.rows] == ["", "member, weight 0.75", "member, weight 0.25"]
    section = section_of_test(found, tested, chosen, weights, "mean", 0)
    fused = np.average([found[one].test for one in chosen], axis=0, weights=weights)
    assert section.rows[0].report.scores["accuracy"]["overall"].value == pytest.approx(
        np.mean(fused.argmax(1) == tested.label)
    )
    assert [pair.b for pair in section.differences] == [one.name for one in chosen]


def test_the_combinations_are_all_of_the_lists() -> None:
    found = combine(
        backbones=("resnet18", "densenet121"),
        attentions=("none", "cbam"),
        losses=("cross_entropy",),
        optimizers=("adam", "sgd"),
    )
    assert len(found) == len({one.name for one in found}) == 8
    assert found[-1].title == "densenet121 CBAM, cross-entropy, SGD"
    assert found[-1].options(3)["attention"] == "cbam"
    assert TWO[0].options(2)["focal_gamma"] == 2


@pytest.mark.parametrize(
    "change", [{"attentions": ("senet",)}, {"losses": ()}, {"optimizers": ("adam", "adam")}, {"backbones": ()}]
)
def test_unknown_empty_and_repeated_lists_are_refused(change: dict[str, Any]) -> None:
    lists = {"backbones": ("resnet18",), "attentions": ("se",), "losses": ("focal",), "optimizers": ("sgd",)}
    with pytest.raises(UsageError, match="make no study"):
        combine(**{**lists, **change})


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"folds": 1}, "folds"), ({"members": 3}, "members"), ({"combinations": ()}, "combination")],
)
def test_what_is_no_study_is_refused(done: Done, changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        study(done[1], tmp_path, **changes)


def test_a_cohort_needs_a_test_part(done: Done, tmp_path: Path) -> None:
    cohort = StudyData(done[1].dataset, CTSliceDataModule, {**done[1].options, "test_fraction": 0.0})
    with pytest.raises(UsageError, match="no test part"):
        study(cohort, tmp_path)
