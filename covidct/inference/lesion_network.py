"""``find_lesion_network``: the lesion network that a command or predictor is asked to use, with its thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covidct.errors import UsageError
from covidct.models import LesionSegmenter

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import torch

__all__ = ("find_lesion_network", "given_thresholds")


def given_thresholds(
    *,
    score_threshold: float | None = None,
    mask_threshold: float | None = None,
    roi_nms: float | None = None,
    rpn_nms: float | None = None,
) -> dict[str, float]:
    """Options of a command as arguments of :meth:`covidct.models.LesionSegmenter.from_checkpoint`.

    Args:
        score_threshold: least score of a detection; None, here and below: not given.
        mask_threshold: of the soft masks.
        roi_nms: overlap of the detections of one class.
        rpn_nms: overlap of the proposals.
    """
    values = {
        "score_threshold": score_threshold,
        "mask_threshold": mask_threshold,
        "nms_threshold": roi_nms,
        "rpn_nms_threshold": rpn_nms,
    }
    return {name: value for name, value in values.items() if value is not None}


def find_lesion_network(
    path: str | os.PathLike[str] | None,
    *,
    thresholds: Mapping[str, float] | None,
    device: torch.device,
    assume_window: bool = False,
) -> LesionSegmenter | None:
    """Read the lesion network that is given.

    Args:
        path: a ``.ckpt`` file of ``LesionMaskRCNNTask``, or None.
        thresholds: those that are not the checkpoint's, see :func:`given_thresholds`.
        device: where the network shall run.
        assume_window: take display values for the window of the training.

    Returns:
        The network; None where none is given.

    Raises:
        CheckpointError: when the file is no lesion network.
        UsageError: for a threshold out of range, or without a network.
    """
    if path is None:
        if thresholds:
            raise UsageError(
                f"{', '.join(thresholds)} belong to a lesion network, and none is given: name its checkpoint, or leave "
                "them out."
            )
        return None
    return LesionSegmenter.from_checkpoint(path, device=device, assume_window=assume_window, **(thresholds or {}))
