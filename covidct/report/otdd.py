"""Distances of data sets on one page, as JSON and CSV, with a heat map of the label distances of each comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE
from covidct.report.curation_panels import write_panel
from covidct.report.heat_map import heat_cells, heat_gradient, label_distance_heat_map
from covidct.report.pages import write_page
from covidct.report.tables import write_csv, write_json
from covidct.report.words import facts

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from covidct.curation import SetComparison, Unreadable

__all__ = ("ComparedSet", "OtddReport", "write_otdd_csvs", "write_otdd_json", "write_otdd_page")

_DPI = 110


@dataclass(frozen=True, slots=True)
class ComparedSet:
    """A data set beside the first one.

    Attributes:
        name: what it is called.
        comparison: of the first set with it.
        nearest: share of the halves in which it is the nearest of all candidates; NaN where nothing is ranked, or a set
            has no halves.
    """

    name: str
    comparison: SetComparison
    nearest: float = math.nan


@dataclass(frozen=True, slots=True)
class OtddReport:
    """What the files show.

    Attributes:
        title: headline.
        text: what is asked.
        first: name of the first set, the target of a ranking: the rows of the heat maps.
        sets: the others, in the order of the page.
        floor: distance that sampling alone makes, see :class:`covidct.curation.SourceRanking`; NaN without one.
        confidence: of the intervals.
        resamples: number of halves.
        notes: further sentences.
        unreadable: name of a set to its entries that could not be read.
        run: what was run.
        ranked: whether the sets are candidates, nearest first.
    """

    title: str
    text: str
    first: str
    sets: tuple[ComparedSet, ...]
    floor: float = math.nan
    confidence: float = 0.95
    resamples: int = 0
    notes: tuple[str, ...] = ()
    unreadable: Mapping[str, Sequence[Unreadable]] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    ranked: bool = False


def write_otdd_page(report: OtddReport, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write ``otdd.html``, with the heat maps as tables, and each of them as a picture, ``heat_map_1.png``, ...

    Args:
        report: the distances.
        folder: where.

    Returns:
        The files, the page first.
    """
    page = Path(folder) / "otdd.html"
    pictures, shown = [], []
    for number, one in enumerate(report.sets, start=1):
        pictures.append(Path(folder) / f"heat_map_{number}.png")
        write_panel(_heat_map(report.first, one), pictures[-1], dpi=_DPI)
        distances = one.comparison.result.label_distance
        rows, columns = _named(one)
        ticks = [
            f"{value:.4g}" for value in (distances.min(), (distances.min() + distances.max()) / 2, distances.max())
        ]
        lines = list(zip(rows, heat_cells(distances), strict=True))
        shown.append({"set": one, "classes": _classes(one), "columns": columns, "lines": lines, "ticks": ticks})
    ends = [end for one in report.sets for end in _interval(one) if not math.isnan(end)]
    scale = max(ends) or 1.0
    write_page(
        "otdd.html",
        page,
        title=report.title,
        report=report,
        ranked=report.ranked,
        floor=None if math.isnan(report.floor) else report.floor,
        bars=[(one, *(value / scale for value in _interval(one))) for one in report.sets],
        divided=not any(math.isnan(one.comparison.high) for one in report.sets),
        shown=shown,
        gradient=heat_gradient(),
        failures=[
            (name, item.entry.id, item.public_reason) for name, each in report.unreadable.items() for item in each
        ],
        facts=facts(report.run),
    )
    return page, *pictures


def write_otdd_json(report: OtddReport, path: str | os.PathLike[str]) -> None:
    """Write distances, intervals, label distances and what is moved between classes.

    Args:
        report: the distances.
        path: the file to write.
    """
    record = {
        "kind": "covidct.data_set_distance",
        "version": 1,
        "research_use": RESEARCH_USE,
        "title": report.title,
        "first": report.first,
        "floor": report.floor,
        "confidence": report.confidence,
        "resamples": report.resamples,
        "sets": [
            {
                **_row(one),
                "classes": one.comparison.result.classes,
                "other_classes": one.comparison.result.other_classes,
                "label_distance": one.comparison.result.label_distance,
                "class_coupling": one.comparison.result.class_coupling,
                "same_class_nearest": one.comparison.same_class_nearest,
                "same_class_share": one.comparison.same_class_share,
                "subjects": one.comparison.subjects,
                "other_subjects": one.comparison.other_subjects,
                "dropped": one.comparison.result.dropped,
                "other_dropped": one.comparison.result.other_dropped,
            }
            for one in report.sets
        ],
        "notes": report.notes,
        "unreadable": [
            {"set": name, "id": item.entry.id, "reason": item.public_reason}
            for name, items in report.unreadable.items()
            for item in items
        ],
        "run": report.run,
    }
    write_json(record, path)


def write_otdd_csvs(report: OtddReport, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write ``otdd.csv``, a row per set, and ``label_distances.csv``, a row per pair of classes.

    Columns of the first: set, distance, low, high, halves_mean, nearest_share, samples, other_samples, fewest_subjects
    (of a class, in either set: what the interval rests on), solver, epsilon, research_use. Of the second: set, class,
    other_class, squared_distance, moved (share of all samples that go from one to the other), nearest_in_row,
    research_use.

    Args:
        report: the distances.
        folder: where.

    Returns:
        The files.
    """
    rows = [_row(one) for one in report.sets]
    pairs = [
        {
            "set": one.name,
            "class": label,
            "other_class": other,
            "squared_distance": float(result.label_distance[k, j]),
            "moved": float(result.class_coupling[k, j]),
            "nearest_in_row": bool(j == result.label_distance[k].argmin()),
        }
        for one in report.sets
        for result in (one.comparison.result,)
        for k, label in enumerate(result.classes)
        for j, other in enumerate(result.other_classes)
    ]
    paths = []
    for name, records in (("otdd.csv", rows), ("label_distances.csv", pairs)):
        paths.append(Path(folder) / name)
        with_notice = [{**record, "research_use": RESEARCH_USE} for record in records]
        write_csv(with_notice, paths[-1], columns=list(with_notice[0]))
    return tuple(paths)


def _row(one: ComparedSet) -> dict[str, Any]:
    """The numbers of one set."""
    found = one.comparison
    return {
        "set": one.name,
        "distance": found.result.distance,
        "low": found.low,
        "high": found.high,
        "halves_mean": found.halves_mean,
        "nearest_share": one.nearest,
        "samples": len(found.result.rows),
        "other_samples": len(found.result.columns),
        "fewest_subjects": found.fewest_subjects,
        "solver": found.result.solver,
        "epsilon": found.result.epsilon,
    }


def _interval(one: ComparedSet) -> tuple[float, float, float]:
    """Distance, low and high."""
    return one.comparison.result.distance, one.comparison.low, one.comparison.high


def _classes(one: ComparedSet) -> list[tuple[str, bool, float]]:
    """Classes that both sets have: name, whether the same class is nearest, and in what share of the halves."""
    found = one.comparison
    return [(str(label), met, found.same_class_share[label]) for label, met in found.same_class_nearest.items()]


def _named(one: ComparedSet) -> list[list[tuple[str, int]]]:
    """Classes of both sets with the number of their samples."""
    result = one.comparison.result
    counts = (result.class_coupling.sum(1) * len(result.rows), result.class_coupling.sum(0) * len(result.columns))
    return [
        [(str(label), round(float(count))) for label, count in zip(classes, numbers, strict=True)]
        for classes, numbers in zip((result.classes, result.other_classes), counts, strict=True)
    ]


def _heat_map(first: str, one: ComparedSet) -> Figure:
    """The label distances of one comparison."""
    return label_distance_heat_map(
        one.comparison.result.label_distance,
        *([f"{label}\nn = {count}" for label, count in names] for names in _named(one)),
        row_title=first,
        column_title=one.name,
        title="Distances between classes",
    )
