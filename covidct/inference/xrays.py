"""``result_of_xray``: a classifier on a single chest X-ray, with its picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from covidct.errors import InputError, UsageError
from covidct.inference.batch_results import results_of_batch
from covidct.inference.viewer import make_viewer
from covidct.sample import collate
from covidct.transforms import prepare_image, to_sample
from covidct.volume import Finding, Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.models import XRayLungSegmenter
    from covidct.preprocessing import Preprocessing
    from covidct.result import ScanResult, Viewer
    from covidct.tasks import BaseTask
    from covidct.volume import Image

__all__ = ("require_lungs", "result_of_xray")

_SHOWN = "the X-ray at the size that the network sees"


def require_lungs(record: Preprocessing, segmenter: XRayLungSegmenter | None) -> None:
    """Refuse a task of masked X-rays without a network that masks them: single files bring no masks.

    Args:
        record: pre-processing of the task.
        segmenter: the lung network, or None.

    Raises:
        UsageError: when it is missing.
    """
    if record.masking != "original" and segmenter is None:
        seen = "the lungs alone" if record.masking == "lungs" else "X-rays without their lungs"
        raise UsageError(
            f"The task sees {seen}, so a lung network of X-rays is needed: give its checkpoint too (lung_checkpoint, "
            "--lung-checkpoint)."
        )


def result_of_xray(
    task: BaseTask,
    image: Image,
    record: Preprocessing,
    *,
    id: str,
    segmenter: XRayLungSegmenter | None = None,
    explain: bool = True,
    viewer: bool = False,
) -> ScanResult:
    """Classify a chest X-ray.

    Args:
        task: a classifier of X-rays in evaluation mode, on its device.
        image: the X-ray, grey or colour, of any size.
        record: pre-processing of the task.
        id: goes into the result.
        segmenter: finds the lungs; needed where the task sees masked X-rays.
        explain: put Grad-CAM of the most probable class that is no negative one into the picture, in the fixed scale of
            the task.
        viewer: put the X-ray into the result at its own size too.

    Returns:
        The result, with the whole X-ray as its picture and the outline of its lungs where there is a network for them.

    Raises:
        InputError: for what cannot be an X-ray, or one without lungs where the task sees masked ones.
    """
    lungs = None if segmenter is None else segmenter(image)
    if lungs is not None and not lungs.any():
        if record.masking != "original":
            raise InputError("The lung network finds no lungs in this X-ray, so there is nothing to mask: look at it.")
        lungs = None
    seen = replace(record, mask_source="none" if lungs is None else "file")
    nobody = torch.tensor(0)
    prepared = {key: value[0] for key, value in prepare_image(image, seen, lung_mask=lungs).items()}
    batch = collate([to_sample(prepared, id=id, subject=nobody, scan=nobody)])
    (result,) = results_of_batch(task, batch, explain=explain)
    preview = result.preview
    if preview is not None:
        whole = prepare_image(image, replace(seen, masking="original"), lung_mask=lungs)["image"][:, 0]
        slices = np.rint(whole / 257).astype(np.uint8)  # 65535 = 257 x 255
        preview = replace(preview, slices=slices, words=(_SHOWN,))
    source = segmenter.mask_source if segmenter is not None and lungs is not None else "none"
    told = () if segmenter is None else (_area(lungs),)
    result = replace(result, preview=preview, mask_source=source, findings=told)
    return replace(result, viewer=_viewer(image, result, lungs)) if viewer else result


def _viewer(image: Image, result: ScanResult, lungs: NDArray[np.uint8] | None) -> Viewer:
    """The X-ray as the only slice of a volume."""
    height, width = image.spacing
    grey = image.array if image.array.ndim == 2 else cv2.cvtColor(image.array, cv2.COLOR_RGB2GRAY)
    whole = Volume(grey[None], np.diag([width, height, 1.0, 1.0]), image.modality, "unit")
    return make_viewer(whole, result, lung_mask=None if lungs is None else lungs[None])


def _area(lungs: NDArray[np.uint8] | None) -> Finding:
    """A sentence about the lungs that were found."""
    if lungs is None:
        return Finding("no_lungs", "The lung network finds no lungs in this X-ray.")
    share = 100 * float((lungs > 0).mean())
    return Finding("lung_area", f"The lung network finds lungs on {share:.1f} % of the X-ray.")
