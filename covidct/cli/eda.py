"""``covidct eda``: know a cohort before training on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from covidct.cli.cohort_source import check_counts, list_cohort, tell_unreadable
from covidct.cli.command import run_function
from covidct.cli.console import make_table, note, research_use, results
from covidct.cli.inspect import exit_code
from covidct.cli.out_folder import check_out_folder
from covidct.cli.reading import reading
from covidct.io.faults import OnFault
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covidct.curation import CohortStatistics

__all__ = ("explore", "run")


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(explore, argv, verb=verb)


def explore(
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
    window: tuple[float, float] = LUNG_WINDOW,
    size: int = 224,
    measure: Literal["rms", "spread"] = "rms",
    dates: bool = True,
    probes: bool = True,
    on_fault: OnFault = "error",
    resamples: int = 1000,
    seed: int = 0,
) -> int:
    """Describe a cohort in one pass: counts, mean images, contrast, shortcuts, sizes, months; writes a page and tables.

    Writes eda.html, eda.json, counts.csv, scans.csv, months.csv and shortcuts.csv. No file name, patient or day is
    written: scans are called by their row.

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
        window: low and high in HU that become black and white, such as --window -1000 400.
        size: pixels per side of mean and standard-deviation images.
        measure: contrast as standard deviation (rms) or as 95th minus 5th percentile (spread), inside the body.
        dates: count DICOM series by month of acquisition; --no-dates leaves them out.
        probes: tell the class without the lungs; --no-probes leaves this out.
        on_fault: what to do with faulty geometry.
        resamples: of the bootstrap over subjects.
        seed: of folds and bootstrap.

    Returns:
        0, 1 when some entries cannot be read; 3 when none can.
    """
    check_out_folder(out)
    check_counts(resamples=resamples)
    from covidct.curation import cohort_statistics
    from covidct.report import example_panels, write_eda_csvs, write_eda_json, write_eda_page

    entries = list_cohort(
        [source],
        columns=(path_column, label_column, subject_column, split_column, site_column),
        subject_pattern=subject_pattern,
        scans=scans,
        label_from_folder=label_from_folder,
        window=window,
    )
    with reading(len(entries)) as on_scan:
        found = cohort_statistics(
            entries,
            window=window,
            size=size,
            measure=measure,
            dates=dates,
            probes=probes,
            on_fault=on_fault,
            resamples=resamples,
            seed=seed,
            on_scan=on_scan,
        )
    out.mkdir(parents=True, exist_ok=True)
    record = {"window": list(window), "size": size, "measure": measure, "on_fault": on_fault}
    record |= {"resamples": resamples, "seed": seed}
    page, data = out / "eda.html", out / "eda.json"
    write_eda_page(found, page, panels=example_panels(found, on_fault=on_fault), run=record)
    write_eda_json(found, data, run=record)
    paths = [page, data, *write_eda_csvs(found, out)]
    _summary(found)
    results().print(", ".join(map(str, paths)), markup=False, soft_wrap=True)
    research_use()
    tell_unreadable(found.unreadable, len(entries), page.name)
    return exit_code(failed=len(found.unreadable), total=len(entries))


def _summary(found: CohortStatistics) -> None:
    """Counts, probes and their warnings on the terminal."""
    counts = make_table("Cohort", "label", "subjects", "scans", "slices")
    for (label,), one in found.counts("label").items():
        counts.add_row(label or "no label", str(one.subjects or "?"), str(one.scans), str(one.slices))
    results().print(counts)
    if found.probes:
        table = make_table("Told without the lungs", "target", "features", "AUROC", "95 % interval")
        for probe in found.probes:
            auroc = probe.auroc
            table.add_row(probe.target, probe.features, f"{auroc.value:.3f}", f"{auroc.low:.3f} to {auroc.high:.3f}")
        results().print(table)
    for probe in found.probes:
        if probe.warning:
            note(f"covidct: warning: {probe.warning}")
