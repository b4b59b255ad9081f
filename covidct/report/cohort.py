"""``write_cohort_page``: all scans of a run in one table, as one HTML page."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from covidct.report.figures import strip_chart
from covidct.report.pages import local_link, write_page
from covidct.report.tables import class_columns
from covidct.report.views import scan_view
from covidct.report.words import class_colour, class_title, facts

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from covidct.report.figures import Chart
    from covidct.result import CohortResult

__all__ = ("write_cohort_page",)


def write_cohort_page(
    cohort: CohortResult,
    path: str | os.PathLike[str],
    *,
    title: str = "Triage",
    links: Mapping[str, str] | None = None,
) -> None:
    """Write the table of a cohort: thumbnails, probabilities, status, and the inputs that failed with the reasons.

    Args:
        cohort: the results.
        path: the HTML file to write.
        title: headline of the page.
        links: scan id to its page, relative to ``path``; scans without one are not linked.
    """
    names = class_columns(cohort)
    done = [scan for scan in cohort.scans if scan.status == "done"]
    counts = Counter(scan.predicted for scan in done)
    write_page(
        "cohort.html",
        path,
        title=title,
        total=len(cohort.scans),
        names=names,
        counts=[(name, class_colour(name, index), counts[name]) for index, name in enumerate(names)],
        strip=_strip(cohort, names),
        views=[scan_view(scan, small=True) for scan in done],
        failed=[scan for scan in cohort.scans if scan.status == "failed"],
        links={key: local_link(target) for key, target in (links or {}).items()},
        facts=facts(cohort.run),
        labelled=any(scan.label for scan in done),
        pictured=any(scan.preview is not None for scan in done),
        seconds=sum(sum(scan.seconds.values()) for scan in done),
    )


def _strip(cohort: CohortResult, names: tuple[str, ...]) -> Chart | None:
    """Probability of the last class, a row per predicted class; None for fewer than two scans."""
    scans = [scan for scan in cohort.scans if names and names[-1] in scan.probabilities]
    rows = [
        (class_title(name), class_colour(name, index), [scan for scan in scans if scan.predicted == name])
        for index, name in enumerate(names)
    ]
    return strip_chart(scans, names[-1], [row for row in rows if row[2]]) if len(scans) > 1 else None
