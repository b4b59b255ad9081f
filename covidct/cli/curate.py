"""``covidct curate``: slices that stand where they do not belong, and a table without them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from covidct.atomic import atomic_write_text
from covidct.cli.command import run_function
from covidct.cli.console import error, make_table, note, research_use, results
from covidct.cli.inspect import exit_code
from covidct.cli.out_folder import check_out_folder
from covidct.cli.reading import reading
from covidct.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from covidct.curation import CleanedScan, Entry, Unreadable

    Cells = dict[int, dict[str, str]]

__all__ = ("curate", "run")

_TABLES = (".csv", ".parquet", ".pq")
_SPLITS = ("train", "val", "test")
_STANDARD = ("path", "label", "subject", "split", "site")
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
    window: tuple[float, float] = (-1250.0, 250.0),
    on_fault: Literal["error", "repair", "warn"] = "error",
    shown: int = 100,
) -> int:
    """Find slices that resemble neither neighbour; writes a table without them and deletes nothing.

    Writes curation.html, curation.json and removed.csv, in which scans are called by their row, and cleaned.csv, the
    table for training: one row per scan, whose column slices names the slices to use, or one row per slice. Scans that
    are folders of pictures get slices.csv too, with one row per slice that stays.

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
        window: low and high in HU that become black and white.
        on_fault: what to do with faulty geometry.
        shown: removed slices that the page shows.

    Returns:
        0, 1 when some entries cannot be read; 3 when none can.
    """
    check_out_folder(out)
    from covidct.curation import clean_scans
    from covidct.report import write_curation_csv, write_curation_json, write_curation_page

    named = (path_column, label_column, subject_column, split_column, site_column)
    columns = {column: name for column, name in zip(_STANDARD, named, strict=True) if name is not None}
    entries, cells = _listed(sources, columns, subject_pattern)
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
    write_curation_csv(scans, removed)
    tables = _write_tables(entries, cells, scans, sources[0], out)
    _summary(scans)
    results().print(", ".join(map(str, [page, data, removed, *tables])), markup=False, soft_wrap=True)
    research_use()
    if unreadable:
        error(
            f"{len(unreadable)} of {len(entries)} entries could not be read and are in no table; {page.name} says why."
        )
    return exit_code(failed=len(unreadable), total=len(entries))


def _listed(
    sources: Sequence[Path], columns: Mapping[str, str], pattern: str | None
) -> tuple[tuple[Entry, ...], Cells]:
    """Entries, and the cells of each that the cleaned table repeats."""
    from covidct.curation import read_listing
    from covidct.datasets.table import read_cells

    tables = [path for path in sources if path.suffix.lower() in _TABLES]
    if not tables:
        if columns:
            raise UsageError("Columns belong to a table: give one, or leave out the options that name columns.")
        return _found(sources, pattern)
    if len(sources) > 1:
        raise UsageError(f"Give one table alone, or scans and folders: {tables[0].name} stands among other sources.")
    entries = read_listing(tables[0], columns=columns, subject_pattern=pattern)
    renamed = {name.lower() for name in columns.values()}
    _, lines = read_cells(tables[0])
    return entries, {
        entry.number: {name: cell.strip() for name, cell in line.items() if name not in renamed}
        for entry, line in zip(entries, lines, strict=True)
    }


def _found(sources: Sequence[Path], pattern: str | None) -> tuple[tuple[Entry, ...], Cells]:
    """Scans of folders; folders between the named one and a scan give split and label."""
    from covidct.curation import Entry
    from covidct.curation.listing import with_subjects
    from covidct.io import discover

    entries: list[Entry] = []
    for source in sources:
        for scan in discover([source]):
            between = list(scan.path.relative_to(source).parts[:-1]) if source.is_dir() else []
            split = between.pop(0).lower() if between and between[0].lower() in _SPLITS else ""
            entries.append(Entry(len(entries) + 1, scan.path, between[0] if between else "", "", split))
    listed = with_subjects(entries, pattern)
    return listed, {entry.number: {} for entry in listed}


def _groups(entries: Sequence[Entry], cells: Cells, column: str) -> list[str]:
    """The scan of each slice."""
    groups = []
    for entry in entries:
        if not (cell := cells[entry.number].get(column, "")):
            raise ManifestError(f"{entry.id} has nothing in the column {column!r}, which says whose slice it is.")
        groups.append(cell)
    return groups


def _write_tables(
    entries: Sequence[Entry], cells: Cells, scans: Sequence[CleanedScan], source: Path, out: Path
) -> list[Path]:
    """``cleaned.csv``, and ``slices.csv`` where there are slice files."""
    from covidct.curation.cleaning import cleaned_rows, relative, slice_rows

    unknown = [entry for entry in entries if not entry.subject]
    if unknown:
        note(f"covidct: the subject of {len(unknown)} entries is unknown: each counts as one of its own in the tables.")
    full: Cells = {}
    for entry in entries:
        row = dict(cells[entry.number])
        for column in _OTHER_FILES:
            if row.get(column):
                row[column] = relative(source.parent / row[column], out)
        known = {"path": "", "label": entry.label, "subject": entry.subject or entry.id, "split": entry.split}
        full[entry.number] = {**known, "site": entry.site, **{k: v for k, v in row.items() if k not in _STANDARD}}
    written = [out / "cleaned.csv"]
    _write_table(list(cleaned_rows(full, scans, out)), written[0])
    if slices := list(slice_rows(full, scans, out)):
        written.append(out / "slices.csv")
        _write_table(slices, written[-1])
    return written


def _write_table(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Cells as they are, since programs read them; columns that are empty throughout are left out."""
    names: Iterable[str] = dict.fromkeys(name for row in rows for name in row)
    used = [name for name in names if name in _STANDARD[:3] or any(row.get(name) for row in rows)]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(used or _STANDARD[:3])
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
