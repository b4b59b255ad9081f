"""The page, JSON and CSV of a score board show its reports and differences, and nothing else."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct import RESEARCH_USE
from covidct.metrics import mcnemar, score_difference, triage_report
from covidct.report import (
    ScoreBoard,
    ScoreDifference,
    ScoreRow,
    ScoreSection,
    write_score_board_csv,
    write_score_board_json,
    write_score_board_page,
)
from covidct.report.score_board import f1_chart
from tests.report.page import Page

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("normal", "cap", "covid")


@pytest.fixture(scope="module")
def board() -> ScoreBoard:
    """Two classifiers on 45 cases, the first with two seeds."""
    rng, target = np.random.default_rng(0), np.arange(45) % 3
    prob = [rng.dirichlet(np.ones(3), 45) + skill * np.eye(3)[target] for skill in (2.0, 0.3, 1.0)]
    prob = [values / values.sum(1, keepdims=True) for values in prob]
    reports = [triage_report(values, target, np.arange(45), NAMES, resamples=30) for values in prob]
    a, b = (values.argmax(1) for values in prob[:2])
    pair = ScoreDifference(
        "first",
        "second",
        score_difference(a, b, target, np.arange(45), NAMES, resamples=30),
        mcnemar(a == target, b == target),
        seeds={4: score_difference(a, a, target, np.arange(45), NAMES, resamples=30)},
    )
    rows = (
        ScoreRow("first", "First <one>", reports[0], note="member, weight 0.70", marked=True, seeds={4: reports[2]}),
        ScoreRow("second", "Second", reports[1]),
    )
    return ScoreBoard(
        title="A comparison",
        text="Which is better?",
        protocol=("Nobody was trained & tested on.",),
        sections=(ScoreSection("all", "All cases", "Some text.", rows, (pair,)),),
        run={"seeds": [4]},
        phantoms=True,
    )


def test_the_page_shows_protocol_scores_and_differences(board: ScoreBoard, tmp_path: Path) -> None:
    write_score_board_page(board, tmp_path / "study.html")
    page = Page(tmp_path / "study.html")
    section = board.sections[0]
    for row in section.rows:
        for metric, scope in (("accuracy", "overall"), ("f1", "macro"), ("auroc", "macro")):
            estimate = row.report.scores[metric][scope]
            assert f"{estimate.value:.3f}{estimate.low:.3f} to {estimate.high:.3f}" in page.text
    pair = section.differences[0]
    (line,) = [e.text for e in page.all("tr") if e.text.startswith("First <one>, Second")]
    assert f"{pair.f1.value:.3f}{pair.f1.low:.3f} to {pair.f1.high:.3f}" in line
    assert "Nobody was trained & tested on." in page.text
    assert "member, weight 0.70; macro F1 by seed:" in page.text
    assert "45 cases of 45 subjects: 15 Normal" in page.text
    assert "simulated test objects" in page.text
    assert RESEARCH_USE in page.text


def test_the_chart_has_a_line_and_a_dot_a_row_and_rings_for_seeds(board: ScoreBoard) -> None:
    chart = f1_chart(board.sections[0])
    assert [tick.text for tick in chart.y_ticks] == ["First <one>", "Second"]
    assert (len(chart.traces), len(chart.dots)) == (2, 3)
    assert [dot.hollow for dot in chart.dots] == [False, True, False]
    first = board.sections[0].rows[0].report.scores["f1"]["macro"].value
    assert chart.dots[0].x == chart.frame.at_x(first)


def test_json_and_csv_hold_all(board: ScoreBoard, tmp_path: Path) -> None:
    write_score_board_json(board, tmp_path / "study.json")
    record = json.loads((tmp_path / "study.json").read_text())
    section, pair = board.sections[0], board.sections[0].differences[0]
    assert record["research_use"] == RESEARCH_USE
    found = record["sections"]["all"]
    assert found["rows"]["first"]["report"] == section.rows[0].report.to_dict()
    assert found["differences"][0]["mcnemar"]["p_value"] == pair.mcnemar.p_value
    write_score_board_csv(board, tmp_path / "study.csv")
    with (tmp_path / "study.csv").open() as file:
        rows = list(csv.DictReader(file))
    value = {(row["row"], row["seed"], row["metric"], row["scope"]): row["value"] for row in rows}
    assert float(value["second", "all", "f1", "macro"]) == section.rows[1].report.scores["f1"]["macro"].value
    assert float(value["first", "4", "f1", "macro"]) == section.rows[0].seeds[4].scores["f1"]["macro"].value
    assert float(value["first - second", "all", "f1_difference", "macro"]) == pair.f1.value
    assert float(value["first - second", "4", "f1_difference", "macro"]) == 0
    assert len(value) == len(rows)
