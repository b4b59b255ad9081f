"""``covidct curate``: slices that stand where they do not belong, and a table without them."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from covidct.atomic import atomic_write_text
from covidct.cli.cohort_source import check_counts, list_cohort, tell_unreadable
from covidct.cli.command import run_function
from covidct.cli.console import error, make_table, note, research_use, results
from covidct.cli.inspect import exit_code
from covidct.cli.out_folder import check_out_folder
from covidct.cli.reading import reading
from covidct.errors import ManifestError
from covidct.io.faults import OnFault
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from covidct.curation import CleanedScan, Entry, Unreadable

    Cells = dict[int, dict[str, str]]

__all__ = ("curate", "run")

_OTHER_FILES = ("mask", "lesion_mask", "slice_labels")
_SHOWN = 15  # scans on the terminal


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(curate, argv, verb=verb, variadic={"sources": Path})


def curate(
    sources: list[Path],
    *,
    out: Path,
    hash: Literal["ahash", "dhash", "phash"] = "ahash",
    threshold: int = 5,
    scan_column: str | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    subject_column: str | None = None,
    split_column: str | None = None,
    site_column: str | None = None,
    subject_pattern: str | None = None,
    label_from_folder: bool = False,
    window: tuple[float, float] = LUNG_WINDOW,
    on_fault: OnFault = "error",
    shown: int = 100,
) -> int:
    """Find slices that resemble neither neighbour; writes a table without them and deletes nothing.

    Writes curation.html, curation.json and removed.csv, in which scans are called by their row, and cleaned.csv, the
    table for training: one row per scan, whose column slices names the slices to use, or one row per slice. Scans that
    are folders of pictures get slices.csv too, with one row per slice that stays. A scan of unknown patient counts as a
    patient of its own there.

    Args:
        sources: a table with a column path; or scans, and folders that hold them.
        out: folder of the results.
        hash: average (ahash), difference (dhash) or cosine-transform (phash) hash.
        threshold: bits of 64; a slice goes when it differs in more from both neighbours.
        scan_column: of a table of slices: the column that says which slices make a scan, in the order of the table.
        path_column: column of the paths; path.
        label_column: column of the classes; label.
        subject_column: column of the patients; subject.
        split_column: column of train, val and test; split.
        site_column: column of the hospital or source; site.
        subject_pattern: regular expression whose first group is the patient, searched in file names.
        label_from_folder: the first folder below a source is the class, whatever its name; else folders give the class
            only where they are called by a class word, since they may be called by patients.
        window: low and high in HU that become black and white, such as --window -1000 400.
        on_fault: what to do with faulty geometry.
        shown: removed slices that the page shows.

    Returns:
        0, 1 when some entries cannot be read; 3 when none can.
    """
    check_out_folder(out)
    check_counts(shown=shown)
    from covidct.curation import clean_scans
    from covidct.report import write_curation_csv, write_curation_json, write_curation_page

    columns = (path_column, label_column, subject_column, split_column, site_column)
    entries = list_cohort(
        sources,
        columns=columns,
        subject_pattern=subject_pattern,
        scans=True,
        label_from_folder=label_from_folder,
        window=window,
    )
    cells = _cells(sources[0], entries, columns)
    groups = None if scan_column is None else _groups(entries, cells, scan_column.lower())
    unreadable: list[Unreadable] = []
    with reading(len(entries)) as on_scan:
        scans = clean_scans(
            entries,
            groups=groups,
            kind=hash,
            threshold=threshold,
            window=window,
            on_fault=on_fault,
            unreadable=unreadable,
            on_scan=on_scan,
        )
    out.mkdir(parents=True, exist_ok=True)
    record = {"hash": hash, "threshold": threshold, "window": list(window), "on_fault": on_fault}
    page, data, removed = out / "curation.html", out / "curation.json", out / "removed.csv"
    write_curation_page(scans, page, unreadable=unreadable, shown=shown, run=record)
    write_curation_json(scans, data, unreadable=unreadable, run=record)
    written = [page, data]
    if scans:
        write_curation_csv(scans, removed)
        written += [removed, *_write_tables(entries, groups, cells, scans, sources[0], out)]
        _summary(scans)
    results().print(", ".join(map(str, written)), markup=False, soft_wrap=True)
    research_use()
    tell_unreadable(unreadable, len(entries), page.name)
    if not scans:
        error("there is nothing to clean, so no table is written.")
    return exit_code(failed=len(unreadable), total=len(entries))


def _cells(source: Path, entries: Sequence[Entry], columns: Sequence[str | None]) -> Cells:
    """The cells of each entry's row that the cleaned table repeats; none where there is no table."""
    from covidct.curation.sources import is_table
    from covidct.datasets.table import read_cells

    if not is_table(source):
        return {entry.number: {} for entry in entries}
    renamed = {name.lower() for name in columns if name is not None}
    _, lines = read_cells(source)
    return {
        entry.number: {name: cell.strip() for name, cell in line.items() if name not in renamed}
        for entry, line in zip(entries, lines, strict=True)
    }


def _groups(entries: Sequence[Entry], cells: Cells, column: str) -> list[str]:
    """The scan of each slice."""
    groups = []
    for entry in entries:
        if not (cell := cells[entry.number].get(column, "")):
            raise ManifestError(f"{entry.id} has nothing in the column {column!r}, which says whose slice it is.")
        groups.append(cell)
    return groups


def _subjects(entries: Sequence[Entry], groups: Sequence[str] | None) -> dict[int, str]:
    """The subject of each entry for a table of training: one of a scan whose slices have none.

    Names of unknown subjects hold a digest of the listing, so that tables of several cohorts can be joined.
    """
    names = [entry.id for entry in entries] if groups is None else groups
    known = {name: entry.subject for entry, name in zip(entries, names, strict=True) if entry.subject}
    listing = "\n".join(f"{entry.path.resolve()} {entry.series}" for entry in entries)
    digest = hashlib.sha256(listing.encode()).hexdigest()[:8]
    first: dict[str, str] = {}
    for entry, name in zip(entries, names, strict=True):
        first.setdefault(name, f"unknown-{digest}-{entry.id}")
    return {
        entry.number: entry.subject or known.get(name, first[name]) for entry, name in zip(entries, names, strict=True)
    }


def _write_tables(
    entries: Sequence[Entry],
    groups: Sequence[str] | None,
    cells: Cells,
    scans: Sequence[CleanedScan],
    source: Path,
    out: Path,
) -> list[Path]:
    """``cleaned.csv``, and ``slices.csv`` where there are slice files."""
    from covidct.curation.cleaning import cleaned_rows, relative, slice_rows
    from covidct.curation.sources import COLUMNS

    unknown = [entry for entry in entries if not entry.subject]
    if unknown:
        note(f"covidct: the subject of {len(unknown)} entries is unknown: in the tables each scan is one of its own.")
    subjects = _subjects(entries, groups)
    full: Cells = {}
    for entry in entries:
        row = dict(cells[entry.number])
        for column in _OTHER_FILES:
            if row.get(column):
                row[column] = relative(source.parent / row[column], out)
        known = {"path": "", "label": entry.label, "subject": subjects[entry.number], "split": entry.split}
        full[entry.number] = {**known, "site": entry.site, **{k: v for k, v in row.items() if k not in COLUMNS[:5]}}
    written = [out / "cleaned.csv"]
    _write_table(list(cleaned_rows(full, scans, out)), written[0], needed=COLUMNS[:3])
    if slices := list(slice_rows(full, scans, out)):
        written.append(out / "slices.csv")
        _write_table(slices, written[-1], needed=COLUMNS[:3])
    return written


def _write_table(rows: Sequence[Mapping[str, str]], path: Path, *, needed: Sequence[str]) -> None:
    """Cells as they are, since programs read them; columns that are empty throughout, and not needed, are left out."""
    names: Iterable[str] = dict.fromkeys(name for row in rows for name in row)
    used = [name for name in names if name in needed or any(row.get(name) for row in rows)]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(used)
    writer.writerows([row.get(name, "") for name in used] for row in rows)
    atomic_write_text(path, buffer.getvalue())


def _summary(scans: Sequence[CleanedScan]) -> None:
    """Scans with removed slices on the terminal."""
    touched = [scan for scan in scans if scan.order.removed]
    table = make_table("Slices left out", "scan", "slices", "left out", "which: bits before, after")
    for scan in touched[:_SHOWN]:
        gone = scan.order.removed
        which = ", ".join(f"{one.index}: {one.before}, {one.after}" for one in gone[:_SHOWN])
        table.add_row(scan.id, str(len(gone) + len(scan.order.kept)), str(len(gone)), which)
    if touched:
        results().print(table)
    total = sum(len(scan.order.removed) for scan in scans)
    results().print(f"{total} slices of {len(touched)} scans left out, of {len(scans)} scans.", markup=False)
