"""``write_score_board``: the files of a study that sets classifiers beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covidct.report import write_score_board_csv, write_score_board_json, write_score_board_page

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.report import ScoreBoard

__all__ = ("write_score_board",)


def write_score_board(board: ScoreBoard, out: Path) -> tuple[Path, ...]:
    """Write ``study.html``, ``study.json`` and ``study.csv``.

    Args:
        board: from :func:`gated_ensemble_study` or :func:`slice_classifier_study`.
        out: the folder.

    Returns:
        The three files.
    """
    paths = tuple(out / f"study.{suffix}" for suffix in ("html", "json", "csv"))
    write_score_board_page(board, paths[0])
    write_score_board_json(board, paths[1])
    write_score_board_csv(board, paths[2])
    return paths
