"""``write_evaluation_page``: how good a model is on a cohort with known truth, as one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covidct.report.figures import calibration_chart, roc_chart, strip_chart
from covidct.report.pages import write_page
from covidct.report.views import scan_view
from covidct.report.words import class_colour, class_title, facts

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from covidct.metrics import Estimate, SliceReport, TriageReport
    from covidct.report.figures import Chart
    from covidct.result import CohortResult, ScanResult

__all__ = ("write_evaluation_page",)

_HEADLINE = ("auroc", "sensitivity", "specificity", "precision")


def write_evaluation_page(
    report: TriageReport,
    cohort: CohortResult,
    path: str | os.PathLike[str],
    *,
    title: str = "Evaluation",
    phantoms: bool = False,
    gallery: int = 24,
    slices: int = 3,
) -> None:
    """Write scores with intervals, confusion matrix, curves, a gallery and every prediction to one HTML file.

    Args:
        report: from :func:`covidct.metrics.triage_report`; every score on the page comes from it.
        cohort: the scans behind the report, with labels; previews feed the gallery.
        path: the HTML file to write.
        title: headline of the page.
        phantoms: say that the scans are simulated test objects.
        gallery: show at most this many scans, wrong predictions first.
        slices: pictures per scan of the gallery.
    """
    positive = report.class_names[-1]
    done = [scan for scan in cohort.scans if scan.status == "done"]
    chosen = _gallery(done, gallery)
    write_page(
        "evaluation.html",
        path,
        scripts=("table.js",) if len(done) > 1 else (),
        title=title,
        phantoms=phantoms,
        report=report,
        positive=positive,
        cards=_cards(report, positive),
        scopes=[s for s in (*report.class_names, "macro", "weighted", "micro") if s in report.scores["sensitivity"]],
        scores={m: row for m, row in report.scores.items() if m not in ("accuracy", "calibration_error")},
        slices=report.slices,
        slice_scopes=[] if report.slices is None else _slice_scopes(report.slices),
        roc=roc_chart(report),
        calibration=calibration_chart(report),
        strip=_strip(report, done, positive),
        views=[scan_view(scan, slices=slices) for scan in chosen],
        cam=any(scan.preview is not None and scan.preview.cam is not None for scan in chosen),
        cases=[scan_view(scan) for scan in done],
        failed=[scan for scan in cohort.scans if scan.status == "failed"],
        facts=facts(cohort.run),
    )


def _slice_scopes(slices: SliceReport) -> list[tuple[str, str]]:
    """Scopes of the slice scores with their titles: the two that stand side by side, then what else there is."""
    titles = {
        "pooled": "All slices pooled",
        "volume_mean": "Mean of the scans' own scores",
        "pooled_diagnosed": "Pooled, 0 in scans called negative",
        "pooled_positive": "Pooled, scans with a true slice",
    }
    found = {scope for row in slices.scores.values() for scope in row}
    return [(scope, title) for scope, title in titles.items() if scope in found]


def _cards(report: TriageReport, positive: str) -> list[tuple[str, str, Estimate]]:
    """Metric, scope and estimate of the figures that stand at the top."""
    cards = [(metric, positive, report.scores[metric][positive]) for metric in _HEADLINE if metric in report.scores]
    return [*cards, ("accuracy", "overall", report.scores["accuracy"]["overall"])]


def _gallery(scans: Sequence[ScanResult], limit: int) -> list[ScanResult]:
    """Scans with pictures: wrong ones first, then evenly from the right ones, in the order of the cohort."""
    pictured = [scan for scan in scans if scan.preview is not None]
    wrong = [scan for scan in pictured if scan.label and scan.label != scan.predicted][:limit]
    rest = [scan for scan in pictured if not scan.label or scan.label == scan.predicted]
    room = limit - len(wrong)
    step = max(1, -(-len(rest) // room)) if room else 0
    return wrong + (rest[::step] if room else [])


def _strip(report: TriageReport, scans: Sequence[ScanResult], positive: str) -> Chart | None:
    """Probability of the positive class, a row per true class."""
    known = [scan for scan in scans if positive in scan.probabilities]
    rows = [
        (class_title(name), class_colour(name, index), [scan for scan in known if scan.label == name])
        for index, name in enumerate(report.class_names)
    ]
    rows = [row for row in rows if row[2]]
    return strip_chart(known, positive, rows) if rows else None
