"""The gated ensemble against one model, on phantoms as small as can be: protocol, pairing, resuming, files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from covidct.errors import UsageError
from covidct.report import ScoreBoard
from covidct.studies import gated_ensemble_study, write_score_board
from tests.report.page import Page

SMALL: dict[str, Any] = {"seeds": (0, 1), "epochs": 1, "trainer_options": {"accelerator": "cpu"}, "resamples": 20}
PHANTOMS = {"num_subjects": 24, "shape": (6, 40, 40)}
Done = tuple[Path, ScoreBoard, list[str]]


def study(out: Path, **changes: Any) -> ScoreBoard:  # noqa: ANN401
    data = {"size": 32, "max_slices": 3, "batch_size": 4, "test_fraction": 0.5, "cache_dir": str(out.parent / "cache")}
    return gated_ensemble_study(PHANTOMS, out=out, **{**SMALL, "data_options": data, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A study of one look."""
    out, runs = tmp_path_factory.mktemp("gated") / "out", list[str]()
    return out, study(out, looks=("swapped",), on_run=runs.append), runs


def kept(out: Path) -> dict[str, dict[str, Any]]:
    """Run name to its record."""
    return {
        record["run"]: record for record in (json.loads(file.read_text()) for file in (out / "runs").glob("*.json"))
    }


@pytest.mark.slow
def test_both_systems_judge_the_same_held_out_subjects(done: Done) -> None:
    out, _, runs = done
    assert runs == [f"swapped-seed{seed}-{system}" for seed in (0, 1) for system in ("gated", "single")]
    cases = {name: record["tests"]["test"] for name, record in kept(out).items()}
    for seed in (0, 1):
        assert cases[f"swapped-seed{seed}-gated"]["id"] == cases[f"swapped-seed{seed}-single"]["id"]
        assert len(cases[f"swapped-seed{seed}-gated"]["id"]) == 12
    assert len(list((out / "systems").glob("*/experts/*.ckpt"))) == 4, "an expert a side and seed"


@pytest.mark.slow
def test_figures_follow_from_the_kept_predictions(done: Done) -> None:
    out, board, _ = done
    (section,) = board.sections
    (pair,) = section.differences
    runs, scores = kept(out), {}
    for row in section.rows:
        cases = [runs[f"swapped-seed{seed}-{row.name}"]["tests"]["test"] for seed in (0, 1)]
        truth = [np.array(one["label"]) for one in cases]
        called = [np.array(one["prob"]).argmax(1) for one in cases]
        scores[row.name] = f1_score(np.concatenate(truth), np.concatenate(called), average="macro")
        assert row.report.scores["f1"]["macro"].value == pytest.approx(scores[row.name])
        assert row.report.subjects == 24
        assert [one.scores["f1"]["macro"].value for one in row.seeds.values()] == pytest.approx(
            [f1_score(t, c, average="macro") for t, c in zip(truth, called, strict=True)]
        )
    assert pair.f1.value == pytest.approx(scores["gated"] - scores["single"])


@pytest.mark.slow
def test_the_files_show_it_and_a_second_start_trains_nothing(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, board, _ = done

    def refuse(*_: object, **__: object) -> None:
        message = "a finished run is trained again"
        raise AssertionError(message)

    monkeypatch.setattr("covidct.studies.gated_ensemble.train_task", refuse)
    monkeypatch.setattr("covidct.studies.gated_ensemble.train_gated_system", refuse)
    again = study(out, looks=("swapped",))
    assert again.sections[0].differences == board.sections[0].differences
    page, record, table = write_score_board(board, tmp_path)
    assert "simulated test objects" in Page(page).text
    assert "nothing is chosen" in Page(page).text
    section = json.loads(record.read_text())["sections"]["swapped"]
    assert section["differences"][0]["f1"]["value"] == pytest.approx(board.sections[0].differences[0].f1.value)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["row"] for row in rows} == {"gated", "single", "gated - single"}
    assert {row["seed"] for row in rows} == {"all", "0", "1"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": ()}, "seeds"),
        ({"looks": ("other",)}, "looks"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_what_is_no_study_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        study(tmp_path / "out", **changes)


def test_the_study_sets_look_and_seed_itself(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="low_look"):
        gated_ensemble_study({"low_look": "same"}, out=tmp_path)
