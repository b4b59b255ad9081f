"""``write_scan_page``: what is known of one scan, as one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from covidct.report.attention import attention_view
from covidct.report.figures import score_chart
from covidct.report.lesions import lesion_view, region_view
from covidct.report.pages import local_link, write_page
from covidct.report.views import scan_view
from covidct.report.words import facts, geometry_sentence

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from covidct.result import ScanResult

__all__ = ("write_scan_page",)

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
    view = scan_view(scan, slices=None)
    write_page(
        "scan.html",
        path,
        title=f"Scan {scan.id}",
        view=view,
        scan=scan,
        chart=score_chart(scan, shown=[picture.index for picture in view.pictures]),
        attention=attention_view(scan),
        lesions=lesion_view(scan),
        regions=region_view(scan),
        geometry=geometry_sentence(scan.geometry),
        more_geometry=facts({key: value for key, value in scan.geometry.items() if key not in _TOLD}),
        total_seconds=sum(scan.seconds.values()),
        facts=facts(run),
        back=None if back is None else local_link(back),
    )
