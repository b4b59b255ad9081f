"""Lightning without its tips and device tables, for the process of the command line only."""

from __future__ import annotations

import logging

__all__ = ("quiet_lightning",)


def quiet_lightning() -> None:
    """Let only errors of Lightning through; it sets its own level when it is imported, so this comes after."""
    import pytorch_lightning  # noqa: F401

    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
