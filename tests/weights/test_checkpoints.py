"""Checkpoints: what comes back, and what is refused without running any of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from covidct.errors import CheckpointError
from covidct.weights import RECORD_KEY, load_checkpoint


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sentinel,)


def good_checkpoint() -> dict[str, Any]:
    return {"state_dict": {"w": torch.ones(3)}, "hyper_parameters": {"a": 1}, RECORD_KEY: {"task": "T"}}


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


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a file"):
        load_checkpoint(tmp_path)
