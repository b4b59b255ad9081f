"""The tables of an exploratory page and of its files: counts, sizes, kinds of files and scanners, sides of contrast."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.report.eda_charts import label_colour
from covidct.report.eda_images import label_title

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from covidct.curation import CohortStatistics
    from covidct.curation.statistics import Counts, ScanRecord

__all__ = (
    "CountBlock",
    "CountRow",
    "ValueTable",
    "contrast_sides",
    "count_blocks",
    "count_records",
    "sides_of_subjects",
    "size_rows",
    "value_tables",
)

_MOST_SITES, _MOST_VALUES = 20, 8
_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
_NOT_SAID = "not said"


@dataclass(frozen=True, slots=True)
class CountRow:
    """Subjects, scans and slices of one class, each with its share of the largest number in the block."""

    title: str
    colour: str
    counts: Counts
    shares: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class CountBlock:
    """Rows under one heading: all classes, a split or a site."""

    title: str
    rows: Sequence[CountRow]


@dataclass(frozen=True, slots=True)
class ValueTable:
    """How often each value occurs in each class: rows of (value, counts by class, total)."""

    name: str
    title: str
    rows: Sequence[tuple[str, Sequence[int], int]]


def count_blocks(found: CohortStatistics) -> list[CountBlock]:
    """Classes of the whole cohort, then of each split and of the twenty largest sites; the CSV has all of them."""
    blocks = [_block("All", found, found.counts("label"))]
    for name, heading in (("split", "Split"), ("site", "Site")):
        together: dict[str, Counts] = {key[0]: value for key, value in found.counts(name).items()}  # type: ignore[arg-type]
        if set(together) == {""}:
            continue
        order = sorted(together, key=lambda word: (word == "", -together[word].scans, word))
        crossed = found.counts(name, "label")  # type: ignore[arg-type]
        for word in order[: _MOST_SITES if name == "site" else None]:
            counts = {key[1:]: value for key, value in crossed.items() if key[0] == word}
            blocks.append(_block(f"{heading}: {word or _NOT_SAID}", found, counts))
    return blocks


def _block(title: str, found: CohortStatistics, counts: dict[tuple[str, ...], Counts]) -> CountBlock:
    """One row per class that occurs."""
    most = [max(getattr(c, name) for c in counts.values()) or 1 for name in ("subjects", "scans", "slices")]
    rows = []
    for index, label in enumerate(found.labels):
        if (label,) in counts:
            one = counts[label,]
            shares = (one.subjects / most[0], one.scans / most[1], one.slices / most[2])
            rows.append(CountRow(label_title(label), label_colour(label, index), one, shares))
    return CountBlock(title, rows)


def count_records(found: CohortStatistics) -> list[dict[str, Any]]:
    """Rows label, split, site, subjects, scans, slices, scans_of_unknown_subject of the finest parts, for the CSV."""
    return [
        {
            "label": label,
            "split": split,
            "site": site,
            "subjects": counts.subjects,
            "scans": counts.scans,
            "slices": counts.slices,
            "scans_of_unknown_subject": counts.unknown,
        }
        for (label, split, site), counts in found.counts("label", "split", "site").items()
    ]


def size_rows(found: CohortStatistics) -> list[dict[str, Any]]:
    """Minimum, 5 %, median, 95 % and maximum of sizes and spacings, by class; spacings only where they are known."""
    measures: dict[str, Callable[[ScanRecord], float]] = {
        "rows": lambda record: record.shape[1],
        "columns": lambda record: record.shape[2],
        "slices per scan": lambda record: record.shape[0],
        "pixel spacing (mm)": lambda record: record.spacing[1],
        "distance of slices (mm)": lambda record: record.spacing[0],
        "bytes per pixel": lambda record: record.facts.bytes / math.prod(record.shape),
    }
    rows = []
    for measure, of in measures.items():
        for index, label in enumerate(found.labels):
            values = np.array([of(record) for record in found.records if record.entry.label == label], float)
            known = values[np.isfinite(values)]
            if known.size:
                low, five, middle, ninety_five, high = np.quantile(known, _QUANTILES).tolist()
                rows.append(
                    {
                        "measure": measure,
                        "label": label,
                        "title": label_title(label),
                        "colour": label_colour(label, index),
                        "scans": int(known.size),
                        "min": low,
                        "p05": five,
                        "median": middle,
                        "p95": ninety_five,
                        "max": high,
                    }
                )
    return rows


def value_tables(found: CohortStatistics) -> list[ValueTable]:
    """The most frequent values of what has few: format, matrix, kernel, scanner; none where nothing is known."""
    times = "\N{MULTIPLICATION SIGN}"
    kinds: dict[tuple[str, str], Callable[[ScanRecord], str]] = {
        ("format", "Format"): lambda record: record.facts.format.upper(),
        ("matrix", f"Rows {times} columns"): lambda record: f"{record.shape[1]} {times} {record.shape[2]}",
        ("kernel", "Reconstruction kernel"): lambda record: record.facts.kernel,
        ("scanner", "Scanner"): lambda record: record.facts.scanner,
    }
    tables = []
    for (name, title), of in kinds.items():
        counted = Counter((of(record), record.entry.label) for record in found.records)
        totals = Counter(of(record) for record in found.records)
        if set(totals) == {""}:
            continue
        ordered = [word for word, _ in totals.most_common()]
        rows = [
            (word or _NOT_SAID, [counted[word, label] for label in found.labels], totals[word])
            for word in ordered[:_MOST_VALUES]
        ]
        if others := ordered[_MOST_VALUES:]:
            sums = [sum(counted[word, label] for word in others) for label in found.labels]
            rows.append((f"{len(others)} others", sums, sum(sums)))
        tables.append(ValueTable(name, title, rows))
    return tables


def sides_of_subjects(found: CohortStatistics) -> dict[Hashable, str]:
    """Key of each subject to ``"low"`` or ``"high"``, by the median of all its scans; empty without a line."""
    known = [record for record in found.records if math.isfinite(record.contrast)]
    if found.contrast is None:
        return {}
    sides = found.contrast.assign_subjects([r.contrast for r in known], [r.entry.subject_key for r in known])
    return {subject: str(side) for subject, side in sides.items()}


def contrast_sides(found: CohortStatistics) -> list[tuple[str, int, int]]:
    """Subjects at or below and above the line, by split: (title, low, high); empty without a line."""
    sides = sides_of_subjects(found)
    splits: dict[str, set[Hashable]] = {}
    for record in found.records:
        splits.setdefault(record.entry.split, set()).add(record.entry.subject_key)
    order = sorted(splits, key=lambda split: (split != "train", split))
    counted = [(split, Counter(sides.get(subject) for subject in splits[split])) for split in order]
    return [(split or "all", count["low"], count["high"]) for split, count in counted] if sides else []
