"""Pictures of a cohort's own slices for its exploratory page: morphology, equalisation, and a pair of contrasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.curation import read_stack
from covidct.errors import CovidctError
from covidct.report.curation_panels import equalisation_pictures, grey_shares, morphology_pictures
from covidct.report.pictures import shrunk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.curation import CohortStatistics
    from covidct.curation.statistics import ScanRecord
    from covidct.io.faults import OnFault

__all__ = ("EdaPanel", "PanelPicture", "example_panels")

_SIDE = 320  # pixels of the longer side of a picture
_DISC = 60  # pixels of a slice for one pixel of the disc's radius: 512 pixels give 9, of which the eye sees the effect


@dataclass(frozen=True, slots=True)
class PanelPicture:
    """One picture of a panel.

    Attributes:
        title: what it is.
        image: data URI.
        width: in pixels.
        height: in pixels.
        most: share of the pixels in the fullest of 64 bins of grey values; 0 without a histogram.
        bins: SVG path of the bins in a box of 64 by 32; empty without a histogram.
        sums: SVG path of their sum from black to white.
    """

    title: str
    image: str
    width: int
    height: int
    most: float = 0.0
    bins: str = ""
    sums: str = ""


@dataclass(frozen=True, slots=True)
class EdaPanel:
    """Pictures of the page that belong together.

    Attributes:
        title: what they are.
        text: what can be seen.
        pictures: side by side, as many as the width takes.
    """

    title: str
    text: str
    pictures: Sequence[PanelPicture]


def example_panels(found: CohortStatistics, *, on_fault: OnFault = "error") -> list[EdaPanel]:
    """Panels of scans of low, middle and high contrast, which are read again for their middle slices.

    Args:
        found: statistics of a cohort.
        on_fault: what was done with faulty geometry.

    Returns:
        Three panels; none where no scan shows a body, or one cannot be read any more.
    """
    examples = found.examples()
    if examples is None:
        return []
    try:
        low, middle, high = (_middle_slice(record, found.window, on_fault) for record in examples)
    except CovidctError:
        return []
    bright = middle > _otsu(middle)
    radius = max(1, round(min(middle.shape) / _DISC))
    names = [record.entry.id for record in examples]
    pair = {f"High contrast, {examples[2].contrast:.3f}": high, f"Low contrast, {examples[0].contrast:.3f}": low}
    return [
        EdaPanel(
            "High and low contrast",
            f"{names[2]} and {names[0]}, with the contrast of the whole scan.",
            _with_histograms(pair),
        ),
        EdaPanel(
            "Equalisation",
            f"{names[1]} as it is, after histogram equalisation (HE), after contrast limited adaptive equalisation "
            "(CLAHE), and after both.",
            _with_histograms(equalisation_pictures(middle)),
        ),
        EdaPanel(
            "Morphology",
            f"{names[1]} above Otsu's threshold, eroded and dilated by a disc of {radius} pixels radius.",
            [
                PanelPicture(
                    f"{title}: {np.count_nonzero(set_)} px", *shrunk(255 * set_.astype(np.uint8), _SIDE, ".png")
                )
                for title, set_ in morphology_pictures(bright, radius=radius).items()
            ],
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


def _with_histograms(pictures: Mapping[str, NDArray[Any]]) -> list[PanelPicture]:
    """Pictures of values in [0, 1], each with its histogram."""
    shown = []
    for title, picture in pictures.items():
        shares = grey_shares(picture)
        most = float(shares.max())
        bins = "".join(f"V{32 - 32 * share / most:.2f}H{place}" for place, share in enumerate(shares, start=1))
        sums = "".join(f"L{place} {32 - 32 * total:.2f}" for place, total in enumerate(np.cumsum(shares), start=1))
        pixels = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
        shown.append(PanelPicture(title, *shrunk(pixels, _SIDE), most, f"M0 32{bins}V32Z", f"M0 32{sums}"))
    return shown
