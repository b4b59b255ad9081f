"""``write_audit_page`` and its JSON and CSVs: what leaks between the parts of a cohort, with the pictures side by side.

Nothing that names a file or a patient is written: entries are called by their row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE
from covidct.curation.fingerprints import TURNS, picture_of
from covidct.curation.listing import read_stack
from covidct.errors import CovidctError
from covidct.report.pages import write_page
from covidct.report.pictures import shrunk
from covidct.report.tables import write_csv, write_json
from covidct.report.words import class_title, facts
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from covidct.curation import DuplicatePair, Entry, LeakageAudit
    from covidct.curation.audit import SubjectFault

__all__ = ("entry_image", "write_audit_csvs", "write_audit_json", "write_audit_page")

_SIDE = 320  # pixels of the longer side of a picture
_SHOWN_ROWS = 50  # of a table
_SHOWN_IDS = 12  # of one subject
_SAME = {True: "one subject", False: "two subjects", None: "subject unknown"}


@dataclass(frozen=True, slots=True)
class _Shown:
    """One entry of a pair: id, split, label and its picture as data URI, empty where it cannot be read."""

    id: str
    split: str
    label: str
    image: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Card:
    """A pair on the page."""

    pair: DuplicatePair
    sides: tuple[_Shown, _Shown]
    subject: str
    turn: str


def write_audit_page(
    found: LeakageAudit,
    path: str | os.PathLike[str],
    *,
    title: str = "Leakage audit",
    window: tuple[float, float] = LUNG_WINDOW,
    shown: int = 60,
    run: Mapping[str, Any] | None = None,
) -> None:
    """Write one HTML page: numbers, subjects, pairs across splits, of two labels, of an unknown split, and the others.

    Args:
        found: from :func:`covidct.curation.audit_listing`.
        path: the HTML file to write.
        title: headline.
        window: (low, high) in HU that becomes black and white; the files of the pairs that are shown are read again.
        shown: pairs of each kind that are shown with pictures.
        run: what was run.
    """
    unknown, within = (
        [pair for pair in pairs if not pair.labels_differ] for pairs in (found.pairs_unknown, found.pairs_within)
    )
    conflicts = [pair for pair in found.label_conflicts if not pair.across_splits]
    across = sorted(found.pairs_across, key=lambda pair: not pair.labels_differ)
    galleries = {"across": across, "labels": conflicts, "unknown": unknown, "within": within}
    write_page(
        "audit.html",
        path,
        title=title,
        found=found,
        total=len(found.entries),
        splits=list(dict.fromkeys(entry.split for entry in found.entries if entry.split)),
        identical=sum(pair.kind == "identical" for pair in found.pairs),
        counts={name: len(pairs) for name, pairs in galleries.items()},
        cards={name: [_card(pair, window) for pair in pairs[:shown]] for name, pairs in galleries.items()},
        overlap=[_subject_row(fault, "split") for fault in found.subject_overlap[:_SHOWN_ROWS]],
        relabelled=[_subject_row(fault, "label") for fault in found.subject_labels[:_SHOWN_ROWS]],
        without_subject=len(found.without_subject),
        failed=[(item.entry.id, item.public_reason) for item in found.unreadable[:_SHOWN_ROWS]],
        facts=facts(run or {}),
    )


def write_audit_json(
    found: LeakageAudit, path: str | os.PathLike[str], *, run: Mapping[str, Any] | None = None
) -> None:
    """Write everything that was found.

    Args:
        found: from :func:`covidct.curation.audit_listing`.
        path: the file to write.
        run: what was run.
    """
    record = {
        "kind": "covidct.leakage_audit",
        "version": 1,
        "research_use": RESEARCH_USE,
        "entries": len(found.entries),
        "leaks": found.leaks,
        "subjects_in_several_splits": [_subject_record(fault, "split") for fault in found.subject_overlap],
        "subjects_with_several_labels": [_subject_record(fault, "label") for fault in found.subject_labels],
        "pairs": [_pair_record(pair) for pair in found.pairs],
        "candidates_compared": found.compared,
        "notes": found.notes,
        "without_subject": [entry.id for entry in found.without_subject],
        "unreadable": [{"id": item.entry.id, "reason": item.public_reason} for item in found.unreadable],
        "shortcuts": [probe.to_dict() for probe in found.probes],
        "run": run or {},
    }
    write_json(record, path)


def write_audit_csvs(found: LeakageAudit, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write ``pairs.csv`` (a row per pair) and ``subjects.csv`` (a row per entry of a subject with a fault).

    Args:
        found: from :func:`covidct.curation.audit_listing`.
        folder: where; it is there.

    Returns:
        The files.
    """
    sides = ("id", "split", "label")
    columns = [
        *(f"{side}_{name}" for side in ("first", "second") for name in sides),
        *("kind", "details", "overall", "hash_distance", "lies", "across_splits", "labels_differ", "same_subject"),
    ]
    pairs = Path(folder) / "pairs.csv"
    write_csv(
        [_pair_row(pair) | {"research_use": RESEARCH_USE} for pair in found.pairs],
        pairs,
        columns=[*columns, "research_use"],
    )
    subjects = Path(folder) / "subjects.csv"
    faults = [(fault, "several splits") for fault in found.subject_overlap]
    faults += [(fault, "several labels") for fault in found.subject_labels]
    rows = [
        {"subject": f"subject-{number:04d}", "fault": what, **_entry(entry), "research_use": RESEARCH_USE}
        for number, (fault, what) in enumerate(faults, start=1)
        for entry in fault.entries
    ]
    write_csv(rows, subjects, columns=["subject", "fault", *sides, "research_use"])
    return pairs, subjects


def entry_image(entry: Entry, window: tuple[float, float]) -> tuple[str, int, int]:
    """An entry as a data URI with its width and height, at most 320 pixels; an empty one where it cannot be read."""
    try:
        picture = picture_of(read_stack(entry, window=window, on_fault="warn"))
    except CovidctError:
        return "", _SIDE, _SIDE
    return shrunk(picture, _SIDE)


def _card(pair: DuplicatePair, window: tuple[float, float]) -> _Card:
    one, other = (
        _Shown(entry.id, entry.split, class_title(entry.label), *entry_image(entry, window))
        for entry in (pair.first, pair.second)
    )
    return _Card(pair, (one, other), _SAME[pair.same_subject], "" if pair.turn in ("", TURNS[0]) else pair.turn)


def _subject_row(fault: SubjectFault, name: str) -> list[tuple[str, int, Sequence[str], int]]:
    """Per split or label: word, number of entries, the first ids, how many more there are."""
    rows: list[tuple[str, int, Sequence[str], int]] = []
    for word in fault.words:
        ids = [entry.id for entry in fault.entries if getattr(entry, name) == word]
        rows.append((class_title(word), len(ids), ids[:_SHOWN_IDS], max(0, len(ids) - _SHOWN_IDS)))
    return rows


def _subject_record(fault: SubjectFault, name: str) -> dict[str, list[str]]:
    """Split or label to the ids of its entries."""
    return {word: [e.id for e in fault.entries if getattr(e, name) == word] for word in fault.words}


def _entry(entry: Entry) -> dict[str, str]:
    return {"id": entry.id, "split": entry.split, "label": entry.label}


def _measures(pair: DuplicatePair) -> dict[str, Any]:
    return {
        "kind": pair.kind,
        "details": round(pair.details, 4),
        "overall": round(pair.overall, 4),
        "hash_distance": pair.distance,
        "lies": pair.turn,
        "across_splits": pair.across_splits,
        "labels_differ": pair.labels_differ,
        "same_subject": pair.same_subject,
    }


def _pair_record(pair: DuplicatePair) -> dict[str, Any]:
    return {"first": _entry(pair.first), "second": _entry(pair.second), **_measures(pair)}


def _pair_row(pair: DuplicatePair) -> dict[str, Any]:
    """A row of the CSV."""
    sides = {"first": _entry(pair.first), "second": _entry(pair.second)}
    return {f"{side}_{name}": value for side, cells in sides.items() for name, value in cells.items()} | _measures(pair)
