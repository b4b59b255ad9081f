"""A lesion network of known answers on scans and pictures: masks in closed form, and files that are no such network."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from covidct.errors import CheckpointError, InputError, UsageError
from covidct.models import LesionMaskRCNN, LesionSegmenter
from covidct.volume import Image, Volume, unknown_affine
from tests.fakes.lesion_network import (
    PARAMETERS,
    RECORD,
    detect_by_grey_value,
    lesion_network,
    write_lesion_checkpoint,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.labels import MaskType

GLASS_HU, DENSE_HU = -200, 100


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lesion_checkpoint(tmp_path_factory.mktemp("lesions") / "lesions.ckpt")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network answers by grey value."""
    monkeypatch.setattr(LesionMaskRCNN, "detect", detect_by_grey_value)


def chest(size: tuple[int, int] = (128, 192), slices: int = 6) -> tuple[Volume, NDArray[np.uint8]]:
    """Slices with a block of ground glass from number 1 to 4, and one of consolidation in 3; edges at quarters."""
    height, width = size
    mask = np.zeros((slices, height, width), np.uint8)
    mask[1:5, height // 4 : height // 2, width // 8 : width // 4] = 1
    mask[3, height // 2 : 3 * height // 4, width // 2 : 3 * width // 4] = 2
    hu = np.choose(mask, [-850, GLASS_HU, DENSE_HU]).astype(np.int16)
    return Volume(hu, np.diag([0.7, 0.8, 5.0, 1.0])), mask


def assert_same(found: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> None:
    """Equal but for the corners of blocks, which interpolation rounds: at most 3 pixels each."""
    wrong = found != wanted
    planes = zip(wrong.reshape(-1, *wrong.shape[-2:]), wanted.reshape(-1, *wrong.shape[-2:]), strict=True)
    for plane, truth in planes:
        corners = 4 * len(np.unique(truth[truth > 0]))
        assert plane.sum() <= 3 * corners
    if wrong.shape[-2:] == (64, 64):
        assert not wrong.any()


@pytest.mark.parametrize("size", [(64, 64), (128, 192), (256, 128)])
@pytest.mark.usefixtures("known")
def test_masks_lie_on_the_scans_own_grid(path: Path, size: tuple[int, int]) -> None:
    """Edges at multiples of the network's pixels come back where they were, also of slices that are not square."""
    volume, wanted = chest(size)
    found = LesionSegmenter.from_checkpoint(path)(volume)
    assert found.mask.dtype == np.uint8
    assert_same(found.mask, wanted)
    assert [len(one.scores) for one in found.detections] == [0, 1, 1, 2, 1, 0]
    assert found.typed
    assert found.findings == ()
    height, width = size
    both = found.detections[3]
    assert both.labels.tolist() == [2, 1], "the best first"
    np.testing.assert_allclose(both.boxes[0], [width / 2, height / 2, 3 * width / 4, 3 * height / 4])
    np.testing.assert_allclose(both.boxes[1], [width / 8, height / 4, width / 4, height / 2])


@pytest.mark.usefixtures("known")
def test_batches_change_nothing(path: Path) -> None:
    volume, _ = chest(slices=7)
    masks = [LesionSegmenter(lesion_network(), RECORD, slices=n)(volume).mask for n in (1, 3, 7)]
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])


@pytest.mark.usefixtures("known")
def test_soft_masks_are_interpolated_before_they_are_cut() -> None:
    """A straight slanting edge stays straight to a pixel of the scan, not to one of the network's (4 of the scan)."""
    rows, columns = np.mgrid[:256, :256]
    inside = columns < 60 + 0.5 * rows
    hu = np.where(inside, GLASS_HU, -850)[None].astype(np.float32)
    found = LesionSegmenter(lesion_network(), RECORD)(Volume(hu, np.eye(4))).mask[0]
    assert np.mean((found > 0) != inside) < 0.008  # a step of 4 pixels along 256 rows gives 0.0078 by nearest alone
    edge = (found > 0).sum(1)
    assert np.abs(np.diff(edge, 2))[8:-8].max() <= 2


@pytest.mark.usefixtures("known")
def test_thresholds(path: Path) -> None:
    volume, wanted = chest()
    strict = LesionSegmenter.from_checkpoint(path, score_threshold=0.8)
    assert_same(strict(volume).mask, np.where(wanted == 2, 2, 0))
    with pytest.raises(UsageError, match="no pixel is above it"):
        LesionSegmenter.from_checkpoint(path, mask_threshold=1.0)
    given = LesionSegmenter.from_checkpoint(path, nms_threshold=0.3, rpn_nms_threshold=0.6)
    assert given.thresholds == {"score": 0.5, "mask": 0.5, "nms": 0.3, "rpn_nms": 0.6}
    for name in ("score_threshold", "mask_threshold", "nms_threshold", "rpn_nms_threshold"):
        with pytest.raises(UsageError, match=rf"{name}=1\.5 must lie in"):
            LesionSegmenter.from_checkpoint(path, **{name: 1.5})  # type: ignore[arg-type]


@pytest.mark.parametrize(("mask_type", "values"), [("ggo", {0, 1}), ("merge", {0, 1})])
@pytest.mark.usefixtures("known")
def test_other_classes(tmp_path: Path, mask_type: MaskType, values: set[int]) -> None:
    volume, wanted = chest()
    path = write_lesion_checkpoint(tmp_path / "x.ckpt", mask_type=mask_type)
    segmenter = LesionSegmenter.from_checkpoint(path)
    found = segmenter(volume)
    assert set(np.unique(found.mask)) == values
    assert found.typed == (mask_type != "merge")
    assert len(segmenter.class_names) == 2
    truth = np.where(wanted == 1, 1, 0) if mask_type == "ggo" else np.minimum(wanted, 1)
    assert np.count_nonzero(found.mask != truth) <= 60


def picture(mask: NDArray[np.uint8], channels: int = 1) -> Image:
    grey = np.choose(mask, [0.27, 0.7, 0.9]).astype(np.float32)
    return Image(grey if channels == 1 else np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.usefixtures("known")
def test_pictures_of_a_network_that_was_trained_on_pictures(channels: int) -> None:
    _, wanted = chest()
    found = LesionSegmenter(lesion_network(), replace(RECORD, window=None))(picture(wanted[3], channels))
    assert_same(found.mask, wanted[3])
    assert len(found.detections) == 1


@pytest.mark.usefixtures("known")
def test_pictures_show_an_unknown_window_unless_it_is_said(path: Path) -> None:
    volume, wanted = chest()
    shown = picture(wanted[3])
    stack = Volume(picture(wanted).array, unknown_affine(), intensity="unit")
    for scan in (shown, stack):
        with pytest.raises(InputError, match=r"\[-1250, 250\] HU.*--display-values"):
            LesionSegmenter.from_checkpoint(path)(scan)
    told = LesionSegmenter.from_checkpoint(path, assume_window=True)
    found = told(shown)
    assert_same(found.mask, wanted[3])
    assert [finding.code for finding in found.findings] == ["assumed_window"]
    assert_same(told(stack).mask, wanted)
    assert told(volume).findings == (), "a scan in Hounsfield units needs no assumption"


def test_a_network_of_pictures_cannot_see_hounsfield_units() -> None:
    with pytest.raises(InputError, match="trained on display values"):
        LesionSegmenter(lesion_network(), replace(RECORD, window=None))(chest()[0])


def test_slices_too_small_are_refused(path: Path) -> None:
    segmenter = LesionSegmenter.from_checkpoint(path, assume_window=True)
    with pytest.raises(InputError, match="8 x 64 pixels, too small"):
        segmenter(Image(np.zeros((8, 64), np.float32)))
    with pytest.raises(InputError, match="31 x 40 pixels, too small"):
        segmenter(Volume(np.zeros((3, 31, 40), np.int16), np.eye(4)))


def test_random_weights_find_what_the_network_itself_finds(path: Path) -> None:
    """At the network's own size nothing is interpolated: the classes are those of the detections by hand."""
    rng = np.random.default_rng(0)
    hu = rng.uniform(-1250, 250, (2, 64, 64)).astype(np.float32)
    found = LesionSegmenter.from_checkpoint(path, score_threshold=0.0)(Volume(hu, np.eye(4)))
    network = lesion_network().eval()
    network.set_thresholds(score=0.0)
    with torch.inference_mode():
        wanted = network.detect(torch.from_numpy((hu + 1250) / 1500)[:, None])
    for plane, own, one in zip(found.mask, found.detections, wanted, strict=True):
        labels = np.zeros((64, 64), np.uint8)
        for index in range(len(one["scores"]) - 1, -1, -1):  # by decreasing score, the best painted last
            labels[one["masks"][index, 0].numpy() > 0.5] = int(one["labels"][index])
        assert np.mean(plane != labels) < 0.01  # grey values are rounded to 16 bits on the way
        np.testing.assert_allclose(own.scores, one["scores"].numpy(), atol=1e-3)


def test_the_file_is_known_by_its_digest(path: Path) -> None:
    segmenter = LesionSegmenter.from_checkpoint(path)
    assert segmenter.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert segmenter.mask_source == f"checkpoint:{segmenter.sha256}"
    assert segmenter.preprocessing == RECORD


@pytest.mark.usefixtures("known")
def test_masked_slices_need_the_lungs(path: Path) -> None:
    """A network of masked slices sees what the lung mask leaves."""
    volume, wanted = chest()
    segmenter = LesionSegmenter(lesion_network(), replace(RECORD, masking="lungs", mask_source="file"))
    with pytest.raises(InputError, match="without a lung mask"):
        segmenter(volume)
    lungs = np.ones(volume.shape, np.uint8)
    lungs[:, 64:] = 0
    found = segmenter(volume, lung_mask=lungs).mask
    assert_same(found, np.where(lungs > 0, wanted, 0))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"covidct": {"task": "CovidCTMaskNetTask"}}, "belongs to CovidCTMaskNetTask, not to LesionMaskRCNNTask"),
        ({"covidct": {"task": "LesionMaskRCNNTask", "preprocessing": {"size": 4}}}, "pre-processing record"),
        ({"state_dict": {}}, "missing"),
        ({"hyper_parameters": {**PARAMETERS, "mask_type": "merge"}}, "of another shape"),
        ({"hyper_parameters": {**PARAMETERS, "mask_type": "all"}}, "hyper-parameters"),
        ({"hyper_parameters": {**PARAMETERS, "mask_type": "both", "mask_threshold": 7.0}}, "cannot find lesions"),
        ({"record": None}, "no recorded pre-processing"),
        ({"record": replace(RECORD, kind="ct_volume")}, "cannot find lesions: A lesion network sees slices"),
    ],
)
def test_what_is_no_lesion_network_is_refused(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    path = write_lesion_checkpoint(tmp_path / "x.ckpt", **changes)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=sentence) as caught:
        LesionSegmenter.from_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_damaged_and_pickled_files_are_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.ckpt").write_bytes(path.read_bytes()[:100_000])
    torch.save({"state_dict": {}, "covidct": {}, "hyper_parameters": {"x": Volume}}, tmp_path / "pickled.ckpt")
    for name in ("cut", "pickled", "absent"):
        with pytest.raises(CheckpointError):
            LesionSegmenter.from_checkpoint(tmp_path / f"{name}.ckpt")


def test_the_file_of_a_real_training(tmp_path: Path) -> None:
    """The file that the task itself writes, not one made by hand."""
    import pytorch_lightning as pl
    from pytorch_lightning.utilities.seed import isolate_rng

    from covidct.tasks import LesionMaskRCNNTask
    from tests.fakes.lesions import TinyLesionsDataModule

    with isolate_rng():
        pl.seed_everything(0, verbose=False)
        task = LesionMaskRCNNTask(
            backbone="resnet18", truncation=2, max_detections=5, score_threshold=0.1, anchor_sizes=[4, 16]
        )
        trainer = pl.Trainer(
            max_steps=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
        )
        trainer.fit(task, datamodule=TinyLesionsDataModule())
        trainer.save_checkpoint(tmp_path / "lesions.ckpt", weights_only=True)
    segmenter = LesionSegmenter.from_checkpoint(tmp_path / "lesions.ckpt")
    assert segmenter.preprocessing == task.preprocessing
    assert segmenter.thresholds["score"] == 0.1
    assert segmenter(Image(np.zeros((70, 50), np.float32))).mask.shape == (70, 50)
