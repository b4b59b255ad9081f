"""``LesionMap``: what a lesion network finds in a scan or a picture, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from covidct.volume import Finding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covidct.labels import MaskType

__all__ = ("LesionMap", "SliceDetections", "assumed_window")


@dataclass(frozen=True, slots=True)
class SliceDetections:
    """Lesions that were detected in one slice, by decreasing score.

    Attributes:
        boxes: (N, 4) float32, x0, y0, x1, y1 in pixels of the scan's own grid, the maximum exclusive.
        labels: (N,) int64, index of :attr:`LesionSegmenter.class_names`, from 1.
        scores: (N,) float32 in [0, 1].
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LesionMap:
    """What :class:`LesionSegmenter` finds.

    Attributes:
        mask: (D, H, W) of a volume or (H, W) of an image, uint8 on its own grid: 0 none, 1 ground-glass opacity,
            2 consolidation; with ``mask_type="merge"`` 1 is a lesion of unknown type.
        detections: of each slice, feet to head; one entry for an image.
        mask_type: what the network tells apart, see :data:`covidct.labels.LESION_CLASSES`.
        findings: what was assumed about the input.
    """

    mask: NDArray[np.uint8]
    detections: tuple[SliceDetections, ...]
    mask_type: MaskType
    findings: tuple[Finding, ...] = ()

    @property
    def typed(self) -> bool:
        """Whether the values of the mask are types of lesions."""
        return self.mask_type != "merge"


def assumed_window(window: tuple[float, float]) -> Finding:
    """What a result says whose display values were taken for the window of a training.

    Args:
        window: (low, high) in HU.
    """
    low, high = window
    return Finding(
        "assumed_window",
        f"The display values were taken for the window [{low:g}, {high:g}] HU of the training, as was asked for; in "
        "another window the network sees something else.",
    )
