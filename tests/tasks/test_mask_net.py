"""The slice classifier of ranked regions: closed forms of its loss, what is trained, where its detector comes from."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional as F

from covidct.errors import UsageError, WeightsError
from covidct.models import LesionMaskRCNN
from covidct.tasks import CovidCTMaskNetTask, LesionMaskRCNNTask, load_task
from tests.fakes.lesions import TinyLesionsDataModule, lesions_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytorch_lightning as pl

    MakeTrainer = Callable[..., pl.Trainer]

LIGHT: dict[str, Any] = {"backbone": "resnet18", "truncation": 2}


def small(**changes: Any) -> CovidCTMaskNetTask:  # noqa: ANN401
    torch.manual_seed(0)
    return CovidCTMaskNetTask(**{**LIGHT, "num_regions": 16, "features": 8, **changes})


@pytest.fixture
def detector(trainer: MakeTrainer, tmp_path: Path) -> Path:
    """A checkpoint of stage 1 with anchors of its own."""
    torch.manual_seed(1)
    task = LesionMaskRCNNTask(**LIGHT, anchor_sizes=[4, 8, 16, 32, 48])
    run = trainer(limit_train_batches=1, limit_val_batches=0)
    run.fit(task, datamodule=TinyLesionsDataModule())
    run.save_checkpoint(tmp_path / "stage1.ckpt")
    return tmp_path / "stage1.ckpt"


def fit_nothing(trainer: MakeTrainer, task: CovidCTMaskNetTask) -> pl.Trainer:
    """Start a fresh training of one step; with a rate of 0 it moves no weight."""
    run = trainer(limit_train_batches=1, limit_val_batches=0)
    run.fit(task, datamodule=TinyLesionsDataModule())
    return run


def test_loss_is_the_full_binary_cross_entropy() -> None:
    task, label = small(), torch.tensor([0, 2])
    assert float(task.loss(torch.zeros(2, 3), label)) == pytest.approx(math.log(2))
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
    chance = torch.sigmoid(logits)
    truth = torch.tensor([[1.0, 0, 0], [0, 0, 1]])
    expected = -(truth * chance.log() + (1 - truth) * (1 - chance).log()).mean()
    assert float(task.loss(logits, label)) == pytest.approx(float(expected))
    assert float(task.loss(torch.full((2, 3), 50.0), label)) > 30  # the slides' positive term alone would be 0


def test_class_weights_are_factors_of_slices() -> None:
    task = small(class_weights=[1.0, 2.0, 0.0])
    logits, label = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])
    terms = F.binary_cross_entropy_with_logits(logits, F.one_hot(label, 3).float(), reduction="none").mean(1)
    assert float(task.loss(logits, label)) == pytest.approx(float((terms[0] + 2 * terms[1]) / 3))


def test_probabilities_are_shares_of_the_sigmoids_and_do_not_run_out() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0], [-90.0, -95.0, -99.0], [40.0, 41.0, -3.0]])
    prob = small().probabilities(logits)
    chance = torch.sigmoid(logits[:1])
    torch.testing.assert_close(prob[:1], chance / chance.sum())
    torch.testing.assert_close(prob.sum(1), torch.ones(3))
    assert prob[1].argmax() == 0
    found = small()._prediction({"id": ["a", "b", "c"]}, logits)
    assert found["pred"].tolist() == [2, 0, 1]  # the largest output, where the shares are equal too


def test_recipe_is_the_references() -> None:
    task = small(num_regions=256, features=1024)
    optimizer = task.default_optimizer()
    assert isinstance(optimizer, torch.optim.Adam)
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (1e-5, 1e-3)
    trained = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert trained == 2_364_419 + sum(p.numel() for n, p in task.model.backbone.named_parameters() if ".bn" in n)
    with pytest.raises(UsageError, match="published optimizer"):
        small(optimizer=partial(torch.optim.SGD, lr=0.1), weight_decay=0.0)


TRAINED = re.compile(r"classifier\.[024]\.(weight|bias)|backbone\.body\.(layer\d\.\d\.)?bn\d\.(weight|bias)")
"""Module S, and scales and shifts of the layers called "bn" (facts of the system, 3.3); no "downsample" among them."""


def test_a_step_of_the_recipe_moves_what_the_reference_trains(trainer: MakeTrainer, detector: Path) -> None:
    task = small(weights=str(detector))
    stage1 = load_task(detector).model.state_dict()
    fresh = {name: tensor.clone() for name, tensor in task.model.classifier.state_dict().items()}
    fit_nothing(trainer, task)  # one step with the published optimizer
    state = task.model.state_dict()
    before = stage1 | {f"classifier.{name}": tensor for name, tensor in fresh.items()}
    moved = {name for name, tensor in state.items() if not tensor.equal(before[name])}
    assert moved == {name for name in state if TRAINED.fullmatch(name)}
    assert len(moved) > 6


def test_detector_and_anchors_are_taken_over(
    trainer: MakeTrainer, detector: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    task = small(weights=str(detector), learning_rate=0.0, weight_decay=0.0)
    with caplog.at_level(logging.INFO):
        run = fit_nothing(trainer, task)
    stage1 = load_task(detector).model.state_dict()
    assert all(
        tensor.equal(stage1[name]) for name, tensor in task.model.state_dict().items() if "classifier" not in name
    )
    assert task.taken_over is not None
    assert len(task.taken_over.left_out) == 6
    assert "stage1.ckpt" in caplog.text
    assert "6 of module S keep their random values" in caplog.text
    run.save_checkpoint(tmp_path / "stage2.ckpt")
    again = load_task(tmp_path / "stage2.ckpt")
    assert again.hparams["anchor_sizes"] == [4, 8, 16, 32, 48]
    assert isinstance(again, CovidCTMaskNetTask)
    assert again.model.rpn.anchor_generator.sizes == ((4, 8, 16, 32, 48),)


def test_training_goes_on_from_a_classifier(trainer: MakeTrainer, detector: Path, tmp_path: Path) -> None:
    first = small(weights=str(detector))
    fit_nothing(trainer, first).save_checkpoint(tmp_path / "stage2.ckpt")
    second = small(weights=str(tmp_path / "stage2.ckpt"), learning_rate=0.0, weight_decay=0.0)
    fit_nothing(trainer, second)
    assert all(tensor.equal(first.state_dict()[name]) for name, tensor in second.state_dict().items())
    assert second.taken_over is not None
    assert second.taken_over.fresh == ()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"window": (-1000.0, 0.0)}, r"stage1\.ckpt.*window=.*these have"),
        ({"enhancement": "tone"}, "enhancement='none'"),
    ],
)
def test_a_detector_of_other_grey_values_is_refused(
    trainer: MakeTrainer, detector: Path, changes: dict[str, Any], word: str
) -> None:
    data = TinyLesionsDataModule()
    data.preprocessing = replace(data.preprocessing, **changes)
    run = trainer(limit_train_batches=1, limit_val_batches=0)
    with pytest.raises(UsageError, match=word):
        run.fit(small(weights=str(detector)), datamodule=data)


def test_a_detector_of_another_size_is_warned_of(
    trainer: MakeTrainer, detector: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = TinyLesionsDataModule()
    data.preprocessing = replace(data.preprocessing, size=96)
    trainer(limit_train_batches=1, limit_val_batches=0).fit(small(weights=str(detector)), datamodule=data)
    assert "these have 96" in caplog.text


def test_a_classifier_of_other_classes_is_refused(trainer: MakeTrainer, detector: Path, tmp_path: Path) -> None:
    fit_nothing(trainer, small(weights=str(detector))).save_checkpoint(tmp_path / "stage2.ckpt")
    data = TinyLesionsDataModule()
    data.preprocessing = replace(data.preprocessing, classes=data.preprocessing.classes[::-1])
    run = trainer(limit_train_batches=1, limit_val_batches=0)
    with pytest.raises(UsageError, match="in that order"):
        run.fit(small(weights=str(tmp_path / "stage2.ckpt")), datamodule=data)


def test_a_file_of_the_reference_is_taken_over(trainer: MakeTrainer, tmp_path: Path) -> None:
    torch.manual_seed(3)
    theirs = LesionMaskRCNN(**LIGHT).state_dict()
    weights = {name: tensor for name, tensor in theirs.items() if name not in ("mean", "std")}
    torch.save({"model_weights": weights, "epoch": "1"}, tmp_path / "reference.pth")
    task = small(weights=str(tmp_path / "reference.pth"), learning_rate=0.0, weight_decay=0.0)
    fit_nothing(trainer, task)
    assert task.model.rpn.head.cls_logits.weight.equal(theirs["rpn.head.cls_logits.weight"])


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"truncation": 1}, "truncation=2, the network has 1"), ({"mask_type": "merge"}, "mask_type='both', the network")],
)
def test_another_network_is_named(trainer: MakeTrainer, detector: Path, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        fit_nothing(trainer, small(weights=str(detector), **changes))


def test_missing_detector_is_refused_and_none_is_warned_of(
    trainer: MakeTrainer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(WeightsError, match="check the path"):
        fit_nothing(trainer, small(weights=str(tmp_path / "gone.ckpt")))
    with caplog.at_level(logging.WARNING):
        fit_nothing(trainer, small())
    assert "random and stays frozen" in caplog.text


def test_each_slice_counts_once_although_scans_are_shared(trainer: MakeTrainer) -> None:
    data = TinyLesionsDataModule(6)
    task = small().eval()
    task.log = task.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    for batch in data.val_dataloader():
        task.validation_step(batch, 0)
    assert len(task._metrics("val").cases().target) == 6  # of three scans


def test_predictions_name_the_regions() -> None:
    with torch.no_grad():
        found = small().eval().predict_step(lesions_batch(2), 0)
    assert found["regions"].shape == (2, 16, 5)
    assert found["region_boxes"].shape == (2, 16, 4)
    assert found["label"].shape == (2,)
    assert set(found["region_labels"].unique().tolist()) <= {1, 2}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_steps_on_a_gpu_are_those_of_the_cpu() -> None:
    def moved(value: Any, device: str) -> Any:  # noqa: ANN401
        if isinstance(value, torch.Tensor):
            return value.to(device)
        return (
            {k: moved(v, device) for k, v in value.items()}
            if isinstance(value, dict)
            else ([moved(v, device) for v in value] if isinstance(value, list) else value)
        )

    for make in (small, partial(LesionMaskRCNNTask, **LIGHT)):
        found = {}
        for device in ("cpu", "cuda"):
            torch.manual_seed(0)
            task = make().eval().to(device)
            task.log = task.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
            batch = moved(lesions_batch(2), device)
            loss = task.validation_step(batch, 0)
            with torch.inference_mode():
                predicted = task.predict_step(batch, 0)
            task.train()
            torch.autograd.backward(task.training_step(batch, 0))
            assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in task.parameters())
            found[device] = (float(loss), predicted)
        assert found["cuda"][0] == pytest.approx(found["cpu"][0], rel=0.05)  # TF32, and draws of another generator
        if "logits" in found["cpu"][1]:
            torch.testing.assert_close(
                found["cuda"][1]["logits"].cpu(), found["cpu"][1]["logits"], rtol=0.02, atol=0.02
            )
