"""``write_eda_page`` and its JSON and CSVs: a cohort before anything is trained on it.

Nothing that names a file or a patient is written: scans are called by their row, and dates are months, as counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE
from covidct.curation.shortcuts import WARN_ABOVE
from covidct.report import eda_charts, eda_tables
from covidct.report.eda_images import image_rows, label_title
from covidct.report.pages import write_page
from covidct.report.tables import write_csv, write_json
from covidct.report.words import facts

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from covidct.curation import CohortStatistics, ShortcutProbe
    from covidct.report.eda_panels import EdaPanel

__all__ = ("write_eda_csvs", "write_eda_json", "write_eda_page")

_TIMES = {
    "created": ("Creation of files", "tells no time of creation here"),
    "modified": ("Last change of files", "tells no time of change here"),
    "accessed": ("Last access to files", "tells no time of access here"),
}
_SHOWN_FAILURES = 50


def write_eda_page(
    found: CohortStatistics,
    path: str | os.PathLike[str],
    *,
    title: str = "Exploratory analysis",
    panels: Sequence[EdaPanel] = (),
    run: Mapping[str, Any] | None = None,
) -> None:
    """Write one HTML page: counts first, then images of classes, contrast, panels, shortcuts, sizes, times.

    Args:
        found: the statistics.
        path: the HTML file to write.
        title: headline.
        panels: pictures of example slices, from :func:`~covidct.report.example_panels`.
        run: what made them.
    """
    total = found.counts()[()]
    write_page(
        "eda.html",
        path,
        title=title,
        total=total,
        labels=[(label_title(label), eda_charts.label_colour(label, k)) for k, label in enumerate(found.labels)],
        labelled=sum(bool(label) for label in found.labels),
        blocks=eda_tables.count_blocks(found),
        images=image_rows(found),
        slices=[(label_title(label), images.slices) for label, images in found.images.items()],
        size=next(iter(found.images.values())).mean.shape[0],
        grey=eda_charts.grey_chart(found),
        contrast=eda_charts.contrast_chart(found),
        split=found.contrast,
        split_basis=found.contrast_basis,
        split_note=found.contrast_note,
        sides=eda_tables.contrast_sides(found),
        panels=panels,
        probes=[(target, _probes(found, target)) for target in ("label", "site") if _probes(found, target)],
        probe_charts={
            t: eda_charts.probe_chart(p, found.labels) for t in ("label", "site") if (p := _probes(found, t))
        },
        keys={target: _keys(found, target) for target in ("label", "site")},
        warnings=[probe.warning for probe in found.probes if probe.warning],
        warn_above=WARN_ABOVE,
        sizes=eda_tables.size_rows(found),
        values=eda_tables.value_tables(found),
        times=[(name, *_TIMES[name], _months(found, name)) for name in _TIMES],
        acquired=eda_charts.month_chart(found.acquired, found.labels, "Acquisition of DICOM series", "series"),
        failed=[(item.entry.id, item.public_reason) for item in found.unreadable[:_SHOWN_FAILURES]],
        failures=len(found.unreadable),
        facts=facts(run or {}),
    )


def write_eda_json(
    found: CohortStatistics, path: str | os.PathLike[str], *, run: Mapping[str, Any] | None = None
) -> None:
    """Write every number of the page but the pixels of its images.

    Args:
        found: the statistics.
        path: the file to write.
        run: what made them.
    """
    record = {
        "kind": "covidct.exploratory_analysis",
        "version": 1,
        "research_use": RESEARCH_USE,
        "total": found.counts()[()],
        "counts": eda_tables.count_records(found),
        "images": {
            label: {"slices": one.slices, "mean": one.mean.mean(), "std": one.std.mean(), "grey": one.grey}
            for label, one in found.images.items()
        },
        "sizes": [
            {k: v for k, v in row.items() if k not in ("title", "colour")} for row in eda_tables.size_rows(found)
        ],
        "values": {
            table.title: [
                {"value": value, **dict(zip(found.labels, counts, strict=True))} for value, counts, _ in table.rows
            ]
            for table in eda_tables.value_tables(found)
        },
        "contrast": {
            "measure": found.measure,
            "fitted_on": found.contrast_basis,
            "split": None if found.contrast is None else found.contrast.to_dict(),
            "note": found.contrast_note,
            "subjects": [{"split": s, "low": low, "high": high} for s, low, high in eda_tables.contrast_sides(found)],
        },
        "shortcuts": [probe.to_dict() for probe in found.probes],
        "months": _month_rows(found),
        "unreadable": [{"id": item.entry.id, "reason": item.public_reason} for item in found.unreadable],
        "window": found.window,
        "run": run or {},
    }
    write_json(record, path)


def write_eda_csvs(found: CohortStatistics, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write ``counts.csv``, ``scans.csv``, ``months.csv`` and ``shortcuts.csv``.

    ``scans.csv`` has a row per scan: id, label, split, site, slices, rows, columns, slice_mm, row_mm, column_mm,
    format, kernel, scanner, contrast, side; neither its path nor its subject nor a date.

    Args:
        found: the statistics.
        folder: where; it is there.

    Returns:
        The files.
    """
    tables: dict[str, list[dict[str, Any]]] = {
        "counts.csv": eda_tables.count_records(found),
        "scans.csv": _scan_rows(found),
        "months.csv": _month_rows(found),
        "shortcuts.csv": [row for probe in found.probes for row in probe.rows()],
    }
    headers = {
        "months.csv": ["what", "month", "label", "count"],
        "shortcuts.csv": ["target", "features", "class", "auroc", "low", "high", "n", "groups", "warning"],
    }
    paths = []
    for name, rows in tables.items():
        columns = [*(rows[0] if rows else headers[name]), "research_use"]
        paths.append(Path(folder) / name)
        write_csv([{**row, "research_use": RESEARCH_USE} for row in rows], paths[-1], columns=columns)
    return tuple(paths)


def _probes(found: CohortStatistics, target: str) -> list[ShortcutProbe]:
    """The probes of a target."""
    return [probe for probe in found.probes if probe.target == target]


def _keys(found: CohortStatistics, target: str) -> list[tuple[str, str]]:
    """Names and colours of the classes of the probes of a target."""
    names = list(next((probe.by_class for probe in _probes(found, target)), {}))
    order = found.labels if set(names) <= set(found.labels) else names
    return [(label_title(name), eda_charts.label_colour(name, order.index(name))) for name in names]


def _months(found: CohortStatistics, name: str) -> Any:  # noqa: ANN401 - a chart or None
    """Chart of a kind of time."""
    return eda_charts.month_chart(found.months[name], found.labels, _TIMES[name][0], "files")


def _month_rows(found: CohortStatistics) -> list[dict[str, Any]]:
    """Rows what, month, label, count."""
    kinds = {**{f"file {name}": counts for name, counts in found.months.items()}, "series acquired": found.acquired}
    return [
        {"what": what, "month": month, "label": label, "count": count}
        for what, counts in kinds.items()
        for (month, label), count in sorted(counts.items())
    ]


def _scan_rows(found: CohortStatistics) -> list[dict[str, Any]]:
    """One row per scan, with the side of its subject; empty cells for what is unknown."""
    sides = eda_tables.sides_of_subjects(found)
    return [
        {
            "id": record.entry.id,
            "label": record.entry.label,
            "split": record.entry.split,
            "site": record.entry.site,
            **dict(zip(("slices", "rows", "columns"), record.shape, strict=True)),
            **dict(zip(("slice_mm", "row_mm", "column_mm"), record.spacing, strict=True)),
            "format": record.facts.format,
            "kernel": record.facts.kernel,
            "scanner": record.facts.scanner,
            "contrast": record.contrast,
            "side": sides.get(record.entry.subject_key),
        }
        for record in found.records
    ]
