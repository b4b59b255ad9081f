from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct.errors import InputError
from covidct.io import ArrayCache, content_digest

from .files import affine, itk, sitk

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


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_text_header_counts_with_its_voxels(tmp_path: Path, suffix: str) -> None:
    digests = []
    for folder, value in (("a", 0), ("b", 1), ("c", 1)):
        (tmp_path / folder).mkdir()
        array = np.full((3, 4, 5), value, np.int16)
        sitk.WriteImage(itk(array, affine()), str(tmp_path / folder / f"scan{suffix}"))
        digests.append(content_digest(tmp_path / folder / f"scan{suffix}"))
    assert (tmp_path / "a" / f"scan{suffix}").read_bytes() == (tmp_path / "b" / f"scan{suffix}").read_bytes()
    assert digests[0] != digests[1] == digests[2]
    next(path for path in (tmp_path / "a").iterdir() if path.suffix != suffix).unlink()
    assert content_digest(tmp_path / "a" / f"scan{suffix}") not in digests
