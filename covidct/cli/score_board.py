"""``print_score_board``: the tables of a study that sets classifiers beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covidct.cli.console import make_table, results

if TYPE_CHECKING:
    from covidct.metrics import Estimate
    from covidct.report import ScoreBoard

__all__ = ("print_score_board", "score_cell")


def print_score_board(board: ScoreBoard) -> None:
    """Print every section: scores with intervals, then differences of macro F1.

    Args:
        board: of a study.
    """
    from covidct.report.score_board import SHOWN

    console = results()
    for section in board.sections:
        table = make_table(section.title, "classifier", *(title for _, _, title in SHOWN), "note")
        for row in section.rows:
            cells = [score_cell(row.report.scores[metric][scope]) for metric, scope, _ in SHOWN]
            table.add_row(row.title, *cells, row.note)
        console.print(table)
        titles = {row.name: row.title for row in section.rows}
        for pair in section.differences:
            console.print(
                f"macro F1, {titles[pair.a]} minus {titles[pair.b]}: {score_cell(pair.f1)}, McNemar "
                f"p = {pair.mcnemar.p_value:.2g}",
                markup=False,
            )
        for warning in section.warnings:
            console.print(warning, markup=False, soft_wrap=True)


def score_cell(estimate: Estimate) -> str:
    """Value and interval."""
    from covidct.report.words import figure

    return f"{figure(estimate.value)} ({figure(estimate.low)} to {figure(estimate.high)})"
