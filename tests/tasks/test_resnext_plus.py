"""The task of slice attention: recipe, the literal loss, slice labels kept out, attention and its scores."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import roc_auc_score
from torch.optim.lr_scheduler import CyclicLR, StepLR

from covidct.errors import UsageError
from covidct.tasks import ResNeXtPlusTask
from tests.fakes.volumes import TinyVolumes, TinyVolumesDataModule, tiny_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from covidct.sample import Batch, Sample

    MakeTrainer = Callable[..., pl.Trainer]


def small(**changes: Any) -> ResNeXtPlusTask:  # noqa: ANN401
    torch.manual_seed(0)
    return ResNeXtPlusTask(**{"backbone": "resnet10", "slice_size": 48, **changes})


class LabelledVolumes(TinyVolumes):
    """Tiny volumes with slice labels: the volume's class but for the lowest slice; swapped where ``shift`` is 1."""

    shift = 0

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        labels = torch.full((sample["image"].shape[1],), int(sample["label"]))
        labels[0] = 0
        sample["slice_label"] = (labels + self.shift) % 2
        return sample


class LabelledDataModule(TinyVolumesDataModule):
    """The same for every stage."""

    shift = 0

    def samples(self) -> LabelledVolumes:
        data = LabelledVolumes(self.count, classes=len(self.class_names))
        data.shift = self.shift
        return data


def test_recipe_is_adam_in_triangles_of_four_epochs(trainer: MakeTrainer) -> None:
    task, rates = small(slice_size=32), []

    class Note(pl.Callback):
        """The rate of each step."""

        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

        def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
            if not rates:
                rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    run = trainer(max_epochs=9, callbacks=[Note()], limit_val_batches=0)
    run.fit(task, datamodule=TinyVolumesDataModule(4, batch_size=2))  # 2 steps per epoch
    assert type(run.optimizers[0]) is torch.optim.Adam
    assert run.optimizers[0].defaults["betas"] == (0.9, 0.999)
    expected = 1e-5 + 9e-5 * (1 - abs(np.arange(19) / 8 % 2 - 1))
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_cycle_survives_a_restart_and_accumulation(trainer: MakeTrainer, tmp_path: Path) -> None:
    data = TinyVolumesDataModule(8, batch_size=2)
    first = trainer(max_epochs=1, accumulate_grad_batches=2)
    first.fit(small(epochs_up=1.5), datamodule=data)
    first.save_checkpoint(tmp_path / "m.ckpt")
    task = small(epochs_up=1.5)
    second = trainer(max_epochs=2, accumulate_grad_batches=2)
    second.fit(task, datamodule=data, ckpt_path=tmp_path / "m.ckpt", weights_only=True)
    scheduler = second.lr_scheduler_configs[0].scheduler
    assert isinstance(scheduler, CyclicLR)
    assert scheduler.total_size == 6  # 2 steps per epoch, 1.5 epochs up, 1.5 down
    assert scheduler.last_epoch == 4
    assert second.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-5 + 9e-5 * 2 / 3)


def test_other_optimizers_keep_their_rate(trainer: MakeTrainer) -> None:
    run = trainer()
    run.fit(small(optimizer=partial(torch.optim.SGD, lr=0.1)), datamodule=TinyVolumesDataModule())
    assert run.optimizers[0].param_groups[0]["lr"] == 0.1
    run = trainer()
    run.fit(small(lr_scheduler=partial(StepLR, step_size=1, gamma=0.5)), datamodule=TinyVolumesDataModule(8))
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5e-5)  # once per epoch, not per step


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 1e-3},
        {"epochs_up": 0},
        {"max_learning_rate": float("inf")},
        {"learning_rate": 1e-6, "optimizer": torch.optim.SGD},
        {"max_learning_rate": 1e-3, "lr_scheduler": StepLR},
    ],
)
def test_rates_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        small(**wrong)


def test_equation_20_read_literally_is_cross_entropy_with_swapped_classes() -> None:
    task = small()
    for label in (0, 1):
        g = torch.tensor([label] * 5)
        literal_v = torch.linspace(-3, 3, 10, dtype=torch.float64).reshape(5, 2).requires_grad_()
        p = torch.exp(-literal_v[:, 1]) / torch.exp(-literal_v).sum(1)  # of class 1, by the minus of the document
        literal = (-g * torch.log(p) - (1 - g) * torch.log(1 - p)).mean()
        v = literal_v.detach().clone().requires_grad_()
        swapped = task.loss(v, 1 - g)
        torch.testing.assert_close(literal.float(), swapped, rtol=1e-6, atol=1e-7)
        torch.autograd.backward([literal, swapped])
        torch.testing.assert_close(literal_v.grad, v.grad, rtol=1e-5, atol=1e-7)


def test_slice_labels_never_enter_training(trainer: MakeTrainer) -> None:
    def fitted(shift: int) -> dict[str, torch.Tensor]:
        data, task = LabelledDataModule(6), small(max_learning_rate=1e-3, slice_size=32)
        data.shift = shift
        trainer(max_epochs=2).fit(task, datamodule=data)
        return task.state_dict()

    first, second, start = fitted(0), fitted(1), small(slice_size=32).state_dict()
    assert all(tensor.equal(second[key]) for key, tensor in first.items())
    assert not first["model.head.weight"].equal(start["model.head.weight"])


def test_attention_is_a_share_of_the_real_slices() -> None:
    task, batch = small().eval(), tiny_batch(3)
    with torch.no_grad():
        found = task.predict_step(batch, 0)
    assert found["attention"].isnan().equal(~batch["slice_mask"])
    torch.testing.assert_close(found["attention"].nansum(1), torch.ones(3))
    assert "slice_scores" not in found
    with torch.no_grad():
        assert task.slice_attention(batch).nan_to_num().equal(found["attention"].nan_to_num())
        del batch["slice_mask"]
        assert task.predict_step(batch, 0)["attention"].isfinite().all()


def test_mean_variant_refuses_slice_scores_and_tests_without(
    trainer: MakeTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    task = small(variant="N-SLA")
    with pytest.raises(UsageError, match=r"N-SLA.*cannot give slice scores"):
        task.slice_attention(tiny_batch())
    with caplog.at_level(logging.INFO):
        (logged,) = trainer().test(task, datamodule=LabelledDataModule(), verbose=False)
    assert "no slice scores" in caplog.text
    assert not [key for key in logged if "slice" in key]
    assert "attention" not in task.eval().predict_step(tiny_batch(), 0)


def test_variant_without_mask_needs_none() -> None:
    task, batch = small(variant="N-MSCA").eval(), tiny_batch()
    with torch.no_grad():
        expected = task.predict_step(batch, 0)["prob"]
        del batch["lung_mask"]
        assert task.predict_step(batch, 0)["prob"].equal(expected)
    assert task.inputs == ("image", "slice_mask")
    assert small().inputs == ("image", "lung_mask", "slice_mask")


def test_slice_scores_of_the_test_stage_are_scikit_learns(trainer: MakeTrainer) -> None:
    task, data = small(), LabelledDataModule(7, batch_size=3)
    (logged,) = trainer().test(task, datamodule=data, verbose=False)
    shares, truth, decided = [], [], []
    task.eval()
    batches: list[Batch] = list(data.test_dataloader())
    for batch in batches:
        with torch.no_grad():
            found = task.predict_step(batch, 0)
        for share, label, pred in zip(found["attention"], batch["slice_label"], found["pred"], strict=True):
            real = share.isfinite()
            shares.append((share * real.sum())[real].numpy())
            truth.append(label[real].numpy())
            decided.append((shares[-1] >= 1 - 1e-5) & bool(pred == 1))
    all_shares, all_truth = np.concatenate(shares), np.concatenate(truth)
    assert logged["test_slice_auroc"] == pytest.approx(roc_auc_score(all_truth, all_shares), abs=1e-6)
    assert logged["test_slice_accuracy"] == pytest.approx((np.concatenate(decided) == all_truth).mean())
    means = [(d == t).mean() for d, t in zip(decided, truth, strict=True)]
    assert logged["test_slice_accuracy_volume_mean"] == pytest.approx(np.mean(means))
    assert not [key for key in trainer().validate(task, datamodule=data, verbose=False)[0] if "slice" in key]


def test_without_slice_labels_the_test_has_no_slice_scores(trainer: MakeTrainer) -> None:
    (logged,) = trainer().test(small(), datamodule=TinyVolumesDataModule(), verbose=False)
    assert not [key for key in logged if "slice" in key]
