from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from covidct.errors import CovidctError, UsageError
from covidct.io import ArrayCache, cache_key
from covidct.io import cache_entry as entry_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

KEY = cache_key("content", config={"size": 128}, version=1)
SPAWN = multiprocessing.get_context("spawn")


class Builder:
    """Counts its calls."""

    def __init__(self, size: int = 50) -> None:
        self.calls = 0
        self.size = size

    def __call__(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        self.calls += 1
        return _content(self.size), {"steps": ["window"], "window": [-1250.0, 250.0]}


def _content(size: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(size)
    return {
        "image": rng.integers(0, 65536, (size, 9, 7), dtype=np.uint16),
        "mask": rng.random((3, size)) > 0.5,
        "big_endian": rng.normal(size=5).astype(">f8"),
        "scalar": np.array(3.5, dtype=np.float32),
        "empty": np.zeros((0, 4), dtype=np.int64),
        "strided": np.arange(24).reshape(4, 6)[::2, ::-1],
    }


def _check(entry: entry_module.Entry, size: int = 50) -> None:
    for name, expected in _content(size).items():
        np.testing.assert_array_equal(entry[name], expected)
        assert entry[name].dtype == expected.dtype
        assert not entry[name].flags.writeable
        assert entry[name].size == 0 or entry[name].__array_interface__["data"][0] % 16 == 0
    assert entry.meta == {"steps": ["window"], "window": [-1250.0, 250.0]}


def _file(folder: Path) -> Path:
    (path,) = folder.glob("*/*.arrays")
    return path


@pytest.mark.parametrize("size", [50, 20_000])  # read into memory, and mapped
def test_an_entry_is_built_once_and_comes_back_as_it_was(tmp_path: Path, size: int) -> None:
    build = Builder(size)
    cache = ArrayCache(tmp_path / "cache")
    assert cache.get(KEY) is None
    assert not (tmp_path / "cache").exists()
    _check(cache.get_or_build(KEY, build), size)
    _check(cache.get_or_build(KEY, build), size)
    _check(ArrayCache(tmp_path / "cache").get_or_build(KEY, build), size)
    _check(pickle.loads(pickle.dumps(cache)).get_or_build(KEY, build), size)  # noqa: S301 - as spawn does it
    assert build.calls == 1
    with pytest.raises(ValueError, match="read-only"):
        cache.get_or_build(KEY, build)["image"][0, 0, 0] = 1
    assert not list((tmp_path / "cache").rglob(".tmp-*"))


@pytest.mark.parametrize("size", [50, 20_000])
def test_any_flipped_byte_or_cut_is_seen_and_mended(tmp_path: Path, size: int) -> None:
    build = Builder(size)
    ArrayCache(tmp_path).get_or_build(KEY, build)
    path = _file(tmp_path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    used = len(whole) - 64
    places = [0, 9, 17, 30, *rng.integers(40, 600, 6), len(whole) - 1]
    for calls, place in enumerate(places, start=2):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        _check(ArrayCache(tmp_path).get_or_build(KEY, build), size)
        padding = not whole[place] and build.calls < calls  # a zero between two arrays is no part of the entry
        assert build.calls == calls or padding
        build.calls = calls
    for length in (0, 10, 100, used // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert ArrayCache(tmp_path).get(KEY) is None
        _check(ArrayCache(tmp_path).get_or_build(KEY, build), size)
    path.write_bytes(b"\0" * len(whole))
    assert ArrayCache(tmp_path).get(KEY) is None


def test_an_entry_replaced_under_a_cache_is_checked_again(tmp_path: Path) -> None:
    cache, build = ArrayCache(tmp_path), Builder(20_000)
    cache._mapped.limit = 0
    cache.get_or_build(KEY, build)
    damaged = bytearray(_file(tmp_path).read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "new").write_bytes(damaged)
    (tmp_path / "new").replace(_file(tmp_path))
    _check(cache.get_or_build(KEY, build), 20_000)
    assert build.calls == 2


def test_each_part_of_the_key_counts_and_a_renamed_entry_is_refused(tmp_path: Path) -> None:
    keys = {
        cache_key("content", config={"size": 128}, version=1),
        cache_key("content", config={"size": 96}, version=1),
        cache_key("other", config={"size": 128}, version=1),
        cache_key("content", config={"size": 128}, version=2),
        cache_key("content", config={"size": 128, "low": -1000}, version=1),
    }
    assert len(keys) == 5
    assert cache_key("a", config={"x": 1, "y": 2}, version=1) == cache_key("a", config={"y": 2, "x": 1}, version=1)
    cache, build = ArrayCache(tmp_path), Builder()
    for key in keys:
        cache.get_or_build(key, build)
    assert build.calls == 5
    one, other = sorted(keys)[:2]
    files = {path.stem: path for path in tmp_path.glob("*/*.arrays")}
    files[one].replace(files[other])
    assert ArrayCache(tmp_path).get(other) is None


def test_wrong_keys_and_contents_are_refused(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    for key in ("../../etc/passwd", "abc", "", KEY.upper()):
        with pytest.raises(UsageError, match="cache key"):
            cache.get(key)
    with pytest.raises(UsageError, match="dtype"):
        cache.get_or_build(KEY, lambda: ({"a": np.array([object()])}, {}))
    with pytest.raises(UsageError, match="JSON"):
        cache.get_or_build(KEY, lambda: ({"a": np.zeros(3)}, {"path": object()}))
    with pytest.raises(UsageError, match="JSON"):
        cache_key("a", config={"x": object()}, version=1)
    assert cache.get(KEY) is None


def test_a_failing_builder_leaves_nothing_and_the_lock_free(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)

    def fail() -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        raise RuntimeError("unreadable")

    with pytest.raises(RuntimeError, match="unreadable"):
        cache.get_or_build(KEY, fail)
    assert not list(tmp_path.glob("*/*.arrays"))
    _check(cache.get_or_build(KEY, Builder()))


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = entry_module.write_entry

    def full(path: Path, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        written(path, *args, **kwargs)
        with path.open("rb+") as file:
            file.truncate(100)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = ArrayCache(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("covidct.io.cache.write_entry", full)
        with pytest.raises(CovidctError, match=r"No space left.*make room"):
            cache.get_or_build(KEY, Builder())
    assert not list(tmp_path.rglob("*.arrays"))
    assert not list(tmp_path.rglob(".tmp-*"))
    _check(cache.get_or_build(KEY, Builder()))
    (tmp_path / "file").write_text("")
    with pytest.raises(CovidctError, match="cannot be written"):
        ArrayCache(tmp_path / "file").get_or_build(KEY, Builder())


def test_what_stays_open_is_bounded(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, memory=40_000)
    cache._mapped.limit = 3
    keys = [cache_key(str(n), config={}, version=1) for n in range(12)]
    for _ in range(2):
        for number, key in enumerate(keys):
            size = 50 if number % 2 else 20_000
            _check(cache.get_or_build(key, Builder(size)), size)
            assert len(cache._mapped.entries) <= 3
            held = sum(entry.nbytes for entry, _ in cache._small.entries.values())
            assert 0 <= held == cache._small.weight <= 40_000
    kept = cache.get_or_build(keys[-1], Builder())
    assert cache.get(keys[-1]) is kept
    assert 0 < len(cache._small.entries) < 6


def test_leftovers_of_killed_processes_are_swept(tmp_path: Path) -> None:
    old, young = (tmp_path / KEY[:2] / name for name in (".tmp-old", ".tmp-young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(b"x")
    os.utime(old, (time.time() - 1e6,) * 2)
    ArrayCache(tmp_path).get_or_build(KEY, Builder())
    assert not old.exists()
    assert young.exists()


def _build_slowly(folder: str, log: str, wait: float) -> None:
    def build() -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        with Path(log).open("a") as file:
            file.write("built\n")
        time.sleep(wait)
        return Builder()()

    _check(ArrayCache(folder).get_or_build(KEY, build))


def _die_while_writing(folder: str) -> None:
    real: Callable[..., Any] = entry_module.write_entry

    def killed(path: Path, *args: Any) -> None:  # noqa: ANN401
        real(path, *args)
        with path.open("rb+") as file:
            file.truncate(500)
        os.kill(os.getpid(), signal.SIGKILL)

    import covidct.io.cache

    vars(covidct.io.cache)["write_entry"] = killed
    ArrayCache(folder).get_or_build(KEY, Builder())


@pytest.mark.slow
def test_of_several_processes_one_builds_and_the_others_wait(tmp_path: Path) -> None:
    log = tmp_path / "log"
    workers = [SPAWN.Process(target=_build_slowly, args=(str(tmp_path / "c"), str(log), 1.0)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert log.read_text() == "built\n"


@pytest.mark.slow
def test_a_process_killed_while_writing_leaves_no_entry_and_no_lock(tmp_path: Path) -> None:
    worker = SPAWN.Process(target=_die_while_writing, args=(str(tmp_path),))
    worker.start()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
    assert not list(tmp_path.glob("*/*.arrays"))
    build = Builder()
    _check(ArrayCache(tmp_path).get_or_build(KEY, build))
    assert build.calls == 1
