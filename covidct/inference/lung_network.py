"""``find_lung_network``: the lung network that a trained task gets its masks from."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from covidct.errors import UsageError
from covidct.models import LungSegmenter, XRayLungSegmenter

if TYPE_CHECKING:
    import os

    import torch

__all__ = ("find_lung_network",)


Segmenter = TypeVar("Segmenter", LungSegmenter, XRayLungSegmenter)


def find_lung_network(
    network: type[Segmenter],
    path: str | os.PathLike[str] | None,
    *,
    trained_with: str,
    device: torch.device,
    of_use: bool = False,
) -> Segmenter | None:
    """Read the lung network that is given, and see that it suits the task.

    Args:
        network: of CT or of X-rays.
        path: a ``.ckpt`` file of a lung network, or None.
        trained_with: ``mask_source`` of the task's pre-processing record.
        device: where the network shall run.
        of_use: whether lungs are wanted though the task takes no mask: to leave out slices, to measure lesions.

    Returns:
        The network; None where none is given and none is needed.

    Raises:
        CheckpointError: when the file is no lung network.
        UsageError: when the task was trained with the masks of another network, or takes no masks, or needs a network
            and none is given.
    """
    bound = trained_with.startswith("checkpoint:")
    if path is None:
        if bound:
            raise UsageError(
                f"The task was trained with lung masks of the network of sha256 {trained_with.partition(':')[2]}: give "
                "its checkpoint too (lung_checkpoint, --lung-checkpoint)."
            )
        return None
    if trained_with == "none" and not of_use:
        raise UsageError("The task takes no lung mask, so a lung network is of no use: leave it out.")
    segmenter = network.from_checkpoint(path, device=device)
    if bound and segmenter.mask_source != trained_with:
        raise UsageError(
            f"The task was trained with lung masks of the network of sha256 {trained_with.partition(':')[2]}, but the "
            f"lung checkpoint given has {segmenter.sha256}: give the former."
        )
    return segmenter
