"""The recipe of the X-ray lung network: loss, statistics, masks, optimizer and schedule."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from covidct.errors import UsageError
from covidct.functional import clean_lung_mask
from covidct.losses import ComboLoss
from covidct.tasks import FPNDenseNetTask
from tests.fakes.lung_slices import TinyLungSlicesDataModule
from tests.fakes.lung_xrays import STATISTICS, TinyLungXRaysDataModule, lung_xrays_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytorch_lightning as pl

    MakeTrainer = Callable[..., pl.Trainer]


def small(**changes: Any) -> FPNDenseNetTask:  # noqa: ANN401
    torch.manual_seed(0)
    return FPNDenseNetTask(**{"pyramid_channels": 4, "segmentation_channels": 64, "dropout": 0.0, **changes})


class Reads(nn.Module):
    """A network that finds the lungs of the tiny X-rays by darkness, and a speck beside them."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        mask = image < 0.5
        mask[:, :, 0, 0] = True
        return mask.float() - 0.5


def test_the_default_is_the_published_network() -> None:
    assert sum(parameter.numel() for parameter in FPNDenseNetTask().parameters()) == 9_299_713


def test_the_loss_is_the_combo_loss_of_both_lungs() -> None:
    task, batch = small().eval(), lung_xrays_batch()
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    assert set(np.unique(batch["lung_mask"].numpy())) == {0, 1, 2}
    with torch.no_grad():
        expected = ComboLoss()(task(batch), batch["lung_mask"] > 0)
        assert task.training_step(batch, 0).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("normalisation", "mean", "std"),
    [
        ("dataset", [STATISTICS[0]] * 3, [STATISTICS[1]] * 3),
        ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ],
)
def test_statistics_are_those_asked_for(
    trainer: MakeTrainer, normalisation: str, mean: list[float], std: list[float]
) -> None:
    task = small(normalisation=normalisation)
    trainer(fast_dev_run=True).fit(task, datamodule=TinyLungXRaysDataModule())
    assert task.model.mean.flatten().tolist() == pytest.approx(mean)
    assert task.model.std.flatten().tolist() == pytest.approx(std)


def test_statistics_need_a_data_module_that_has_them(trainer: MakeTrainer) -> None:
    data = TinyLungXRaysDataModule()
    with pytest.raises(UsageError, match="normalisation='imagenet'"):
        trainer(fast_dev_run=True).fit(small(), train_dataloaders=data.train_dataloader())


def test_predictions_are_cleaned_masks() -> None:
    batch, task = lung_xrays_batch(3), small()
    task.model = Reads()  # type: ignore[assignment]
    found = task.predict_step(batch, 0)["mask"]
    for mask, image in zip(found, batch["image"], strict=True):
        np.testing.assert_array_equal(mask[0], clean_lung_mask(image[0].numpy() < 0.5))
    plain = small(postprocess=False)
    plain.model = Reads()  # type: ignore[assignment]
    assert plain.predict_step(batch, 0)["mask"][:, 0, 0, 0].all()
    assert not found[:, 0, 0, 0].any()


def test_slices_are_refused(trainer: MakeTrainer) -> None:
    with pytest.raises(UsageError, match="kind cxr"):
        trainer(fast_dev_run=True).fit(small(), datamodule=TinyLungSlicesDataModule())


def test_adamw_falls_to_zero_as_a_cosine(trainer: MakeTrainer) -> None:
    run = trainer(max_epochs=2, limit_train_batches=1, limit_val_batches=0)
    run.fit(small(), datamodule=TinyLungXRaysDataModule(2))
    (optimizer,) = run.optimizers
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["initial_lr"] == 1e-4
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": partial(torch.optim.SGD, lr=0.1), "learning_rate": 0.1},
        {"normalisation": "none"},
        {"backbone": "resnet50"},
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        small(**options)
