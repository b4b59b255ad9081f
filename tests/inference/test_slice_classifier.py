"""A classifier of slices on whole scans: the library's probabilities slice by slice, the rule, the pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from covidct.errors import UsageError
from covidct.explain import GradCAM, explained_classes
from covidct.functional import segment_lungs
from covidct.inference import SLICE_RULE, Predictor, triage
from covidct.inference.batch_results import results_of_batch
from covidct.inference.slice_classifier import classify_slices
from covidct.labels import CLASSES
from covidct.models import LesionMaskRCNN
from covidct.preprocessing import Preprocessing
from covidct.sample import collate
from covidct.tasks import CovidCTMaskNetTask, GatedEnsembleTask, load_task
from covidct.transforms import prepare_slices, to_sample
from covidct.volume import unknown_affine
from covidct.weights import sha256_file
from tests.fakes.checkpoint import phantom, write_nifti
from tests.fakes.lesion_network import detect_by_grey_value, write_lesion_checkpoint, write_slice_checkpoint
from tests.fakes.lung_network import two_tone, write_lung_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a slice classifier."""
    return write_slice_checkpoint(tmp_path_factory.mktemp("slices") / "slices.ckpt")


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a lesion network."""
    return write_lesion_checkpoint(tmp_path_factory.mktemp("lesions") / "lesions.ckpt")


def test_a_scan_has_the_probabilities_of_its_slices(slices: Path) -> None:
    volume = phantom().volume
    predictor = Predictor(slices, device="cpu")
    result = predictor.apply(volume, id="x")
    lung = np.flatnonzero(segment_lungs(volume.array, volume.spacing).any((1, 2)))
    assert 0 < len(lung) < volume.shape[0]
    task = load_task(slices)
    assert task.preprocessing is not None
    prob = []
    for index in lung.tolist():
        prepared = {key: value[0] for key, value in prepare_slices(volume, task.preprocessing, indices=[index]).items()}
        nobody = torch.tensor(0)
        with torch.inference_mode():
            batch = collate([to_sample(prepared, id="s", subject=nobody, scan=nobody)])
            prob.append(task.predict_step(batch, 0)["prob"][0].numpy())
    wanted = np.array(prob)
    label = CLASSES.index(result.predicted)
    scores = np.array(result.slice_scores)
    assert scores.shape == volume.shape[:1]
    np.testing.assert_allclose(scores[lung], wanted[:, label], atol=1e-5)
    assert np.isnan(np.delete(scores, lung)).all()
    order = sorted(range(len(lung)), key=lambda place: wanted[place, 0])[:3]  # a tenth of at most 24 is below 3
    np.testing.assert_allclose(list(result.probabilities.values()), wanted[order].mean(0), atol=1e-5)
    assert "lung_slices" in [finding.code for finding in result.findings]
    assert result.mask_source == "threshold"
    assert result.lungs_ml["right"] > 100


def test_pictures_of_slices_and_their_best_regions(slices: Path) -> None:
    result = Predictor(slices, device="cpu").apply(phantom().volume, id="x")
    preview, regions = result.preview, result.region_preview
    assert preview is not None
    assert len(preview.indices) == 6
    assert preview.lung_mask.any((1, 2)).all()
    assert int(np.nanargmax(result.slice_scores)) in preview.indices
    assert regions is not None
    assert regions.names == ("background", "ground_glass_opacity", "consolidation")
    assert not regions.labels.any()
    for own, word in zip(regions.boxes, regions.words, strict=True):
        assert 0 < len(own) <= 5
        assert [box.score for box in own] == sorted((box.score for box in own), reverse=True)
        assert all(0 <= edge <= regions.slices.shape[2] for box in own for edge in box.box)
        assert result.predicted in word
    assert (result.lesions, result.lesion_source, result.lesion_preview) == ((), "", None)
    height, width = phantom().volume.shape[1:]
    for index, own in zip(regions.indices, regions.boxes, strict=True):
        rows = [row for row in result.regions if row["slice"] == index]
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        assert [row["score"] for row in rows[: len(own)]] == [box.score for box in own]
        assert min(row["score"] for row in rows) >= 0.05
        side = regions.slices.shape[1]
        for row, box in zip(rows, own, strict=False):
            assert row["type"] == regions.names[box.label]
            shares = np.divide(box.box, side)
            np.testing.assert_allclose(row["box"], shares * np.array([width, height, width, height]), rtol=1e-5)


def test_slices_of_a_loader_get_their_grad_cam(slices: Path) -> None:
    task = load_task(slices)
    assert isinstance(task, CovidCTMaskNetTask)
    assert task.preprocessing is not None
    task.cam_scale.fill_(0.5)
    prepared = prepare_slices(phantom().volume, task.preprocessing, indices=[8, 12])
    number = torch.tensor(0)
    batch = collate(
        [to_sample({k: v[i] for k, v in prepared.items()}, id=f"s{i}", subject=number, scan=number) for i in range(2)]
    )
    results = results_of_batch(task, batch)
    probable = explained_classes(task.predict_step(batch, 0)["logits"], task.class_names).tolist()
    expected = GradCAM(task)(batch, target=torch.tensor(probable)).maps
    for index, result in enumerate(results):
        assert result.preview is not None
        assert result.preview.cam is not None
        assert result.preview.cam.shape == (1, *expected.shape[-2:])
        assert result.preview.cam_class == CLASSES[probable[index]]
        np.testing.assert_allclose(result.preview.cam[0] * 0.5, expected[index].numpy(), atol=1e-5)


@pytest.mark.parametrize("plain", [False, True])
def test_pictures_of_a_scan_have_its_grad_cam(tmp_path: Path, plain: bool) -> None:
    """In the scale of the task, of one class throughout, of the slices shown."""
    path = write_slice_checkpoint(tmp_path / "s.ckpt", plain=plain, cam_scale=0.25)
    volume, predictor = phantom().volume, Predictor(path, device="cpu")
    result = predictor.apply(volume, id="x")
    preview, task = result.preview, load_task(path)
    assert preview is not None
    assert preview.cam is not None
    assert task.preprocessing is not None
    diseases = {name: value for name, value in result.probabilities.items() if name != "normal"}
    assert preview.cam_class == max(diseases, key=diseases.__getitem__)
    prepared = prepare_slices(volume, task.preprocessing, indices=preview.indices)
    nobody = torch.tensor(0)
    for place, cam in enumerate(preview.cam):
        sample = to_sample({key: v[place] for key, v in prepared.items()}, id="s", subject=nobody, scan=nobody)
        expected = GradCAM(task)(collate([sample]), CLASSES.index(preview.cam_class)).maps[0] / 0.25
        np.testing.assert_allclose(cam, expected.numpy(), atol=1e-5)
    assert preview.cam.any()
    without = Predictor(path, device="cpu", explain=False).apply(volume, id="x").preview
    assert without is not None
    assert (without.cam, without.cam_class) == (None, "")
    unscaled = write_slice_checkpoint(tmp_path / "unscaled.ckpt", plain=plain)
    told = Predictor(unscaled, device="cpu").apply(volume, id="x").preview
    assert told is not None
    assert (told.cam, told.cam_class) == (None, preview.cam_class)


def test_triage_with_a_plain_classifier_of_slices(tmp_path: Path) -> None:
    write_nifti(tmp_path / "in" / "a.nii.gz", phantom())
    path = write_slice_checkpoint(tmp_path / "s.ckpt", plain=True, cam_scale=0.25)
    cohort = triage([tmp_path / "in"], checkpoint=path, device="cpu")
    (scan,) = cohort.scans
    assert scan.status == "done", scan.error
    assert cohort.run["slice_rule"] == SLICE_RULE
    assert sum(scan.probabilities.values()) == pytest.approx(1)
    assert np.isfinite(scan.slice_scores).any()
    assert (scan.regions, scan.region_preview) == ((), None)


def test_pictures_of_unknown_window_only_when_it_is_said(slices: Path) -> None:
    scan = phantom().volume
    unit = np.clip((scan.array + 1250) / 1500, 0, 1).astype(np.float32)
    shown = replace(scan, array=unit, intensity="unit", affine=unknown_affine())
    with pytest.raises(Exception, match=r"\[-1250, 250\] HU cannot be applied"):
        Predictor(slices, device="cpu").apply(shown, id="x")
    result = Predictor(slices, device="cpu", display_values=True).apply(shown, id="x")
    assert {"assumed_window", "all_slices"} <= {finding.code for finding in result.findings}
    assert np.isfinite(result.slice_scores).all()
    assert (result.mask_source, result.lungs_ml) == ("none", {})


def test_a_classifier_of_pictures_takes_pictures(tmp_path: Path) -> None:
    record = Preprocessing(kind="ct_slice", classes=CLASSES, size=32, window=None, mask_source="none")
    predictor = Predictor(write_slice_checkpoint(tmp_path / "s.ckpt", record=record), device="cpu")
    scan = phantom().volume
    shown = replace(scan, array=np.zeros(scan.shape, np.float32), intensity="unit", affine=unknown_affine())
    assert predictor.apply(shown, id="x").status == "done"
    with pytest.raises(UsageError, match="needs a window"):
        predictor.apply(scan, id="x")


def test_masked_slices_get_the_mask_of_the_training(tmp_path: Path) -> None:
    masked = Preprocessing(kind="ct_slice", classes=CLASSES, size=32, mask_source="threshold", masking="lungs")
    result = Predictor(write_slice_checkpoint(tmp_path / "m.ckpt", record=masked), device="cpu").apply(
        phantom().volume, id="x"
    )
    assert result.mask_source == "threshold"
    assert np.isnan(result.slice_scores).any()


def test_a_lung_network_chooses_the_slices(slices: Path, tmp_path: Path) -> None:
    lungs = write_lung_checkpoint(tmp_path / "lungs.ckpt")
    scan, truth = two_tone()
    result = Predictor(slices, lung_checkpoint=lungs, device="cpu").apply(scan, id="x")
    assert result.mask_source == f"checkpoint:{sha256_file(lungs)}"
    assert abs(np.isfinite(result.slice_scores).sum() - truth.any((1, 2)).sum()) <= 2


@pytest.mark.parametrize("by_slices", [False, True])
def test_lesions_come_with_the_diagnosis(
    checkpoint: Path, slices: Path, lesions: Path, monkeypatch: pytest.MonkeyPatch, by_slices: bool
) -> None:
    monkeypatch.setattr(LesionMaskRCNN, "detect", detect_by_grey_value)
    predictor = Predictor(slices if by_slices else checkpoint, lesion_checkpoint=lesions, device="cpu")
    result = predictor.apply(phantom().volume, id="x")
    assert result.lesion_source == f"checkpoint:{sha256_file(lesions)}"
    assert [row["lesion"] for row in result.lesions] == ["ground_glass_opacity", "consolidation", "all"]
    assert result.lesions[2]["volume_ml"] > 0
    assert result.lesions[2]["lungs_percent"] >= 0
    assert result.lesion_preview is not None
    assert result.lesion_preview.labels.any()
    assert (result.region_preview is not None) == by_slices == bool(result.regions)
    assert "lesions" in result.seconds


def test_what_made_the_results_is_recorded(
    slices: Path, lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LesionMaskRCNN, "detect", detect_by_grey_value)
    write_nifti(tmp_path / "in" / "a.nii.gz", phantom())
    cohort = triage(
        [tmp_path / "in"],
        checkpoint=slices,
        lesion_checkpoint=lesions,
        lesion_thresholds={"score_threshold": 0.9},
        device="cpu",
    )
    assert cohort.scans[0].status == "done", cohort.scans[0].error
    assert cohort.run["slice_rule"] == SLICE_RULE
    assert cohort.run["lesion_source"] == f"checkpoint:{sha256_file(lesions)}"
    assert cohort.run["lesion_thresholds"] == {"score": 0.9, "mask": 0.5, "nms": 0.5, "rpn_nms": 0.75}
    assert "display_values" not in cohort.run


def test_networks_in_each_others_place_are_refused(checkpoint: Path, slices: Path, lesions: Path) -> None:
    with pytest.raises(Exception, match="CovidCTMaskNetTask, not to LesionMaskRCNNTask"):
        Predictor(checkpoint, lesion_checkpoint=slices, device="cpu")
    with pytest.raises(Exception, match="LesionMaskRCNNTask, which does not classify"):
        Predictor(lesions, device="cpu")
    with pytest.raises(UsageError, match="score_threshold belong to a lesion network"):
        Predictor(checkpoint, lesion_thresholds={"score_threshold": 0.5}, device="cpu")
    with pytest.raises(UsageError, match=r"must lie in \[0, 1\]"):
        Predictor(checkpoint, lesion_checkpoint=lesions, lesion_thresholds={"mask_threshold": -1.0}, device="cpu")


def test_all_slices_of_a_scan_go_the_same_way_at_the_gate(tmp_path: Path) -> None:
    volume = phantom().volume
    expert = {"name": "SliceClassifier", "arguments": {"backbone": "resnet18"}}
    record = Preprocessing(kind="ct_slice", classes=CLASSES, size=32, mask_source="none", contrast="rms")
    each = prepare_slices(volume, record)["contrast"]
    assert each.min() < np.median(each) < each.max()
    sides = []
    for threshold in (float(np.median(each)) + 1e-4, float(np.median(each)) - 1e-4):
        torch.manual_seed(0)
        task = GatedEnsembleTask(low=[expert], high=[expert], kind="ct_slice", threshold=threshold)
        task.preprocessing = record
        with torch.no_grad():
            for side, bias in (("low", 50.0), ("high", -50.0)):
                task.model.get_submodule(side)[0].head.bias.copy_(torch.tensor([bias, 0.0, 0.0]))  # type: ignore[index]
        found = classify_slices(task.eval(), volume, record, indices=range(volume.shape[0]))
        sides.append(found.prob[:, 0] > 0.5)
    assert sides[0].all()
    assert not sides[1].any()
