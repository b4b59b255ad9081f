"""``covidct list``: read from source text, equal to what an import gives."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from typing import TYPE_CHECKING, Literal

import pytest

from covidct.__main__ import main
from covidct.cli.list import catalogue, config_folder
from covidct.datasets import BaseDataset
from covidct.tasks import BaseTask
from covidct.weights import PublishedWeights

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("topic", ["models", "tasks", "datasets"])
def test_names_and_lines_are_those_of_the_classes(topic: Literal["models", "tasks", "datasets"]) -> None:
    package = import_module(f"covidct.{topic}")
    classes = {name: getattr(package, name) for name in package.__all__ if inspect.isclass(getattr(package, name))}
    if topic != "models":  # what tasks and data sets are built of is not listed
        base = BaseTask if topic == "tasks" else BaseDataset
        classes = {n: c for n, c in classes.items() if issubclass(c, base) and c is not base}
        classes = {n: c for n, c in classes.items() if not inspect.isabstract(c)}
    found = catalogue(topic)
    assert list(found) == sorted(classes)
    for name, line in found.items():
        assert line == (inspect.getdoc(classes[name]) or "").partition("\n\n")[0].replace("\n", " ")
        assert line


def test_configs_are_files_with_a_first_line() -> None:
    found = catalogue("configs")
    assert any(path.endswith("masked_gap_resnet.yaml") for path in found)
    assert all(found.values())
    assert set(found) == {str(path) for path in config_folder().glob("*.yaml")}


def test_trainers_are_the_names_that_fit_takes() -> None:
    found = catalogue("trainers")
    assert {"cpu", "gpu-bf16", "ddp-8-gpus", "fsdp", "two-nodes"} <= set(found)
    assert all(found.values())


def test_json_has_one_entry_a_topic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"models", "tasks", "datasets", "configs", "trainers", "weights"}
    assert found["trainers"]["cpu"] == {"summary": catalogue("trainers")["cpu"]}


def test_json_of_models_and_datasets_has_their_cards(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "models", "--json"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert list(models) == list(catalogue("models"))
    assert models["COVNet"]["summary"] == catalogue("models")["COVNet"]
    assert models["COVNet"]["card"]["configs"] == ["covnet.yaml"]
    assert models["LungSegmenter"]["card"]["stem"] == "unet3d"
    assert main(["list", "datasets", "--json"]) == 0
    datasets = json.loads(capsys.readouterr().out)["datasets"]
    assert all(entry["card"] for entry in datasets.values())
    assert datasets["COVIDQUEx"]["card"]["counts"][-1]["number"] == 33_920


def test_weights_are_published_ones_and_torchvisions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = PublishedWeights(
        name="covnet-test",
        summary="a network of the tests",
        url="https://example.org/net.ckpt",
        mirrors=("https://mirror.example.org/net.ckpt",),
        sha256="0123456789abcdef" * 4,
        size=1024,
        licence="Apache-2.0",
        input="CT volume",
        classes=("normal", "covid"),
        card="covnet",
    )
    monkeypatch.setattr("covidct.cli.list.published_weights", lambda: {one.name: one})
    assert main(["list", "weights"]) == 0
    text = capsys.readouterr().out
    assert "a network of the tests" in text
    assert "IMAGENET1K_V1 of resnet50" in text
    assert main(["list", "weights", "--json"]) == 0
    weights = json.loads(capsys.readouterr().out)["weights"]
    assert weights["covnet-test"]["mirrors"] == ["https://mirror.example.org/net.ckpt"]
    assert weights["covnet-test"]["file_name"] == "covnet-test-0123456789abcdef.ckpt"
    assert weights["IMAGENET1K_V1 of resnet50"]["licence"].startswith("unknown")


def test_a_table_a_topic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "models"]) == 0
    text = capsys.readouterr().out
    assert "MaskedGAPResNet" in text
    assert "tasks" not in text.split()


def test_an_unknown_topic_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "modles"]) == 2
    assert "models" in capsys.readouterr().err


def test_configs_of_a_wheel_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    monkeypatch.setattr("covidct.cli.list._PACKAGE", tmp_path)
    assert config_folder() == tmp_path / "configs"
