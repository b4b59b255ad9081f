"""The task of mask-weighted pooling: recipe, slice scores, learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from covidct.errors import UsageError
from covidct.tasks import MaskedGAPResNetTask
from tests.fakes.volumes import TinyVolumesDataModule, tiny_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytorch_lightning as pl


def test_recipe() -> None:
    task = MaskedGAPResNetTask(backbone="resnet18")
    optimizer = task.configure_optimizers()["optimizer"]
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults["lr"] == 1e-5
    assert optimizer.defaults["weight_decay"] == 1e-4
    assert "lr_scheduler" not in task.configure_optimizers()
    assert sum(p.numel() for g in optimizer.param_groups for p in g["params"]) == sum(
        p.numel() for p in task.model.parameters()
    )


def test_rate_beside_another_optimizer_is_refused() -> None:
    with pytest.raises(UsageError, match="learning_rate"):
        MaskedGAPResNetTask(backbone="resnet18", learning_rate=0.1, optimizer=torch.optim.SGD)


def test_slice_scores_are_the_diagnosis_of_each_slice_alone() -> None:
    torch.manual_seed(0)
    task = MaskedGAPResNetTask(backbone="resnet18", slice_size=48).eval()
    batch = tiny_batch(2)  # 3 and 4 slices, the lowest without lung
    with torch.no_grad():
        found = task.predict_step(batch, 0)
        scores = found["slice_scores"]
        assert scores.isnan().all(2).tolist() == [[True, False, False, True], [True, False, False, False]]
        alone = {key: batch[key][:1, :, 2:3] for key in ("image", "lung_mask")}
        expected = task(alone).softmax(1)
        torch.testing.assert_close(scores[:1, 2], expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(found["prob"], task(batch).softmax(1), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["max", "mean"])
def test_learns_four_volumes_by_heart(trainer: Callable[..., pl.Trainer], fusion: str) -> None:
    torch.manual_seed(0)
    task = MaskedGAPResNetTask(backbone="resnet18", slice_size=48, fusion=fusion, learning_rate=1e-3)  # type: ignore[arg-type]
    data = TinyVolumesDataModule(4, batch_size=4)
    run = trainer(max_epochs=25, check_val_every_n_epoch=25)
    run.fit(task, datamodule=data)
    assert run.callback_metrics["train_loss"] < 0.05
    assert run.callback_metrics["train_accuracy"] == 1
