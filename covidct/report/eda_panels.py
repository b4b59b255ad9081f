"""Pictures of a cohort's own slices for its exploratory page: morphology, equalisation, and a pair of contrasts."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from covidct.curation import read_stack
from covidct.report.curation_panels import contrast_pair_panel, equalisation_panel, morphology_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from covidct.curation import CohortStatistics
    from covidct.curation.statistics import ScanRecord
    from covidct.io.faults import OnFault

__all__ = ("EdaPanel", "example_panels")

_DPI = 110
_DISC = 60  # pixels of a slice for one pixel of the disc's radius: 512 pixels give 9, of which the eye sees the effect


@dataclass(frozen=True, slots=True)
class EdaPanel:
    """A picture of the page.

    Attributes:
        title: what it is.
        text: what can be seen.
        image: data URI of a PNG.
        width: in pixels.
        height: in pixels.
    """

    title: str
    text: str
    image: str
    width: int
    height: int


def example_panels(found: CohortStatistics, *, on_fault: OnFault = "error") -> list[EdaPanel]:
    """Panels of scans of low, middle and high contrast, which are read again for their middle slices.

    Args:
        found: statistics of a cohort.
        on_fault: what was done with faulty geometry.

    Returns:
        Three panels; none where no scan shows a body.

    Raises:
        InputError: when a scan cannot be read any more.
    """
    examples = found.examples()
    if examples is None:
        return []
    low, middle, high = (_middle_slice(record, found.window, on_fault) for record in examples)
    bright = middle > _otsu(middle)
    radius = max(1, round(min(middle.shape) / _DISC))
    names = [record.entry.id for record in examples]
    return [
        _panel(
            contrast_pair_panel(high, low, scores=(examples[2].contrast, examples[0].contrast)),
            "High and low contrast",
            f"{names[2]} and {names[0]}, with the contrast of the whole scan.",
        ),
        _panel(
            equalisation_panel(middle),
            "Equalisation",
            f"{names[1]} as it is, after histogram equalisation (HE), after contrast limited adaptive equalisation "
            "(CLAHE), and after both; below, the shares of the grey values and their sum.",
        ),
        _panel(
            morphology_panel(bright, radius=radius),
            "Morphology",
            f"{names[1]} above Otsu's threshold, eroded and dilated by a disc of {radius} pixels radius.",
        ),
    ]


def _middle_slice(record: ScanRecord, window: tuple[float, float], on_fault: OnFault) -> NDArray[Any]:
    """The slice in the middle of a scan, in [0, 1]."""
    stack = read_stack(record.entry, window=window, on_fault=on_fault).stack
    middle: NDArray[Any] = stack[len(stack) // 2]
    return middle


def _otsu(image: NDArray[Any]) -> float:
    """Threshold between dark and bright."""
    from skimage import filters

    otsu: Any = filters.threshold_otsu  # has no types
    return float(otsu(image))


def _panel(figure: Figure, title: str, text: str) -> EdaPanel:
    """A figure as PNG within the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    width, height = (round(inches * _DPI) for inches in figure.get_size_inches())
    image = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return EdaPanel(title, text, image, width, height)
