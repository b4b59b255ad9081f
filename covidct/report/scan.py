"""``write_scan_page``: what is known of one scan, as one HTML page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from covidct.report.attention import attention_view, times_even
from covidct.report.calibration import calibration_note
from covidct.report.figures import score_chart
from covidct.report.lesions import lesion_view, region_view
from covidct.report.pages import local_link, write_page
from covidct.report.viewer import slice_values, viewer_view
from covidct.report.views import scan_view
from covidct.report.words import facts, geometry_sentence

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from covidct.result import ScanResult

__all__ = ("write_scan_page",)

_SAID = {"research_use", "tested"}  # of the run: what stands elsewhere on the page
_TOLD = {"shape", "spacing", "format", "kind"}  # geometry that stands in the sentence


def write_scan_page(
    scan: ScanResult, run: Mapping[str, Any], path: str | os.PathLike[str], *, back: str | None = None
) -> None:
    """Write the page of one scan: probabilities, slices, lesions, regions, slice scores and attention, what was read.

    Args:
        scan: the result; a failed one gives a page that says why.
        run: what made it: versions, checkpoint hash, pre-processing, device.
        path: the HTML file to write.
        back: relative link to the cohort's page.
    """
    view, viewer = scan_view(scan, slices=None), viewer_view(scan)
    shown, along = [picture.index for picture in view.pictures], list[float]()
    charted = scan
    if scan.viewer is not None:  # charts go over the slices of the scan, and lead to any of them
        shown, along = [], slice_values(times_even(scan), scan.viewer)
        charted = replace(scan, slice_scores=tuple(slice_values(scan.slice_scores, scan.viewer)))
    write_page(
        "scan.html",
        path,
        title=f"Scan {scan.id}",
        view=view,
        scan=scan,
        scripts=() if viewer is None else ("viewer.js",),
        viewer=viewer,
        chart=score_chart(charted, shown=shown),
        attention=attention_view(scan, along=along),
        lesions=lesion_view(scan),
        regions=region_view(scan),
        geometry=geometry_sentence(scan.geometry),
        more_geometry=facts({key: value for key, value in scan.geometry.items() if key not in _TOLD}),
        total_seconds=sum(scan.seconds.values()),
        calibration=calibration_note(run, view.confidence),
        facts=facts({key: value for key, value in run.items() if key not in _SAID}),
        back=None if back is None else local_link(back),
    )
