"""A quick training on chests of ellipsoids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch

from covidct.datamodules import CTVolumeDataModule
from covidct.tasks import MaskedGAPResNetTask
from tests.fakes.chests import FakeVolumes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def data(cache: Path) -> CTVolumeDataModule:
    """Twelve chests of three classes: six to train on, three to validate on."""
    return CTVolumeDataModule(
        FakeVolumes(12),
        size=16,
        mask_source="file",
        val_fraction=0.25,
        test_fraction=0.25,
        batch_size=2,
        cache_dir=str(cache),
    )


@pytest.fixture
def make_task() -> Callable[..., MaskedGAPResNetTask]:
    def build(**options: object) -> MaskedGAPResNetTask:
        torch.manual_seed(0)
        arguments: dict[str, Any] = {"num_classes": 3, "backbone": "resnet18", "slice_size": 64, "learning_rate": 1e-3}
        return MaskedGAPResNetTask(**{**arguments, **options})

    return build


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., pl.Trainer]:
    def build(**options: object) -> pl.Trainer:
        arguments: dict[str, Any] = {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": tmp_path,
            **options,
        }
        return pl.Trainer(**arguments)

    return build
