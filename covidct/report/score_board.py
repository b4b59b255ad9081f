"""``write_score_board_page`` and its JSON and CSV: classifiers beside each other by accuracy, macro F1 and AUROC."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct import RESEARCH_USE
from covidct.report.charts import Frame, Tick
from covidct.report.figures import Chart, Dot, Trace
from covidct.report.pages import write_page
from covidct.report.tables import write_csv, write_json
from covidct.report.words import facts

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from covidct.metrics import Estimate, McNemar, TriageReport

__all__ = (
    "ScoreBoard",
    "ScoreDifference",
    "ScoreRow",
    "ScoreSection",
    "write_score_board_csv",
    "write_score_board_json",
    "write_score_board_page",
)

SHOWN = (("accuracy", "overall", "Accuracy"), ("f1", "macro", "Macro F1"), ("auroc", "macro", "Macro AUROC"))
"""Metric, scope and title of the columns."""

_COLOURS = ("var(--c0)", "var(--c2)")  # of a row, and of a row that stands out


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A classifier, or several that decide together.

    Attributes:
        name: a short word, for JSON and CSV.
        title: what people call it.
        report: its scores.
        note: what else is known of it, such as its weight.
        marked: whether it stands out.
        seeds: reports of single trainings, by seed.
    """

    name: str
    title: str
    report: TriageReport
    note: str = ""
    marked: bool = False
    seeds: Mapping[int, TriageReport] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoreDifference:
    """Two rows of a section on the same cases.

    Attributes:
        a: name of the first row.
        b: name of the second row.
        f1: macro F1 of the first minus that of the second, with a paired interval over subjects.
        mcnemar: exact test on who is right.
        seeds: ``f1`` of single trainings, by seed.
    """

    a: str
    b: str
    f1: Estimate
    mcnemar: McNemar
    seeds: Mapping[int, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoreSection:
    """One table: classifiers on the same cases.

    Attributes:
        name: a short word, for JSON and CSV.
        title: headline.
        text: what was trained and scored on whom.
        rows: the classifiers, all on the same cases.
        differences: between them.
        warnings: what the reader of the table must know beside it.
    """

    name: str
    title: str
    text: str
    rows: tuple[ScoreRow, ...]
    differences: tuple[ScoreDifference, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoreBoard:
    """Everything that the files of a study show.

    Attributes:
        title: headline.
        text: what the study asks.
        protocol: sentences that say who was trained, chosen and scored on what.
        sections: its tables.
        auroc_text: what the interval of the AUROC is, where it is another than that of the other scores.
        run: what made the study.
        phantoms: whether the scans are simulated.
    """

    title: str
    text: str
    protocol: tuple[str, ...]
    sections: tuple[ScoreSection, ...]
    auroc_text: str = ""
    run: Mapping[str, Any] = field(default_factory=dict)
    phantoms: bool = False


def write_score_board_page(board: ScoreBoard, path: str | os.PathLike[str]) -> None:
    """Write the protocol, and of each section a chart of macro F1, the scores with intervals and the differences.

    Args:
        board: every figure on the page comes from its reports and differences.
        path: the HTML file to write.
    """
    titles = [{row.name: row.title for row in section.rows} for section in board.sections]
    write_page(
        "score_board.html",
        path,
        title=board.title,
        phantoms=board.phantoms,
        board=board,
        columns=[title for _, _, title in SHOWN],
        sections=[
            (section, f1_chart(section), [(row, _cells(row.report)) for row in section.rows], names)
            for section, names in zip(board.sections, titles, strict=True)
        ],
        facts=facts(board.run),
    )


def write_score_board_json(board: ScoreBoard, path: str | os.PathLike[str]) -> None:
    """Write all reports and differences.

    Args:
        board: the study.
        path: the file to write.
    """
    record = {
        "kind": "covidct.score_board",
        "version": 1,
        "research_use": RESEARCH_USE,
        "title": board.title,
        "protocol": board.protocol,
        "sections": {section.name: _section_record(section) for section in board.sections},
        "run": board.run,
    }
    write_json(record, path)


def write_score_board_csv(board: ScoreBoard, path: str | os.PathLike[str]) -> None:
    """Write one row per figure, with the columns section, row, seed, metric, scope, value, low, high, research_use.

    ``seed`` is ``all``, or that of a single training. A difference has ``<a> - <b>`` for the row, and the metrics
    ``f1_difference`` and ``p_value`` (McNemar's exact test).

    Args:
        board: the study.
        path: the file to write.
    """
    rows: list[dict[str, Any]] = []
    bare = {"low": None, "high": None, "research_use": RESEARCH_USE}
    for section in board.sections:
        for row in section.rows:
            for seed, report in (("all", row.report), *row.seeds.items()):
                head = {**bare, "section": section.name, "row": row.name, "seed": str(seed)}
                rows += [{**head, **entry} for entry in report.table()]
        for pair in section.differences:
            head = {**bare, "section": section.name, "row": f"{pair.a} - {pair.b}"}
            for seed, f1 in (("all", pair.f1), *pair.seeds.items()):
                rows.append({**head, "seed": str(seed), "metric": "f1_difference", "scope": "macro", **asdict(f1)})
            p_value = {"metric": "p_value", "scope": "overall", "value": pair.mcnemar.p_value}
            rows.append({**head, "seed": "all", **p_value})
    columns = ["section", "row", "seed", "metric", "scope", "value", "low", "high", "research_use"]
    write_csv(rows, path, columns=columns)


def f1_chart(section: ScoreSection) -> Chart:
    """Macro F1 of each row with its interval, and of single trainings as rings."""
    count = len(section.rows)
    frame = Frame(width=640, height=64 + 30 * count, y=(0, count), margin=(8, 6, 10, 54))
    traces, dots, ticks = [], [], []
    for index, row in enumerate(section.rows):
        level, colour = count - index - 0.7, _COLOURS[row.marked]
        ticks.append(Tick(frame.at_y(count - index), row.title))
        estimate = row.report.scores["f1"]["macro"]
        if np.isfinite(estimate.low) and np.isfinite(estimate.high):
            traces.append(Trace("", colour, frame.line((estimate.low, estimate.high), (level, level))))
        single = [(f"seed {seed}", report.scores["f1"]["macro"]) for seed, report in row.seeds.items()]
        for text, found in [(row.title, estimate), *single]:
            if np.isfinite(found.value):
                place = frame.at_x(found.value), frame.at_y(level)
                dots.append(Dot(*place, 4.5, colour, f"{text}: {found.value:.3f}", hollow=text != row.title))
    title = f"Macro F1: {section.title}"
    marks = frame.x_ticks((0, 0.2, 0.4, 0.6, 0.8, 1))
    return Chart(frame, title, "Macro F1", "", marks, ticks, traces=traces, dots=dots, wide=True)


def _cells(report: TriageReport) -> list[Estimate]:
    """The scores of the table."""
    return [report.scores[metric][scope] for metric, scope, _ in SHOWN]


def _section_record(section: ScoreSection) -> dict[str, Any]:
    """A section as plain data."""
    return {
        "title": section.title,
        "text": section.text,
        "warnings": section.warnings,
        "rows": {
            row.name: {
                "title": row.title,
                "note": row.note,
                "report": row.report.to_dict(),
                "seeds": {str(seed): report.to_dict() for seed, report in row.seeds.items()},
            }
            for row in section.rows
        },
        "differences": [
            {
                "a": pair.a,
                "b": pair.b,
                "f1": asdict(pair.f1),
                "mcnemar": asdict(pair.mcnemar),
                "seeds": {str(seed): asdict(f1) for seed, f1 in pair.seeds.items()},
            }
            for pair in section.differences
        ],
    }
