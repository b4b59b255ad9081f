"""What every task must do, parametrised from ``covidct.tasks.__all__``."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import pickle
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import pytorch_lightning as pl
import torch
import yaml
from torch.nn.modules.batchnorm import _BatchNorm

import covidct
from covidct import tasks
from covidct.errors import BatchError, CovidctError
from covidct.sample import check_batch
from covidct.tasks import (
    BaseTask,
    ContrastiveTask,
    DetectionTask,
    SegmentationTask,
    SliceSegmentationTask,
    load_task,
)
from covidct.weights import RECORD_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tasks.conftest import Case

    Make = Callable[..., BaseTask]
    MakeTrainer = Callable[..., pl.Trainer]

ROOT = Path(covidct.__file__).parents[1]
CONFIGS = ROOT / "examples" / "configs"


def loss_of(task: BaseTask, batch: Any) -> torch.Tensor:  # noqa: ANN401
    """Training loss outside a trainer."""
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    return torch.as_tensor(task.training_step(batch, 0))


def outputs(task: BaseTask, batch: Any) -> torch.Tensor:  # noqa: ANN401
    """Probabilities of a classifier, boxes and scores of a detector, features or logits of another, evaluated."""
    task.eval()
    with torch.no_grad():
        found: dict[str, Any] = task.predict_step(batch, 0)
        if isinstance(task, ContrastiveTask):
            return torch.as_tensor(found["features"])
        if isinstance(task, DetectionTask):
            return torch.cat([torch.cat([one["boxes"], one["scores"][:, None]], 1) for one in found["detections"]])
        return torch.as_tensor(found["prob"] if "prob" in found else task(batch))


@pytest.fixture(scope="module")
def trained(
    make: Make, case: Case, trainer: MakeTrainer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BaseTask, Path]:
    """A task after one epoch, and its checkpoint."""
    task = make()
    run = trainer()
    run.fit(task, datamodule=case.data())
    path = tmp_path_factory.mktemp("trained") / "model.ckpt"
    run.save_checkpoint(path)
    return task, path


def test_there_is_a_network_a_task_and_a_configuration_of_one_stem(name: str, case: Case) -> None:
    task = getattr(tasks, name)
    assert Path(inspect.getfile(task)).stem == case.stem
    assert (ROOT / "covidct" / "models" / f"{case.stem}.py").is_file()
    assert (CONFIGS / f"{case.stem}.yaml").is_file()


def test_declares_its_inputs(make: Make, case: Case) -> None:
    task = make()
    assert isinstance(task.inputs, tuple)
    arguments = list(inspect.signature(task.model.forward).parameters)
    assert arguments[: len(task.inputs)] == list(task.inputs)
    check_batch(case.batch(), task.kind, [key for key in task.inputs if key != "slice_mask"])


def test_loss_is_finite_and_every_parameter_gets_a_gradient(make: Make, case: Case) -> None:
    task = make().train()
    loss = loss_of(task, case.batch())
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    torch.autograd.backward(loss)
    without = [n for n, p in task.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert without == []


def test_every_stage_runs(make: Make, case: Case, trainer: MakeTrainer) -> None:
    task, data = make(), case.data()
    trainer(fast_dev_run=True).fit(task, datamodule=data)
    trainer(fast_dev_run=True).validate(task, datamodule=data, verbose=False)
    trainer(fast_dev_run=True).test(task, datamodule=data, verbose=False)
    found = trainer(fast_dev_run=True).predict(task, datamodule=data)
    first: Any = found[0] if found else {}
    assert set(first) >= {"id", "scan", "subject"}
    if isinstance(task, SegmentationTask):
        assert first["mask"].dtype == torch.uint8
        assert first["mask"].shape == case.batch()["lung_mask"].shape
        assert first["volume_ml"].shape == (len(first["id"]), 2)
    elif isinstance(task, SliceSegmentationTask):
        assert first["mask"].dtype == torch.uint8
        assert first["mask"].shape == case.batch()["lung_mask"].shape
        assert first["area_cm2"].shape == (len(first["id"]),)
    elif isinstance(task, DetectionTask):
        assert first["mask"].dtype == torch.uint8
        assert first["mask"].shape == case.batch()["lesion_mask"].shape
        assert len(first["detections"]) == len(first["id"])
    elif isinstance(task, ContrastiveTask):
        assert first["features"].dtype == torch.float32
        assert first["features"].shape == (len(first["id"]), task.model.width)
    else:
        assert first["pred"].shape == (len(first["id"]),)
        torch.testing.assert_close(first["prob"].sum(1), torch.ones(len(first["id"])))


def test_checkpoint_reloads_with_equal_outputs(trained: tuple[BaseTask, Path], case: Case) -> None:
    task, path = trained
    expected = outputs(task, case.batch())
    loaded = load_task(path)
    assert type(loaded) is type(task)
    assert not loaded.training
    assert loaded.preprocessing == task.preprocessing is not None
    assert outputs(loaded, case.batch()).equal(expected)
    lightnings = type(task).load_from_checkpoint(path, weights_only=True)
    assert outputs(lightnings, case.batch()).equal(expected)
    assert dict(loaded.hparams) == dict(task.hparams)


def test_reloading_needs_no_connection_and_no_cache(
    trained: tuple[BaseTask, Path], case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    task, path = trained
    checkpoint = torch.load(path, weights_only=True)
    if "weights" in checkpoint["hyper_parameters"]:
        checkpoint["hyper_parameters"]["weights"] = "IMAGENET1K_V1"  # as a published configuration has it
    path = tmp_path / "model.ckpt"
    torch.save(checkpoint, path)

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    assert outputs(load_task(path), case.batch()).equal(outputs(task, case.batch()))
    assert not (tmp_path / "empty").exists()


def test_checkpoint_records_what_use_needs(trained: tuple[BaseTask, Path]) -> None:
    task, path = trained
    record = torch.load(path, weights_only=True)[RECORD_KEY]
    assert task.preprocessing is not None
    assert record == {
        "version": covidct.__version__,
        "task": type(task).__name__,
        "class_names": list(task.preprocessing.classes),
        "preprocessing": task.preprocessing.to_dict(),
    }


def plain(value: object) -> bool:
    """Whether ``value`` is JSON data, by exact types."""
    if type(value) is list:
        return all(map(plain, value))
    if type(value) is dict:
        return all(type(k) is str and plain(v) for k, v in value.items())
    return value is None or type(value) in (str, int, float, bool)


def as_json(value: object) -> object:
    """A default as JSON and YAML have it: lists, where immutable defaults are tuples."""
    return list(value) if isinstance(value, tuple) else value


def test_hyper_parameters_are_plain_and_complete(trained: tuple[BaseTask, Path], name: str) -> None:
    hyper_parameters = torch.load(trained[1], weights_only=True)["hyper_parameters"]
    assert plain(hyper_parameters)
    arguments = inspect.signature(getattr(tasks, name)).parameters
    assert set(hyper_parameters) == set(arguments) - {"optimizer", "lr_scheduler"}
    assert all(argument.kind is argument.KEYWORD_ONLY for argument in arguments.values())
    assert arguments["optimizer"].default is arguments["lr_scheduler"].default is None
    assert "weights" not in arguments or arguments["weights"].default is None


def test_bf16_autocast_is_finite(make: Make, case: Case, trainer: MakeTrainer) -> None:
    task = make()
    run = trainer(precision="bf16-mixed")
    run.fit(task, datamodule=case.data())
    assert run.callback_metrics["train_loss"].isfinite()
    # validation images of a contrastive task have no second view to compare with
    assert run.callback_metrics["val_feature_std" if isinstance(task, ContrastiveTask) else "val_loss"].isfinite()
    assert all(parameter.isfinite().all() for parameter in task.parameters())


def test_padding_changes_nothing(make: Make, case: Case) -> None:
    batch, task = case.batch(3), make()
    if "slice_mask" not in task.inputs:
        pytest.skip("the network is not told of padding")
    together = outputs(task, batch)
    depths = batch["slice_mask"].sum(1).tolist()
    assert len(set(depths)) > 1
    for i, depth in enumerate(depths):
        alone = {key: value[i : i + 1] for key, value in batch.items()}
        for key, axis in {"image": 2, "lung_mask": 2, "slice_mask": 1}.items():
            alone[key] = alone[key].narrow(axis, 0, depth)
        torch.testing.assert_close(together[i : i + 1], outputs(task, alone), rtol=0, atol=1e-5)
        del alone["slice_mask"]
        torch.testing.assert_close(together[i : i + 1], outputs(task, alone), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [31, 45, 8])
def test_odd_sizes_work_or_are_refused_in_words(make: Make, case: Case, size: int) -> None:
    try:
        found = outputs(make(), case.batch(size=size))
    except CovidctError as error:
        assert str(error).endswith(".")  # noqa: PT017  (either outcome is right)
    else:
        assert found.isfinite().all()


def test_missing_key_is_named(make: Make, case: Case) -> None:
    task, batch = make(), case.batch()
    for key in (task.inputs[0], task.target):
        with pytest.raises(BatchError, match=key):
            loss_of(task, {k: v for k, v in batch.items() if k != key})


def test_values_out_of_range_are_refused_on_the_first_batch(make: Make, case: Case) -> None:
    batch = case.batch()
    batch["image"] = batch["image"] * 2000 - 1000
    with pytest.raises(BatchError, match=r"\[0, 1\]"):
        loss_of(make(), batch)


def test_configuration_names_known_arguments_and_the_defaults(name: str, case: Case) -> None:
    model = yaml.safe_load((CONFIGS / f"{case.stem}.yaml").read_text(encoding="utf-8"))["model"]
    assert model["class_path"] == f"covidct.tasks.{name}"
    arguments = inspect.signature(getattr(tasks, name)).parameters
    assert set(model["init_args"]) == set(arguments) - {"optimizer", "lr_scheduler"}
    defaults = {key: as_json(argument.default) for key, argument in arguments.items()}
    unlike = {key for key, value in model["init_args"].items() if value != defaults[key]}
    assert unlike <= {"weights"}  # the configurations name the published weights


def _outputs_in_a_new_process(task: BaseTask, batch: Any, path: Path) -> None:  # noqa: ANN401
    torch.save(outputs(task, batch), path)


def test_pickles_under_spawn(make: Make, case: Case, tmp_path: Path) -> None:
    task = make()
    assert outputs(pickle.loads(pickle.dumps(task)), case.batch()).equal(outputs(task, case.batch()))  # noqa: S301
    process = multiprocessing.get_context("spawn").Process(
        target=_outputs_in_a_new_process, args=(task, case.batch(), tmp_path / "out.pt")
    )
    process.start()
    process.join(120)
    assert process.exitcode == 0
    torch.testing.assert_close(torch.load(tmp_path / "out.pt", weights_only=True), outputs(task, case.batch()))


def test_same_seed_gives_the_same_weights(make: Make, case: Case, trainer: MakeTrainer) -> None:
    def fitted() -> dict[str, torch.Tensor]:
        task = make()
        pl.seed_everything(3, verbose=False)
        trainer(max_epochs=2).fit(task, datamodule=case.data(shuffle=True))
        return task.state_dict()

    first, second = fitted(), fitted()
    assert all(tensor.equal(second[key]) for key, tensor in first.items())


class StopAfterOne(pl.Callback):
    """Ends a training after its first epoch."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = True


def test_interrupted_training_goes_on_where_it_stopped(
    make: Make, case: Case, trainer: MakeTrainer, tmp_path: Path
) -> None:
    whole = make()
    trainer(max_epochs=2).fit(whole, datamodule=case.data())
    first = trainer(max_epochs=2, callbacks=[StopAfterOne()])  # the schedule of a training depends on its length
    first.fit(make(), datamodule=case.data())
    assert first.current_epoch == 1
    first.save_checkpoint(tmp_path / "first.ckpt")
    resumed = make()
    trainer(max_epochs=2).fit(resumed, datamodule=case.data(), ckpt_path=tmp_path / "first.ckpt", weights_only=True)
    state = resumed.state_dict()
    for key, tensor in whole.state_dict().items():
        torch.testing.assert_close(state[key], tensor, rtol=0, atol=0)


def frozen(task: BaseTask) -> BaseTask:
    """With batch normalisation and dropout as in evaluation: statistics of a batch differ between processes."""
    for module in task.modules():
        if isinstance(module, _BatchNorm | torch.nn.modules.dropout._DropoutNd):
            module.eval()
    return task


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_train_like_one(
    make: Make, case: Case, trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")  # as after seed_everything: it must not matter
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    torch.set_num_threads(1)  # as in the two processes: sums in another order differ in their rounding
    sgd = partial(torch.optim.SGD, lr=0.01)  # Adam's first steps are all of one length, whatever the gradient
    start = make().state_dict()
    weights = []
    for devices in (1, 2):  # two steps, each of two scans: of one process, or one each of two processes
        task = case.settle(frozen(make(optimizer=sgd)))
        strategy = "ddp_spawn" if devices == 2 else "auto"
        run = trainer(accelerator="cpu", devices=devices, strategy=strategy, limit_val_batches=0)
        run.fit(task, datamodule=case.data(4, batch_size=2 // devices))
        weights.append(task.state_dict())
        assert any(not tensor.equal(start[key]) for key, tensor in weights[-1].items())
    one, two = (
        torch.cat([w[key].double().flatten() - start[key].double().flatten() for key in start]) for w in weights
    )
    # rounding alone may differ: a thousandth of the way
    assert float((one - two).norm()) < 1e-3 * float(one.norm())


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_validate_like_one(
    make: Make, case: Case, trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    task, data = make(), case.data(5)  # 5 scans on 2 processes: the sampler repeats one
    one = trainer()
    (expected,) = one.validate(task, datamodule=data, verbose=False)
    two = trainer(accelerator="cpu", devices=2, strategy="ddp_spawn")
    (found,) = two.validate(task, datamodule=data, verbose=False)
    scores = {key for key in expected if "loss" not in key}  # losses are means over batches, repeated scans included
    assert scores
    for key in scores:
        assert found[key] == pytest.approx(expected[key], nan_ok=True, abs=1e-6), key
    trainer(accelerator="cpu", devices=2, strategy="ddp_spawn").fit(task, datamodule=data)
