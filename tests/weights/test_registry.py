"""The list of published weights: what it may hold, and that torchvision's addresses are torchvision's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from torchvision.models import get_model_weights

from covidct.cards import model_cards
from covidct.errors import WeightsError
from covidct.weights import backbone_weights, published_weights, registry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENTRY = {
    "summary": '"a network of the tests"',
    "url": '"https://example.org/net.ckpt?download=1"',
    "mirrors": '["https://mirror.example.org/net.ckpt"]',
    "sha256": f'"{"0123456789abcdef" * 4}"',
    "size": "1024",
    "licence": '"Apache-2.0"',
    "input": '"CT volume, (1, D, H, W) in [0, 1]"',
    "classes": '["normal", "covid"]',
    "card": '"covnet"',
}


def write(folder: Path, changes: Mapping[str, str | None], name: str = "covnet-test") -> Path:
    fields = {key: value for key, value in {**ENTRY, **changes}.items() if value is not None}
    lines = [f"[weights.{name}]", *(f"{key} = {value}" for key, value in fields.items())]
    path = folder / "registry.toml"
    path.write_text("\n".join([*lines, "[torchvision]", 'licence = "unknown"', "files = []"]))
    return path


def test_what_is_published_is_in_order() -> None:
    for one in published_weights().values():  # none before the first release
        assert all(url.startswith("https://") for url in (one.url, *one.mirrors))
        assert one.card in model_cards()
        assert one.summary
        assert one.licence
        assert one.input


def test_addresses_of_torchvision_are_its_own() -> None:
    known = backbone_weights()
    assert {one.backbone for one in known} >= {"resnet50", "resnext50_32x4d", "densenet121", "densenet169", "vgg16"}
    for one in known:
        assert one.url == get_model_weights(one.backbone)[one.name].url
        assert one.licence.startswith("unknown")


def test_an_entry_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FILE", write(tmp_path, {}))
    (one,) = published_weights().values()
    assert one.name == "covnet-test"
    assert one.mirrors == ("https://mirror.example.org/net.ckpt",)
    assert one.classes == ("normal", "covid")
    assert one.size == 1024
    assert one.file_name == "covnet-test-0123456789abcdef.ckpt"


@pytest.mark.parametrize(
    ("changes", "name", "fault"),
    [
        ({"sha256": '"0123"'}, "covnet-test", "sha256 of covnet-test is '0123'"),
        ({"size": "0"}, "covnet-test", "size of covnet-test is 0"),
        ({"url": '"https://example.org/net.zip"'}, "covnet-test", "url of covnet-test"),
        ({}, "'Net x'", "name of Net x"),
        ({"licence": None}, "covnet-test", "lacks or must not have licence"),
        ({"colour": '"red"'}, "covnet-test", "lacks or must not have colour"),
        ({"size": "nan?"}, "covnet-test", "damaged"),
    ],
)
def test_a_damaged_list_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], name: str, fault: str
) -> None:
    monkeypatch.setattr(registry, "_FILE", write(tmp_path, changes, name))
    with pytest.raises(WeightsError, match=fault):
        published_weights()
