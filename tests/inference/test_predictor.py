"""A checkpoint on single scans: the path of the training, and pictures of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from covidct.errors import CheckpointError, InputError, UsageError
from covidct.explain import GradCAM
from covidct.inference import Predictor
from covidct.inference.batch_results import results_of_batch
from covidct.inference.preview import finer_preview, make_preview
from covidct.labels import CLASSES
from covidct.models import LungSegmenter
from covidct.phantom import PhantomCT
from covidct.preprocessing import Preprocessing
from covidct.sample import Batch, collate
from covidct.tasks import BaseTask, ClassificationTask, COVNetTask
from covidct.transforms import prepare_volume, to_sample
from covidct.weights import load_checkpoint, sha256_file
from tests.fakes.checkpoint import SIZE, phantom, tiny_data
from tests.fakes.lung_network import two_tone, write_lung_checkpoint


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    return Predictor(checkpoint, device="cpu")


def test_a_scan_gets_the_probabilities_of_the_data_modules_path(
    predictor: Predictor, checkpoint: Path, tmp_path: Path
) -> None:
    data = tiny_data(tmp_path)
    data.prepare_data()
    data.setup("predict")
    batch = next(iter(data.predict_dataloader()))
    with torch.inference_mode():
        wanted = predictor.task.predict_step(batch, 0)
    volume = data.dataset.load(0).scan
    result = predictor.apply(volume, id="x")  # type: ignore[arg-type]
    assert list(result.probabilities) == list(CLASSES)
    np.testing.assert_allclose(list(result.probabilities.values()), wanted["prob"][0].numpy(), atol=1e-6)
    np.testing.assert_allclose(
        result.slice_scores, wanted["slice_scores"][0, :, CLASSES.index(result.predicted)].numpy(), atol=1e-6
    )


def test_pictures_are_slices_of_the_lungs_with_the_best_among_them(predictor: Predictor) -> None:
    scan = phantom()
    result = predictor.apply(scan.volume, id="x")
    preview = result.preview
    assert preview is not None
    assert len(preview.indices) == len(preview.slices) == 6
    assert list(preview.indices) == sorted(preview.indices)
    assert int(np.nanargmax(result.slice_scores)) in preview.indices
    assert preview.weights is not None
    np.testing.assert_allclose(preview.weights.sum((1, 2)), 1, atol=1e-5)
    assert preview.slices.shape[1:] == (128, 128)
    assert preview.lung_mask.any((1, 2)).all()


def test_finer_pictures_show_the_slices_that_the_network_saw(predictor: Predictor) -> None:
    volume = phantom().volume
    record = predictor.preprocessing
    sample = to_sample(prepare_volume(volume, record), id="x", subject=torch.tensor(0), scan=torch.tensor(0))
    coarse = make_preview(collate([sample]), 0)
    assert coarse is not None
    finer = finer_preview(coarse, volume, record)
    n, height, width = coarse.slices.shape
    blocks = finer.slices.reshape(n, height, 128 // SIZE, width, 128 // SIZE).mean((2, 4))
    correlation = np.corrcoef(blocks.ravel(), coarse.slices.ravel())[0, 1]
    assert correlation > 0.97
    whole = finer_preview(coarse, volume, replace(record, masking="lungs"))
    np.testing.assert_array_equal(whole.slices, finer.slices)
    assert finer_preview(coarse, volume, replace(record, size=128)) is coarse


def test_a_batch_without_masks_has_no_pictures(predictor: Predictor) -> None:
    assert make_preview({"image": torch.zeros(1, 1, 4, 8, 8)}, 0) is None
    empty = {"image": torch.zeros(1, 1, 4, 8, 8), "lung_mask": torch.zeros(1, 1, 4, 8, 8, dtype=torch.uint8)}
    preview = make_preview(empty, 0)
    assert preview is not None
    assert preview.indices == (0, 1, 2, 3)


def test_labels_of_a_batch_become_words(predictor: Predictor, tmp_path: Path) -> None:
    data = tiny_data(tmp_path)
    data.prepare_data()
    data.setup("predict")
    (first, *_) = data.predict_dataloader()
    (result,) = results_of_batch(predictor.task, first)
    assert (result.label, result.mask_source) == ("normal", "threshold")
    assert results_of_batch(predictor.task, first | {"label": torch.tensor([-1])})[0].label == ""


def test_scans_without_lungs_or_units_are_refused(predictor: Predictor) -> None:
    volume = phantom().volume
    with pytest.raises(InputError, match="No lungs"):
        predictor.apply(replace(volume, array=np.zeros_like(volume.array)), id="x")
    with pytest.raises(InputError, match="Hounsfield"):
        predictor.apply(replace(volume, intensity="unit"), id="x")


def test_devices(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="abacus"):
        Predictor(checkpoint, device="abacus")
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert Predictor(checkpoint).device.type == wanted


def test_a_task_without_a_record_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from covidct.tasks import load_task

    task = load_task(checkpoint)
    task.preprocessing = None
    monkeypatch.setattr("covidct.inference.predictor.load_task", lambda _: task)
    with pytest.raises(CheckpointError, match="no recorded pre-processing"):
        Predictor(checkpoint)


def bound_to(checkpoint: Path, source: str, out: Path) -> Path:
    """The checkpoint as if it had been trained with masks of another source."""
    record = load_checkpoint(checkpoint)
    own = record["covidct"]
    own = own | {"preprocessing": own["preprocessing"] | {"mask_source": source}}
    torch.save(record | {"covidct": own}, out)
    return out


@pytest.mark.parametrize("trained_with", ["threshold", "lung_field", "file", "the network"])
def test_masks_of_a_lung_network(checkpoint: Path, tmp_path: Path, trained_with: str) -> None:
    lungs = write_lung_checkpoint(tmp_path / "lungs.ckpt")
    segmenter = LungSegmenter.from_checkpoint(lungs)
    source = segmenter.mask_source if trained_with == "the network" else trained_with
    predictor = Predictor(bound_to(checkpoint, source, tmp_path / "t.ckpt"), lung_checkpoint=lungs, device="cpu")
    scan, _ = two_tone()
    result = predictor.apply(scan, id="x")
    assert result.mask_source == f"checkpoint:{sha256_file(lungs)}"
    mask = segmenter(scan)
    assert result.lungs_ml["left"] == pytest.approx(np.sum(mask == 2), abs=0.06)
    prepared = prepare_volume(scan, replace(predictor.preprocessing, mask_source="file"), lung_mask=mask)
    sample = to_sample(prepared, id="x", subject=torch.tensor(0), scan=torch.tensor(0))
    with torch.inference_mode():
        wanted = predictor.task.predict_step(collate([sample]), 0)["prob"][0]
    np.testing.assert_allclose(list(result.probabilities.values()), wanted.numpy(), atol=1e-6)


def test_results_say_that_the_mask_is_classical(predictor: Predictor) -> None:
    assert predictor.apply(phantom().volume, id="x").mask_source == "threshold"


def test_a_lung_network_must_be_the_one_of_the_training(checkpoint: Path, tmp_path: Path) -> None:
    lungs = write_lung_checkpoint(tmp_path / "lungs.ckpt")
    digest = "c0ffee" * 10
    bound = bound_to(checkpoint, f"checkpoint:{digest}", tmp_path / "t.ckpt")
    with pytest.raises(UsageError, match=f"{digest}.*--lung-checkpoint"):
        Predictor(bound, device="cpu")
    with pytest.raises(UsageError, match=f"{digest}.*{sha256_file(lungs)}"):
        Predictor(bound, lung_checkpoint=lungs, device="cpu")
    unmasked = bound_to(checkpoint, "none", tmp_path / "u.ckpt")
    with pytest.raises(UsageError, match="takes no lung mask"):
        Predictor(unmasked, lung_checkpoint=lungs, device="cpu")


def test_networks_in_each_others_place_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="MaskedGAPResNetTask, not to UNet3dTask"):
        Predictor(checkpoint, lung_checkpoint=checkpoint, device="cpu")
    lungs = write_lung_checkpoint(tmp_path / "lungs.ckpt", hyper_parameters={"channels": [2, 2], "norm": None})
    with pytest.raises(CheckpointError, match="does not classify"):
        Predictor(lungs, device="cpu")


def with_scale(task: BaseTask, value: float) -> BaseTask:
    """The task with a fixed scale of Grad-CAM for every class."""
    assert isinstance(task, ClassificationTask)
    task.cam_scale.fill_(value)
    return task


def test_pictures_have_grad_cam_in_the_scale_of_the_checkpoint(checkpoint: Path) -> None:
    scan = phantom()
    plain = Predictor(checkpoint, device="cpu", explain=False)
    wanted = plain.apply(scan.volume, id="x")
    assert wanted.preview is not None
    assert (wanted.preview.cam, wanted.preview.cam_class) == (None, "")
    task = with_scale(plain.task, 4.0)
    batch = prepared_batch(plain, scan)
    found = GradCAM(task)(batch)
    names = task.class_names
    label = max((1, 2), key=lambda number: float(found.logits[0, number]))  # the likelier disease, never "normal"
    expected = GradCAM(task)(batch, label).maps[0]
    plain.explain = plain.viewer = True
    result = plain.apply(scan.volume, id="x")
    preview, viewer = result.preview, result.viewer
    assert preview is not None
    assert preview.cam is not None
    assert preview.cam_class == names[label]
    assert int(expected.flatten(1).amax(1).argmax()) in preview.indices  # the hottest slice is shown
    np.testing.assert_allclose(preview.cam, expected[list(preview.indices)].numpy() / 4, atol=1e-6)
    np.testing.assert_allclose(list(result.probabilities.values()), list(wanted.probabilities.values()), atol=1e-6)
    np.testing.assert_allclose(result.slice_scores, wanted.slice_scores, atol=1e-6)
    assert wanted.viewer is None
    assert viewer is not None
    assert len(viewer.slices) == len(viewer.lungs) == len(scan.volume.array)
    assert (viewer.source, viewer.cam_class, len(viewer.places)) == (scan.volume.shape[1:], names[label], SIZE)
    assert viewer.cam is not None
    assert viewer.weights is not None
    drawn = np.clip(expected.numpy() / 4, 0, 1).max() * 255  # linear between slices, so never above
    assert 0.6 * drawn - 1 <= viewer.cam.values.max() <= drawn + 1
    assert viewer.weights.values.max() > 200
    assert viewer.start in viewer.places
    assert "viewer" in result.seconds


def test_a_network_that_fuses_slices_says_what_it_thinks_of_each(tmp_path: Path) -> None:
    """COVNet on the lungs alone: scores of all slices, and Grad-CAM of those shown."""
    record = Preprocessing(kind="ct_volume", classes=CLASSES, size=32, grid="slices", masking="lungs")
    parameters: dict[str, Any] = {"backbone": "resnet18", "slice_size": 40}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        task = COVNetTask(**parameters)
    task.preprocessing = record
    task.cam_scale.fill_(0.5)
    saved: dict[str, Any] = {"state_dict": task.state_dict(), "hyper_parameters": parameters}
    task.on_save_checkpoint(saved)
    torch.save({"pytorch-lightning_version": "2.6.6", **saved}, tmp_path / "covnet.ckpt")
    scan = phantom()
    result = Predictor(tmp_path / "covnet.ckpt", device="cpu").apply(scan.volume, id="x")
    nobody = torch.tensor(0)
    batch = collate([to_sample(prepare_volume(scan.volume, record), id="x", subject=nobody, scan=nobody)])
    with torch.no_grad():
        wanted = task.eval().predict_step(batch, 0)
    label = CLASSES.index(result.predicted)
    np.testing.assert_allclose(list(result.probabilities.values()), wanted["prob"][0].numpy(), atol=1e-5)
    np.testing.assert_allclose(result.slice_scores, wanted["slice_scores"][0, :, label].numpy(), atol=1e-5)
    assert len(result.slice_scores) == scan.volume.shape[0]
    assert result.preview is not None
    assert result.preview.cam is not None
    expected = GradCAM(task)(batch, CLASSES.index(result.preview.cam_class)).maps[0] / 0.5
    np.testing.assert_allclose(result.preview.cam, expected[list(result.preview.indices)].numpy(), atol=1e-5)
    assert result.mask_source == "threshold"


def test_a_checkpoint_without_a_scale_gets_no_colours(checkpoint: Path) -> None:
    predictor = Predictor(checkpoint, device="cpu")
    result = predictor.apply(phantom().volume, id="x")
    assert result.preview is not None
    assert result.preview.cam is None
    assert result.preview.cam_class in ("cap", "covid")


def prepared_batch(predictor: Predictor, scan: PhantomCT) -> Batch:
    """The batch that the predictor makes of a phantom."""
    nobody = torch.tensor(0)
    prepared = prepare_volume(scan.volume, predictor.preprocessing)
    return collate([to_sample(prepared, id="x", subject=nobody, scan=nobody)])
