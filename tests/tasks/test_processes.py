"""Tasks under several processes: the scores and the weights are those of one."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from covidct import tasks
from covidct.tasks import BaseTask
from tests.fakes.dropout_task import DropoutTask, slices
from tests.fakes.processes import run_processes, trainer
from tests.tasks.conftest import CASES

if TYPE_CHECKING:
    import pytorch_lightning as pl

COUNTS = (1, 2, 7, 21)
EVALUATED = ("DropoutTask", "MaskedGAPResNetTask", "UNet2dTask")
MEANS = ("MaskedGAPResNetTask", "SliceClassifierTask", "GatedEnsembleTask", "TwoLevelTask")
"""Their losses are means over samples."""
BATCHES = ("UNet2dTask", "UNet3dTask", "LesionMaskRCNNTask")
"""Their losses are of a batch: two processes take the mean of those of their halves."""
GATHERED = ("FPNDenseNetTask", "SelfTransTask")
"""Their losses are of the batches of all processes together, or of a queue that all of them fill."""
RATES = {"FPNDenseNetTask": 1e-3, "GatedEnsembleTask": 1e-3, "TwoLevelTask": 1e-3}
"""Untrained networks without their normalisation make ten times as much of a rounding in each larger step."""
STEPS = 10
LIMIT = 400.0
"""Seconds until processes that wait for one another are told from slow ones: a hundred times what they need alone."""


def make(name: str, **changes: object) -> BaseTask:
    """A small task from fixed random numbers, free of what differs between the processes of a batch."""
    torch.manual_seed(0)
    if name == "DropoutTask":
        return DropoutTask()
    case = CASES[name]
    task = case.settle(getattr(tasks, name)(**{**case.arguments, **changes}))
    for module in task.modules():
        if isinstance(module, _BatchNorm | torch.nn.modules.dropout._DropoutNd):
            module.eval()
    return task


def evaluate(world: int, rank: int, folder: str, names: tuple[str, ...]) -> None:
    """Test on cohorts of all sizes, two samples in a batch."""
    found: dict[str, dict[str, float]] = {}
    for name in names:
        for count in COUNTS:
            whole = {"val_fraction": 0.0, "test_fraction": 1.0}
            data: pl.LightningDataModule = (
                slices(Path(folder) / "cache", count, batch_size=2, **whole)
                if name == "DropoutTask"
                else CASES[name].data(count)
            )
            (scores,) = trainer(world).test(make(name), datamodule=data, verbose=False)
            found[f"{name}/{count}"] = dict(scores)
    Path(folder, f"{world}-{rank}.json").write_text(json.dumps(found))


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_scores_of_any_number_of_processes_are_those_of_one(tmp_path: Path) -> None:
    for world in (1, 2, 3):
        assert run_processes(evaluate, world, str(tmp_path), EVALUATED, seconds=LIMIT) == [0] * world
    expected = json.loads((tmp_path / "1-0.json").read_text())
    for world in (2, 3):
        for rank in range(world):
            found = json.loads((tmp_path / f"{world}-{rank}.json").read_text())
            assert found.keys() == expected.keys()
            for key, scores in expected.items():
                # a mean over batches, which repeat samples where Lightning deals them out, or by their composition
                exact = {score for score in scores if not score.endswith("_loss")}
                if key.startswith("DropoutTask") and int(key.partition("/")[2]) * 4 >= world:
                    assert found[key]["test_loss"] == pytest.approx(scores["test_loss"], rel=1e-5), key
                assert exact
                for score in exact:
                    place = (key, world, rank, score)
                    assert found[key][score] == pytest.approx(scores[score], nan_ok=True, abs=1e-7), place


def learn(world: int, rank: int, folder: str, names: tuple[str, ...], accumulate: bool) -> None:
    """Ten steps of two samples each: of one process, of two, or one after the other."""
    for name in names:
        rate = RATES.get(name, 0.01)
        task = make(name, optimizer=partial(torch.optim.SGD, lr=rate))
        data = CASES[name].data(2 * STEPS, batch_size=1 if accumulate else 2 // world)
        run = trainer(world, limit_val_batches=0, accumulate_grad_batches=2 if accumulate else 1)
        run.fit(task, datamodule=data)
        assert run.global_step == STEPS
        torch.save(task.state_dict(), Path(folder, f"{name}-{world}-{rank}{'-halves' if accumulate else ''}.pt"))


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_steps_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    def weights(name: str) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        return {key: tensor.double() for key, tensor in state.items()}

    def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
        return max(float((one[key] - other[key]).abs().max()) for key in one)

    together, halved = (*MEANS, *GATHERED), (*MEANS, *BATCHES)
    assert run_processes(learn, 1, str(tmp_path), together, False, seconds=LIMIT) == [0]
    assert run_processes(learn, 1, str(tmp_path), halved, True, seconds=LIMIT) == [0]
    assert run_processes(learn, 2, str(tmp_path), (*MEANS, *BATCHES, *GATHERED), False, seconds=LIMIT) == [0, 0]
    for name in (*MEANS, *BATCHES, *GATHERED):
        start: dict[str, Any] = {key: tensor.double() for key, tensor in make(name).state_dict().items()}
        two = weights(f"{name}-2-0")
        assert apart(two, weights(f"{name}-2-1")) == 0, name
        assert apart(two, start) > 1e-4, name
        ways = [f"{name}-1-0"] * (name in together) + [f"{name}-1-0-halves"] * (name in halved)
        for way in ways:
            assert apart(two, weights(way)) < 1e-5, way
