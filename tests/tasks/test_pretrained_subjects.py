"""Subjects of a pre-training judge no fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytorch_lightning as pl
import torch

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import PhantomCTSlices
from covidct.errors import UsageError
from covidct.tasks import SelfTransTask, SliceClassifierTask, load_task
from covidct.tasks.pretrained_subjects import pretrained_subjects, require_unseen, subjects_of
from covidct.transforms import moco_views
from tests.fakes.two_views import TinyViewsDataModule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeTrainer = Callable[..., pl.Trainer]


def data_module(folder: Path, *, fold: int = 0, views: bool = False) -> CTSliceDataModule:
    """Six subjects, of whom two validate; in another fold others."""
    return CTSliceDataModule(
        PhantomCTSlices(6, slices_per_scan=2, shape=(8, 32, 32)),
        size=32,
        mask_source="none",
        batch_size=4,
        test_fraction=0.0,
        num_folds=3,
        fold=fold,
        augment=False,
        train_transform=moco_views(size=32) if views else None,
        cache_dir=str(folder / "cache"),
    )


def pretraining(weights: Path | None = None) -> SelfTransTask:
    return SelfTransTask(
        backbone="resnet18", dim=4, queue_size=6, bn_groups=2, weights=None if weights is None else str(weights)
    )


def hashes(data: CTSliceDataModule, *parts: str) -> set[int]:
    return {data.dataset.subject_hash(record) for part in parts for record in data.records(part)}  # type: ignore[arg-type]


def test_who_was_pre_trained_on_does_not_judge(trainer: MakeTrainer, tmp_path: Path) -> None:
    first, run = data_module(tmp_path, views=True), trainer(limit_val_batches=0)
    run.fit(pretraining(), datamodule=first)
    run.save_checkpoint(tmp_path / "first.ckpt")
    trained = hashes(first, "train")
    assert len(trained) == 4
    assert set(pretrained_subjects(str(tmp_path / "first.ckpt")).tolist()) == trained
    resumed = load_task(tmp_path / "first.ckpt")
    assert isinstance(resumed, SelfTransTask)
    assert set(resumed.subjects.tolist()) == trained

    def tuned(data: CTSliceDataModule) -> None:
        task = SliceClassifierTask(
            backbone="resnet18", weights=str(tmp_path / "first.ckpt"), mean=[0.45271412], std=[0.33165374]
        )
        trainer(fast_dev_run=True).fit(task, datamodule=data)

    tuned(data_module(tmp_path))
    other = data_module(tmp_path, fold=1)
    with pytest.raises(UsageError, match=r"first\.ckpt was pre-trained on 2 subject"):
        tuned(other)


def test_a_pre_training_that_follows_another_remembers_both(trainer: MakeTrainer, tmp_path: Path) -> None:
    data = data_module(tmp_path, views=True)
    first = pretraining()
    first.subjects = torch.tensor([5, 7])
    run = trainer(limit_val_batches=0, limit_train_batches=1)
    run.fit(first, datamodule=TinyViewsDataModule())  # which tells nobody
    run.save_checkpoint(tmp_path / "first.ckpt")
    second = pretraining(tmp_path / "first.ckpt")
    trainer(fast_dev_run=True).fit(second, datamodule=data)
    assert set(second.subjects.tolist()) == {5, 7} | hashes(data, "train")


def test_where_nobody_is_known_nothing_is_refused() -> None:
    assert subjects_of(None, "train").tolist() == subjects_of(TinyViewsDataModule(), "train").tolist() == []
    assert pretrained_subjects("IMAGENET1K_V1").tolist() == []
    require_unseen("IMAGENET1K_V1", TinyViewsDataModule())
