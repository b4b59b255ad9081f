"""Pictures of a fixed set of cases: which, where, and how they look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from covidct.callbacks import FigureLogger, GradCAMScale
from covidct.callbacks.case_pictures import (
    attention_picture,
    grad_cam_picture,
    lesion_picture,
    lung_picture,
)
from covidct.errors import UsageError
from covidct.sample import collate
from covidct.tasks import (
    LesionMaskRCNNTask,
    ResNeXtPlusTask,
    SelfTransTask,
    SliceClassifierTask,
    UNet2dTask,
    UNet3dTask,
)
from tests.fakes.flat_task import FlatTask
from tests.fakes.lesions import TinyLesions, TinyLesionsDataModule
from tests.fakes.lung_slices import lung_slices_batch
from tests.fakes.lungs import TinyLungsDataModule
from tests.fakes.volumes import TinyVolumes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytorch_lightning as pl
    from numpy.typing import NDArray

    from covidct.datamodules import CTVolumeDataModule
    from covidct.tasks import MaskedGAPResNetTask

    MakeTask = Callable[..., MaskedGAPResNetTask]
    MakeTrainer = Callable[..., pl.Trainer]


SHORT = {"limit_train_batches": 1, "num_sanity_val_steps": 0}


def test_without_a_logger_files_lie_in_the_folder_of_the_run(
    make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    cases = FigureLogger(slices=3)
    trainer = make_trainer(callbacks=[cases, GradCAMScale(scans_per_class=1)], max_epochs=2, **SHORT)
    trainer.fit(make_task(), datamodule=data)
    files = sorted(path.relative_to(tmp_path / "figures").as_posix() for path in tmp_path.rglob("*.png"))
    labels = sorted({record.label for record in data.records("val")})
    names = [data.class_names[label] for label in labels]
    # a class without a positive value on the training scans has no scale and no picture
    assert {file.split("/")[0] for file in files} == {"epoch-000", "epoch-001"}
    assert {file.rpartition("/")[2].partition("_")[2] for file in files} <= {f"{name}.png" for name in names}
    picture = cv2.imread(str(tmp_path / "figures" / files[0]))
    assert picture is not None
    assert picture.shape == (32, 48, 3)
    above = picture[:16].astype(int)
    assert not np.ptp(above, -1).any()  # slices are grey


def test_the_same_scans_after_every_validation(
    make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    cases = FigureLogger(cases_per_class=1)
    seen: list[list[str]] = []

    class Look(GradCAMScale):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append([case["id"][0] for _, case in cases._cases])

    make_trainer(callbacks=[cases, Look(scans_per_class=1)], max_epochs=2, **SHORT).fit(make_task(), datamodule=data)
    first = {record.label: record.id for record in reversed(data.records("val"))}
    assert seen == [[first[label] for label in sorted(first)]] * 2
    above = [
        [
            np.asarray(cv2.imread(str(path)))[:16]
            for path in sorted((tmp_path / "figures" / f"epoch-00{epoch}" / "grad_cam").glob("*.png"))
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
    trainer = make_trainer(callbacks=[GradCAMScale(), FigureLogger(slices=2)], logger=logger, **SHORT)
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


def test_without_a_scale_nothing_is_drawn_and_it_is_said(
    make_task: MakeTask,
    make_trainer: MakeTrainer,
    data: CTVolumeDataModule,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_trainer(callbacks=[FigureLogger()], **SHORT).fit(make_task(), datamodule=data)
    assert "GradCAMScale" in caplog.text
    assert not list(tmp_path.rglob("*.png"))


def test_the_map_is_that_of_a_disease(make_task: MakeTask, data: CTVolumeDataModule) -> None:
    data.prepare_data()
    data.setup("fit")
    task = make_task().eval()
    (batch, *_) = list(data.val_dataloader())
    normal = {key: value[:1] for key, value in batch.items()}
    normal["label"] = torch.tensor([0])
    task.cam_scale.copy_(torch.tensor([1.0, 0.0, 0.0]))
    assert grad_cam_picture(task, normal, slices=4) is None  # the scale of "normal" alone is of no use
    task.cam_scale.copy_(torch.tensor([0.0, 1.0, 1.0]))
    assert grad_cam_picture(task, normal, slices=4) is not None


@pytest.mark.parametrize("validated", [1, 2])
def test_other_epochs_are_passed_over(
    make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule, tmp_path: Path, validated: int
) -> None:
    callbacks = [GradCAMScale(scans_per_class=1), FigureLogger(every_n_epochs=2)]
    trainer = make_trainer(callbacks=callbacks, max_epochs=2, check_val_every_n_epoch=validated, **SHORT)
    trainer.fit(make_task(), datamodule=data)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"epoch-001"}


@pytest.mark.parametrize("name", ["cases_per_class", "slices", "every_n_epochs"])
def test_numbers_are_positive(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        FigureLogger(**{name: 0})


def test_single_images_are_one_picture() -> None:
    torch.manual_seed(0)
    task = FlatTask(num_classes=2)
    task.cam_scale.fill_(1e-3)
    case = {"image": torch.rand(1, 1, 12, 20), "label": torch.tensor([1]), "id": ["one"]}
    picture = grad_cam_picture(task, case, slices=4)
    assert picture is not None
    assert picture.shape == (24, 20, 3)
    np.testing.assert_array_equal(picture[:12, :, 0], np.rint(255 * case["image"][0, 0].numpy()))  # type: ignore[index]


def test_attention_leaves_the_best_slice_and_fills_the_strip() -> None:
    torch.manual_seed(0)
    task = ResNeXtPlusTask(num_classes=2, backbone="resnet10", slice_size=32).eval()
    case = collate([TinyVolumes(1)[0]])
    shares = task.slice_attention(case)[0].detach().numpy()
    picture = attention_picture(task, case, slices=9)
    depth, size = 3, 32
    shown = [1, 2]  # the fake has lungs in all slices but the lowest
    assert picture.shape == (2 * size + size // 8, len(shown) * size, 3)
    grey = np.rint(255 * case["image"][0, 0].numpy())
    np.testing.assert_array_equal(picture[:size, :size, 0], grey[1])
    best = int(shares.argmax())
    for place, index in enumerate(shown):
        faded = picture[size : 2 * size, place * size : (place + 1) * size, 0]
        want = 255 * case["image"][0, 0, index].numpy() ** (0.001 + shares[best] / shares[index])
        np.testing.assert_allclose(faded, want, atol=0.51)
    strip = picture[-1, :, 0]
    middles = (2 * np.arange(depth) + 1) * len(strip) // (2 * depth)
    np.testing.assert_array_equal(strip[middles], np.rint(255 * shares / shares.max()))


def test_a_network_with_attention_has_both_kinds_of_pictures(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    from tests.fakes.labelled_volumes import TinyLabelledVolumesDataModule

    torch.manual_seed(0)
    task = ResNeXtPlusTask(num_classes=3, backbone="resnet10", slice_size=32)
    task.cam_scale.fill_(1.0)
    make_trainer(callbacks=[FigureLogger()]).validate(task, datamodule=TinyLabelledVolumesDataModule(3), verbose=False)
    folder = tmp_path / "figures" / "epoch-000"
    names = ["0_normal.png", "1_cap.png", "2_covid.png"]
    assert sorted(path.name for path in (folder / "attention").iterdir()) == names
    assert sorted(path.name for path in (folder / "grad_cam").iterdir()) == names


def test_lesions_stand_beside_those_found(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = LesionMaskRCNNTask(backbone="resnet18", truncation=2, max_detections=5).eval()
    sample = TinyLesions(3)[2]
    picture = lesion_picture(task, collate([sample]))
    side = 384
    assert picture.shape == (side, 2 * side, 3)
    left = picture[:, :side].astype(int)
    red = left[..., 0] > left[..., 2]
    lesion = cv2.resize((sample["lesion_mask"][0].numpy() == 1).astype(np.uint8), (side, side), interpolation=0) > 0
    np.testing.assert_array_equal(red, lesion)
    make_trainer(callbacks=[FigureLogger()]).validate(task, datamodule=TinyLesionsDataModule(4), verbose=False)
    found = sorted(path.name for path in (tmp_path / "figures").rglob("*.png"))
    assert found == ["0_none.png", "1_lesions.png"]


def test_lungs_are_outlined_as_they_are_and_as_found(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task, data = UNet3dTask(channels=[4, 8]), TinyLungsDataModule(2)
    make_trainer(callbacks=[FigureLogger(slices=2)]).validate(task, datamodule=data, verbose=False)
    (path,) = (tmp_path / "figures").rglob("*.png")
    assert path.relative_to(tmp_path / "figures").as_posix() == "epoch-000/lungs/0_lungs.png"
    batch = lung_slices_batch(1)
    flat = UNet2dTask(channels=[4, 8], postprocess=False).eval()
    found = flat.predict_step(batch, 0)["mask"]
    picture = lung_picture(flat, batch, slices=3)
    half, drawn = len(picture) // 2, (picture == (213, 94, 0)).all(-1)
    for rows, mask in ((drawn[:half], batch["lung_mask"]), (drawn[half:], found)):
        large = cv2.resize((mask[0, 0].numpy() == 1).astype(np.uint8), rows.shape[::-1], interpolation=0)
        edge = (large > 0) & (cv2.erode(large, cross()) == 0)
        assert rows.any()
        assert (edge[1:-1, 1:-1] | ~rows[1:-1, 1:-1]).all()  # at the border OpenCV takes what lies outside as inside


def cross() -> NDArray[np.uint8]:
    """The four neighbours."""
    return np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def test_what_has_no_pictures_is_refused(make_trainer: MakeTrainer) -> None:
    contrastive = SelfTransTask(backbone="resnet18", dim=8, queue_size=6, bn_groups=2)
    with pytest.raises(UsageError, match="SelfTransTask"):
        FigureLogger().setup(make_trainer(), contrastive, "fit")


def test_a_trial_leaves_nothing(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    task = SliceClassifierTask(num_classes=3, backbone="resnet18")
    make_trainer(callbacks=[FigureLogger()], fast_dev_run=True).fit(task, datamodule=TinyLesionsDataModule(4))
    assert not list(tmp_path.rglob("*.png"))
