"""What segmentation adds: masks, scores per lung, records that do not tie to a data set's classes, sides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from covidct.datamodules import CTVolumeDataModule
from covidct.errors import BatchError, UsageError
from covidct.functional import keep_lungs
from covidct.preprocessing import Preprocessing
from covidct.tasks import UNet3dTask, load_task
from tests.fakes.chests import FakeVolumes
from tests.fakes.lungs import PREPROCESSING, TinyLungsDataModule, lungs_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytorch_lightning as pl

    from covidct.datasets import Record

    MakeTrainer = Callable[..., pl.Trainer]


def small(**changes: Any) -> UNet3dTask:  # noqa: ANN401
    torch.manual_seed(0)
    return UNet3dTask(**{"channels": [4, 8], **changes})


class Reads(nn.Module):
    """A network that finds the lungs of :class:`TinyLungs` by darkness and place, and specks of the left one below."""

    def __init__(self, *, specks: bool = False) -> None:
        super().__init__()
        self.specks = specks
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.sizes.append(tuple(image.shape[2:]))
        left = torch.arange(image.shape[4]) >= image.shape[4] // 2
        label = (image[:, 0] < 0.5) * (1 + left)
        if self.specks:
            label[:, 0, 0, 0] = 2
        return nn.functional.one_hot(label, 3).movedim(-1, 1).float()


def reading(*, specks: bool = False, **changes: Any) -> tuple[UNet3dTask, Reads]:  # noqa: ANN401
    task, network = small(**changes).eval(), Reads(specks=specks)
    task.model = network  # type: ignore[assignment]
    return task, network


@pytest.fixture(scope="module")
def checkpoint(trainer: MakeTrainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = trainer()
    run.fit(small(), datamodule=TinyLungsDataModule())
    path = tmp_path_factory.mktemp("segmentation") / "model.ckpt"
    run.save_checkpoint(path)
    return path


def test_logs_scores_of_each_lung(trainer: MakeTrainer) -> None:
    run = trainer()
    run.fit(small(), datamodule=TinyLungsDataModule())
    lungs = ("", "_right_lung", "_left_lung")
    distances = {f"val_{name}{lung}" for name in ("hd95", "surface_dice") for lung in lungs}
    dice = {f"{stage}_dice{lung}" for stage in ("train", "val") for lung in lungs}
    logged = {name for name in run.callback_metrics if "loss" not in name}
    assert logged == dice | distances
    values = {name: value.item() for name, value in run.callback_metrics.items()}
    assert values["val_dice"] == pytest.approx((values["val_dice_right_lung"] + values["val_dice_left_lung"]) / 2)


def test_a_right_answer_has_the_best_scores(trainer: MakeTrainer) -> None:
    task, _ = reading(postprocess=False)
    (scores,) = trainer().test(task, datamodule=TinyLungsDataModule(), verbose=False)
    # the slices outside the scan are dark, and called background all the same
    assert scores["test_dice"] == pytest.approx(1)
    assert scores["test_hd95"] == pytest.approx(0)
    assert scores["test_surface_dice"] == pytest.approx(1)


def test_predicts_masks_and_volumes() -> None:
    batch = lungs_batch(3)
    found = reading()[0].predict_step(batch, 0)
    assert found["mask"].equal(batch["lung_mask"])
    assert found["mask"].dtype == torch.uint8
    for side in (1, 2):
        expected = (batch["lung_mask"] == side).flatten(1).sum(1) * (2.0 * 1.0 * 1.5 / 1000)
        torch.testing.assert_close(found["volume_ml"][:, side - 1], expected)
    assert found["id"] == batch["id"]
    assert found["scan"].equal(batch["scan"])
    del batch["spacing"], batch["label"], batch["lung_mask"]
    assert reading()[0].predict_step(batch, 0)["volume_ml"].isnan().all()


def test_postprocessing_is_an_option() -> None:
    batch = lungs_batch(2)
    plain = reading(specks=True, postprocess=False)[0].predict_step(batch, 0)["mask"]
    kept = reading(specks=True)[0].predict_step(batch, 0)["mask"]
    assert (plain[:, :, 0, 0, 0] == 2).all()
    assert kept.equal(batch["lung_mask"])
    assert kept[0, 0].numpy().tolist() == keep_lungs(plain[0, 0].numpy()).tolist()


@pytest.mark.parametrize(("changes", "window"), [({"window_size": 12}, 12), ({}, 16)])
def test_volumes_beyond_the_training_size_go_window_by_window(changes: dict[str, Any], window: int) -> None:
    task, network = reading(postprocess=False, **changes)
    task.preprocessing = PREPROCESSING  # trained on cubes of 16
    found = task.predict_step(lungs_batch(1, size=40), 0)["mask"]
    assert set(network.sizes) == {(window,) * 3}
    assert found.shape == (1, 1, 40, 40, 40)
    network.sizes.clear()
    task.predict_step(lungs_batch(1, size=12), 0)
    assert network.sizes == [(12, 12, 12)]


@pytest.mark.parametrize("label", [1, 2])
def test_masks_without_sides_are_refused(label: int) -> None:
    batch = lungs_batch(2)
    batch["lung_mask"][1] = batch["lung_mask"][1].clamp(max=1) * label
    with pytest.raises(BatchError, match="'lungs-1' has no sides"):
        small().training_step(batch, 0)


def test_a_single_lung_may_reach_across_the_middle() -> None:
    batch = lungs_batch(1)
    batch["lung_mask"].zero_()
    batch["lung_mask"][..., 4:12, 2:10] = 1  # a quarter of it beyond column 8
    small().check_target(batch)


@pytest.mark.parametrize("side", [0, 1, 2])
def test_a_scan_of_one_lung_or_none_is_taken(side: int) -> None:
    batch = lungs_batch(2)
    batch["lung_mask"][batch["lung_mask"] != side] = 0
    task = small()
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    assert task.training_step(batch, 0).isfinite()


def test_the_record_has_the_tasks_classes(checkpoint: Path) -> None:
    task = load_task(checkpoint)
    assert task.class_names == ("background", "right_lung", "left_lung")
    assert task.preprocessing == replace(PREPROCESSING, classes=task.class_names)


@pytest.mark.parametrize(
    "other", [{"classes": ("normal", "cap", "covid")}, {"classes": ("a", "b"), "mask_source": "threshold"}]
)
def test_another_data_set_does_not_conflict(checkpoint: Path, trainer: MakeTrainer, other: dict[str, Any]) -> None:
    data = TinyLungsDataModule(preprocessing=replace(PREPROCESSING, **other))
    trainer().test(load_task(checkpoint), datamodule=data, verbose=False)
    resumed = small()
    trainer(max_epochs=2).fit(resumed, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    assert resumed.preprocessing == replace(PREPROCESSING, classes=resumed.class_names)


@pytest.mark.parametrize("other", [{"window": (-1000.0, 400.0)}, {"size": 24}, {"masking": "lungs"}])
def test_what_the_network_sees_is_binding(checkpoint: Path, trainer: MakeTrainer, other: dict[str, Any]) -> None:
    data = TinyLungsDataModule(preprocessing=replace(PREPROCESSING, **other))
    (name,) = other
    with pytest.raises(UsageError, match=name):
        trainer().test(load_task(checkpoint), datamodule=data, verbose=False)
    with pytest.raises(UsageError, match=name):
        trainer().fit(small(), datamodule=data, ckpt_path=checkpoint, weights_only=True)


def test_the_source_of_masks_binds_where_they_mask_the_image() -> None:
    task = small()
    task.preprocessing = replace(PREPROCESSING, masking="lungs", classes=task.class_names)
    asked = Preprocessing(kind="ct_volume", classes=("x",), size=16, mask_source="threshold", masking="lungs")
    with pytest.raises(UsageError, match="mask_source"):
        task.require_preprocessing(asked)


class HalfLabelled(FakeVolumes):
    """Chests of which every second has no class."""

    def record(self, source: int) -> Record:
        record = super().record(source)
        return replace(record, label=-1) if source % 2 else record


def test_scans_without_class_are_trained_on(trainer: MakeTrainer, tmp_path: Path) -> None:
    options: dict[str, Any] = {"size": 16, "mask_source": "file", "cache_dir": str(tmp_path), "augment": False}
    data = CTVolumeDataModule(HalfLabelled(12), **options)
    trainer(limit_val_batches=0).fit(small(), datamodule=data)
    assert sum(len(data.records(part)) for part in ("train", "val", "test")) == 12
    alone = CTVolumeDataModule(HalfLabelled(12), **options)
    alone.prepare_data()
    alone.setup("fit")
    assert sum(len(alone.records(part)) for part in ("train", "val", "test")) == 6


@pytest.mark.parametrize("options", [{"tolerance_mm": -1.0}, {"window_size": 0}, {"overlap": 1.0}])
def test_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        small(**options)
