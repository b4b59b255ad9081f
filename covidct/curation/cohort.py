"""Which scans belong in a cohort, decided on headers alone: no pixel is read, and every exclusion has its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from covidct.io import SeriesInfo

__all__ = ("Excluded", "Selection", "select_series")


@dataclass(frozen=True, slots=True)
class Excluded:
    """A scan that was left out.

    Attributes:
        series: the scan.
        reasons: why, one plain clause each.
    """

    series: SeriesInfo
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What became of a list of scans.

    Attributes:
        kept: scans that no rule excludes, in the order given.
        excluded: the others, in the order given.
    """

    kept: tuple[SeriesInfo, ...]
    excluded: tuple[Excluded, ...]


def select_series(
    series: Iterable[SeriesInfo],
    *,
    max_thickness_mm: float | None = 3.0,
    contrast: Literal["exclude", "keep"] = "exclude",
    unknown: Literal["keep", "exclude"] = "keep",
) -> Selection:
    """Leave out contrast scans and thick slices, the exclusion criteria of the mask-weighted GAP paper (section II.A).

    The paper: "a. the contrast scan and b. slice thickness more than 3mm"; 3.0 mm stays in. The thickness is
    SliceThickness (0018,0050); where the header has none (NIfTI, NRRD, MetaImage), or 0, the distance of the slices
    stands in for it, and the reason says so. Contrast is :attr:`covidct.io.SeriesInfo.contrast`.

    Args:
        series: scans as :func:`covidct.io.find_series` gives them; nothing of them is opened.
        max_thickness_mm: the thickest slice that stays, in mm; None: any.
        contrast: ``"exclude"`` leaves out scans with a contrast agent.
        unknown: what becomes of a scan whose header does not tell what a rule asks for. ``"keep"``, the default,
            leans on DICOM PS3.3 C.7.6.4, by which a header says so where a contrast agent was given; formats other
            than DICOM never say it.

    Returns:
        Kept and excluded scans.

    Raises:
        UsageError: for an unknown word, or a thickness that is not positive.
    """
    if contrast not in ("exclude", "keep"):
        raise UsageError(f"contrast={contrast!r} is unknown: use 'exclude' or 'keep'.")
    if unknown not in ("keep", "exclude"):
        raise UsageError(f"unknown={unknown!r} is unknown: use 'keep' or 'exclude'.")
    if max_thickness_mm is not None and not max_thickness_mm > 0:
        raise UsageError(f"max_thickness_mm={max_thickness_mm} must be a positive number of millimetres, or None.")
    kept: list[SeriesInfo] = []
    excluded: list[Excluded] = []
    for info in series:
        verdicts = []
        if contrast == "exclude":
            verdicts.append(_contrast(info, unknown))
        if max_thickness_mm is not None:
            verdicts.append(_thickness(info, max_thickness_mm, unknown))
        if reasons := tuple(reason for reason in verdicts if reason):
            excluded.append(Excluded(info, reasons))
        else:
            kept.append(info)
    return Selection(tuple(kept), tuple(excluded))


def _contrast(info: SeriesInfo, unknown: str) -> str:
    """Why the rule on contrast excludes a scan, empty when it does not."""
    if info.contrast:
        return f"a contrast agent was given, says {info.contrast_basis}"
    if info.contrast is None and unknown == "exclude":
        return "the header does not say whether a contrast agent was given"
    return ""


def _thickness(info: SeriesInfo, most: float, unknown: str) -> str:
    """Why the rule on thickness excludes a scan, empty when it does not."""
    stated = info.thickness > 0  # some headers say 0
    value = info.thickness if stated else info.spacing[0]
    if math.isnan(value):
        return "the header tells no slice thickness" if unknown == "exclude" else ""
    if round(value, 3) <= most:  # distances come from differences of positions, which are rounded decimals
        return ""
    what = "slice thickness" if stated else "distance of the slices (no thickness is stated)"
    return f"{what} {value:.4g} mm is more than {most:g} mm"
