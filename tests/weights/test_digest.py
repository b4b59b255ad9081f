"""Digests against hashlib."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from covidct.errors import WeightsError
from covidct.weights import sha256_file

if TYPE_CHECKING:
    from pathlib import Path


def test_sha256_is_hashlibs(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    (tmp_path / "x").write_bytes(data)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(data).hexdigest()
    with pytest.raises(WeightsError, match="absent"):
        sha256_file(tmp_path / "absent")
