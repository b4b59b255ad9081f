"""The X-ray study on pictures as small as can be: combinations, one table, the warning, resuming, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from covidct.datamodules import CXRDataModule
from covidct.datasets import ManifestCXR
from covidct.errors import InputError, UsageError
from covidct.metrics import Estimate, triage_report
from covidct.report import ScoreBoard
from covidct.studies import StudyData, XRayTraining, plan_xray_trainings, write_score_board, xray_study
from covidct.studies.runs import TestPredictions
from covidct.studies.xray_figures import source_warning, xray_section
from tests.fakes.cohort import write_table
from tests.report.page import Page

CLASSES = ("normal", "covid")
ONE_READER = plan_xray_trainings(networks=("resnet18",), normalisations=("dataset",), channels=("grey",))
Done = tuple[Path, StudyData, ScoreBoard]
SIDE = 64


def pictures(folder: Path, subjects: int = 40) -> Path:
    """One picture of each subject; the sick have a bright mark outside the lungs, and nothing inside them differs."""
    rng, rows = np.random.default_rng(0), []
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[20:56, 8:28] = mask[20:56, 36:56] = 255
    for number in range(subjects):
        sick = number % 2
        picture = rng.integers(60, 120, (SIDE, SIDE)).astype(np.uint8)
        picture[2:14, 2:14] = 255 if sick else picture[2:14, 2:14]
        area = mask if number not in (1, 38) else np.where(np.arange(SIDE)[:, None] < 24, mask, 0).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        cv2.imwrite(str(folder / f"{number}-mask.png"), area)
        part = "test" if number >= subjects // 2 else "train"
        row = {"path": f"{number}.png", "label": CLASSES[sick], "subject": f"Doe-{number}", "split": part}
        rows.append({**row, "mask": f"{number}-mask.png"})
    return write_table(folder / "xrays.csv", rows)


def study(cohort: StudyData, out: Path, **changes: Any) -> ScoreBoard:  # noqa: ANN401
    small: dict[str, Any] = {"trainings": ONE_READER, "epochs": 6, "resamples": 200}
    options = {"task_options": {"learning_rate": 1e-3}, "trainer_options": {"accelerator": "cpu"}}
    return xray_study(cohort, out=out, **{**small, **options, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A finished study of one reader and three image variants."""
    folder = tmp_path_factory.mktemp("xrays")
    options = {"size": SIDE, "batch_size": 4, "mask_source": "file", "augment": False, "val_fraction": 0.0}
    cohort = StudyData(
        ManifestCXR(str(pictures(folder)), classes="covid_vs_rest"),
        CXRDataModule,
        {**options, "cache_dir": str(folder / "cache")},
    )
    return folder / "out", cohort, study(cohort, folder / "out")


def test_a_mark_outside_the_lungs_is_found_out(done: Done) -> None:
    """Facts 4.4, check 8: without lungs the accuracy goes to 1, on the lungs alone it stays at chance."""
    table = done[2].sections[0]
    scores = {row.name.rpartition("-")[2]: row.report.scores for row in table.rows}
    assert scores["no_lungs"]["accuracy"]["overall"].value > 0.9
    lungs = scores["lungs"]["auroc"]["macro"]
    assert lungs.low < 0.5 < lungs.high
    (warning,) = table.warnings
    assert "as good as" in warning
    assert "source of an image, not the disease" in warning


def test_small_lungs_are_scored_with_and_without(done: Done) -> None:
    whole, large = done[2].sections
    assert [section.name for section in done[2].sections] == ["all", "large_lungs"]
    assert whole.rows[0].report.cases == 20
    assert large.rows[0].report.cases == 19
    assert "the 1 image(s)" in large.text
    assert "on the same 19 images" in done[2].protocol[0], "training leaves small lungs out"


def test_a_second_start_trains_nothing(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    out, cohort, board = done

    def refuse(*_: object, **__: object) -> None:
        message = "a finished run is trained again"
        raise AssertionError(message)

    monkeypatch.setattr("covidct.studies.comparison.train_task", refuse)
    assert [row.report.to_dict() for row in study(cohort, out).sections[0].rows] == [
        row.report.to_dict() for row in board.sections[0].rows
    ]
    with pytest.raises(AssertionError, match="trained again"):
        study(cohort, out, seeds=(1,))


def test_the_files_say_it_too(done: Done, tmp_path: Path) -> None:
    page, record, table = write_score_board(done[2], tmp_path)
    assert done[2].sections[0].warnings[0] in Page(page).text
    assert json.loads(record.read_text())["sections"]["all"]["warnings"] == list(done[2].sections[0].warnings)
    assert "Doe-" not in page.read_text() + record.read_text() + table.read_text()


def test_the_validation_part_serves_where_there_is_no_test_part(done: Done, tmp_path: Path) -> None:
    _, cohort, _ = done
    halves = StudyData(
        cohort.dataset, CXRDataModule, {**cohort.options, "split": "subject", "val_fraction": 0.5, "test_fraction": 0.0}
    )
    one = ONE_READER[:1]
    with pytest.raises(UsageError, match="no test part"):
        study(halves, tmp_path, trainings=one, epochs=1)
    board = study(halves, tmp_path, trainings=one, epochs=1, part="val")
    assert board.sections[0].rows[0].report.cases == 20
    assert "validation part" in " ".join(board.protocol)


def test_images_without_lungs_end_the_study_or_are_left_out_and_counted(tmp_path: Path) -> None:
    table = pictures(tmp_path, subjects=16)
    for number in (2, 13):
        cv2.imwrite(str(tmp_path / f"{number}-mask.png"), np.zeros((SIDE, SIDE), dtype=np.uint8))
    options = {"size": SIDE, "batch_size": 4, "mask_source": "file", "val_fraction": 0.0}
    options["cache_dir"] = str(tmp_path / "cache")
    dataset = ManifestCXR(str(table), classes="covid_vs_rest")
    with pytest.raises(InputError, match="2 of 16 scans"):
        study(StudyData(dataset, CXRDataModule, options), tmp_path / "out", epochs=1)
    skipping = StudyData(dataset, CXRDataModule, {**options, "on_failure": "skip"})
    board = study(skipping, tmp_path / "out", epochs=1)
    assert {row.report.cases for row in board.sections[0].rows} == {7}
    assert "2 image(s) could not be used" in board.protocol[-1]


def test_lung_masks_are_needed(done: Done, tmp_path: Path) -> None:
    bare = {name: value for name, value in done[1].options.items() if name != "mask_source"}
    with pytest.raises(UsageError, match="needs lung masks"):
        study(StudyData(done[1].dataset, CXRDataModule, bare), tmp_path)
    with pytest.raises(UsageError, match="masking"):
        study(StudyData(done[1].dataset, CXRDataModule, {**bare, "masking": "lungs"}), tmp_path)


def test_all_combinations_are_planned_and_dark_covidnet_once() -> None:
    found = plan_xray_trainings(networks=("dark_covidnet", "densenet121"))
    assert len(found) == len({one.name for one in found}) == 3 + 2 * 2 * 3
    assert found[0].variant(3, {"learning_rate": 1.0, "class_weights": None}).options == {"num_classes": 3}
    weighted = found[0].variant(3, {"learning_rate": 1.0, "class_weights": "balanced"})
    assert weighted.options == {"num_classes": 3, "class_weights": "balanced"}
    last = found[-1].variant(2, {"learning_rate": 1.0})
    assert last.options["in_channels"] == 3
    assert last.options["normalisation"] == "dataset"
    assert last.data_options == {"masking": "no_lungs"}
    assert found[-1].title == "densenet121, data set statistics, RGB: without lungs"


@pytest.mark.parametrize(
    "change", [{"images": ("lung",)}, {"networks": ()}, {"channels": ("rgb", "rgb")}, {"normalisations": ("none",)}]
)
def test_unknown_empty_and_repeated_lists_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="at least one"):
        plan_xray_trainings(**change)


def predictions(right: int, total: int = 60, seed: int = 0) -> TestPredictions:
    """``right`` cases called as they are, the others not; probabilities unlike from case to case."""
    label = np.arange(total) % 2
    called = np.where(np.random.default_rng(seed).permutation(total) < right, label, 1 - label)
    sure = 0.6 + 0.3 * np.random.default_rng(seed + 1).random(total)
    positive = np.where(called == 1, sure, 1 - sure)
    return TestPredictions(
        CLASSES,
        tuple(map(str, range(total))),
        tuple(label.tolist()),
        tuple(range(total)),
        tuple(zip((1 - positive).tolist(), positive.tolist(), strict=True)),
    )


@pytest.mark.parametrize(
    ("without", "words"), [(58, "as good as"), (57, "not shown to be worse"), (45, "part of what tells"), (30, "")]
)
def test_the_warning_is_as_strong_as_the_figures(without: int, words: str) -> None:
    right = {"original": 58, "lungs": 40, "no_lungs": without}
    runs = {one: {0: predictions(right[one.image])} for one in ONE_READER}
    table = xray_section(runs, resamples=300)
    assert len(table.warnings) == bool(words)
    assert words in "".join(table.warnings)
    pairs = {(pair.a.rpartition("-")[2], pair.b.rpartition("-")[2]) for pair in table.differences}
    assert pairs == {("lungs", "original"), ("no_lungs", "original")}


def test_probabilities_are_averaged_over_seeds() -> None:
    one = XRayTraining("resnet18", "imagenet", "rgb", "original")
    first, second = predictions(40, seed=1), predictions(50, seed=5)
    table = xray_section({one: {0: first, 1: second}}, resamples=0)
    mean = (np.array(first.prob) + np.array(second.prob)) / 2
    right = float(np.mean(mean.argmax(1) == np.array(first.label)))
    assert table.rows[0].report.scores["accuracy"]["overall"].value == pytest.approx(right)
    assert set(table.rows[0].seeds) == {0, 1}
    assert table.warnings == ()


def test_nothing_is_said_without_an_interval() -> None:
    label, subject = np.arange(10) % 2, np.arange(10)
    report = triage_report(np.eye(2)[label], label, subject, CLASSES, resamples=0)
    assert source_warning("a", report, Estimate(0.0, float("nan"), float("nan"))) == ""
