from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from covidct.errors import InputError
from covidct.io import ArrayCache, content_digest

if TYPE_CHECKING:
    from collections.abc import Callable


def _age(path: Path, seconds: float = 1000) -> None:
    status = path.stat()
    os.utime(path, (status.st_atime - seconds, status.st_mtime - seconds))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were hashed."""
    seen: list[str] = []
    real: Callable[..., hashlib._Hash] = hashlib.file_digest

    def counted(file: object, name: str) -> hashlib._Hash:
        seen.append(Path(file.name).name)  # type: ignore[attr-defined]
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return seen


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, reads: list[str]) -> None:
    file = tmp_path / "scan.nii"
    file.write_bytes(b"abc" * 1000)
    _age(file)
    cache = ArrayCache(tmp_path / "cache")
    expected = hashlib.sha256(b"abc" * 1000).hexdigest()
    assert cache.digest(file) == expected
    assert cache.digest(file) == ArrayCache(tmp_path / "cache").digest(str(file)) == expected
    assert reads == ["scan.nii"]
    file.write_bytes(b"abd" * 1000)
    _age(file, 500)
    assert cache.digest(file) == hashlib.sha256(b"abd" * 1000).hexdigest()
    notes = list((tmp_path / "cache" / "digests").iterdir())
    assert len(notes) == 1
    assert "scan" not in notes[0].name + notes[0].read_text()
    notes[0].write_text("{broken")
    assert cache.digest(file) == hashlib.sha256(b"abd" * 1000).hexdigest()


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path, reads: list[str]) -> None:
    file = tmp_path / "scan.nii"
    file.write_bytes(b"abc")
    cache = ArrayCache(tmp_path / "cache")
    assert cache.digest(file) == cache.digest(file)
    assert reads == ["scan.nii"] * 2


def test_a_folder_counts_by_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    for name in ("1.dcm", "2.dcm"):
        (folder / name).write_text(name)
    first = content_digest(folder)
    (folder / ".DS_Store").write_text("x")
    assert content_digest(folder) == first
    (folder / "2.dcm").write_text("changed")
    second = content_digest(folder)
    (folder / "2.dcm").rename(folder / "3.dcm")
    assert len({first, second, content_digest(folder)}) == 3
    with pytest.raises(InputError, match="cannot be read"):
        content_digest(tmp_path / "absent")
