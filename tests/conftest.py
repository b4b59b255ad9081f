"""Fixtures shared by all tests: real data when it is at hand, no network, few threads per worker."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_configure() -> None:
    """Give each worker one thread: two workers with two threads each only wait for one another."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("WANDB_MODE", "offline")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real scans, ``$COVIDCT_REAL_DATA`` or ``../shared/data`` beside the repository; skips without it."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("COVIDCT_REAL_DATA", default))
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip("the real images are not at hand (COVIDCT_REAL_DATA)")
    return folder


@pytest.fixture(scope="module", autouse=True)
def give_memory_back() -> Iterator[None]:
    """Give what the tests of a file freed back to the system, which glibc keeps: gigabytes over a whole run."""
    yield
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves the machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else address
        if isinstance(host, str) and (host.startswith(("127.", "/", "::1")) or host == "localhost"):
            return connect(self, address)  # type: ignore[arg-type]
        _refuse(host)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setenv("COVIDCT_OFFLINE", "1")


def _refuse(host: object) -> NoReturn:
    message = f"a test tried to connect to {host!r}"
    raise RuntimeError(message)
