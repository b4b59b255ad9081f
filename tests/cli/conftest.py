"""One trained checkpoint for all tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.checkpoint import write_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``.ckpt`` file of a task on CT volumes, trained for one step."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder for outputs that does not exist yet."""
    return tmp_path / "out"
