"""Small tasks of every kind with a record of their pre-processing, on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from covidct import tasks
from covidct.preprocessing import Preprocessing
from covidct.tasks import BaseTask, save_task

if TYPE_CHECKING:
    from pathlib import Path

_DETECTOR: dict[str, Any] = {"backbone": "resnet18", "truncation": 2}
_EXPERT: dict[str, Any] = {"name": "MaskedGAPResNet", "arguments": {"backbone": "resnet18", "slice_size": 32}}

SMALL: dict[str, dict[str, Any]] = {
    "COVNetTask": {"backbone": "resnet18", "slice_size": 48, "num_classes": 2},
    "CovidCTMaskNetTask": {**_DETECTOR, "num_regions": 16, "features": 8},
    "DarkCovidNetTask": {},
    "FPNDenseNetTask": {"pyramid_channels": 8, "segmentation_channels": 64},
    "GatedEnsembleTask": {"low": [_EXPERT], "high": [_EXPERT], "num_classes": 2, "threshold": 0.2},
    "LesionMaskRCNNTask": {**_DETECTOR, "max_detections": 5},
    "MaskedGAPResNetTask": {"backbone": "resnet18", "slice_size": 32},
    "ResNeXtPlusTask": {"backbone": "resnet10", "slice_size": 48},
    "SelfTransTask": {"backbone": "resnet18", "dim": 8, "queue_size": 6, "bn_groups": 2},
    "SliceClassifierTask": {"backbone": "resnet18"},
    "TwoLevelTask": {"backbone": "resnet18", "slice_size": 32, "folds": 2},
    "UNet2dTask": {"channels": [4, 8]},
    "UNet3dTask": {"channels": [4, 8]},
}
"""Arguments that make a task small."""


def small_task(name: str, *, size: int | None = None) -> BaseTask:
    """A task of random weights, with a record of volumes whose slices are all kept, of slices or X-rays.

    Args:
        name: of the class.
        size: of the record; None: 48 pixels, or what the network is made for.
    """
    torch.manual_seed(0)
    task: BaseTask = getattr(tasks, name)(**SMALL[name])
    kind = task.kinds[0]
    xray = kind == "cxr"
    task.preprocessing = Preprocessing(
        kind=kind,
        classes=task.class_names,
        window=None if xray else (-1000.0, 400.0),
        size=size or (256 if name == "DarkCovidNetTask" else 64 if name == "FPNDenseNetTask" else 48),
        grid="slices" if kind == "ct_volume" else "cube",
        mask_source="none" if xray else "threshold",
        contrast="rms" if name == "GatedEnsembleTask" else "none",
    )
    return task.eval()


def write_small_task(name: str, folder: Path) -> Path:
    """The checkpoint of a small task, made once per folder."""
    path = folder / f"{name}.ckpt"
    if not path.exists():
        save_task(small_task(name), path)
    return path
