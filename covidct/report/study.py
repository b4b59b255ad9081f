"""``write_study_page``, ``write_study_json``, ``write_study_csv``: a comparison of variants beside a paper's table."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct import RESEARCH_USE
from covidct.report.charts import Frame, Tick
from covidct.report.figures import Chart, Dot, Trace
from covidct.report.pages import write_page
from covidct.report.pictures import pictures
from covidct.report.tables import write_csv, write_json
from covidct.report.words import class_title, facts
from covidct.result import Preview

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from covidct.metrics import Estimate, PairedComparison, TriageReport

__all__ = ("Study", "StudySection", "write_study_csv", "write_study_json", "write_study_page")

_TABLE = (("accuracy", "overall"), ("sensitivity", ""), ("specificity", ""), ("f1", ""), ("auroc", ""))
_COLOURS = ("var(--c0)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c1)", "var(--c5)")


@dataclass(frozen=True, slots=True)
class StudySection:
    """One comparison of a study.

    Attributes:
        name: a short word, for JSON and CSV.
        title: headline.
        text: a sentence or two about what was trained and tested.
        comparison: the figures.
    """

    name: str
    title: str
    text: str
    comparison: PairedComparison


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that the files of a study show.

    Attributes:
        title: headline.
        text: what the study asks.
        sections: its comparisons, all of the same variants and classes.
        titles: variant to what people call it.
        published: variant to the paper's report, where it has one.
        source: where the published figures stand.
        preview: sample slices, or None.
        preview_text: what they show.
        note: what the figures do not show; stands before them.
        run: what made the study.
        phantoms: whether the scans are simulated.
    """

    title: str
    text: str
    sections: tuple[StudySection, ...]
    titles: Mapping[str, str]
    published: Mapping[str, TriageReport] = field(default_factory=dict)
    source: str = ""
    preview: Preview | None = None
    preview_text: str = ""
    note: str = ""
    run: Mapping[str, Any] = field(default_factory=dict)
    phantoms: bool = False


def write_study_page(study: Study, path: str | os.PathLike[str]) -> None:
    """Write confusion matrices, tests and scores beside the published ones to one HTML file.

    Args:
        study: every figure on the page comes from its reports and tests.
        path: the HTML file to write.
    """
    first = study.sections[0].comparison
    write_page(
        "study.html",
        path,
        title=study.title,
        phantoms=study.phantoms,
        study=study,
        seeds=first.seeds,
        cohorts=first.pooling == "all cases",
        resamples=next(iter(first.reports.values())).resamples,
        confidence=next(iter(first.reports.values())).confidence,
        chart=auroc_chart(study),
        columns=[metric for metric, _ in _TABLE],
        sections=[(section, _rows(section.comparison, study)) for section in study.sections],
        published=[(study.titles.get(name, name), report, _cells(report)) for name, report in study.published.items()],
        pictures=[] if study.preview is None else pictures(study.preview),
        facts=facts(study.run),
    )


def write_study_json(study: Study, path: str | os.PathLike[str]) -> None:
    """Write all reports and tests of a study.

    Args:
        study: the study.
        path: the file to write.
    """
    record = {
        "kind": "covidct.study",
        "version": 1,
        "research_use": RESEARCH_USE,
        "title": study.title,
        "note": study.note,
        "source": study.source,
        "published": {name: report.to_dict() for name, report in study.published.items()},
        "sections": {
            section.name: {"title": section.title, "text": section.text, **section.comparison.to_dict()}
            for section in study.sections
        },
        "run": study.run,
    }
    write_json(record, path)


def write_study_csv(study: Study, path: str | os.PathLike[str]) -> None:
    """Write one row per figure, with the columns section, variant, seed, metric, scope, value, low, high, research_use.

    ``seed`` is ``mean`` where all seeds are joined (:attr:`covidct.metrics.PairedComparison.pooling`); the AUROCs of
    cohorts of their own are then means, with the lowest and the highest seed for low and high. Rows of a pair of
    variants have ``<a> - <b>`` for the variant: ``only_a``, ``only_b`` and ``p_value`` of McNemar's exact test, and
    ``auroc_difference``. The section of the paper's rows is ``published``.

    Args:
        study: the study.
        path: the file to write.
    """
    rows = [_row("published", name, "", entry) for name, report in study.published.items() for entry in report.table()]
    for section in study.sections:
        found = section.comparison
        for name in found.variants:
            reports = [("mean", found.reports[name]), *found.seed_reports[name].items()]
            rows += [_row(section.name, name, str(k), entry) for k, report in reports for entry in report.table()]
        for test in found.tests:
            pair, seed = f"{test.a} - {test.b}", "mean" if test.seed is None else str(test.seed)
            values = {name: getattr(test.mcnemar, name) for name in ("only_a", "only_b", "p_value")}
            rows += [
                _row(section.name, pair, seed, {"metric": name, "scope": "overall", "value": value})
                for name, value in values.items()
            ]
            difference, last = test.auroc_difference, found.reports[test.a].class_names[-1]
            entry = {"metric": "auroc_difference", "scope": last, "value": difference.value}
            rows.append(_row(section.name, pair, seed, {**entry, "low": difference.low, "high": difference.high}))
    columns = ["section", "variant", "seed", "metric", "scope", "value", "low", "high", "research_use"]
    write_csv(rows, path, columns=columns)


def auroc_chart(study: Study) -> Chart:
    """AUROC of the last class, a row per section and variant: all seeds with their interval, and each seed."""
    entries = [(section, name) for section in study.sections for name in section.comparison.variants]
    variants = list(study.sections[0].comparison.variants)
    frame = Frame(width=640, height=64 + 46 * len(entries), y=(0, len(entries)), margin=(8, 6, 10, 54))
    traces, dots, ticks = [], [], []
    for row, (section, name) in enumerate(entries):
        report = section.comparison.reports[name]
        scope, colour = report.class_names[-1], _COLOURS[variants.index(name) % len(_COLOURS)]
        estimate, level = report.scores["auroc"][scope], len(entries) - row - 0.68
        ticks.append(Tick(frame.at_y(len(entries) - row), f"{section.title}: {study.titles.get(name, name)}"))
        traces.append(Trace("", colour, frame.line((estimate.low, estimate.high), (level, level))))
        seeds = [(f"seed {k}", r.scores["auroc"][scope]) for k, r in section.comparison.seed_reports[name].items()]
        for text, found in chain([("all seeds", estimate)], seeds):
            if np.isfinite(found.value):
                place = frame.at_x(found.value), frame.at_y(level)
                dots.append(Dot(*place, 4.5, colour, f"{text}: {found.value:.3f}", hollow=text != "all seeds"))
    positive = study.sections[0].comparison.reports[variants[0]].class_names[-1]
    title = f"AUROC of {class_title(positive)} on the test part"
    marks = frame.x_ticks((0, 0.2, 0.4, 0.5, 0.6, 0.8, 1))
    return Chart(frame, title, title, "", marks, ticks, traces=traces, dots=dots, wide=True)


def _rows(comparison: PairedComparison, study: Study) -> list[tuple[str, TriageReport, list[Estimate | None]]]:
    """Title, report and table cells of each variant."""
    return [(study.titles.get(name, name), report, _cells(report)) for name, report in comparison.reports.items()]


def _cells(report: TriageReport) -> list[Estimate | None]:
    """The scores of the table; None where a report has none."""
    last = report.class_names[-1]
    return [report.scores.get(metric, {}).get(scope or last) for metric, scope in _TABLE]


def _row(section: str, variant: str, seed: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the CSV."""
    ends = {"low": None, "high": None, "research_use": RESEARCH_USE}
    return {"section": section, "variant": variant, "seed": seed, **ends, **entry}
