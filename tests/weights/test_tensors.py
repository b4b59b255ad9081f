"""Tensors on disk: what comes back, and what is refused."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest
import torch

from covidct.errors import WeightsError
from covidct.weights import load_weights, save_weights, sha256_file

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not a file"):
        load_weights(tmp_path / "absent.safetensors")
