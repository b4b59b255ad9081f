"""One table of predictions, whatever the number of processes."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import pytorch_lightning as pl
import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from covidct import RESEARCH_USE
from covidct.callbacks import MetricsReport, PredictionWriter
from covidct.errors import UsageError
from covidct.sample import Sample, collate
from covidct.tasks import SelfTransTask, UNet2dTask, UNet3dTask
from tests.fakes.flat_task import FlatTask
from tests.fakes.lung_slices import TinyLungSlices, TinyLungSlicesDataModule
from tests.fakes.lungs import TinyLungs, TinyLungsDataModule
from tests.fakes.xrays import TinyXRays

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeTrainer = Callable[..., pl.Trainer]

ROOT = Path(__file__).parents[2]
SIZE = 32


class Pairs(Dataset[Sample]):
    """X-rays of which two each are of one subject; the order of ids is not that of the alphabet."""

    def __init__(self, count: int) -> None:
        self.images = TinyXRays(count, size=SIZE)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        sample = self.images[index]
        sample["subject"] = torch.tensor(1000 - index // 2)
        sample["id"] = f"x-{100 - index}"
        return sample


def flat_task() -> FlatTask:
    torch.manual_seed(0)
    return FlatTask(num_classes=2)


def loader(count: int, *, world: int = 1, rank: int = 0) -> DataLoader[Sample]:
    data = Pairs(count)
    order: DistributedSampler[Sample] = DistributedSampler(data, num_replicas=world, rank=rank, shuffle=False)
    return DataLoader(data, batch_size=2, sampler=order, collate_fn=collate)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_those_of_the_data_set(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    task = flat_task()
    batch = collate([Pairs(7)[index] for index in range(7)])
    prob = task.predict_step(batch, 0)["prob"].detach()
    for stage in ("val", "test", "predict"):
        trainer = make_trainer(callbacks=[PredictionWriter(stages=("val", "test", "predict"))])
        run = {"val": trainer.validate, "test": trainer.test, "predict": trainer.predict}[stage]
        cast("Any", run)(task, loader(7))
        rows = read(tmp_path / f"predictions-{stage}.csv")
        columns = ["id", "subject", "label", "predicted", "prob_non_covid", "prob_covid", "research_use"]
        assert list(rows[0]) == columns
        assert [row["id"] for row in rows] == [f"x-{100 - index}" for index in range(7)]
        assert [row["subject"] for row in rows] == ["s0001", "s0001", "s0002", "s0002", "s0003", "s0003", "s0004"]
        assert [row["label"] for row in rows] == [("non_covid", "covid")[index % 2] for index in range(7)]
        assert [row["predicted"] for row in rows] == [("non_covid", "covid")[int(p[1] > p[0])] for p in prob]
        assert [float(row["prob_covid"]) for row in rows] == pytest.approx(prob[:, 1].tolist(), abs=1e-7)
        assert {row["research_use"] for row in rows} == {RESEARCH_USE}


def test_only_the_stages_asked_for(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(callbacks=[PredictionWriter(stages=("test",))])
    trainer.fit(flat_task(), loader(3), loader(3))
    trainer.predict(flat_task(), loader(3))
    assert not list(tmp_path.glob("*.csv"))
    make_trainer(callbacks=[PredictionWriter(stages=("val",))], fast_dev_run=True).fit(
        flat_task(), loader(3), loader(3)
    )
    assert not list(tmp_path.glob("*.csv"))


def test_lungs_have_volumes_and_areas(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    volumes, slices = UNet3dTask(channels=[4, 8]), UNet2dTask(channels=[4, 8])
    runs: list[tuple[Any, Any, Any, list[str]]] = [
        (volumes, TinyLungsDataModule(2), TinyLungs(2), ["volume_ml_right_lung", "volume_ml_left_lung"]),
        (slices, TinyLungSlicesDataModule(2), TinyLungSlices(2), ["area_cm2"]),
    ]
    for task, data, samples, columns in runs:
        make_trainer(callbacks=[PredictionWriter()]).predict(task, datamodule=data)
        rows = read(tmp_path / "predictions-predict.csv")
        assert list(rows[0]) == ["id", "subject", *columns, "research_use"]
        for index, row in enumerate(rows):
            found = task.eval().predict_step(collate([samples[index]]), 0)
            assert row["id"] == found["id"][0]
            values = found["volume_ml"][0] if "volume_ml" in found else found["area_cm2"]
            written = [float(row[column]) if row[column] else float("nan") for column in columns]
            assert written == pytest.approx(values.tolist(), nan_ok=True)
        with pytest.raises(UsageError, match="stages="):
            make_trainer(callbacks=[PredictionWriter()]).test(task, datamodule=data)


def test_wrong_arguments_and_tasks(make_trainer: MakeTrainer) -> None:
    for stages in ((), ("train",), "test"):
        with pytest.raises(UsageError, match="stages"):
            PredictionWriter(stages=stages)  # type: ignore[arg-type]
    contrastive = SelfTransTask(backbone="resnet18", dim=8, queue_size=6, bn_groups=2)
    with pytest.raises(UsageError, match="leave the callback out"):
        PredictionWriter().setup(make_trainer(), contrastive, "predict")


COUNTS = (1, 2, 7)


def _evaluate(folder: Path, count: int, *, world: int = 1, rank: int = 0) -> None:
    """Test and predict on one of several processes."""
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder / str(count),
        callbacks=[MetricsReport(resamples=20, figures=False), PredictionWriter()],
    )
    batches = loader(count, world=world, rank=rank)
    trainer.test(flat_task(), batches, verbose=False)
    trainer.predict(flat_task(), batches, return_predictions=False)


def _work(rank: int, ports: dict[int, int], folder: str) -> None:
    """One of several processes, as a launcher starts them; of three, then of two."""
    torch.set_num_threads(1)
    for world, port in ports.items():
        names = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": rank, "NODE_RANK": 0}
        os.environ.update({name: str(value) for name, value in names.items()})
        for count in COUNTS if rank < world else ():
            _evaluate(Path(folder, str(world)), count, world=world, rank=rank)
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_several_processes_write_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    context = multiprocessing.get_context("spawn")
    ports = {world: _free_port() for world in (3, 2)}
    processes = [context.Process(target=_work, args=(rank, ports, str(tmp_path))) for rank in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=300)  # minutes of a crowded machine go into starting three interpreters
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    for count in COUNTS:
        _evaluate(tmp_path / "1", count)
        for world in ports:
            _compare(tmp_path / "1" / str(count), tmp_path / str(world) / str(count), count)


def _compare(one: Path, many: Path, count: int) -> None:
    """Same rows, same scores."""
    for stage in ("test", "predict"):
        expected, found = (read(folder / f"predictions-{stage}.csv") for folder in (one, many))
        assert [row["id"] for row in found] == [f"x-{100 - index}" for index in range(count)]
        for want, got in zip(expected, found, strict=True):
            assert float(got["prob_covid"]) == pytest.approx(float(want["prob_covid"]), abs=1e-7)
            assert {**got, "prob_covid": 0, "prob_non_covid": 0} == {**want, "prob_covid": 0, "prob_non_covid": 0}
    scores = [json.loads((folder / "metrics" / "test" / "metrics.json").read_text()) for folder in (one, many)]
    assert scores[1]["cases"] == count
    assert flatten(scores[1]["scores"]) == pytest.approx(flatten(scores[0]["scores"]), abs=1e-7)


def flatten(scores: dict[str, Any]) -> dict[str, float]:
    """Scores by metric, scope and end."""
    return {
        f"{metric} {scope} {end}": -1.0 if value is None else value
        for metric, scopes in scores.items()
        for scope, estimate in scopes.items()
        for end, value in estimate.items()
    }
