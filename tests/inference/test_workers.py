"""Scans by several processes and by a Dask cluster: the same results, and what a process that dies takes with it."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from covidct.errors import CheckpointError, UsageError
from covidct.inference import PredictorSettings, examine_many, local_processes, on_dask, workers
from covidct.inference.triage import examine
from covidct.io import ScanInput
from covidct.result import ScanResult
from covidct.weights import load_checkpoint
from tests.fakes.checkpoint import phantom, write_checkpoint, write_nifti

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = PredictorSettings("x.ckpt")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[ScanInput, str]]:
    """Three scans, one of them damaged."""
    folder = tmp_path_factory.mktemp("scans")
    for number in (0, 1):
        write_nifti(folder / f"{number}.nii.gz", phantom(number))
    (folder / "2.nii.gz").write_bytes(b"\x1f\x8b damaged")
    return [(ScanInput(folder / f"{number}.nii.gz"), f"scan-{number}") for number in range(3)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> PredictorSettings:
    path = write_checkpoint(tmp_path_factory.mktemp("network"))
    return PredictorSettings(str(path), device="cpu", explain=False)


def require_same(found: list[ScanResult], settings: PredictorSettings, scans: list[tuple[ScanInput, str]]) -> None:
    predictor = settings.predictor()
    by_id = {result.id: result for result in found}
    assert set(by_id) == {name for _, name in scans}
    for scan, name in scans:
        wanted = examine(predictor, scan, id=name)
        assert by_id[name].status == wanted.status
        assert by_id[name].probabilities == pytest.approx(wanted.probabilities, abs=1e-6)


@pytest.fixture(scope="module")
def explained(settings: PredictorSettings, tmp_path_factory: pytest.TempPathFactory) -> PredictorSettings:
    """The same network with a scale of Grad-CAM, so that results have pictures of its layers."""
    content = load_checkpoint(Path(settings.checkpoint))
    content["state_dict"]["cam_scale"] = torch.full_like(content["state_dict"]["cam_scale"], 0.5)
    path = tmp_path_factory.mktemp("explained") / "explained.ckpt"
    torch.save(content, path)
    return replace(settings, checkpoint=str(path), explain=True)


def test_threads_that_share_a_network_take_turns(
    scans: list[tuple[ScanInput, str]], explained: PredictorSettings
) -> None:
    work = [(scans[number % 2][0], f"scan-{number}") for number in range(4)]
    with ThreadPoolExecutor(2) as pool:
        found = list(examine_many(explained, work, pool, workers=2))
    assert [(result.status, result.error) for result in found] == [("done", "")] * 4
    assert all(result.preview is not None and result.preview.cam is not None for result in found)


@pytest.mark.slow
def test_two_processes_find_what_one_does(scans: list[tuple[ScanInput, str]], settings: PredictorSettings) -> None:
    told: list[str] = []
    with local_processes(2) as pool:
        found = list(
            examine_many(settings, scans, pool, workers=2, tell=lambda scan, text: told.append(scan.path.name))
        )
    require_same(found, settings, scans)
    assert told == ["2.nii.gz"]


@pytest.mark.slow
def test_a_cluster_of_two_workers_finds_it_too(
    scans: list[tuple[ScanInput, str]], explained: PredictorSettings, tmp_path: Path
) -> None:
    distributed: Any = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, local_directory=str(tmp_path)
    )
    try:
        with on_dask(cluster.scheduler_address) as (executor, count):
            assert count == 2
            require_same(list(examine_many(explained, scans, executor, workers=count)), explained, scans)
            client: Any = distributed.Client
            with client(cluster.scheduler_address, set_as_default=False) as asking:
                assert sorted(asking.run(_turn).values()) == [0, 1], "each takes a GPU of its own"
    finally:
        cluster.close()


def _turn() -> int:
    return workers._TURN


def test_workers_of_a_machine_are_numbered() -> None:
    pytest.importorskip("distributed")
    from covidct.inference.dask_turns import turns_of

    found: dict[str, dict[str, Any]] = {
        "tcp://a:3": {"host": "a", "nanny": "tcp://a:9"},
        "tcp://a:1": {"host": "a", "nanny": None},
        "tcp://b:2": {"host": "b"},
    }
    assert turns_of(found) == {"tcp://a:1": 0, "tcp://a:9": 1, "tcp://b:2": 0}


@pytest.mark.slow
def test_a_pool_goes_on_when_a_process_dies() -> None:
    with local_processes(1) as pool:
        with pytest.raises(BrokenProcessPool):
            pool.submit(_die).result()
        assert pool.submit(abs, -3).result() == 3


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Inline(Executor):
    """Does the work at once; of some scans as if their process had died."""

    def __init__(self, deaths: dict[str, BaseException], submitted: list[str]) -> None:
        self.deaths, self.submitted = deaths, submitted

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:  # noqa: ANN401
        future: Future[Any] = Future()
        name = arguments[2]
        self.submitted.append(name)
        if name in self.deaths:
            future.set_exception(self.deaths[name])
        else:
            future.set_result((ScanResult(id=name, status="done"), ""))
        return future

    def __enter__(self) -> Inline:
        return self


class KilledWorker(Exception):  # noqa: N818  (Dask's name)
    """A scan after which workers died."""


def test_the_scan_that_kills_its_process_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    work = [(ScanInput(Path(name)), name) for name in "abcde"]
    first, alone = list[str](), list[str]()
    monkeypatch.setattr(workers, "ProcessPoolExecutor", lambda *_, **__: Inline({"b": BrokenProcessPool()}, alone))
    told: list[str] = []
    deaths: dict[str, BaseException] = {"b": BrokenProcessPool(), "c": BrokenProcessPool(), "d": KilledWorker()}
    found = {
        result.id: result
        for result in examine_many(
            SETTINGS, work, Inline(deaths, first), workers=2, tell=lambda scan, _: told.append(str(scan.path))
        )
    }
    assert {name: result.status for name, result in found.items()} == {
        "a": "done",
        "b": "failed",
        "c": "done",
        "d": "failed",
        "e": "done",
    }
    assert sorted(alone) == ["b", "c"]
    assert sorted(told) == ["b", "d"]
    assert "memory" in found["b"].error


def test_other_errors_go_on() -> None:
    work = [(ScanInput(Path("a")), "a")]
    with pytest.raises(CheckpointError):
        list(examine_many(SETTINGS, work, Inline({"a": CheckpointError("damaged")}, []), workers=1))


def test_processes_share_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(PredictorSettings, "predictor", lambda self, *, device=None: asked.append(device))
    for turn in range(3):
        monkeypatch.setattr(workers, "_TURN", turn)
        workers._predictor.cache_clear()
        workers._predictor(SETTINGS)
        workers._predictor(SETTINGS)
    workers._predictor.cache_clear()
    workers._predictor(replace(SETTINGS, device="cpu"))
    workers._predictor.cache_clear()
    assert asked == ["cuda:0", "cuda:1", "cuda:0", None]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="processes"), local_processes(0):
        pass
    pytest.importorskip("distributed")
    with pytest.raises(UsageError, match="scheduler"), on_dask("nonsense"):
        pass
