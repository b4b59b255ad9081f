"""``write_cohort_page``: all scans of a run in one table, as one HTML page."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from covidct.report.figures import strip_chart
from covidct.report.histograms import histogram_chart
from covidct.report.pages import local_link, write_page
from covidct.report.tables import class_columns
from covidct.report.views import ScanView, scan_view
from covidct.report.words import class_colour, class_title, facts

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from covidct.report.figures import Chart
    from covidct.result import CohortResult, ScanResult

__all__ = ("write_cohort_page",)

_THUMBNAIL = 56  # pixels across in the table, see the style
_COLUMNS = {  # least width in rem and share of what is left; fixed, so that a browser lays out a row without the others
    "picture": (4.2, 0),
    "scan": (10.6, 1.2),
    "prediction": (9.4, 0),
    "bar": (6.2, 0),
    "probability": (6.6, 0),
    "truth": (9.4, 0),
    "lungs": (6.8, 0),
    "lesions": (6, 0),
    "findings": (7.4, 1.6),
    "time": (4.4, 0),
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A scan that is done, with what its row is sorted and filtered by.

    Attributes:
        view: the scan.
        find: what the text filter looks through.
        verdict: ``"right"``, ``"wrong"``, or empty without a known class.
        lungs: of both sides in millilitres, NaN where unknown.
        lesions: share of the lungs in percent, NaN where unknown.
        seconds: of all steps.
        height: of the thumbnail in pixels.
    """

    view: ScanView
    find: str
    verdict: str
    lungs: float
    lesions: float
    seconds: float
    height: int


def write_cohort_page(
    cohort: CohortResult,
    path: str | os.PathLike[str],
    *,
    title: str = "Triage",
    links: Mapping[str, str] | None = None,
) -> None:
    """Write the table of a cohort: thumbnails, probabilities, status, and the inputs that failed with the reasons.

    The table is sorted and filtered in the browser; without scripts it stands there in the order of the cohort.

    Args:
        cohort: the results.
        path: the HTML file to write.
        title: headline of the page.
        links: scan id to its page, relative to ``path``; scans without one are not linked.
    """
    names = class_columns(cohort)
    done = [scan for scan in cohort.scans if scan.status == "done"]
    counts = Counter(scan.predicted for scan in done)
    shown = {
        "picture": any(scan.preview is not None for scan in done),
        "probability": bool(names),
        "truth": any(scan.label for scan in done),
        "lungs": any(scan.lungs_ml for scan in done),
        "lesions": any(scan.lesions for scan in done),
    }
    columns = [width for name, width in _COLUMNS.items() if shown.get(name, True)]
    write_page(
        "cohort.html",
        path,
        scripts=("table.js",) if len(cohort.scans) > 1 else (),
        title=title,
        total=len(cohort.scans),
        names=names,
        counts=[(name, class_colour(name, index), counts[name]) for index, name in enumerate(names)],
        strip=_strip(cohort, names),
        charts=_charts(done, names),
        rows=[_row(scan) for scan in done],
        failed=[scan for scan in cohort.scans if scan.status == "failed"],
        links={key: local_link(target) for key, target in (links or {}).items()},
        facts=facts({key: value for key, value in cohort.run.items() if key != "tested"}),  # of single scans
        labelled=shown["truth"],
        pictured=shown["picture"],
        lungs=shown["lungs"],
        lesions=shown["lesions"],
        columns=" ".join(f"minmax({least}rem, {share}fr)" if share else f"{least}rem" for least, share in columns),
        least=round(sum(least for least, _ in columns), 1),
        seconds=sum(sum(scan.seconds.values()) for scan in done),
    )


def _row(scan: ScanResult) -> _Row:
    """One row of the table."""
    view = scan_view(scan, small=True)
    told = (text for finding in scan.findings for text in (finding.code, finding.message))
    shape = scan.preview.slices.shape[1:] if scan.preview is not None and len(scan.preview.slices) else (1, 1)
    return _Row(
        view=view,
        find=" ".join((scan.id, class_title(scan.predicted), class_title(scan.label), *told)),
        verdict={True: "right", False: "wrong", None: ""}[view.right],
        lungs=_lungs(scan),
        lesions=_lesions(scan),
        seconds=sum(scan.seconds.values()),
        height=max(1, round(_THUMBNAIL * shape[0] / shape[1])),
    )


def _lungs(scan: ScanResult) -> float:
    """Both lungs in millilitres."""
    return sum(scan.lungs_ml.values()) if scan.lungs_ml else math.nan


def _lesions(scan: ScanResult) -> float:
    """All lesions in percent of the lungs: the last row of the table has them all."""
    return float(scan.lesions[-1]["lungs_percent"]) if scan.lesions else math.nan


def _charts(done: Sequence[ScanResult], names: tuple[str, ...]) -> list[Chart]:
    """How volumes of lungs and shares of lesions are spread, by predicted class."""
    looks = {name: (class_title(name), class_colour(name, index)) for index, name in enumerate(names)}
    measures: tuple[tuple[str, str, Callable[[ScanResult], float]], ...] = (
        ("Volume of both lungs", "ml", _lungs),
        ("Lesions in the lungs", "% of the lungs", _lesions),
    )
    charts = (
        histogram_chart(
            title,
            unit,
            {name: [measure(scan) for scan in done if scan.predicted == name] for name in names},
            looks,
            what="scans",
        )
        for title, unit, measure in measures
    )
    return [chart for chart in charts if chart is not None]


def _strip(cohort: CohortResult, names: tuple[str, ...]) -> Chart | None:
    """Probability of the last class, a row per predicted class; None for fewer than two scans."""
    scans = [scan for scan in cohort.scans if names and names[-1] in scan.probabilities]
    rows = [
        (class_title(name), class_colour(name, index), [scan for scan in scans if scan.predicted == name])
        for index, name in enumerate(names)
    ]
    return strip_chart(scans, names[-1], [row for row in rows if row[2]]) if len(scans) > 1 else None
