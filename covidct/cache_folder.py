"""Where the library keeps what it can make or fetch again: prepared scans and published weights."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ("default_cache_dir",)


def default_cache_dir() -> Path:
    """The cache folder unless told: ``$COVIDCT_CACHE``, else ``covidct`` in ``$XDG_CACHE_HOME`` or ~/.cache."""
    named = os.environ.get("COVIDCT_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "covidct"
