"""``segment_scan``: the lungs of one scan, with their volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covidct.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from covidct.models import LungSegmenter
    from covidct.volume import Volume

__all__ = ("LungSegmentation", "lungs_if_any", "lungs_ml", "segment_scan")

_SIDES = {"right": 1, "left": 2}


@dataclass(frozen=True, slots=True)
class LungSegmentation:
    """A lung mask and what it measures.

    Attributes:
        mask: (D, H, W) uint8 on the grid of the scan, 0 background, 1 right lung, 2 left lung.
        lungs_ml: volume of the ``"right"`` and the ``"left"`` lung in millilitres.
        mask_source: ``"threshold"`` (the classical mask), or ``"checkpoint:<sha256>"`` of the network's file.
    """

    mask: NDArray[np.uint8]
    lungs_ml: Mapping[str, float]
    mask_source: str = "threshold"


def segment_scan(scan: Volume, *, segmenter: LungSegmenter | None = None) -> LungSegmentation:
    """Find the lungs of a CT scan, by :func:`covidct.functional.segment_lungs` or by a trained network.

    Args:
        scan: in Hounsfield units, with known spacing.
        segmenter: the network; None: the classical mask.

    Returns:
        Mask and volumes.

    Raises:
        InputError: when the scan has no Hounsfield units, no spacing, or no lungs.
    """
    from covidct.functional import segment_lungs

    scan.require_hu("Lung segmentation")
    scan.require_spacing("Lung segmentation")
    mask = segment_lungs(scan.array, scan.spacing) if segmenter is None else segmenter(scan)
    if not mask.any():
        raise no_lungs()
    source = "threshold" if segmenter is None else segmenter.mask_source
    return LungSegmentation(mask, lungs_ml(mask, scan.spacing), source)


def lungs_if_any(scan: Volume, *, segmenter: LungSegmenter | None = None) -> LungSegmentation | None:
    """The lungs of a scan where they can be found: None for display values, unknown spacing, or no lungs.

    Args:
        scan: any volume.
        segmenter: the network; None: the classical mask.
    """
    try:
        return segment_scan(scan, segmenter=segmenter)
    except InputError:
        return None


def no_lungs() -> InputError:
    """The refusal of a scan without lungs."""
    return InputError(
        "No lungs were found: this is no chest CT, its values are no Hounsfield units, or it cuts through the chest "
        "in too few slices; give a CT scan of the whole chest."
    )


def lungs_ml(mask: NDArray[np.uint8], spacing: tuple[float, float, float]) -> dict[str, float]:
    """Volume of each lung.

    Args:
        mask: (D, H, W), 1 right, 2 left.
        spacing: mm along (D, H, W).

    Returns:
        ``{"right": ..., "left": ...}`` in millilitres; NaN where the spacing is unknown.
    """
    voxel = float(np.prod(spacing)) / 1000
    counts = {side: sum(int(np.count_nonzero(one == value)) for one in mask) for side, value in _SIDES.items()}
    return {side: round(count * voxel, 1) for side, count in counts.items()}
