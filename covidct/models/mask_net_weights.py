"""Trained networks of COVID-CT-Mask-Net on disk: our checkpoints and the reference code's ``.pth`` files."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from covidct.errors import CheckpointError, UsageError, WeightsError
from covidct.labels import LESION_CLASSES
from covidct.models.imagenet import IMAGENET_MEAN, IMAGENET_STD
from covidct.models.lesion_mask_rcnn import LesionMaskRCNN
from covidct.preprocessing import Preprocessing
from covidct.weights import RECORD_KEY, batch_counters, load_checkpoint, load_foreign

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from torch import Tensor

__all__ = ("StoredDetector", "read_detector", "read_reference")

_TASKS = ("LesionMaskRCNNTask", "CovidCTMaskNetTask")
_PREFIX = "model."  # of the network in the state of a task
_DEFAULTS: Mapping[str, Any] = {
    name: inspect.signature(LesionMaskRCNN).parameters[name].default
    for name in ("backbone", "truncation", "mask_type", "anchor_sizes", "anchor_ratios")
}
"""Of what a checkpoint does not say, as :func:`covidct.models.stored_network.stored_network` takes it."""

_CLASSIFIER = {"fc_scores": "0", "fc_scores_2": "2", "fc_scores_img": "4"}
"""The reference's layers of module S to ours."""

_RENAMED = (
    ("rpn.head.conv.", "rpn.head.conv.0.0."),
    *(
        (f"backbone.fpn.{kind}.{i}.", f"backbone.fpn.{kind}.{i}.0.")
        for kind in ("inner_blocks", "layer_blocks")
        for i in range(4)
    ),
    *((f"roi_heads.mask_head.mask_fcn{i + 1}.", f"roi_heads.mask_head.{i}.0.") for i in range(4)),
    *((f"s2new.{theirs}.", f"classifier.{ours}.") for theirs, ours in _CLASSIFIER.items()),
)
"""Starts of names in the reference (torchvision's of 2020) to today's; every other name is the same."""


class _Anchors:
    """Stands in for the anchor generator that the reference pickles into its files: attributes, no behaviour."""

    sizes: Any
    aspect_ratios: Any


_STAND_INS = {
    f"{module}.AnchorGenerator": _Anchors
    for module in ("models.mask_net.rpn", "models.mask_net.rpn_segmentation", "torchvision.models.detection.rpn")
}
"""The classifier's, the lesion network's, and torchvision's, of lesion networks before November 2020.

Those had a fifth level, a maximum pool without weights, and frozen batch normalisation; the reference's later code
reads them as networks of four levels, and so does this.
"""


@dataclass(frozen=True, slots=True)
class StoredDetector:
    """Weights of a lesion detector or classifier, by today's names.

    Attributes:
        source: name of the file.
        state: names to tensors, as :class:`covidct.models.LesionMaskRCNN` or :class:`covidct.models.CovidCTMaskNet` has
            them.
        arguments: what is known of ``backbone``, ``truncation`` and ``mask_type``.
        anchors: sizes and ratios; None where the file does not say.
        is_classifier: whether module S is in it.
        preprocessing: of the slices it was trained on; None where the file does not say.
        class_names: of a classifier's outputs; empty where the file does not say.
    """

    source: str
    state: Mapping[str, Tensor]
    arguments: Mapping[str, Any]
    anchors: tuple[tuple[int, ...], tuple[float, ...]] | None
    is_classifier: bool
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] = ()

    def require(self, **wanted: object) -> None:
        """Refuse weights of another network.

        Args:
            **wanted: arguments of the network that is to take them.

        Raises:
            UsageError: names the argument and both values.
        """
        for name, value in wanted.items():
            known = self.arguments.get(name, value)
            if known != value:
                raise UsageError(
                    f"{self.source} was trained with {name}={known!r}, the network has {value!r}: set {name}={known!r}."
                )


def read_detector(path: str | os.PathLike[str]) -> StoredDetector:
    """Read a checkpoint of either stage, or a ``.pth`` file of the reference.

    Files of the reference hold a pickled anchor generator; an inert stand-in takes its place, and nothing but its two
    lists of numbers is read. Any other object in the file is refused.

    Args:
        path: ``.ckpt`` of ``LesionMaskRCNNTask`` or ``CovidCTMaskNetTask``, or ``.pth``.

    Returns:
        Its weights by today's names, and what the file says of the network.

    Raises:
        WeightsError: when the file is missing, damaged, or something else.
    """
    if Path(path).suffix.lower() == ".pth":
        return read_reference(path)
    name = Path(path).name
    checkpoint = load_checkpoint(path)
    task = checkpoint[RECORD_KEY].get("task")
    if task not in _TASKS:
        raise CheckpointError(
            f"{name} belongs to {task}, not to {' or '.join(_TASKS)}: give a checkpoint of one of them."
        )
    parameters = {**_DEFAULTS, **checkpoint["hyper_parameters"]}
    state, slices = checkpoint["state_dict"], checkpoint[RECORD_KEY].get("preprocessing")
    try:
        anchors = _numbers(parameters["anchor_sizes"], parameters["anchor_ratios"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"The hyper-parameters in {name} are damaged ({error}): train again.") from error
    return StoredDetector(
        source=name,
        state={key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)},
        arguments={key: parameters[key] for key in ("backbone", "truncation", "mask_type")},
        anchors=anchors,
        is_classifier=task == _TASKS[1],
        preprocessing=None if slices is None else Preprocessing.from_dict(slices),
        class_names=tuple(checkpoint[RECORD_KEY].get("class_names", ())) if task == _TASKS[1] else (),
    )


def read_reference(path: str | os.PathLike[str]) -> StoredDetector:
    """Read what the reference's training scripts save: ``model_weights`` and ``anchor_generator`` among other things.

    Args:
        path: as in :func:`read_detector`, whatever its suffix.

    Raises:
        WeightsError: when the file is missing, damaged, or something else.
    """
    name = Path(path).name
    content = load_foreign(path, stand_ins=_STAND_INS)
    weights = content.get("model_weights") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise WeightsError(
            f"{name} is no file of the reference (it has no 'model_weights'): give a .pth of its training, or a "
            ".ckpt of covidct."
        )
    state = {_today(key): value for key, value in weights.items()}
    classifier = any(key.startswith("classifier.") for key in state)
    if classifier:  # the reference builds mask features into some of its classifiers, and never uses them
        state = {key: value for key, value in state.items() if not key.startswith("roi_heads.mask_")}
        if "classifier.2.weight" not in state:
            raise WeightsError(
                f"{name} has a module S with one hidden layer, which the reference gave up in 2020: give a classifier "
                "of its later training."
            )
    return StoredDetector(
        source=name,
        # the buffers of our networks are constants that the reference keeps outside its state
        state=batch_counters(state) | state | _normalisation(),
        arguments=_arguments(state, name),
        anchors=_anchors(content.get("anchor_generator"), name),
        is_classifier=classifier,
    )


def _today(name: str) -> str:
    """A name of the reference by today's torchvision."""
    for theirs, ours in _RENAMED:
        if name.startswith(theirs) and not name.startswith(ours):  # weights that were saved again are today's already
            return ours + name[len(theirs) :]
    return name


def _normalisation() -> dict[str, Tensor]:
    """ImageNet mean and deviation, which the reference's transform holds as plain numbers."""
    return {
        "mean": torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1),
        "std": torch.tensor(IMAGENET_STD).view(1, 3, 1, 1),
    }


def _arguments(state: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """Backbone, truncation and, where the number of classes tells it, the mask type."""
    stages = {key.split(".")[2] for key in state if key.startswith("backbone.body.layer")}
    classes = state.get("roi_heads.box_predictor.cls_score.weight")
    if not stages or classes is None:
        raise WeightsError(f"{name} holds no lesion detector: give a .pth that the reference's training wrote.")
    deep = "backbone.body.layer1.0.conv3.weight" in state
    longer = "backbone.body.layer1.2.conv1.weight" in state
    backbone = "resnet50" if deep else "resnet34" if longer else "resnet18"
    found: dict[str, Any] = {"backbone": backbone, "truncation": 4 - len(stages)}
    if len(classes) == len(LESION_CLASSES["both"]):
        found["mask_type"] = "both"  # of two classes nobody can tell which
    return found


def _anchors(generator: object, name: str) -> tuple[tuple[int, ...], tuple[float, ...]] | None:
    """Sizes and ratios of the first level; the reference has the same on all."""
    if not isinstance(generator, _Anchors):
        return None
    try:
        return _numbers(generator.sizes[0], generator.aspect_ratios[0])
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise WeightsError(f"The anchor generator in {name} is damaged ({error}): fetch the file again.") from error


def _numbers(sizes: Iterable[Any], ratios: Iterable[Any]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Sizes in whole pixels and ratios of anchors."""
    whole, shares = tuple(int(size) for size in sizes), tuple(float(ratio) for ratio in ratios)
    if whole != tuple(sizes) or min(*whole, *shares) <= 0:
        raise ValueError(f"anchors of size {sizes} and ratio {ratios}")
    return whole, shares
