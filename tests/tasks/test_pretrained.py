"""Tasks as folders of safetensors and config.json, here and on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from covidct.errors import CheckpointError, WeightsError
from covidct.preprocessing import Preprocessing
from covidct.tasks import BaseTask, ClassificationTask, COVNetTask, GatedEnsembleTask, UNet2dTask
from covidct.weights import load_weights

RECORD = Preprocessing(kind="ct_slice", classes=("background", "lung"), size=32, window=(-1000.0, 400.0))


@pytest.fixture
def task() -> UNet2dTask:
    torch.manual_seed(0)
    task = UNet2dTask(channels=[4, 8])
    task.preprocessing = RECORD
    return task.eval()


@pytest.fixture
def folder(task: UNet2dTask, tmp_path: Path) -> Path:
    task.save_pretrained(tmp_path / "lungs")
    return tmp_path / "lungs"


def test_a_folder_gives_the_same_task(task: UNet2dTask, folder: Path) -> None:
    again = UNet2dTask.from_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert isinstance(again, UNet2dTask)
    assert not again.training
    assert again.preprocessing == RECORD
    assert again.hparams == task.hparams
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(again.model(x), task.model(x), rtol=0, atol=0)
    assert type(BaseTask.from_pretrained(str(folder))) is UNet2dTask
    with pytest.raises(CheckpointError, match="holds a UNet2dTask, not a ClassificationTask"):
        ClassificationTask.from_pretrained(folder)


def test_the_configuration_tells_all_but_where_the_training_began(tmp_path: Path) -> None:
    start = str(tmp_path / "patients" / "start.safetensors")
    task = COVNetTask(backbone="resnet18", num_classes=2, weights=start)  # fetched by a training alone
    task.cam_scale.fill_(3.0)
    task.save_pretrained(tmp_path / "covnet")
    text = (tmp_path / "covnet" / "config.json").read_text(encoding="utf-8")
    assert "patients" not in text
    config = json.loads(text)
    assert config["hyper_parameters"]["weights"] is None
    assert config["hyper_parameters"]["backbone"] == "resnet18"
    assert config["task"] == "COVNetTask"
    assert config["preprocessing"] is None
    again = COVNetTask.from_pretrained(tmp_path / "covnet")
    assert again.cam_scale.tolist() == [3.0, 3.0]
    state, metadata = load_weights(tmp_path / "covnet" / "model.safetensors", sha256=config["weights_sha256"])
    assert metadata == {"task": "COVNetTask"}
    assert set(state) == set(task.state_dict())


def test_a_gate_keeps_its_threshold_and_experts(tmp_path: Path) -> None:
    expert: dict[str, Any] = {"name": "MaskedGAPResNet", "arguments": {"backbone": "resnet18"}}
    task = GatedEnsembleTask(low=[expert], high=[expert], num_classes=2, threshold=0.25)
    task.save_pretrained(tmp_path)
    again = GatedEnsembleTask.from_pretrained(tmp_path)
    assert float(again.model.threshold) == 0.25
    assert again.inputs == task.inputs


def damage(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_damaged_folders_say_what_is_wrong(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WeightsError, match="sha256"):
        UNet2dTask.from_pretrained(folder)
    weights.unlink()
    with pytest.raises(WeightsError, match=r"has no model\.safetensors"):
        UNet2dTask.from_pretrained(folder)
    weights.write_bytes(whole)
    damage(folder, task="os.system")
    with pytest.raises(CheckpointError, match="belongs to the task os"):
        BaseTask.from_pretrained(folder)
    damage(folder, task="UNet2dTask", hyper_parameters={"spam": 1})
    with pytest.raises(CheckpointError, match="hyper-parameters that UNet2dTask does not know"):
        BaseTask.from_pretrained(folder)
    damage(folder, hyper_parameters=[])
    with pytest.raises(WeightsError, match="do not fit"):
        BaseTask.from_pretrained(folder)
    damage(folder, library="another")
    with pytest.raises(WeightsError, match="not one of covidct"):
        BaseTask.from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        BaseTask.from_pretrained(folder)


@pytest.mark.parametrize("source", ["nothing", "a/b/c", "../elsewhere/x", "https://example.org/x"])
def test_what_is_neither_folder_nor_hub_name(source: str) -> None:
    with pytest.raises(WeightsError, match="no folder, nor a name on the hub"):
        BaseTask.from_pretrained(source)


def test_a_hub_name_is_fetched_by_the_hubs_client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked: list[tuple[object, ...]] = []

    def fetch(name: str, file: str, *, revision: str | None, local_files_only: bool) -> str:
        asked.append((name, file, revision, local_files_only))
        return str(folder / file)

    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    monkeypatch.delenv("COVIDCT_OFFLINE", raising=False)
    assert isinstance(BaseTask.from_pretrained("someone/lungs", revision="v1"), UNet2dTask)
    assert asked == [
        ("someone/lungs", "config.json", "v1", False),
        ("someone/lungs", "model.safetensors", "v1", False),
    ]


def test_without_a_connection_a_hub_name_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("COVIDCT_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"cannot be had from the hub.*unset COVIDCT_OFFLINE"):
        BaseTask.from_pretrained("someone/lungs")


def test_without_the_client_a_hub_name_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match="pip install huggingface_hub"):
        BaseTask.from_pretrained("someone/lungs")
