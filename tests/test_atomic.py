from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from covidct.atomic import atomic_folder, atomic_path, atomic_write_text

if TYPE_CHECKING:
    from pathlib import Path


def test_new_content_replaces_old(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.json"
    atomic_write_text(target, "one")
    atomic_write_text(target, "zwei ü")
    assert target.read_text(encoding="utf-8") == "zwei ü"
    assert [path.name for path in target.parent.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "a.nii.gz"
    target.write_text("old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            assert temporary.name == "a.nii.gz"
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


def test_the_old_file_stands_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "new" / "bundle"

    def write(text: str, *, fails: bool = False) -> None:
        with atomic_folder(target) as temporary:
            (temporary / "a").mkdir()
            (temporary / "a" / "b.txt").write_text(text)
            assert temporary.name == "bundle"
            if fails:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write("half", fails=True)
    assert list(target.parent.iterdir()) == []
    target.mkdir()
    write("whole")
    with pytest.raises(OSError, match="bundle"):
        write("another")
    assert (target / "a" / "b.txt").read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]
