"""``convert_reference``: trained files of COVID-CT-Mask-Net's author as checkpoints of our tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct.errors import UsageError, WeightsError
from covidct.labels import CLASSES, LESION_CLASSES
from covidct.models.mask_net_weights import read_reference
from covidct.preprocessing import Preprocessing
from covidct.tasks.lesion_mask_rcnn import LesionMaskRCNNTask
from covidct.tasks.load import load_task
from covidct.tasks.mask_net import CovidCTMaskNetTask
from covidct.tasks.save import save_task
from covidct.weights import load_state

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from covidct.labels import MaskType
    from covidct.models import StoredDetector
    from covidct.tasks.base import BaseTask

__all__ = ("convert_reference",)

_SIZE = 512  # pixels per side; reference, min_size of its networks and img_size of its training
_ROW = 5  # numbers of a region in module S: score and four regression outputs (reference, faster_rcnn.py)


def convert_reference(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    mask_type: MaskType | None = None,
    window: Sequence[float] | None = None,
    anchor_sizes: Sequence[int] | None = None,
    anchor_ratios: Sequence[float] | None = None,
) -> BaseTask:
    """Write the checkpoint of a task from a ``.pth`` file of the reference code, AlexTS1980/COVID-CT-Mask-Net.

    A lesion network becomes a ``LesionMaskRCNNTask``, for :func:`covidct.inference.segment_lesions` and ``covidct
    segment``, a classifier a ``CovidCTMaskNetTask`` of normal, cap and covid (reference: control, common pneumonia,
    COVID), for :func:`covidct.inference.triage` and ``covidct triage``. Backbone, truncation, the number of classes and
    the sizes of module S follow from the weights, anchors from the file. Thresholds are the tasks' defaults, which are
    the reference's. Nothing in the file is run, see :func:`covidct.models.read_detector`.

    The record of the pre-processing is the reference's: slices of 512 x 512 pixels in display values, without a mask.

    Args:
        path: what the reference's training wrote, or its author published.
        out: the ``.ckpt`` file to write.
        mask_type: ``"ggo"`` or ``"merge"``, needed of networks of one lesion class, whose weights do not tell which.
        window: (low, high) in HU that the pictures of the training showed, so that scans in HU can be used too. The
            reference does not say it; None: the network takes pictures alone.
        anchor_sizes: in pixels, of a file without anchors.
        anchor_ratios: height by width, of a file without anchors.

    Returns:
        The task, read from the checkpoint as :func:`load_task` does.

    Raises:
        WeightsError: when the file is missing, damaged, or something else.
        UsageError: when an argument is missing, wrong, or another one than the file's, or ``out`` is no ``.ckpt``.
    """
    if Path(out).suffix != ".ckpt" or Path(out).resolve() == Path(path).resolve():
        raise UsageError(f"{out} cannot be the checkpoint: name another file than the reference's, with the end .ckpt.")
    found = read_reference(path)
    arguments: dict[str, Any] = {
        "backbone": found.arguments["backbone"],
        "truncation": found.arguments["truncation"],
        "mask_type": _mask_type(found, mask_type),
        **_anchors(found, anchor_sizes, anchor_ratios),
    }
    task: BaseTask
    classes: tuple[str, ...]
    if found.is_classifier:
        task, classes = CovidCTMaskNetTask(**arguments, **_module_s(found)), CLASSES
    else:
        task, classes = LesionMaskRCNNTask(**arguments), LESION_CLASSES[arguments["mask_type"]]
    load_state(task.model, found.state, source=found.source, error=WeightsError)
    task.preprocessing = Preprocessing(
        kind="ct_slice",
        classes=classes,
        window=None if window is None else tuple(window),  # type: ignore[arg-type]
        size=_SIZE,
        mask_source="none",
    )
    save_task(task, out)
    return load_task(out)


def _mask_type(found: StoredDetector, given: MaskType | None) -> MaskType:
    """What the lesion classes are, where weights and argument agree."""
    count = len(found.state["roi_heads.box_predictor.cls_score.weight"]) - 1
    fitting = [name for name, classes in LESION_CLASSES.items() if len(classes) - 1 == count]
    if not fitting:
        raise WeightsError(f"{found.source} tells {count} lesion classes apart, not 1 or 2: give one of the reference.")
    if given is None and len(fitting) > 1:
        raise UsageError(
            f"{found.source} knows one lesion class, and its weights do not say which: set mask_type to 'ggo' "
            "(ground-glass opacity alone) or to 'merge' (any lesion)."
        )
    if given not in (None, *fitting):
        raise UsageError(
            f"{found.source} tells {count} lesion class(es) apart, mask_type={given!r} does not fit: set it to "
            f"{' or '.join(map(repr, fitting))}."
        )
    return given or fitting[0]


def _anchors(
    found: StoredDetector, sizes: Sequence[int] | None, ratios: Sequence[float] | None
) -> dict[str, list[int] | list[float]]:
    """The anchors of the file, or those given for a file without."""
    if found.anchors is not None:
        for name, own, given in zip(("anchor_sizes", "anchor_ratios"), found.anchors, (sizes, ratios), strict=True):
            if given is not None and tuple(given) != own:
                raise UsageError(
                    f"{found.source} was trained with {name}={list(own)}, not {list(given)}: leave {name} out."
                )
        sizes, ratios = found.anchors
    if sizes is None or ratios is None:
        raise UsageError(
            f"{found.source} does not say its anchors, which have no weights: give anchor_sizes and anchor_ratios of "
            "its training."
        )
    count, built = len(sizes) * len(ratios), len(found.state["rpn.head.cls_logits.weight"])
    if count != built:
        raise UsageError(
            f"{found.source} has {built} anchors per place, {len(sizes)} sizes and {len(ratios)} ratios make {count}: "
            "give those of its training."
        )
    return {"anchor_sizes": list(sizes), "anchor_ratios": list(ratios)}


def _module_s(found: StoredDetector) -> dict[str, Any]:
    """N and F of a classifier, by the shapes of its first layer."""
    features, numbers = found.state["classifier.0.weight"].shape
    outputs = len(found.state["classifier.4.weight"])
    if numbers % _ROW or outputs != len(CLASSES):
        raise WeightsError(
            f"The module S of {found.source} takes {numbers} numbers and has {outputs} outputs, not {_ROW} numbers a "
            f"region and {len(CLASSES)} outputs: give a classifier of the reference."
        )
    return {"num_classes": outputs, "num_regions": numbers // _ROW, "features": features}
