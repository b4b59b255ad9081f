"""Published weights by name: from the cache, from the server, and wherever ``weights=`` takes a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torchvision import models as tv

from covidct.errors import UsageError, WeightsError
from covidct.models import COVNet, SelfTransDenseNet
from covidct.tasks import SliceClassifierTask
from covidct.tasks.pretrained_subjects import pretrained_subjects
from covidct.weights import (
    PublishedWeights,
    fetch_weights,
    imagenet_weights,
    save_weights,
    sha256_file,
    weights_path,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedWeights:
    """One entry, whose file lies in the cache."""
    torch.manual_seed(0)
    save_weights(tv.resnet18(weights=None).state_dict(), tmp_path / "made.safetensors", {})
    one = PublishedWeights(
        name="resnet18-test",
        summary="a network of the tests",
        url="https://example.org/resnet18.safetensors",
        mirrors=(),
        sha256=sha256_file(tmp_path / "made.safetensors"),
        size=(tmp_path / "made.safetensors").stat().st_size,
        licence="Apache-2.0",
        input="slice, (3, H, W) in [0, 1]",
        classes=(),
        card="slice_classifier",
    )
    for module in ("fetch", "registry"):
        monkeypatch.setattr(f"covidct.weights.{module}.published_weights", lambda: {one.name: one})
    monkeypatch.setenv("COVIDCT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "made.safetensors").rename(tmp_path / "cache" / "weights" / one.file_name)
    return one


def test_a_name_is_a_file_of_the_cache(published: PublishedWeights, tmp_path: Path) -> None:
    path = fetch_weights("resnet18-test")
    assert path == tmp_path / "cache" / "weights" / f"resnet18-test-{published.sha256[:16]}.safetensors"
    assert weights_path("resnet18-test") == str(path)
    for other in ("IMAGENET1K_V1", "resnet18-test.ckpt", "./resnet18-test"):
        assert weights_path(other) == other


def test_an_unknown_name_is_told(published: PublishedWeights) -> None:
    with pytest.raises(UsageError, match="such as 'resnet18-test'"):
        fetch_weights("resnet18-tset")


def test_a_damaged_file_is_not_taken(published: PublishedWeights) -> None:
    with fetch_weights("resnet18-test").open("ab") as file:
        file.write(b"x")
    with pytest.raises(WeightsError, match=published.sha256):
        fetch_weights("resnet18-test")


def test_weights_takes_a_name_wherever_it_takes_a_path(published: PublishedWeights) -> None:
    state = imagenet_weights("resnet18", published.name)
    own = COVNet(backbone="resnet18", weights=published.name).state_dict()
    assert own["trunk.network.conv1.weight"].equal(state["conv1.weight"])
    contrastive = SelfTransDenseNet(backbone="resnet18", weights=published.name, queue_size=8)
    assert contrastive.state_dict()["query.trunk.network.conv1.weight"].equal(state["conv1.weight"])
    task = SliceClassifierTask(backbone="resnet18", weights=published.name)
    first = "model.trunk.network.conv1.weight"
    assert not task.state_dict()[first].equal(state["conv1.weight"])  # not before the fit
    task.start_fresh()
    assert task.state_dict()[first].equal(state["conv1.weight"])
    assert len(pretrained_subjects(published.name)) == 0
