"""``covidct audit``: what leaks between the parts of a cohort, before a score is believed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from covidct.cli.cohort_source import check_counts, list_cohort, tell_unreadable
from covidct.cli.command import run_function
from covidct.cli.console import error, make_table, note, research_use, results
from covidct.cli.inspect import exit_code
from covidct.cli.out_folder import check_out_folder
from covidct.cli.reading import reading
from covidct.io.faults import OnFault
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covidct.curation import LeakageAudit

__all__ = ("audit", "run")

_SHOWN = 15  # pairs on the terminal


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(audit, argv, verb=verb)


def audit(
    source: Path,
    *,
    out: Path,
    path_column: str | None = None,
    label_column: str | None = None,
    subject_column: str | None = None,
    split_column: str | None = None,
    site_column: str | None = None,
    subject_pattern: str | None = None,
    scans: bool = False,
    label_from_folder: bool = False,
    max_distance: int = 4,
    min_correlation: float = 0.9,
    rotations: bool = False,
    within_subjects: bool = False,
    window: tuple[float, float] = LUNG_WINDOW,
    probes: bool = True,
    on_fault: OnFault = "error",
    shown: int = 60,
    resamples: int = 1000,
    seed: int = 0,
    fail_on_leak: bool = False,
) -> int:
    """Find subjects and pictures in two splits, labels that contradict each other, and shortcuts; writes a page.

    Writes audit.html, audit.json, pairs.csv and subjects.csv. No file name and no patient is written: entries are
    called by their row.

    Args:
        source: table with a column path, or a folder of pictures, DICOM series and volumes.
        out: folder of the results.
        path_column: column of the paths; path.
        label_column: column of the classes; label.
        subject_column: column of the patients; subject.
        split_column: column of train, val and test; split.
        site_column: column of the hospital or source; site.
        subject_pattern: regular expression whose first group is the patient, searched in file names.
        scans: in a folder, take each folder of pictures as one scan.
        label_from_folder: the first folder below the source is the class, whatever its name; else folders give the
            class only where they are called by a class word, since they may be called by patients.
        max_distance: bits in which hashes of candidates may differ.
        min_correlation: of the details after alignment, for a candidate to be called a duplicate.
        rotations: look for copies that are mirrored or turned by 90 degrees too.
        within_subjects: look for near duplicates within one subject and split too; neighbouring slices are many.
        window: low and high in HU that become black and white, such as --window -1000 400.
        probes: tell label and site without the lungs; --no-probes leaves this out.
        on_fault: what to do with faulty geometry.
        shown: pairs of each kind that the page shows.
        resamples: of the bootstrap of the probes.
        seed: of folds and bootstrap of the probes.
        fail_on_leak: end with exit code 1 when a subject or a picture is in two splits.

    Returns:
        0, 1 when some entries cannot be read, or there is a leak and --fail-on-leak; 3 when none can be read.
    """
    check_out_folder(out)
    check_counts(resamples=resamples, shown=shown)
    from covidct.curation import audit_listing
    from covidct.report import write_audit_csvs, write_audit_json, write_audit_page

    entries = list_cohort(
        [source],
        columns=(path_column, label_column, subject_column, split_column, site_column),
        subject_pattern=subject_pattern,
        scans=scans,
        label_from_folder=label_from_folder,
        window=window,
    )
    with reading(len(entries)) as on_scan:
        found = audit_listing(
            entries,
            max_distance=max_distance,
            min_correlation=min_correlation,
            turns=rotations,
            within_subjects=within_subjects,
            window=window,
            on_fault=on_fault,
            probes=probes,
            resamples=resamples,
            seed=seed,
            on_scan=on_scan,
        )
    out.mkdir(parents=True, exist_ok=True)
    record: dict[str, object] = {"max_distance": max_distance, "min_correlation": min_correlation}
    record |= {"rotations": rotations, "within_subjects": within_subjects, "window": list(window), "on_fault": on_fault}
    record |= {"candidates_compared": found.compared}
    record |= {"resamples": resamples, "seed": seed} if probes else {}
    page, data = out / "audit.html", out / "audit.json"
    write_audit_page(found, page, window=window, shown=shown, run=record)
    write_audit_json(found, data, run=record)
    paths = [page, data, *write_audit_csvs(found, out)]
    _summary(found)
    results().print(", ".join(map(str, paths)), markup=False, soft_wrap=True)
    research_use()
    tell_unreadable(found.unreadable, len(entries), page.name)
    code = exit_code(failed=len(found.unreadable), total=len(entries))
    if found.leaks and fail_on_leak:
        error("the split leaks (--fail-on-leak).")
        return max(code, 1)
    return code


def _summary(found: LeakageAudit) -> None:
    """Numbers and the first pairs on the terminal."""
    table = make_table("Audit", "what", "found")
    numbers = {
        "entries": len(found.entries),
        "subjects in more than one split": len(found.subject_overlap),
        "pairs of one picture in two splits": len(found.pairs_across),
        "pairs of one picture with two labels": len(found.label_conflicts),
        "pairs of which a split is unknown": len(found.pairs_unknown),
        "subjects with more than one label": len(found.subject_labels),
        "pairs with identical pixels": sum(pair.kind == "identical" for pair in found.pairs),
        "pairs of near duplicates": sum(pair.kind == "near" for pair in found.pairs),
        "entries of unknown subject": len(found.without_subject),
    }
    for what, number in numbers.items():
        table.add_row(what, str(number))
    results().print(table)
    grave = [pair for pair in found.pairs if pair.across_splits or pair.labels_differ]
    if grave:
        pairs = make_table("Pairs in two splits or with two labels", "first", "second", "splits", "labels", "details")
        for pair in grave[:_SHOWN]:
            one, other = pair.first, pair.second
            cells = (f"{one.split or '?'}, {other.split or '?'}", f"{one.label or '?'}, {other.label or '?'}")
            pairs.add_row(one.id, other.id, *cells, f"{pair.details:.3f}")
        results().print(pairs)
    for sentence in found.notes:
        note(f"covidct: warning: {sentence}")
    for probe in found.probes:
        if probe.warning:
            note(f"covidct: warning: {probe.warning}")
