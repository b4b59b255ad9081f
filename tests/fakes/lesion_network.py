"""A lesion network that reads the type from the grey value, so that its mask is known in closed form, and its files.

In the window -1250 to 250 HU, -350 to -50 HU (grey values 0.6 to 0.8) is ground-glass opacity, what is brighter is
consolidation. Each connected part is a detection. It is a test object and looks like no lung.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from covidct.functional import lesion_instances
from covidct.labels import CLASSES, LESION_CLASSES
from covidct.models import LesionMaskRCNN
from covidct.preprocessing import Preprocessing
from covidct.tasks import CovidCTMaskNetTask, SliceClassifierTask

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from covidct.labels import MaskType

GLASS, DENSE = 0.6, 0.8
SCORES = {1: 0.7, 2: 0.9}  # of the detections by label
PARAMETERS: dict[str, Any] = {"backbone": "resnet18", "truncation": 2, "max_detections": 5, "score_threshold": 0.5}
RECORD = Preprocessing(kind="ct_slice", classes=LESION_CLASSES["both"], size=64, mask_source="none")


def detect_by_grey_value(self: LesionMaskRCNN, image: Tensor) -> list[dict[str, Tensor]]:
    """Takes the place of :meth:`covidct.models.LesionMaskRCNN.detect`."""
    found = []
    for plane in image[:, 0]:
        types = (plane > GLASS).byte() + (plane > DENSE).byte()
        objects = lesion_instances(types.cpu(), mask_type=self.mask_type)
        scores = torch.tensor([SCORES[int(label)] for label in objects["labels"]])
        order = scores.argsort(descending=True, stable=True)
        order = order[scores[order] >= self.roi_heads.score_thresh]
        one = {**objects, "scores": scores, "masks": objects["masks"].float()[:, None]}
        found.append({key: value[order] for key, value in one.items()})
    return found


def lesion_network(mask_type: MaskType = "both") -> LesionMaskRCNN:
    """A small network with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LesionMaskRCNN(**PARAMETERS, mask_type=mask_type)


def write_lesion_checkpoint(
    path: Path,
    *,
    record: Preprocessing | None = RECORD,
    mask_type: MaskType = "both",
    **changes: Any,  # noqa: ANN401
) -> Path:
    """A file as the lesion network's task writes it, of random weights; ``changes`` replace parts of it."""
    network = lesion_network(mask_type)
    checkpoint = {
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"model.{name}": value for name, value in network.state_dict().items()},
        "hyper_parameters": {**PARAMETERS, "mask_type": mask_type, "mask_threshold": 0.5, "weights": None},
        "covidct": {
            "version": "0",
            "task": "LesionMaskRCNNTask",
            "class_names": list(LESION_CLASSES[mask_type]),
            "preprocessing": record and record.to_dict(),
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint | changes, path)
    return path


def write_slice_checkpoint(
    path: Path, *, record: Preprocessing | None = None, plain: bool = False, cam_scale: float = 0.0
) -> Path:
    """A classifier of slices of random weights, as its task writes it: by regions, or a plain network."""
    record = record or Preprocessing(kind="ct_slice", classes=CLASSES, size=32, mask_source="none")
    small: dict[str, Any] = {"truncation": 2, "num_regions": 8, "features": 8}
    parameters = {"backbone": "resnet18", **({} if plain else small)}
    task_class = SliceClassifierTask if plain else CovidCTMaskNetTask
    with torch.random.fork_rng():
        torch.manual_seed(1)
        task = task_class(**parameters)
    task.cam_scale.fill_(cam_scale)
    torch.save(
        {
            "pytorch-lightning_version": "2.6.6",
            "state_dict": task.state_dict(),
            "hyper_parameters": parameters,
            "covidct": {
                "version": "0",
                "task": task_class.__name__,
                "class_names": list(record.classes),
                "preprocessing": record.to_dict(),
            },
        },
        path,
    )
    return path
