from __future__ import annotations

from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from covidct.datamodules import CTVolumeDataModule
from covidct.datamodules.building import build_blocks, plan_blocks, prepare_source
from covidct.errors import CovidctError
from covidct.io import ArrayCache, cache_key
from covidct.preprocessing import Preprocessing
from tests.fakes.chests import FakeCXR, FakeSlices, FakeVolumes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLASSES = ("normal", "cap", "covid")
CUBE = Preprocessing(kind="ct_volume", classes=CLASSES, size=16, mask_source="file")
SLICE = Preprocessing(kind="ct_slice", classes=CLASSES, size=16, mask_source="file")
CXR = Preprocessing(kind="cxr", classes=CLASSES, size=16, mask_source="file", window=None)
KEYS = [cache_key(str(number), config={}, version=1) for number in range(2000)]


def test_packs_survive_a_new_image_and_another_order() -> None:
    packs = {block.key for block in plan_blocks(KEYS, CXR, packed=True)}
    assert 3 <= len(packs) <= 25
    shuffled = plan_blocks(KEYS[::-1], CXR, packed=True)
    assert {block.key for block in shuffled} == packs
    assert sorted(source for block in shuffled for source in block.sources) == list(range(2000))
    more = {block.key for block in plan_blocks([*KEYS, cache_key("new", config={}, version=1)], CXR, packed=True)}
    assert len(packs & more) >= len(packs) - 1


def test_another_recipe_gives_other_entries() -> None:
    plans = [
        plan_blocks(KEYS[:5], CUBE, packed=False),
        plan_blocks(KEYS[:5], Preprocessing(kind="ct_volume", classes=CLASSES, size=32), packed=False),
        plan_blocks(KEYS[5:10], CUBE, packed=False),
    ]
    assert len({block.key for plan in plans for block in plan}) == 15
    merged = Preprocessing(kind="ct_volume", classes=("a", "b"), size=16, mask_source="file")
    assert plan_blocks(KEYS[:5], merged, packed=False) == plans[0]  # class names change no pixel


def test_prepared_rows() -> None:
    assert prepare_source(FakeVolumes(), 0, CUBE)["image"].shape == (1, 1, 16, 16, 16)
    slices = prepare_source(FakeSlices(), 0, SLICE)
    assert slices["image"].shape == (4, 1, 16, 16)
    assert slices["position"].tolist() == [60, 90, 120, 150]
    assert prepare_source(FakeCXR(), 0, CXR)["lung_mask"].shape == (1, 1, 16, 16)


@pytest.mark.parametrize("workers", [0, 2])
def test_builds_what_it_can_and_reports_the_rest(tmp_path: Path, workers: int) -> None:
    dataset, cache = FakeVolumes(6, broken=(1, 4)), ArrayCache(tmp_path)
    keys = [dataset.content_key(source, digest=str) for source in range(6)]
    blocks = plan_blocks(keys, CUBE, packed=False)
    failures = build_blocks(cache, dataset, blocks, CUBE, keep_partial=False, num_workers=workers)
    assert sorted(failures) == [1, 4]
    assert "Scan 4 is broken" in str(failures[4])
    entries = [cache.get(block.key) for block in blocks]
    assert [entry is None for entry in entries] == [False, True, False, False, True, False]
    assert entries[0] is not None
    np.testing.assert_array_equal(entries[0]["image"], prepare_source(dataset, 0, CUBE)["image"])


def test_a_pack_may_lack_images_only_when_asked(tmp_path: Path) -> None:
    dataset, cache = FakeCXR(5, broken=(2,)), ArrayCache(tmp_path)
    keys = [dataset.content_key(source, digest=str) for source in range(5)]
    (whole,) = plan_blocks(keys, CXR, packed=True)
    (partial,) = plan_blocks(keys, CXR, packed=True, partial=True)
    assert list(build_blocks(cache, dataset, [whole], CXR, keep_partial=False)) == [2]
    assert cache.get(whole.key) is None
    assert list(build_blocks(cache, dataset, [partial], CXR, keep_partial=True)) == [2]
    entry = cache.get(partial.key)
    assert entry is not None
    assert [partial.sources[row] for row in entry.meta["good"]] == [s for s in partial.sources if s != 2]
    assert len(entry["image"]) == 4


def test_nothing_usable_leaves_no_entry(tmp_path: Path) -> None:
    dataset, cache = FakeCXR(2, broken=(0, 1)), ArrayCache(tmp_path)
    (block,) = plan_blocks([dataset.content_key(s, digest=str) for s in range(2)], CXR, packed=True, partial=True)
    assert sorted(build_blocks(cache, dataset, [block], CXR, keep_partial=True)) == [0, 1]
    assert cache.get(block.key) is None


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path, workers: int) -> None:
    (tmp_path / "file").touch()
    dataset, cache = FakeVolumes(2), ArrayCache(tmp_path / "file" / "cache")
    blocks = plan_blocks([dataset.content_key(source, digest=str) for source in range(2)], CUBE, packed=False)
    with pytest.raises(CovidctError, match="cannot be written") as caught:
        build_blocks(cache, dataset, blocks, CUBE, keep_partial=False, num_workers=workers)
    assert "\n" not in str(caught.value)


class Weighing(Executor):
    """Weighs what would be sent to a worker, and does nothing."""

    def __init__(self) -> None:
        self.tasks = self.total = 0

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:  # noqa: ANN401
        self.tasks += 1
        self.total += len(ForkingPickler.dumps((function, arguments, named)))
        future: Future[Any] = Future()
        future.set_result([])
        return future


def test_what_is_sent_to_workers_grows_with_the_scans_and_not_with_their_square(tmp_path: Path) -> None:
    def sent(scans: int) -> int:
        dataset, executor = FakeVolumes(scans), Weighing()
        blocks = plan_blocks([f"{key:016x}" for key in range(len(dataset))], CUBE, packed=False)
        cache = ArrayCache(tmp_path)
        assert build_blocks(cache, dataset, blocks, CUBE, keep_partial=False, executor=executor, workers=2) == {}
        assert executor.tasks <= 16
        return executor.total

    assert sent(2000) < 2.5 * sent(1000)


def test_each_entry_is_in_one_share(tmp_path: Path) -> None:
    dataset, cache = FakeVolumes(10, broken=(1,)), ArrayCache(tmp_path)
    blocks = plan_blocks([dataset.content_key(source, digest=str) for source in range(10)], CUBE, packed=False)
    with ThreadPoolExecutor(1) as pool:
        failures = build_blocks(cache, dataset, blocks, CUBE, keep_partial=False, executor=pool, workers=1)
    assert list(failures) == [1]
    assert [source for source, block in enumerate(blocks) if cache.get(block.key) is None] == [1]


@pytest.mark.slow
def test_an_executor_prepares_what_one_process_does(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        data = CTVolumeDataModule(FakeVolumes(3), size=16, mask_source="file", cache_dir=str(tmp_path / "many"))
        data.prepare_data_on(pool)
    data.setup("predict")
    alone = CTVolumeDataModule(FakeVolumes(3), size=16, mask_source="file", cache_dir=str(tmp_path / "one"))
    alone.prepare_data()
    alone.setup("predict")
    for found, wanted in zip(data.predict_dataloader(), alone.predict_dataloader(), strict=True):
        assert found["id"] == wanted["id"]
        assert torch.equal(found["image"], wanted["image"])
