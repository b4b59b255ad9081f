"""Where things go that can be made or fetched again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from covidct.cache_folder import default_cache_dir

if TYPE_CHECKING:
    import pytest


def test_cache_goes_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COVIDCT_CACHE", str(tmp_path / "a"))
    assert default_cache_dir() == tmp_path / "a"
    monkeypatch.delenv("COVIDCT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "covidct"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "covidct"
