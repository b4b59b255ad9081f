"""Weights on disk: what comes back, and what is refused without running any of it."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models as tv

from covidct.errors import CheckpointError, UsageError, WeightsError
from covidct.weights import (
    RECORD_KEY,
    imagenet_weights,
    load_checkpoint,
    load_state,
    load_weights,
    save_weights,
    sha256_file,
)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sentinel,)


def good_checkpoint() -> dict[str, Any]:
    return {"state_dict": {"w": torch.ones(3)}, "hyper_parameters": {"a": 1}, RECORD_KEY: {"task": "T"}}


def test_sha256_is_hashlibs(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    (tmp_path / "x").write_bytes(data)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(data).hexdigest()
    with pytest.raises(WeightsError, match="absent"):
        sha256_file(tmp_path / "absent")


def test_weights_and_metadata_round_trip(tmp_path: Path) -> None:
    state = {
        "view": torch.rand(4, 6)[:, ::2],
        "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "half": torch.rand(3).bfloat16(),
        "count": torch.tensor(7),
        "shared": (shared := torch.rand(2)),
        "again": shared,
    }
    metadata = {"classes": ["a", "b"], "size": 128, "window": None}
    digest = save_weights(state, tmp_path / "new" / "w.safetensors", metadata)
    assert digest == sha256_file(tmp_path / "new" / "w.safetensors")
    found, record = load_weights(tmp_path / "new" / "w.safetensors", sha256=digest)
    assert record == metadata
    torch.testing.assert_close(found, state, rtol=0, atol=0)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["w.safetensors"]


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    digest = save_weights({"w": torch.ones(2)}, path, {})
    with pytest.raises(TypeError):
        save_weights({"w": torch.ones(2)}, path, {"not plain": object()})
    assert sha256_file(path) == digest
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_other_sha256_is_refused(tmp_path: Path) -> None:
    save_weights({"w": torch.ones(2)}, tmp_path / "w.safetensors", {})
    with pytest.raises(WeightsError, match="sha256"):
        load_weights(tmp_path / "w.safetensors", sha256="0" * 64)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        struct.pack("<Q", 1 << 62) + b"{}",  # a header of 4 EiB
        struct.pack("<Q", 200_000_000) + b"{" * 100,
        struct.pack("<Q", 2) + b"{]",
        struct.pack("<Q", 60) + json.dumps({"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode(),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        load_weights(tmp_path / "w.safetensors")


def test_truncated_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights({"w": torch.ones(200)}, path, {})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="whole"):
        load_weights(path)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    torch.save(good_checkpoint(), tmp_path / "m.ckpt")
    found = load_checkpoint(tmp_path / "m.ckpt")
    torch.testing.assert_close(found["state_dict"]["w"], torch.ones(3))
    assert found[RECORD_KEY] == {"task": "T"}


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_object_is_refused_and_does_not_run(tmp_path: Path, zipped: bool) -> None:
    sentinel = tmp_path / "ran"
    checkpoint = good_checkpoint() | {"callback": Bomb(sentinel)}
    torch.save(checkpoint, tmp_path / "m.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"pickled object \(pathlib\.Path\.touch|pickled object \(\S*getattr"
    ) as error:
        load_checkpoint(tmp_path / "m.ckpt")
    assert "no fallback" in str(error.value)
    assert not sentinel.exists()


def test_plain_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    sentinel = tmp_path / "ran"
    (tmp_path / "m.ckpt").write_bytes(pickle.dumps(Bomb(sentinel)))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "m.ckpt")
    assert not sentinel.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02", b"no checkpoint at all" * 20])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(tmp_path / "m.ckpt")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_checkpoint_is_refused(tmp_path: Path, share: float) -> None:
    torch.save(good_checkpoint() | {"big": torch.rand(5000)}, tmp_path / "m.ckpt")
    data = (tmp_path / "m.ckpt").read_bytes()
    (tmp_path / "m.ckpt").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(tmp_path / "m.ckpt")


def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    torch.save(good_checkpoint() | {"big": torch.rand(5000)}, tmp_path / "m.ckpt")
    data = bytearray((tmp_path / "m.ckpt").read_bytes())
    data[len(data) // 2] ^= 16  # in the tensor, where torch.load does not look
    (tmp_path / "m.ckpt").write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="checksum"):
        load_checkpoint(tmp_path / "m.ckpt")


@pytest.mark.parametrize("missing", ["state_dict", "hyper_parameters", RECORD_KEY])
def test_checkpoint_of_another_program_is_refused(tmp_path: Path, missing: str) -> None:
    checkpoint = good_checkpoint()
    del checkpoint[missing]
    torch.save(checkpoint, tmp_path / "m.ckpt")
    with pytest.raises(CheckpointError, match="no checkpoint of a covidct task"):
        load_checkpoint(tmp_path / "m.ckpt")
    torch.save([1, 2], tmp_path / "m.ckpt")
    with pytest.raises(CheckpointError, match="no checkpoint of a covidct task"):
        load_checkpoint(tmp_path / "m.ckpt")


def test_missing_files_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a file"):
        load_checkpoint(tmp_path)
    with pytest.raises(WeightsError, match="not a file"):
        load_weights(tmp_path / "absent.safetensors")


def test_state_must_fit_and_the_message_lists_five() -> None:
    module = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(
        WeightsError, match=r"8 missing: 0\.weight, 0\.bias, 1\.weight, 1\.bias, 2\.weight, \.\.\."
    ) as error:
        load_state(module, {"extra": torch.ones(1)}, source="file.pth")
    assert "1 unexpected: extra" in str(error.value)
    assert "file.pth" in str(error.value)
    with pytest.raises(WeightsError, match=r"0\.bias \(3,\) instead of \(2,\)"):
        load_state(module, {**before, "0.bias": torch.ones(3), "0.weight": torch.zeros(2, 2)}, source="x")
    torch.testing.assert_close(module.state_dict(), before)  # nothing was copied
    load_state(module, {name: tensor + 1 for name, tensor in before.items()}, source="x")
    torch.testing.assert_close(module.state_dict()["3.bias"], before["3.bias"] + 1)


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
    monkeypatch.setattr("covidct.weights._weights_url", lambda *_: f"https://example.org/models/{name}")
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
