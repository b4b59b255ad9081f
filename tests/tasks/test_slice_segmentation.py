"""What segmentation of slices adds: masks, scores pooled by scan, records that do not tie to a data set's classes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from covidct.errors import BatchError, UsageError
from covidct.tasks import UNet2dTask, load_task
from tests.fakes.lung_slices import PREPROCESSING, TinyLungSlicesDataModule, lung_slices_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytorch_lightning as pl

    MakeTrainer = Callable[..., pl.Trainer]


class Reads(nn.Module):
    """A network that finds the lungs of the tiny slices by darkness, but for a hole, and a speck beside them."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        mask = image < 0.5
        mask[:, :, 12, 5] = False
        mask[:, :, 0, 0] = True
        return mask.float() - 0.5


def small(**changes: Any) -> UNet2dTask:  # noqa: ANN401
    torch.manual_seed(0)
    return UNet2dTask(**{"channels": [4, 8], **changes})


def reading(**changes: Any) -> UNet2dTask:  # noqa: ANN401
    task = small(**changes)
    task.model = Reads()  # type: ignore[assignment]
    return task


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, trainer: MakeTrainer) -> Path:
    run = trainer()
    run.fit(small(), datamodule=TinyLungSlicesDataModule())
    path = tmp_path_factory.mktemp("slices") / "lungs.ckpt"
    run.save_checkpoint(path)
    return path


def test_predictions_are_mended_masks() -> None:
    batch = lung_slices_batch(3)
    truth = (batch["lung_mask"] > 0).to(torch.uint8)
    found = reading().predict_step(batch, 0)
    assert found["mask"].dtype == torch.uint8
    assert torch.equal(found["mask"][:2], truth[:2])
    torch.testing.assert_close(found["area_cm2"][:2], truth[:2].sum((1, 2, 3)) * 3.0 / 100)
    assert found["id"] == batch["id"]
    plain = reading(postprocess=False).predict_step(batch, 0)["mask"]
    assert plain[0, 0, 0, 0] == 1
    assert plain[0, 0, 12, 5] == 0
    del batch["spacing"]
    assert reading().predict_step(batch, 0)["area_cm2"].isnan().all()


def test_scores_are_pooled_by_scan(trainer: MakeTrainer) -> None:
    """The third slice shows no lung, where the speck is all there is: it counts against its scan."""
    data = TinyLungSlicesDataModule(3)
    (scores,) = trainer().test(reading(), datamodule=data, verbose=False)
    batch = lung_slices_batch(3)
    lung = (batch["lung_mask"] > 0).sum((1, 2, 3)).tolist()
    first = 2 * lung[0] / (2 * lung[0] + 1)  # slices 0 and 2 are of one scan
    assert scores["test_dice"] == pytest.approx((first + 1) / 2, abs=1e-6)
    assert scores["test_dice_slice"] == pytest.approx((1 + 1 + 0) / 3, abs=1e-6)


def test_a_batch_without_masks_is_refused() -> None:
    batch = lung_slices_batch()
    del batch["lung_mask"]
    with pytest.raises(BatchError, match="lung_mask"):
        small().training_step(batch, 0)
    small().eval().predict_step(batch, 0)


def test_the_record_has_the_tasks_classes(checkpoint: Path) -> None:
    task = load_task(checkpoint)
    assert task.class_names == ("background", "lung")
    assert task.preprocessing == replace(PREPROCESSING, classes=task.class_names)


def test_another_data_set_does_not_conflict(checkpoint: Path, trainer: MakeTrainer) -> None:
    other = replace(PREPROCESSING, classes=("normal", "covid"), mask_source="threshold")
    trainer().test(load_task(checkpoint), datamodule=TinyLungSlicesDataModule(preprocessing=other), verbose=False)


@pytest.mark.parametrize("other", [{"window": (-1000.0, 400.0)}, {"size": 64}, {"enhancement": "clahe"}])
def test_what_the_network_sees_is_binding(checkpoint: Path, trainer: MakeTrainer, other: dict[str, Any]) -> None:
    data = TinyLungSlicesDataModule(preprocessing=replace(PREPROCESSING, **other))
    with pytest.raises(UsageError, match=next(iter(other))):
        trainer().test(load_task(checkpoint), datamodule=data, verbose=False)
