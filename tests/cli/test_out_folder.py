"""``check_out_folder``: a file, or a place that nobody may write to, is refused before any work."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from covidct.cli.out_folder import check_out_folder
from covidct.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_folders_that_are_there_or_can_be_made(tmp_path: Path) -> None:
    check_out_folder(tmp_path)
    check_out_folder(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()


def test_a_file_and_a_locked_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        check_out_folder(tmp_path / "file")
    monkeypatch.setattr(os, "access", lambda *_: False)  # an administrator may write anywhere
    with pytest.raises(UsageError, match="cannot be written"):
        check_out_folder(tmp_path / "new")
