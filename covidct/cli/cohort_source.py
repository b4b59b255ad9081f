"""The cohort of a verb of curation: how it is listed, and what is said about it before and after it is read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from covidct.cli.console import error, note
from covidct.errors import UsageError
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from covidct.curation import Entry, Unreadable

__all__ = ("check_counts", "label_warning", "list_cohort", "tell_unreadable")

_LEAST_LABELS, _MOST_SINGLE = 5, 0.8  # labels, and the share with one entry, from which they look like names
_TOLD = 5  # failures on the terminal


def check_counts(least: int = 0, /, **numbers: int) -> None:
    """Refuse numbers of options that are too small, before anything is read.

    Raises:
        UsageError: for the first one below ``least``.
    """
    for name, number in numbers.items():
        if number < least:
            raise UsageError(f"{name}={number} must be at least {least}.")


def list_cohort(
    sources: Sequence[Path],
    *,
    columns: Sequence[str | None],
    subject_pattern: str | None,
    scans: bool,
    label_from_folder: bool,
    window: tuple[float, float],
) -> tuple[Entry, ...]:
    """List a cohort by the options of a verb, and note what may surprise.

    Args:
        sources: a table, or folders, scans and pictures.
        columns: names of the columns path, label, subject, split and site; None keeps the name.
        subject_pattern: see :func:`covidct.curation.read_listing`, as the further ones.
        scans: take each folder of pictures as one scan.
        label_from_folder: the first folder is the class.
        window: in HU; refused here when it is none.

    Raises:
        CovidctError: as :func:`covidct.curation.read_listing`.
        UsageError: for a window that is none.
    """
    from covidct.curation import read_listing
    from covidct.curation.sources import COLUMNS
    from covidct.functional.intensity import check_window

    check_window(*window)
    entries = read_listing(
        sources,
        columns=dict(zip(COLUMNS, columns, strict=False)),
        subject_pattern=subject_pattern,
        scans=scans,
        label_from_folder=label_from_folder,
    )
    sentences = [label_warning(entries), _no_class(entries, sources), _no_window(entries, window)]
    for sentence in filter(None, sentences):
        note(f"covidct: {sentence}")
    return entries


def label_warning(entries: Sequence[Entry]) -> str:
    """A sentence where nearly every label has one entry alone, as names of patients do; empty else."""
    counts = Counter(entry.label for entry in entries if entry.label)
    single = sum(count == 1 for count in counts.values())
    if len(counts) < _LEAST_LABELS or single < _MOST_SINGLE * len(counts):
        return ""
    return (
        f"warning: {single} of {len(counts)} labels have one entry alone; if they are patients and not classes, stop "
        "here and name another column, or leave out --label-from-folder: labels are written into the results."
    )


def tell_unreadable(unreadable: Sequence[Unreadable], total: int | None, page: str) -> None:
    """Say at the terminal what could not be read, names of files included; results hold rows alone.

    Args:
        unreadable: what could not be read.
        total: entries that were listed; None where several cohorts were.
        page: where all of it stands.
    """
    for item in unreadable[:_TOLD]:
        note(f"covidct: {item.told}")
    if unreadable:
        of = "" if total is None else f" of {total}"
        error(f"{len(unreadable)}{of} entries could not be read; {page} says why.")


def _no_class(entries: Sequence[Entry], sources: Sequence[Path]) -> str:
    """A sentence where there are folders, and none of them tells a class."""
    folders = [source for source in sources if source.is_dir()]
    deep = any(entry.path.parent not in (*folders, folder.parent) for folder in folders for entry in entries)
    if not deep or any(entry.label for entry in entries):
        return ""
    return (
        "no folder is called by a class word such as normal, pneumonia or covid, so there are no labels; "
        "--label-from-folder takes the first folder as the class, whatever its name."
    )


def _no_window(entries: Sequence[Entry], window: tuple[float, float]) -> str:
    """A sentence where a window is given and nothing is in HU."""
    from covidct.curation.listing import holds_scan
    from covidct.io.raster import image_files

    if tuple(window) == LUNG_WINDOW:
        return ""
    if any(holds_scan(e.path) and not (e.path.is_dir() and image_files(e.path)) for e in entries):
        return ""
    return "--window is not used: pictures are in display values already."
