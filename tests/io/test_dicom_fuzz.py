"""A thousand damaged DICOM files: no crash, no hang, no huge allocation, only ``CovidctError``."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from covidct.errors import CovidctError
from covidct.io import find_series, read_scan
from covidct.io.dicom_image import read_dicom_image
from tests.fakes.dicom import body, write_enhanced, write_series

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HU = body((4, 44, 36))
ROUNDS = 125  # per seed file, of which there are 8
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    JPEGLosslessSV1,
    "enhanced",
]
MAX_BYTES = 2**31


@pytest.fixture(autouse=True)
def memory_limit() -> Iterator[None]:
    """Let an allocation beyond 2 GiB more than what is in use fail at once."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - a pseudo file
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip bytes, forge lengths and numbers, cut, insert or repeat."""
    array = bytearray(data)
    header = max(len(data) - HU[0].nbytes, 200) if rng.random() < 0.7 else len(data)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(0, min(header, len(array))))
        kind = rng.integers(0, 7)
        if kind <= 2:
            array[at] = int(rng.integers(0, 256))
        elif kind == 3:
            array[at : at + 4] = rng.choice(
                [b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"]
            )
        elif kind == 4:
            array[at : at + 2] = rng.choice([b"\xff\xff", b"\0\0", b"\x01\0", b"nan", b"1e9", b"-1"])
        elif kind == 5:
            array[at:at] = bytes(rng.integers(0, 256, int(rng.integers(1, 40)), dtype=np.uint8))
        else:
            del array[at : at + int(rng.integers(1, 200))]
    return bytes(array[: int(rng.integers(0, len(array)))] if rng.random() < 0.15 else array)


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("syntax", SYNTAXES, ids=str)
def test_damaged_files_are_read_or_refused(tmp_path: Path, syntax: str) -> None:
    if syntax == "enhanced":
        paths = [write_enhanced(tmp_path / "frames.dcm", HU)]
    else:
        paths = write_series(tmp_path, HU, syntax=syntax)
    target = paths[-1]
    original = target.read_bytes()
    rng = np.random.default_rng(SYNTAXES.index(syntax))
    messages = []
    for _ in range(ROUNDS):
        target.write_bytes(mutate(original, rng))
        for attempt in (
            lambda: find_series(tmp_path),
            lambda: read_scan(tmp_path),
            lambda: read_scan(tmp_path, on_fault="repair"),
            lambda: read_scan(tmp_path, on_fault="warn"),
            lambda: read_dicom_image(target),
        ):
            try:
                attempt()
            except CovidctError as error:
                messages.append(str(error))
    assert len(messages) > ROUNDS // 4
    assert all(message.strip() for message in messages)
