"""``write_ablation_page`` and its JSON and CSV: ablations at volume and slice level beside a paper's tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scipy.stats import beta

from covidct import RESEARCH_USE
from covidct.report.pages import write_page
from covidct.report.pictures import data_uri
from covidct.report.tables import write_csv, write_json
from covidct.report.words import facts, metric_title

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from covidct.metrics import Estimate, PairedComparison, TriageReport

__all__ = (
    "Ablation",
    "AblationSection",
    "write_ablation_csv",
    "write_ablation_json",
    "write_ablation_page",
)

_COLUMNS = {
    "Table 1": ("accuracy", "precision", "recall", "f1", "sensitivity", "specificity", "auroc"),
    "Table 2": ("accuracy", "precision", "f1", "sensitivity", "specificity", "auroc"),
}
_LEVELS = (
    ("volume", "Volumes", ""),
    ("volume_mean", "Slices, mean of the volumes' own scores", "volume_mean"),
    ("pooled", "Slices, pooled", "pooled"),
)


@dataclass(frozen=True, slots=True)
class AblationSection:
    """One table of a study.

    Attributes:
        name: a short word, for JSON and CSV.
        title: headline.
        text: a sentence or two about what was trained and tested.
        comparison: the figures, in reports with slice-level scores where there are any.
        table: the paper's table whose shape it has: ``"Table 1"`` or ``"Table 2"``.
        published: ``"volume"`` and ``"slice"`` to row to metric to the printed value.
    """

    name: str
    title: str
    text: str
    comparison: PairedComparison
    table: str
    published: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ablation:
    """Everything that the files of the study show.

    Attributes:
        title: headline.
        text: what the study asks.
        sections: its tables.
        titles: row to what people call it.
        source: where the published figures stand.
        positives: volumes of the paper's test part that are positive; 0 where unknown.
        run: what made the study.
        phantoms: whether the scans are simulated.
        slices: row to one and the same test slice, (H, W) uint8, as that row's network sees it; not in the JSON.
    """

    title: str
    text: str
    sections: tuple[AblationSection, ...]
    titles: Mapping[str, str]
    source: str
    positives: int = 0
    run: Mapping[str, Any] = field(default_factory=dict)
    phantoms: bool = False
    slices: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Cell:
    """A figure with its interval, or a printed one without."""

    value: float
    estimate: Estimate | None


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a table; ``seeds`` are the AUROCs of single trainings, ``note`` why there are no figures."""

    title: str
    cells: Sequence[_Cell | None]
    seeds: Sequence[float] = ()
    note: str = ""
    printed: bool = False


def write_ablation_page(study: Ablation, path: str | os.PathLike[str]) -> None:
    """Write the tables with intervals, the printed figures below each row, and the paired tests, to one HTML file.

    Args:
        study: every figure but the printed ones comes from its reports and tests.
        path: the HTML file to write.
    """
    first = study.sections[0].comparison
    report = next(iter(first.reports.values()))
    write_page(
        "ablation.html",
        path,
        title=study.title,
        phantoms=study.phantoms,
        study=study,
        report=report,
        seeds=first.seeds,
        slices=[(study.titles.get(row, row), *one.shape, data_uri(one)) for row, one in study.slices.items()],
        sections=[(section, _columns(section), _levels(section, study.titles)) for section in study.sections],
        # Clopper-Pearson: all of n right leaves a sensitivity of at least the 2.5 % quantile of Beta(n, 1)
        least=float(beta.ppf(0.025, study.positives, 1)) if study.positives else None,
        facts=facts(study.run),
    )


def write_ablation_json(study: Ablation, path: str | os.PathLike[str]) -> None:
    """Write all reports and tests, and the printed figures.

    Args:
        study: the study.
        path: the file to write.
    """
    record = {
        "kind": "covidct.ablation",
        "version": 1,
        "research_use": RESEARCH_USE,
        "title": study.title,
        "source": study.source,
        "sections": {
            section.name: {
                "title": section.title,
                "text": section.text,
                "table": section.table,
                "published": section.published,
                **section.comparison.to_dict(),
            }
            for section in study.sections
        },
        "run": study.run,
    }
    write_json(record, path)


def write_ablation_csv(study: Ablation, path: str | os.PathLike[str]) -> None:
    """Write one row per figure: section, row, seed, level, metric, scope, value, low, high, research_use.

    ``seed`` is ``mean`` where all seeds are averaged and ``published`` for printed figures; ``level`` is ``volume`` or
    ``slice``, whose scopes are those of :func:`covidct.metrics.slice_report`.

    Args:
        study: the study.
        path: the file to write.
    """
    rows: list[dict[str, Any]] = []
    for section in study.sections:
        for name, report in section.comparison.reports.items():
            for seed, each in (("mean", report), *section.comparison.seed_reports[name].items()):
                head = {"section": section.name, "row": name, "seed": str(seed), "research_use": RESEARCH_USE}
                rows += [{**head, "level": "volume", **entry} for entry in each.table()]
                rows += [{**head, "level": "slice", **entry} for entry in _slice_entries(each)]
        for level, printed in section.published.items():
            for name, values in printed.items():
                head = {"section": section.name, "row": name, "seed": "published", "research_use": RESEARCH_USE}
                head |= {"level": level, "scope": {"volume": "", "slice": "volume_mean"}[level]}
                bare = {"low": None, "high": None}
                rows += [{**head, **bare, "metric": metric, "value": value} for metric, value in values.items()]
    columns = ["section", "row", "seed", "level", "metric", "scope", "value", "low", "high", "research_use"]
    write_csv(rows, path, columns=columns)


def _slice_entries(report: TriageReport) -> list[dict[str, Any]]:
    """Metric, scope and figures of the slice-level scores."""
    scores = {} if report.slices is None else report.slices.scores
    return [
        {"metric": metric, "scope": scope, "value": found.value, "low": found.low, "high": found.high}
        for metric, row in scores.items()
        for scope, found in row.items()
    ]


def _columns(section: AblationSection) -> list[str]:
    """Titles of a table's columns, those of the paper's and AUROC."""
    return ["Recall" if metric == "recall" else metric_title(metric) for metric in _COLUMNS[section.table]]


def _levels(section: AblationSection, titles: Mapping[str, str]) -> list[tuple[str, list[_Row]]]:
    """The parts of a table: volumes, and slices where anything has slice scores."""
    found, known = section.comparison, any(report.slices for report in section.comparison.reports.values())
    levels = []
    for level, title, scope in _LEVELS if known else _LEVELS[:1]:
        rows = []
        for name, report in found.reports.items():
            shown = titles.get(name, name)
            if scope and report.slices is None:
                rows.append(_Row(shown, (), note="no slice attention, so no slice scores"))
            else:
                cells = [_cell(report, metric, scope) for metric in _COLUMNS[section.table]]
                alone = [_cell(each, "auroc", scope) for each in found.seed_reports[name].values()]
                rows.append(_Row(shown, cells, [cell.value for cell in alone if cell is not None]))
            # the printed slice scores can only be means over volumes
            values = section.published.get({"volume": "volume", "volume_mean": "slice"}.get(level, ""), {}).get(name)
            if values:
                printed = [_Cell(values[m], None) if m in values else None for m in _COLUMNS[section.table]]
                rows.append(_Row(f"{shown}, published", printed, printed=True))
        levels.append((title, rows))
    return levels


def _cell(report: TriageReport, metric: str, scope: str) -> _Cell | None:
    """A score of the last class at volume level, or of a scope at slice level; None where there is none."""
    metric = "sensitivity" if metric == "recall" else metric  # one quantity under two names
    if scope:
        found = None if report.slices is None else report.slices.scores.get(metric, {}).get(scope)
    else:
        found = report.scores.get(metric, {}).get("overall" if metric == "accuracy" else report.class_names[-1])
    return None if found is None else _Cell(found.value, found)
