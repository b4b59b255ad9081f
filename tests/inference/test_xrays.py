"""A checkpoint on single X-rays: the numbers of the data module's path, pictures, lungs, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch

from covidct.__main__ import main
from covidct.datamodules import CXRDataModule
from covidct.datasets import PhantomCXR
from covidct.errors import CheckpointError, InputError, ModalityError, UsageError
from covidct.explain import GradCAM
from covidct.inference import Predictor, triage
from covidct.io import ScanInput, read_image
from covidct.models import XRayLungSegmenter
from covidct.phantom import simulate_cxr
from covidct.preprocessing import Preprocessing
from covidct.tasks import SliceClassifierTask, save_task
from covidct.transforms import prepare_image
from covidct.transforms.prepare import to_unit
from tests.fakes.dicom import write_series
from tests.fakes.lesion_network import write_lesion_checkpoint
from tests.fakes.xray_lung_network import two_boxes, write_xray_lung_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

RECORD = Preprocessing(kind="cxr", classes=("non_covid", "covid"), size=64, window=None, mask_source="none")
SENTINEL = "SENTINEL"


def write_checkpoint(path: Path, record: Preprocessing | None = RECORD) -> Path:
    """A classifier of X-rays with random weights and a scale of Grad-CAM."""
    torch.manual_seed(0)
    task = SliceClassifierTask(num_classes=2, backbone="resnet18", in_channels=1)
    task.preprocessing = record
    task.cam_scale.fill_(0.5)
    save_task(task, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("xrays") / "task.ckpt")


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    return Predictor(checkpoint, device="cpu")


def test_an_xray_gets_the_probabilities_of_the_data_modules_path(predictor: Predictor, tmp_path: Path) -> None:
    data = CXRDataModule(PhantomCXR(4, shape=(80, 90), classes="covid_vs_rest"), size=64, cache_dir=str(tmp_path))
    data.prepare_data()
    data.setup("predict")
    with torch.inference_mode():
        wanted = predictor.task.predict_step(next(iter(data.predict_dataloader())), 0)
    image: Any = data.dataset.load(0).scan
    result = predictor.apply_xray(image, id="x")
    assert result.predicted == RECORD.classes[int(wanted["pred"][0])]
    np.testing.assert_allclose(list(result.probabilities.values()), wanted["prob"][0].numpy(), atol=1e-6)
    assert result.geometry["shape"] == [80, 90]
    assert result.mask_source == "none"
    assert result.lungs_ml == {}


def test_the_picture_is_the_xray_with_grad_cam_in_the_fixed_scale(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = simulate_cxr(3, diagnosis="covid", shape=(128, 128)).image
    monkeypatch.setattr(predictor, "viewer", True)
    result = predictor.apply_xray(image, id="x")
    preview, viewer = result.preview, result.viewer
    assert viewer is not None
    assert (len(viewer.slices), viewer.source, viewer.knots, viewer.lungs) == (1, (128, 128), (), ())
    assert viewer.cam is not None
    assert viewer.cam.values.shape[1:] == preview.cam.shape[1:]  # type: ignore[union-attr]
    assert preview is not None
    assert preview.slices.shape == (1, 64, 64)
    small = cv2.resize(image.array, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(preview.slices[0].ravel(), small.ravel())[0, 1] > 0.99
    assert preview.cam is not None
    assert preview.cam_class == "covid"
    task: Any = predictor.task
    seen = torch.from_numpy(preview.slices[:, None].astype(np.float32) / 255)
    expected = GradCAM(task.model)(seen, target=1).maps / 0.5
    np.testing.assert_allclose(preview.cam, expected.numpy(), atol=0.02)


def test_lungs_come_from_a_network_and_are_measured(checkpoint: Path, tmp_path: Path) -> None:
    lungs = write_xray_lung_checkpoint(tmp_path / "lungs.ckpt")
    image, boxes = two_boxes()
    both = Predictor(checkpoint, lung_checkpoint=lungs, device="cpu")
    result = both.apply_xray(image, id="x")
    assert result.mask_source == both.mask_source
    assert result.mask_source.startswith("checkpoint:")
    (told,) = result.findings
    share = float(told.message.partition(" on ")[2].partition(" %")[0])
    assert share == pytest.approx(100 * boxes.mean(), abs=3)
    assert result.preview is not None
    assert result.preview.lung_mask.shape == (1, 64, 64)
    assert result.preview.lung_mask.any()
    alone = Predictor(checkpoint, device="cpu").apply_xray(image, id="x")
    assert result.probabilities == alone.probabilities


@pytest.mark.parametrize("masking", ["lungs", "no_lungs"])
def test_masked_xrays_need_a_lung_network_and_are_masked_by_it(tmp_path: Path, masking: Any) -> None:  # noqa: ANN401
    lungs = write_xray_lung_checkpoint(tmp_path / "lungs.ckpt")
    masked = write_checkpoint(tmp_path / "task.ckpt", replace(RECORD, mask_source="file", masking=masking))
    with pytest.raises(UsageError, match=r"lung network of X-rays is needed.*--lung-checkpoint"):
        Predictor(masked, device="cpu")
    made = Predictor(masked, lung_checkpoint=lungs, device="cpu")
    image, _ = two_boxes()
    found = made.apply_xray(image, id="x")
    assert made.xray_segmenter is not None
    mask = made.xray_segmenter(image)
    record = replace(RECORD, mask_source="file", masking=masking)
    seen = to_unit(prepare_image(image, record, lung_mask=mask)["image"])
    task: Any = made.task
    with torch.inference_mode():
        expected = task.model(torch.from_numpy(seen)).softmax(1)[0]
    np.testing.assert_allclose(list(found.probabilities.values()), expected.numpy(), atol=1e-6)
    assert (seen == 0).any()
    assert found.preview is not None
    assert (found.preview.slices > 0).all()  # the whole X-ray is shown


def test_an_xray_without_lungs_is_refused_where_it_would_be_masked(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lungs = write_xray_lung_checkpoint(tmp_path / "lungs.ckpt")
    masked = write_checkpoint(tmp_path / "task.ckpt", replace(RECORD, mask_source="file", masking="lungs"))
    monkeypatch.setattr(XRayLungSegmenter, "__call__", lambda _, image: np.zeros(image.array.shape, np.uint8))
    with pytest.raises(InputError, match="finds no lungs"):
        Predictor(masked, lung_checkpoint=lungs, device="cpu").apply_xray(two_boxes()[0], id="x")
    result = Predictor(checkpoint, lung_checkpoint=lungs, device="cpu").apply_xray(two_boxes()[0], id="x")
    assert [finding.code for finding in result.findings] == ["no_lungs"]
    assert result.mask_source == "none"


def test_a_checkpoint_without_record_and_a_lesion_network_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no recorded pre-processing"):
        Predictor(write_checkpoint(tmp_path / "plain.ckpt", None), device="cpu")
    with pytest.raises(UsageError, match="lesions in CT"):
        Predictor(checkpoint, lesion_checkpoint=write_lesion_checkpoint(tmp_path / "lesions.ckpt"), device="cpu")


def test_ct_is_refused_as_an_xray(predictor: Predictor) -> None:
    with pytest.raises(ModalityError, match="of CT"):
        predictor.apply_xray(replace(two_boxes()[0], modality="CT"), id="x")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, one of them 16 bit, and one that is damaged."""
    place = tmp_path_factory.mktemp("cohort") / f"{SENTINEL}-patient"
    place.mkdir()
    for number, (diagnosis, top) in enumerate((("covid", 255), ("normal", 65535))):
        grey = simulate_cxr(number, diagnosis=diagnosis, shape=(96, 96)).image.array  # type: ignore[arg-type]
        whole = np.rint(grey * top)
        picture = whole.astype(np.uint8) if top == 255 else whole.astype(np.uint16)
        cv2.imwrite(str(place / f"{SENTINEL}_{number}.png"), picture)
    (place / f"{SENTINEL}_broken.png").write_bytes(b"\x89PNG damaged")
    return place


def test_each_picture_of_a_folder_is_an_xray(checkpoint: Path, folder: Path, predictor: Predictor) -> None:
    found = triage([folder], checkpoint=checkpoint, device="cpu")
    assert [scan.status for scan in found.scans] == ["done", "done", "failed"]
    for number, scan in enumerate(found.scans[:2]):
        image = read_image(folder / f"{SENTINEL}_{number}.png")
        assert scan.probabilities == predictor.apply_xray(image, id="x").probabilities
    assert "slice_rule" not in found.run
    assert SENTINEL not in found.scans[2].error


def test_the_command_writes_pages_and_json(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["triage", str(folder), "--checkpoint", str(checkpoint), "--out", str(out), "--device", "cpu"]) == 1
    assert (out / "index.html").is_file()
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (out / "scans").rglob("*.html")}
    done = [page for page in pages.values() if "X-ray</h2>" in page]
    assert len(done) == 2
    assert all("96 \N{MULTIPLICATION SIGN} 96 pixels" in page and "feet to head" not in page for page in done)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (out / "scans").rglob("*.json")]
    known = [record for record in records if record["status"] == "done"]
    assert len(known) == 2
    assert all(sum(record["probabilities"].values()) == pytest.approx(1) for record in known)
    assert all(SENTINEL not in page for page in pages.values())


def test_a_ct_slice_as_dicom_is_listed_as_failed(checkpoint: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-1000, 400, (1, 96, 96))
    write_series(tmp_path / "ct", noise, spacing=(5.0, 1.0, 1.0))
    (scan,) = triage([tmp_path / "ct"], checkpoint=checkpoint, device="cpu").scans
    assert scan.status == "failed"
    assert "CT" in scan.error


def test_an_xray_has_neither_masks_nor_dicom_objects_and_says_so(checkpoint: Path, folder: Path) -> None:
    picture = next(path for path in sorted(folder.iterdir()) if path.suffix == ".png")
    result = Predictor(checkpoint, masks=True, dicom=True)(ScanInput(picture), id="x")
    assert result.files == ()
    (told,) = [finding for finding in result.findings if finding.code == "no_dicom_objects"]
    assert "X-ray" in told.message
