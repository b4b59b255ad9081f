"""``covidct inspect``: what is in a file, folder or zip, from the headers alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from covidct import RESEARCH_USE
from covidct.cli.command import run_function
from covidct.cli.console import error, make_table, note, placed, print_json, research_use, results
from covidct.errors import CovidctError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from covidct.io import SeriesInfo
    from covidct.volume import Finding

__all__ = ("exit_code", "inspect_paths", "run")

_Excluded: TypeAlias = "dict[int, tuple[str, ...]]"  # id of a series to the reasons
_MEANING = {
    "refused": "refused",
    "repaired": "repaired",
    "dropped": "left out",
    "sorted": "sorted",
    "recorded": "noted",
}


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(inspect_paths, argv, verb=verb, variadic={"paths": Path})


def inspect_paths(
    paths: list[Path], *, max_thickness: float | None = None, no_contrast: bool = False, json: bool = False
) -> int:
    """List the series of files, folders and zips with their geometry and what is odd; decodes no pixels.

    Args:
        paths: DICOM folders, files or zips, NIfTI, NRRD or MetaImage files, folders of slices.
        max_thickness: mark series with thicker slices (mm) as excluded, with the reason.
        no_contrast: mark series with a contrast agent as excluded, with the reason.
        json: print JSON instead of tables.

    Returns:
        0, 1 when some paths hold no scan, 3 when none does.
    """
    from covidct.curation import select_series
    from covidct.io import find_series
    from covidct.io.discover import no_scan

    contrast: Literal["exclude", "keep"] = "exclude" if no_contrast else "keep"
    select_series((), max_thickness_mm=max_thickness)  # a wrong number is said before anything is read
    found: dict[str, list[SeriesInfo]] = {}
    faults: dict[str, str] = {}
    for path in paths:
        try:
            series = find_series(path)
            if not series:
                raise no_scan(str(path))
            found[str(path)] = series
        except CovidctError as problem:
            faults[str(path)] = placed(str(problem), path)
    all_series = [info for series in found.values() for info in series]
    selection = select_series(all_series, max_thickness_mm=max_thickness, contrast=contrast)
    excluded = {id(item.series): item.reasons for item in selection.excluded}
    if json:
        print_json(_record(paths, found, faults, excluded))
    else:
        for path_name, series in found.items():
            results().print(_series_table(Path(path_name), series))
            _print_findings(series, excluded)
        research_use()
    for sentence in faults.values():
        error(sentence)
    return exit_code(failed=len(faults), total=len(paths))


def exit_code(*, failed: int, total: int) -> int:
    """Exit code of a command over several inputs: 0 all done, 1 some failed, 3 all (or the only one) failed."""
    if not failed:
        return 0
    return 3 if failed == total else 1


def _record(
    paths: Iterable[Path], found: dict[str, list[SeriesInfo]], faults: dict[str, str], excluded: _Excluded
) -> dict[str, Any]:
    """What ``--json`` prints; the paths are the ones the user gave."""
    inputs = [
        {
            "path": str(path),
            "error": faults.get(str(path)),
            "series": [
                info.to_dict() | {"excluded": list(excluded.get(id(info), ()))} for info in found.get(str(path), [])
            ],
        }
        for path in paths
    ]
    return {"research_use": RESEARCH_USE, "inputs": inputs}


def _series_table(path: Path, series: Sequence[SeriesInfo]) -> Table:
    """One row a series."""
    table = make_table(
        str(path),
        "#",
        "format",
        "modality",
        "slices x rows x columns",
        "spacing (mm)",
        "extent (mm)",
        "thickness (mm)",
        "contrast",
        "files",
        "place",
        "series",
    )
    table.columns[-1].no_wrap = True  # to be copied
    for number, info in enumerate(series, start=1):
        extent = [size * step for size, step in zip(info.shape, info.spacing, strict=True)]
        table.add_row(
            str(number),
            info.format,
            info.modality or "not said",
            " x ".join(map(str, info.shape)),
            _millimetres(info.spacing, 3),
            _millimetres(extent, 0),
            _millimetres([info.thickness], 3),
            {True: "yes", False: "no", None: "not said"}[info.contrast],
            str(info.file_count),
            _place(path, info),
            info.uid or "-",
        )
    return table


def _place(path: Path, info: SeriesInfo) -> str:
    """Where a scan lies below the path that was named, on the screen alone: names may identify."""
    if not info.files or path.is_file():
        return "-"
    place = info.files[0] if info.file_count == 1 else info.files[0].parent
    below = str(place.relative_to(path)) if place.is_relative_to(path) else place.name
    return "-" if below == "." else below


def _millimetres(values: Iterable[float], digits: int) -> str:
    """``5.000 x 0.842 x 0.842``; a question mark where unknown."""
    return " x ".join("?" if math.isnan(value) else f"{value:.{digits}f}" for value in values)


def _print_findings(series: Sequence[SeriesInfo], excluded: _Excluded) -> None:
    """One line a finding, what reading would do first; then why a rule excludes the series."""
    console = results()
    for number, info in enumerate(series, start=1):
        if not info.findings:
            console.print(f"  {number}: nothing odd", markup=False)
        for finding in info.findings:
            console.print(f"  {number}: {finding_line(finding)}", markup=False, soft_wrap=True)
        for reason in excluded.get(id(info), ()):
            console.print(f"  {number}: [excluded] {reason}", markup=False, soft_wrap=True)


def finding_line(finding: Finding) -> str:
    """A finding in plain words: what becomes of it, and the sentence."""
    return f"[{_MEANING[finding.action]}] {finding.message}"


def report_findings(findings: Iterable[Finding]) -> None:
    """Say on stderr what was odd in a scan that was read."""
    for finding in findings:
        note(f"covidct: {finding_line(finding)}")
