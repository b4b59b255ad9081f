"""Damaged files of every kind: they are read or refused in one sentence, quickly and without much memory."""

from __future__ import annotations

import gzip
import io
import struct
import time
import zlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as PillowImage

from covidct.errors import CovidctError
from covidct.io import read_image, read_mask
from covidct.io.itk import itk_info, read_itk
from covidct.io.nifti import nifti_info, read_nifti
from covidct.volume import Volume

from .files import affine, itk, nifti, save_nifti, scan, sitk, tiff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from covidct.io.faults import OnFault

HU, LUNGS = scan()
EDGES = [b"\0", b"\xff", b"\xff\xff", b"\xff\x7f", b"\0\x80", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\xc0\x7f"]
SECONDS = 10.0  # per file


def mutate(content: bytes, rng: np.random.Generator, header: int) -> bytes:
    """One to four changes, most of them in the header: bits, bytes at the edges of number ranges, cuts, insertions."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(0, min(header, len(data)) if rng.random() < 0.8 else len(data)))
        kind = rng.integers(0, 6)
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            edge = EDGES[rng.integers(0, len(EDGES))]
            data[place : place + len(edge)] = edge
        elif kind == 2:
            data[place : place + 8] = rng.bytes(8)
        elif kind == 3:
            data = data[: max(1, place)]
        elif kind == 4:
            data[place:place] = rng.bytes(int(rng.integers(1, 9)))
        else:
            data[place : place + 4] = struct.pack("<f", float(rng.choice([0.0, -1.0, 1e30, np.inf, np.nan, 1e-30])))
    return bytes(data)


def one_sentence(error: CovidctError) -> bool:
    assert "\n" not in str(error)
    return True


def survives(read: Callable[[], object]) -> bool:
    """Whether a read gave a result; anything but a result or one sentence fails the test."""
    start = time.monotonic()
    try:
        read()
    except CovidctError as error:
        return not one_sentence(error)
    finally:
        assert time.monotonic() - start < SECONDS
    return True


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """The claims of damaged headers must not be allocated: leave 4 GiB of address space beyond what is in use."""
    resource = pytest.importorskip("resource")
    with open("/proc/self/statm") as file:  # noqa: PTH123
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (4 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_1000_mutated_nifti_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(20)
    buffer = io.BytesIO()
    image = nifti(HU, affine(), "RAS")
    image.file_map["image"].fileobj = buffer
    image.to_file_map()
    plain = buffer.getvalue()
    assert len(plain) == 352 + HU.nbytes
    packed = gzip.compress(plain)
    path = tmp_path / "a.nii"
    results = []
    for number in range(1000):
        if number % 3 == 0:
            content = mutate(packed, rng, len(packed))
        elif number % 3 == 1:
            content = gzip.compress(mutate(plain, rng, 352), 1)
        else:
            content = mutate(plain, rng, 352)
        path.write_bytes(content)
        results.append(survives(partial(_read_nifti, path, ("error", "repair", "warn")[number // 3 % 3])))
        survives(lambda: nifti_info(path))
    assert 0 < sum(results) < 1000


def _read_nifti(path: Path, on_fault: OnFault) -> None:
    _volume(read_nifti(path, on_fault=on_fault))


def _volume(volume: Volume) -> None:
    assert np.isfinite(volume.array).all()
    assert volume.intensity == "unit" or volume.array.min() >= -1024
    assert np.isfinite(volume.affine).all()


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_400_mutated_itk_files(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(21)
    path = tmp_path / f"a{suffix}"
    results = []
    for number in range(200):
        sitk.WriteImage(itk(HU, affine()), str(path), number % 2 == 1)
        whole = path.read_bytes()
        header = len(whole) - HU.nbytes if number % 2 == 0 else whole.find(b"\x78") if suffix == ".mha" else 400
        path.write_bytes(mutate(whole, rng, max(header, 300)))
        results.append(survives(lambda: _volume(read_itk(path, on_fault="warn"))))
        survives(lambda: itk_info(path))
    assert 0 < sum(results) < 200
    assert capfd.readouterr().err == ""


def test_200_mutated_png_headers_and_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(22)
    grey = rng.integers(0, 256, (40, 50), dtype=np.uint8)
    originals = {}
    for kind in ("png", "jpg"):
        PillowImage.fromarray(grey).save(tmp_path / f"a.{kind}")
        originals[kind] = (tmp_path / f"a.{kind}").read_bytes()
    originals["tif"] = tiff(grey.astype(np.uint16) * 16, 12)
    results = []
    for number in range(400):
        kind = ("png", "png", "jpg", "tif")[number % 4]
        content = mutate(originals[kind], rng, 120)
        if kind == "png":
            content = _with_right_checksums(content)
        path = tmp_path / f"b.{kind}"
        path.write_bytes(content)
        results.append(survives(partial(_image, path)))
    assert 0 < sum(results) < 400


def _image(path: Path) -> None:
    image = read_image(path)
    assert np.isfinite(image.array).all()
    assert image.array.min() >= 0
    assert image.array.max() <= 1


def _with_right_checksums(png: bytes) -> bytes:
    """Mend the first chunk's checksum, so that its damaged numbers are believed."""
    if len(png) < 33:
        return png
    return png[:29] + struct.pack(">I", zlib.crc32(png[12:29])) + png[33:]


def test_100_mutated_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(23)
    volume = Volume(HU, affine())
    path = tmp_path / "mask.nii"
    save_nifti(path, LUNGS)
    whole = path.read_bytes()
    results = []
    for _ in range(100):
        path.write_bytes(mutate(whole, rng, 352))
        results.append(survives(lambda: read_mask(path, volume)))
    assert 0 < sum(results) < 100
