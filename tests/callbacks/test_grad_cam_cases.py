"""Pictures of a fixed set of cases: which, where, and how they look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from torch import nn

from covidct.callbacks import GradCAMCases, GradCAMScale
from covidct.errors import UsageError
from covidct.tasks import ClassificationTask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytorch_lightning as pl

    from covidct.datamodules import CTVolumeDataModule
    from covidct.tasks import MaskedGAPResNetTask

    MakeTask = Callable[..., MaskedGAPResNetTask]
    MakeTrainer = Callable[..., pl.Trainer]


SHORT = {"limit_train_batches": 1, "num_sanity_val_steps": 0}


def test_without_a_logger_files_lie_in_the_folder_of_the_run(
    make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    cases = GradCAMCases(slices=3)
    trainer = make_trainer(callbacks=[cases, GradCAMScale(scans_per_class=1)], max_epochs=2, **SHORT)
    trainer.fit(make_task(), datamodule=data)
    files = sorted(path.relative_to(tmp_path / "grad_cam").as_posix() for path in tmp_path.rglob("*.png"))
    labels = sorted({record.label for record in data.records("val")})
    names = [data.class_names[label] for label in labels]
    # a class without a positive value on the training scans has no scale and no picture
    assert {file.split("/")[0] for file in files} == {"epoch-000", "epoch-001"}
    assert {file.partition("_")[2] for file in files} <= {f"{name}.png" for name in names}
    picture = cv2.imread(str(tmp_path / "grad_cam" / files[0]))
    assert picture is not None
    assert picture.shape == (32, 48, 3)
    above = picture[:16].astype(int)
    assert not np.ptp(above, -1).any()  # slices are grey


def test_the_same_scans_after_every_validation(
    make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    cases = GradCAMCases(cases_per_class=1)
    seen: list[list[str]] = []

    class Look(GradCAMScale):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append([case["id"][0] for case in cases._cases])

    make_trainer(callbacks=[cases, Look(scans_per_class=1)], max_epochs=2, **SHORT).fit(make_task(), datamodule=data)
    first = {record.label: record.id for record in reversed(data.records("val"))}
    assert seen == [[first[label] for label in sorted(first)]] * 2
    above = [
        [
            np.asarray(cv2.imread(str(path)))[:16]
            for path in sorted((tmp_path / "grad_cam" / f"epoch-00{epoch}").glob("*.png"))
        ]
        for epoch in range(2)
    ]
    for one, two in zip(*above, strict=False):
        np.testing.assert_array_equal(one, two)


def test_tensorboard_gets_the_pictures(
    make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    logger = TensorBoardLogger(tmp_path / "logs")
    trainer = make_trainer(callbacks=[GradCAMScale(), GradCAMCases(slices=2)], logger=logger, **SHORT)
    trainer.fit(make_task(), datamodule=data)
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    tags = events.Tags()["images"]
    assert tags
    assert all(tag.startswith("grad_cam/") for tag in tags)
    (event,) = events.Images(tags[0])
    assert (event.width, event.height) == (32, 32)
    assert event.step == trainer.global_step
    assert not list(tmp_path.rglob("*.png"))


class RecordingWandb(WandbLogger):
    """Keeps what it is given; starts nothing."""

    def __init__(self) -> None:
        self.images: list[tuple[str, int]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:  # noqa: ANN401
        assert all(image.dtype == np.uint8 and image.ndim == 3 for image in images)
        self.images.append((key, step or 0))


def test_weights_and_biases_gets_the_pictures(make_task: MakeTask, data: CTVolumeDataModule, tmp_path: Path) -> None:
    from covidct.callbacks.grad_cam_cases import _log_picture

    logger = RecordingWandb()

    class Run:
        loggers = (logger, CSVLogger(tmp_path))
        global_step = 7

    _log_picture(Run(), "0_covid", np.zeros((4, 4, 3), np.uint8), tmp_path)  # type: ignore[arg-type]
    assert logger.images == [("grad_cam/0_covid", 7)]
    assert not list(tmp_path.rglob("*.png"))


def test_without_a_scale_nothing_is_drawn_and_it_is_said(
    make_task: MakeTask,
    make_trainer: MakeTrainer,
    data: CTVolumeDataModule,
    tmp_path: Path,
    caplog: Any,  # noqa: ANN401
) -> None:
    make_trainer(callbacks=[GradCAMCases()], **SHORT).fit(make_task(), datamodule=data)
    assert "GradCAMScale" in caplog.text
    assert not list(tmp_path.rglob("*.png"))


def test_the_map_is_that_of_a_disease(make_task: MakeTask, data: CTVolumeDataModule) -> None:
    data.prepare_data()
    data.setup("fit")
    task = make_task().eval()
    (batch, *_) = list(data.val_dataloader())
    cases = GradCAMCases()
    normal = {key: value[:1] for key, value in batch.items()}
    normal["label"] = torch.tensor([0])
    task.cam_scale.copy_(torch.tensor([1.0, 0.0, 0.0]))
    assert cases._picture(task, normal) is None  # the scale of "normal" alone is of no use
    task.cam_scale.copy_(torch.tensor([0.0, 1.0, 1.0]))
    assert cases._picture(task, normal) is not None


@pytest.mark.parametrize("validated", [1, 2])
def test_other_epochs_are_passed_over(
    make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule, tmp_path: Path, validated: int
) -> None:
    callbacks = [GradCAMScale(scans_per_class=1), GradCAMCases(every_n_epochs=2)]
    trainer = make_trainer(callbacks=callbacks, max_epochs=2, check_val_every_n_epoch=validated, **SHORT)
    trainer.fit(make_task(), datamodule=data)
    assert {path.name for path in (tmp_path / "grad_cam").iterdir()} == {"epoch-001"}


@pytest.mark.parametrize("name", ["cases_per_class", "slices", "every_n_epochs"])
def test_numbers_are_positive(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        GradCAMCases(**{name: 0})


class Flat(nn.Module):
    """A network on single images."""

    cam_layer = "trunk"

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(1, 4, 3, stride=4)
        self.head = nn.Linear(4, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.trunk(image).relu().mean((2, 3)))
        return logits


class FlatTask(ClassificationTask):
    """Its task."""

    inputs = ("image",)
    kinds = ("cxr",)

    def build_model(self) -> nn.Module:
        return Flat()

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters())


def test_single_images_are_one_picture() -> None:
    torch.manual_seed(0)
    task = FlatTask(num_classes=2)
    task.cam_scale.fill_(1e-3)
    case = {"image": torch.rand(1, 1, 12, 20), "label": torch.tensor([1]), "id": ["one"]}
    picture = GradCAMCases()._picture(task, case)
    assert picture is not None
    assert picture.shape == (24, 20, 3)
    np.testing.assert_array_equal(picture[:12, :, 0], np.rint(255 * case["image"][0, 0].numpy()))  # type: ignore[index]
