"""What the tests of all tasks share: a small variant of each task and a batch it takes."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch

from covidct import tasks
from covidct.tasks import BaseTask, DetectionTask
from tests.fakes.labelled_volumes import TinyLabelledVolumesDataModule, labelled_batch
from tests.fakes.lesions import TinyLesionsDataModule, lesions_batch
from tests.fakes.lung_slices import TinyLungSlicesDataModule, lung_slices_batch
from tests.fakes.lung_xrays import TinyLungXRaysDataModule, lung_xrays_batch
from tests.fakes.lungs import TinyLungsDataModule, lungs_batch
from tests.fakes.two_contrasts import LINE, TinyTwoContrastsDataModule, two_contrasts_batch
from tests.fakes.two_views import TinyViewsDataModule, views_batch
from tests.fakes.volumes import TinyVolumesDataModule, tiny_batch
from tests.fakes.xrays import TinyXRaysDataModule, xrays_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from covidct.sample import Batch


def exhaustive(task: BaseTask) -> BaseTask:
    """A detector that takes its losses over all anchors and regions, not over a drawn part of them."""
    assert isinstance(task, DetectionTask)
    for part in (task.model.rpn, task.model.roi_heads):
        part.fg_bg_sampler.batch_size_per_image = 1_000_000
    return task


@dataclass(frozen=True)
class Case:
    """How the conformance tests run one task.

    Attributes:
        arguments: make the task small.
        batch: makes a batch of n samples; ``size`` is the number of pixels per side.
        data: makes a data module.
        stem: file name of the network, the task and the configuration.
        settle: makes a task free of random numbers, as far as its losses draw any.
    """

    stem: str
    arguments: dict[str, Any]
    batch: Callable[..., Batch] = field(default=tiny_batch)
    data: Callable[..., pl.LightningDataModule] = field(default=TinyVolumesDataModule)
    settle: Callable[[BaseTask], BaseTask] = field(default=lambda task: task)


_LIGHT: dict[str, Any] = {"backbone": "resnet18", "truncation": 2}

_SMALL_EXPERT: dict[str, Any] = {
    "name": "MaskedGAPResNet",
    "arguments": {"backbone": "resnet18", "slice_size": 48},
}

CASES: dict[str, Case] = {
    "COVNetTask": Case("covnet", {"backbone": "resnet18", "slice_size": 48, "num_classes": 2}),
    "CovidCTMaskNetTask": Case(
        "mask_net", {**_LIGHT, "num_regions": 16, "features": 8}, lesions_batch, TinyLesionsDataModule
    ),
    "DarkCovidNetTask": Case("dark_covidnet", {}, xrays_batch, TinyXRaysDataModule),
    "FPNDenseNetTask": Case(
        "fpn_densenet",
        # dropout draws from the random numbers of the process, which a resumed training has not
        {"pyramid_channels": 8, "segmentation_channels": 64, "dropout": 0.0},
        lung_xrays_batch,
        TinyLungXRaysDataModule,
    ),
    "GatedEnsembleTask": Case(
        "gated_ensemble",
        {"low": [_SMALL_EXPERT], "high": [_SMALL_EXPERT, _SMALL_EXPERT], "num_classes": 2, "threshold": LINE},
        two_contrasts_batch,
        TinyTwoContrastsDataModule,
    ),
    "LesionMaskRCNNTask": Case(
        "lesion_mask_rcnn", {**_LIGHT, "max_detections": 5}, lesions_batch, TinyLesionsDataModule, exhaustive
    ),
    "MaskedGAPResNetTask": Case("masked_gap_resnet", {"backbone": "resnet18", "slice_size": 48}),
    "ResNeXtPlusTask": Case("resnext_plus", {"backbone": "resnet10", "slice_size": 48}),
    "SelfTransTask": Case(
        "self_trans",
        {"backbone": "resnet18", "dim": 8, "queue_size": 6, "bn_groups": 2},
        views_batch,
        TinyViewsDataModule,
    ),
    "SliceClassifierTask": Case("slice_classifier", {"backbone": "resnet18"}, lesions_batch, TinyLesionsDataModule),
    "TwoLevelTask": Case(
        "two_level",
        # dropout draws from the random numbers of the process, which a resumed training has not
        {"backbone": "resnet18", "slice_size": 48, "folds": 2, "level1_epochs": 2, "level1_slices": 3, "dropout": 0.0},
        labelled_batch,
        TinyLabelledVolumesDataModule,
    ),
    "UNet2dTask": Case("unet2d", {"channels": [4, 8]}, lung_slices_batch, TinyLungSlicesDataModule),
    "UNet3dTask": Case("unet3d", {"channels": [4, 8]}, lungs_batch, TinyLungsDataModule),
}
"""One line per task; a task of ``covidct.tasks`` without a line fails the conformance tests."""


def concrete_tasks() -> list[str]:
    """Names in ``covidct.tasks`` that are tasks, not kinds of tasks."""
    things = {name: getattr(tasks, name) for name in tasks.__all__}
    return [
        n for n, t in things.items() if inspect.isclass(t) and issubclass(t, BaseTask) and not inspect.isabstract(t)
    ]


@pytest.fixture(scope="module", params=concrete_tasks())
def name(request: pytest.FixtureRequest) -> str:
    """Name of a concrete task."""
    return str(request.param)


@pytest.fixture(scope="module")
def case(name: str) -> Case:
    return CASES[name]


@pytest.fixture(scope="module")
def make(name: str, case: Case) -> Callable[..., BaseTask]:
    """Makes the small variant of a task from fixed random numbers."""

    def build(**changes: object) -> BaseTask:
        torch.manual_seed(0)
        task = getattr(tasks, name)(**{**case.arguments, **changes})
        assert isinstance(task, BaseTask)
        return task

    return build


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., pl.Trainer]:
    """Makes a quiet CPU trainer that writes into the module's folder."""
    folder = tmp_path_factory.mktemp("trainer")

    def build(**changes: object) -> pl.Trainer:
        arguments: dict[str, Any] = {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": folder,
            **changes,
        }
        return pl.Trainer(**arguments)

    return build
