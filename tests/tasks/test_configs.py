"""The shipped configurations: they parse, they run, and every value says who set it."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.core.datamodule import LightningDataModule

import covidct
from covidct.tasks import BaseTask

CONFIGS = sorted((Path(covidct.__file__).parents[1] / "examples" / "configs").glob("*.yaml"))
SYSTEMS = ("gated_system",)
"""Configurations of `covidct ensemble`, which are several trainings: tests/cli/test_ensemble.py runs such a one."""

_LIGHT = [
    "--model.init_args.backbone=resnet18",
    "--model.init_args.truncation=2",
    "--model.init_args.weights=null",
    "--data.init_args.size=64",
    "--data.init_args.num_workers=0",
    "--data.init_args.window=[-1250.0,250.0]",
    "--data.init_args.dataset=covidct.datasets.PhantomLesions",
    "--data.init_args.dataset.init_args.num_subjects=12",
    "--data.init_args.dataset.init_args.slices_per_scan=2",
    "--data.init_args.dataset.init_args.shape=[16,48,48]",
    "--data.init_args.val_fraction=0.25",
    "--data.init_args.test_fraction=0.25",
]
SMALL: dict[str, list[str]] = {
    "gated_ensemble": [
        "--model.init_args.low=[{name: MaskedGAPResNet, arguments: {backbone: resnet18, slice_size: 32}}]",
        "--model.init_args.high=[{name: MaskedGAPResNet, arguments: {backbone: resnet18, slice_size: 32}}]",
        "--data.init_args.size=32",
        "--data.init_args.mask_source=file",
        "--data.init_args.dataset=covidct.datasets.PhantomTwoContrasts",
        "--data.init_args.dataset.init_args.num_subjects=24",
        "--data.init_args.dataset.init_args.shape=[6,40,40]",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "lesion_mask_rcnn": _LIGHT,
    "lesion_mask_rcnn_phantom": _LIGHT,
    "mask_net": _LIGHT,
    "mask_net_phantom": _LIGHT,
    "covnet": [
        "--model.init_args.backbone=resnet18",
        "--model.init_args.slice_size=40",
        "--model.init_args.weights=null",
        "--data.init_args.size=16",
        "--data.init_args.num_workers=0",
        "--data.init_args.mask_source=file",
        "--data.init_args.dataset=covidct.datasets.PhantomCTVolumes",
        "--data.init_args.dataset.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.shape=[16,32,32]",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "cxr_classifier": [
        "--model.init_args.backbone=resnet18",
        "--model.init_args.weights=null",
        "--data.init_args.size=32",
        "--data.init_args.num_workers=0",
        "--data.init_args.dataset=covidct.datasets.PhantomCXR",
        "--data.init_args.dataset.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.shape=[64,64]",
        "--data.init_args.dataset.init_args.classes=covid_vs_rest",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "dark_covidnet": [
        "--data.init_args.batch_size=4",
        "--data.init_args.num_workers=0",
        "--data.init_args.dataset=covidct.datasets.PhantomCXR",
        "--data.init_args.dataset.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.shape=[64,64]",
        "--data.init_args.dataset.init_args.classes=covid_vs_rest",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "fpn_densenet": [
        "--model.init_args.pyramid_channels=8",
        "--model.init_args.segmentation_channels=64",
        "--model.init_args.weights=null",
        "--data.init_args.size=32",
        "--data.init_args.num_workers=0",
        "--data.init_args.dataset=covidct.datasets.PhantomCXR",
        "--data.init_args.dataset.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.shape=[64,64]",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "fpn_densenet_phantom": [
        "--trainer.precision=32-true",
        "--data.init_args.size=32",
        "--data.init_args.dataset.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.shape=[64,64]",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "masked_gap_resnet": [
        "--model.init_args.backbone=resnet18",
        "--model.init_args.slice_size=32",
        "--model.init_args.weights=null",
        "--data.init_args.size=16",
        "--data.init_args.dataset=covidct.datasets.PhantomCTVolumes",
        "--data.init_args.dataset.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.shape=[16,32,32]",
        "--data.init_args.dataset.init_args.classes=covid_vs_rest",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "resnext_plus": [
        "--model.init_args.backbone=resnet10",
        "--model.init_args.slice_size=32",
        "--model.init_args.weights=null",
        "--data.init_args.size=16",
        "--data.init_args.mask_source=file",
        "--data.init_args.max_slices=6",
        "--data.init_args.num_workers=0",
        "--data.init_args.dataset=covidct.datasets.PhantomCTVolumes",
        "--data.init_args.dataset.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.shape=[16,32,32]",
        "--data.init_args.dataset.init_args.classes=covid_vs_rest",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "self_trans_covid_ct": [
        "--model.init_args.backbone=resnet18",
        "--model.init_args.weights=null",
        "--data.init_args.size=32",
        "--data.init_args.train_transform.init_args.size=32",
        "--data.init_args.window=[-1250.0,250.0]",
        "--data.init_args.split=subject",
        "--data.init_args.num_workers=0",
        "--data.init_args.dataset=covidct.datasets.PhantomCTSlices",
        "--data.init_args.dataset.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.slices_per_scan=2",
        "--data.init_args.dataset.init_args.shape=[16,32,32]",
        "--data.init_args.dataset.init_args.classes=covid_vs_rest",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "slice_classifier": [
        "--model.init_args.backbone=resnet18",
        "--model.init_args.weights=null",
        "--data.init_args.size=32",
        "--data.init_args.window=[-1250.0,250.0]",
        "--data.init_args.num_workers=0",
        "--data.init_args.dataset=covidct.datasets.PhantomCTSlices",
        "--data.init_args.dataset.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.slices_per_scan=2",
        "--data.init_args.dataset.init_args.shape=[16,32,32]",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "self_trans": [
        "--model.init_args.backbone=resnet18",
        "--model.init_args.queue_size=8",
        "--model.init_args.weights=null",
        "--data.init_args.size=32",
        "--data.init_args.train_transform.init_args.size=32",
        "--data.init_args.num_workers=0",
        "--data.init_args.dataset.init_args.volumes=covidct.datasets.PhantomCTVolumes",
        "--data.init_args.dataset.init_args.volumes.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.volumes.init_args.shape=[16,32,32]",
        "--data.init_args.dataset.init_args.slices_per_scan=4",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "two_level": [
        "--model.init_args.backbone=resnet18",
        "--model.init_args.slice_size=32",
        "--model.init_args.level1_slices=4",
        "--model.init_args.weights=null",
        "--data.init_args.size=32",
        "--data.init_args.num_workers=0",
        "--data.init_args.mask_source=file",
        "--data.init_args.dataset=covidct.datasets.PhantomCTVolumes",
        "--data.init_args.dataset.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.shape=[16,32,32]",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "unet2d": [
        "--model.init_args.channels=[4,8]",
        "--data.init_args.size=32",
        "--data.init_args.num_workers=0",
        "--data.init_args.dataset.init_args.volumes=covidct.datasets.PhantomCTVolumes",
        "--data.init_args.dataset.init_args.volumes.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.volumes.init_args.shape=[16,32,32]",
        "--data.init_args.dataset.init_args.slices_per_scan=4",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "unet2d_phantom": [
        "--trainer.precision=32-true",
        "--model.init_args.channels=[4,8]",
        "--data.init_args.size=32",
        "--data.init_args.dataset.init_args.volumes.init_args.num_scans=6",
        "--data.init_args.dataset.init_args.volumes.init_args.detail=0.15",
        "--data.init_args.dataset.init_args.slices_per_scan=3",
        "--data.init_args.val_fraction=0.2",
        "--data.init_args.test_fraction=0.2",
    ],
    "unet3d": [
        "--model.init_args.channels=[4,8]",
        "--data.init_args.size=16",
        "--data.init_args.num_workers=0",
        "--data.init_args.dataset=covidct.datasets.PhantomCTVolumes",
        "--data.init_args.dataset.init_args.num_subjects=12",
        "--data.init_args.dataset.init_args.shape=[16,32,32]",
        "--data.init_args.val_fraction=0.25",
        "--data.init_args.test_fraction=0.25",
    ],
    "unet3d_phantom": [
        "--trainer.precision=32-true",
        "--model.init_args.channels=[4,8]",
        "--data.init_args.size=16",
        "--data.init_args.dataset.init_args.num_scans=6",
        "--data.init_args.dataset.init_args.detail=0.15",
        "--data.init_args.val_fraction=0.2",
        "--data.init_args.test_fraction=0.2",
    ],
}
"""What makes each configuration small enough for a test."""


@pytest.fixture(params=[path for path in CONFIGS if path.stem not in SYSTEMS], ids=lambda path: path.stem)
def config(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_value_says_who_set_it(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    values = [line for line in lines if re.match(r"\s*(- )?\w+: +[^#\s]", line)]
    named = ("class_path", "monitor", "mode", "save_every", "manifest")
    silent = [
        line
        for line in values
        if not re.search(r"#.*(document|reference code|recommendation)", line)
        and not re.match(rf"\s*(- )?({'|'.join(named)}):", line)
    ]
    assert values
    assert silent == []


def test_every_argument_is_there(config: Path) -> None:
    record = yaml.safe_load(config.read_text(encoding="utf-8"))
    model, data = record["model"], record["data"]
    check_arguments(data, model)


@pytest.mark.parametrize("stem", SYSTEMS)
def test_every_argument_of_a_systems_data_is_there(stem: str) -> None:
    path = next(path for path in CONFIGS if path.stem == stem)
    check_arguments(yaml.safe_load(path.read_text(encoding="utf-8"))["data"], None)


def check_arguments(data: dict[str, Any], model: dict[str, Any] | None) -> None:
    """Every argument of the data module, its data set, its transform and the model is given."""
    parts = [data, data["init_args"]["dataset"], data["init_args"]["train_transform"], model]
    for part in filter(None, parts):
        module, _, name = part["class_path"].rpartition(".")
        assert module.partition(".")[0] == "covidct"
        known = set(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
        given = set(part["init_args"])
        if part is model:  # the recipe itself, where they are left out
            known, given = (names - {"optimizer", "lr_scheduler"} for names in (known, given))
        assert given == known, name


@pytest.fixture
def cli(config: Path, tmp_path: Path) -> LightningCLI:
    """The command line on a small variant of the configuration."""
    arguments: list[str] = [
        f"--config={config}",
        "--trainer.accelerator=cpu",
        "--trainer.devices=1",
        "--trainer.fast_dev_run=true",
        "--trainer.enable_progress_bar=false",
        f"--trainer.default_root_dir={tmp_path}",
        f"--data.init_args.cache_dir={tmp_path / 'cache'}",
        *SMALL[config.stem],
    ]
    settings: dict[str, Any] = {"save_config_callback": None, "run": False, "auto_configure_optimizers": False}
    return LightningCLI(
        BaseTask, LightningDataModule, subclass_mode_model=True, subclass_mode_data=True, args=arguments, **settings
    )


def test_small_variant_fits_and_tests(cli: LightningCLI) -> None:
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    assert isinstance(cli.model, BaseTask)
    asked = cli.datamodule.preprocessing
    assert cli.model.preprocessing == cli.model.own_preprocessing(asked)
    assert asked == replace(cli.model.preprocessing, classes=asked.classes)
