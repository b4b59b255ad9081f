"""Trainers by name: what the arguments become, and that every configuration takes every one of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import yaml

from covidct.__main__ import main
from covidct.cli.list import config_folder, trainer_presets
from covidct.cli.presets import with_presets
from covidct.cli.train import TaskCLI, import_parts
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIGS = [path for path in sorted(config_folder().glob("*.yaml")) if "model" in yaml.safe_load(path.read_text())]
PRESETS = trainer_presets()


class Parsed(TaskCLI):
    """Reads its arguments and makes nothing."""

    def __init__(self, argv: Sequence[str]) -> None:
        import_parts()
        super().__init__("fit", argv)

    def instantiate_classes(self) -> None:
        """Leave the GPUs that are not there alone."""


def test_a_name_becomes_a_path() -> None:
    path = str(PRESETS["gpu-bf16"])
    assert with_presets(["-c", "a.yaml", "--trainer=gpu-bf16"]) == ["-c", "a.yaml", f"--trainer={path}"]
    assert with_presets(["--trainer", "gpu_bf16", "--trainer.devices=2"]) == ["--trainer", path, "--trainer.devices=2"]


def test_files_and_arguments_stay(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("devices: 1\n")
    for value in (str(own), "mine/trainer.yaml", "{devices: 2}"):
        assert with_presets([f"--trainer={value}"]) == [f"--trainer={value}"]


def test_a_shipped_configuration_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(config_folder() / "covnet.yaml")
    assert with_presets(["-c", "covnet", "--config=covnet.yaml"]) == ["-c", path, f"--config={path}"]
    assert with_presets(["-c", "./covnet.yaml", "--config=nothing.yaml"]) == [
        "-c",
        "./covnet.yaml",
        "--config=nothing.yaml",
    ]
    (tmp_path / "covnet.yaml").write_text("model: null\n")
    assert with_presets(["-c", "covnet.yaml"]) == ["-c", "covnet.yaml"], "an own file comes first"


def test_a_misspelt_name_is_told() -> None:
    with pytest.raises(UsageError, match=r"no trainer 'gpu-bf61': use one of cpu, "):
        with_presets(["--trainer=gpu-bf61"])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_takes_every_trainer(config: Path) -> None:
    own = yaml.safe_load(config.read_text(encoding="utf-8"))["trainer"]
    for name, path in PRESETS.items():
        preset = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = Parsed([f"--config={config}", f"--trainer={name}"]).config.trainer
        for key, value in preset.items():
            if key == "strategy" and isinstance(value, dict):
                assert found.strategy.class_path == value["class_path"]
            else:
                assert found[key] == value, key
        assert found.max_epochs == own["max_epochs"], "what the trainer leaves open stays the configuration's"
        assert [one.class_path for one in found.callbacks or []] == [one["class_path"] for one in own["callbacks"]]


@pytest.mark.slow
def test_a_few_batches_on_processors(tmp_path: Path) -> None:
    small = [
        "--model.init_args.channels=[4,8]",
        "--data.init_args.size=32",
        "--data.init_args.dataset.init_args.volumes.init_args.num_scans=6",
        "--data.init_args.dataset.init_args.volumes.init_args.detail=0.15",
        "--data.init_args.dataset.init_args.slices_per_scan=3",
        "--data.init_args.val_fraction=0.2",
        "--data.init_args.test_fraction=0.2",
        f"--data.init_args.cache_dir={tmp_path / 'cache'}",
    ]
    config = config_folder() / "unet2d_phantom.yaml"
    quiet = [f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false"]
    assert main(["fit", f"--config={config}", "--trainer=cpu", "--trainer.fast_dev_run=true", *quiet, *small]) == 0
    if not torch.cuda.is_available():
        assert main(["fit", f"--config={config}", "--trainer=gpu-bf16", *quiet, *small]) == 2
