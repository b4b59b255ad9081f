"""The contrastive kind: what it needs of a batch, what it logs, and that its evaluation sees no one twice."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import LUNA16, PhantomCTSlices, SlicesOfVolumes
from covidct.errors import BatchError, UsageError
from covidct.metrics import knn_probabilities, probe_probabilities
from covidct.sample import Sample, collate
from covidct.tasks import SelfTransTask
from covidct.transforms import moco_views
from tests.fakes.chequers import ChequersDataModule
from tests.fakes.chests import chest
from tests.fakes.metaimage import save_mhd
from tests.fakes.two_views import TinyViews, TinyViewsDataModule, views_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeTrainer = Callable[..., pl.Trainer]

SMALL: dict[str, Any] = {"backbone": "resnet18", "dim": 8, "queue_size": 6, "bn_groups": 2}


def task(**changes: object) -> SelfTransTask:
    torch.manual_seed(0)
    return SelfTransTask(**{**SMALL, **changes})


class Unlabelled(TinyViewsDataModule):
    """The tiny slices without a class."""

    def samples(self, part: str = "train") -> Dataset[Sample]:
        known = TinyViews(self.count, part=part)
        unknown: Any = [{**known[index], "label": torch.tensor(-1)} for index in range(self.count)]
        return unknown  # type: ignore[no-any-return]

    def records(self, part: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(label=-1) for _ in range(self.count)]


class Overlapping(TinyViewsDataModule):
    """Validation slices of the training's subjects."""

    def loader(self) -> DataLoader[Sample]:
        return DataLoader(self.samples("train"), batch_size=self.batch_size, collate_fn=collate)


def validated(
    data: pl.LightningDataModule, trainer: MakeTrainer, made: SelfTransTask | None = None
) -> dict[str, float]:
    (scores,) = trainer().validate(made or task(), datamodule=data, verbose=False)
    return dict(scores)


def test_training_logs_how_the_contrast_goes(trainer: MakeTrainer) -> None:
    run = trainer()
    run.fit(task(), datamodule=TinyViewsDataModule())
    found = run.callback_metrics
    assert {"train_loss", "train_contrastive_accuracy", "train_feature_std", "val_feature_std"} <= found.keys()
    assert 0 <= found["train_contrastive_accuracy"] <= 1
    assert "val_loss" not in found


def test_evaluation_is_that_of_the_plain_features(trainer: MakeTrainer) -> None:
    made, data = task(neighbours=3), TinyViewsDataModule(7)
    found = validated(data, trainer, made)
    made.eval()
    with torch.no_grad():
        train, val = (
            made.predict_step(collate([TinyViews(7, part=part)[i] for i in range(7)]), 0) for part in ("train", "val")
        )
    known = (train["features"].numpy(), train["label"].numpy(), val["features"].numpy())
    judges = {
        "knn": knn_probabilities(*known, classes=2, neighbours=3),
        "probe": probe_probabilities(*known, classes=2),
    }
    for judge, prob in judges.items():
        accuracy = float((prob.argmax(1) == val["label"].numpy()).mean())
        assert found[f"val_{judge}_accuracy"] == pytest.approx(accuracy)
        assert 0 <= found[f"val_{judge}_auroc"] <= 1
    unit = val["features"] / val["features"].norm(dim=1, keepdim=True)
    assert found["val_feature_std"] == pytest.approx(float(unit.numpy().std(0).mean() * np.sqrt(512)), rel=1e-4)
    assert made.preprocessing is not None
    tested = trainer().test(made, datamodule=data, verbose=False)[0]
    assert tested["test_knn_accuracy"] == pytest.approx(found["val_knn_accuracy"])


def test_without_labels_nothing_is_said_of_classes(trainer: MakeTrainer) -> None:
    run = trainer()
    run.fit(task(), datamodule=Unlabelled())
    assert run.callback_metrics["train_loss"].isfinite()
    assert {key for key in run.callback_metrics if "knn" in key or "probe" in key} == set()
    assert run.callback_metrics["val_feature_std"].isfinite()


def test_subjects_that_are_evaluated_are_left_out_of_the_bank(trainer: MakeTrainer) -> None:
    assert set(validated(Overlapping(), trainer)) == {"val_feature_std"}


def test_plain_loaders_are_not_evaluated(trainer: MakeTrainer) -> None:
    (found,) = trainer().validate(task(), dataloaders=TinyViewsDataModule().val_dataloader(), verbose=False)
    assert set(found) == {"val_feature_std"}


def test_features_that_are_not_finite_are_not_judged(trainer: MakeTrainer, caplog: pytest.LogCaptureFixture) -> None:
    made = task()
    with torch.no_grad():
        next(made.model.query.trunk.parameters()).fill_(torch.nan)
    assert set(validated(TinyViewsDataModule(), trainer, made)) == {"val_feature_std"}
    assert "not finite" in caplog.text


def test_training_needs_views_and_evaluation_images_alone() -> None:
    made, batch = task(), views_batch()
    del batch["views"]
    with pytest.raises(BatchError, match=r"'views' to contrast: set train_transform .*moco_views"):
        made.training_step(batch, 0)
    features = made.eval().predict_step(batch, 0)
    assert features["features"].shape == (4, 512)
    assert features["label"].tolist() == [0, 1, 0, 1]
    with pytest.raises(BatchError, match=r"\[0, 1\]"):
        task().predict_step({**batch, "image": 9 * batch["image"]}, 0)
    with pytest.raises(UsageError, match="neighbours=0"):
        task(neighbours=0)


class Recorder(pl.Callback):
    """Keeps a weight of both encoders after every batch."""

    def __init__(self) -> None:
        self.query: list[torch.Tensor] = []
        self.key: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:  # noqa: ANN401
        self.query.append(pl_module.model.query.head[0].weight.detach().clone())
        self.key.append(pl_module.model.key.head[0].weight.detach().clone())


def test_key_encoder_follows_once_per_step_of_the_optimizer(trainer: MakeTrainer) -> None:
    made, seen = task(momentum=0.9), Recorder()
    start = made.model.key.state_dict()["head.0.weight"].clone()
    trainer(callbacks=[seen], accumulate_grad_batches=2).fit(made, datamodule=TinyViewsDataModule(8))
    expected = start
    assert len(seen.key) == 4
    for batch in range(4):
        if batch % 2:
            expected = 0.9 * expected + 0.1 * seen.query[batch]
        torch.testing.assert_close(seen.key[batch], expected, rtol=1e-5, atol=1e-7)
    assert not seen.key[-1].equal(start)


def test_slices_of_luna16_train_without_labels(trainer: MakeTrainer, tmp_path: Path) -> None:
    codes = np.array([0, 4, 3], dtype=np.uint8)
    for number in range(4):
        raw: Any = chest(seed=number)
        save_mhd(tmp_path / "subset0" / f"1.2.{number}.mhd", raw.scan.array, raw.scan.affine)
        save_mhd(tmp_path / "seg-lungs-LUNA16" / f"1.2.{number}.mhd", codes[raw.lung_mask], raw.scan.affine)
    data = CTSliceDataModule(
        SlicesOfVolumes(LUNA16(tmp_path, subsets=(0,)), slices_per_scan=4),
        size=40,
        batch_size=4,
        val_fraction=0.25,
        test_fraction=0.0,
        train_transform=moco_views(size=40),
        cache_dir=str(tmp_path / "cache"),
    )
    run, made = trainer(), task()
    run.fit(made, datamodule=data)
    assert len(data.records("train")) == 12
    assert int(made.model.pointer) == 12 % 6
    assert run.callback_metrics["train_loss"].isfinite()
    assert "val_knn_accuracy" not in run.callback_metrics


def test_data_module_gives_views_in_training_alone(tmp_path: Path) -> None:
    data = CTSliceDataModule(
        PhantomCTSlices(6, slices_per_scan=2, shape=(16, 32, 32)),
        size=32,
        batch_size=4,
        val_fraction=0.34,
        test_fraction=0.0,
        train_transform=moco_views(size=32),
        cache_dir=str(tmp_path),
    )
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    again = next(iter(data.train_dataloader()))
    assert batch["views"].shape == (4, 2, 1, 32, 32)
    assert batch["views"].equal(again["views"])  # by seed, epoch and sample
    assert all("views" not in batch for batch in data.val_dataloader())
    assert "views" not in data.samples("train")[0]


class Losses(pl.Callback):
    """The loss of every step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: object) -> None:  # noqa: ANN401
        self.found.append(float(outputs["loss"]))


@pytest.mark.slow
def test_learns_what_the_views_share(trainer: MakeTrainer) -> None:
    made = task(
        dim=32,
        queue_size=32,
        momentum=0.9,
        temperature=0.1,
        neighbours=5,
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        lr_scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
    )
    data, losses = ChequersDataModule(batch_size=32), Losses()
    run = trainer(max_epochs=14, callbacks=[losses], check_val_every_n_epoch=14)
    run.fit(made, datamodule=data)
    early, late = np.mean(losses.found[6:18]), np.mean(losses.found[-12:])  # the queue is full after the first step
    assert late < early - 0.2
    assert late < np.log(33)  # of one of 33 by chance
    assert run.callback_metrics["val_knn_accuracy"] > 0.7
    assert run.callback_metrics["val_probe_auroc"] > 0.8
    assert run.callback_metrics["train_feature_std"] > 0.3
