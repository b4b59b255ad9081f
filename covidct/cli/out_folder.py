"""``check_out_folder``: whether results can be written, asked before hours of work."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from covidct.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("check_out_folder",)


def check_out_folder(out: Path) -> None:
    """Refuse a folder that cannot be made or written.

    Args:
        out: of ``--out``; it need not be there.

    Raises:
        UsageError: when it is a file, or it or the folder it would be made in cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder with --out.")
    parent = next(folder for folder in (out, *out.resolve().parents) if folder.exists())
    if not os.access(parent, os.W_OK):
        raise UsageError(f"{parent} cannot be written: name another folder with --out.")
