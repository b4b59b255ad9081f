"""torchvision's weights: from disk by name, verified; absent ones named with the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torchvision import models as tv

from covidct.errors import UsageError, WeightsError
from covidct.weights import imagenet_weights, sha256_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of torch.hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_imagenet_weights_by_name_come_from_disk_and_are_verified(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tv.resnet18(weights=None).state_dict()
    torch.save(state, hub / "new.pth")
    name = f"resnet18-{sha256_file(hub / 'new.pth')[:8]}.pth"
    (hub / "new.pth").rename(hub / name)
    monkeypatch.setattr("covidct.weights.imagenet._weights_url", lambda *_: f"https://example.org/models/{name}")
    torch.testing.assert_close(imagenet_weights("resnet18", "IMAGENET1K_V1"), state, rtol=0, atol=0)
    with (hub / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(WeightsError, match="sha256"):
        imagenet_weights("resnet18", "IMAGENET1K_V1")


def test_published_files_without_batch_counters_get_them(tmp_path: Path) -> None:
    network = tv.resnet18(weights=None)
    old = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    assert len(old) == 102  # as in resnet18-f37072fd.pth
    torch.save(old, tmp_path / "old.pth")
    found = imagenet_weights("resnet18", str(tmp_path / "old.pth"))
    assert set(found) == set(network.state_dict())
    assert all(found[name].equal(value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["IMAGENET1K_V2", "ResNet50_Weights.IMAGENET1K_V2", "DEFAULT"])
def test_absent_imagenet_weights_name_address_file_and_remedy(hub: Path, name: str) -> None:
    with pytest.raises(WeightsError) as error:
        imagenet_weights("resnet50", name)
    for word in ("resnet50-11ad3fa6.pth", str(hub), "https://download.pytorch.org/models/", "weights=null"):
        assert word in str(error.value)
    assert not list(hub.glob("*.pth"))


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ("resnet18", "IMAGENET1K_V2"),
        ("resnet50", "ResNet18_Weights.IMAGENET1K_V1"),
        ("resnet50", "imagenet"),
        ("resnet51", "IMAGENET1K_V1"),
    ],
)
def test_unknown_imagenet_weights_are_refused(hub: Path, backbone: str, name: str) -> None:
    with pytest.raises(UsageError, match=r"use one"):
        imagenet_weights(backbone, name)


def test_weights_file_must_hold_tensors(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "w": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="state dict"):
        imagenet_weights("resnet18", str(tmp_path / "w.pth"))
