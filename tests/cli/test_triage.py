"""``covidct triage``: mixed inputs, pseudonyms, resume, and the same numbers as the library."""

from __future__ import annotations

import csv
import json
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from covidct import RESEARCH_USE
from covidct.__main__ import main
from covidct.models import LesionMaskRCNN
from covidct.preprocessing import Preprocessing
from covidct.sample import collate
from covidct.tasks import load_task
from covidct.transforms import prepare_volume, to_sample
from covidct.weights import load_checkpoint, sha256_file
from tests.fakes.checkpoint import phantom, write_nifti
from tests.fakes.dicom import write_series
from tests.fakes.lesion_network import detect_by_grey_value, write_lesion_checkpoint, write_slice_checkpoint
from tests.fakes.lung_network import two_tone, write_lung_checkpoint

SENTINEL = "SENTINEL"
UID = "1.2.826.0.7.5.3.1"


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "cohort.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def paths_of(out: Path) -> dict[str, str]:
    _, *lines = (out / "inputs.csv").read_text().splitlines()
    return {row["id"]: Path(row["path"]).name for row in csv.DictReader(lines)}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good scans in unlike formats, a damaged one, one without lungs, and a text file."""
    folder = tmp_path_factory.mktemp("mixed") / f"{SENTINEL}-patient"
    scan = phantom(0)
    write_nifti(folder / f"{SENTINEL}_a.nii.gz", scan)
    volume = phantom(1, "normal").volume
    write_series(
        folder / f"{SENTINEL}_b", np.rint(volume.array), spacing=volume.spacing, series_uid="1.2.826.0.7.5.3.1"
    )
    (folder / f"{SENTINEL}_broken.nii.gz").write_bytes(b"\x1f\x8b damaged")
    water = np.zeros((12, 16, 16), np.int16)
    water[:2] = -1000
    write_series(folder / f"{SENTINEL}_water", water, spacing=(5.0, 5.0, 5.0))
    (folder / "notes.txt").write_text("no scan")
    return folder


@pytest.fixture(scope="module")
def done(mixed: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one run over the mixed folder."""
    out = tmp_path_factory.mktemp("triage") / "out"
    assert main(["triage", str(mixed), "--checkpoint", str(checkpoint), "--out", str(out)]) == 1
    return out


def test_bad_inputs_are_listed_and_do_not_stop_the_rest(done: Path) -> None:
    names = paths_of(done)
    status = {names[row["id"]]: row["status"] for row in rows(done)}
    assert status == {
        f"{SENTINEL}_a.nii.gz": "done",
        f"{SENTINEL}_b": "done",
        f"{SENTINEL}_broken.nii.gz": "failed",
        f"{SENTINEL}_water": "failed",
    }
    errors = {names[row["id"]]: row["error"] for row in rows(done)}
    assert "lungs" in errors[f"{SENTINEL}_water"]
    assert errors[f"{SENTINEL}_broken.nii.gz"]


def test_one_json_and_one_page_a_scan_and_one_page_for_all(done: Path) -> None:
    for row in rows(done):
        record = json.loads((done / "scans" / f"{row['id']}.json").read_text())
        assert record["status"] == row["status"]
        assert record["research_use"] == RESEARCH_USE
        if row["status"] == "done":
            assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-6)
            assert record["lungs_ml"]["right"] > 100
            assert len(record["slice_scores"]) == 32
            page = (done / "scans" / f"{row['id']}.html").read_text()
            assert RESEARCH_USE in page
            assert "data:image" in page
            assert page.count('data-layer="lungs"') == 1  # all slices in a viewer
    index = (done / "index.html").read_text()
    assert all(row["id"] in index for row in rows(done))
    assert RESEARCH_USE in index


def test_nothing_leads_back_to_the_inputs_but_the_local_key(done: Path) -> None:
    for file in done.rglob("*"):
        assert SENTINEL not in file.name
        if file.is_file() and file.name != "inputs.csv":
            content = file.read_bytes()
            assert SENTINEL.encode() not in content, file
            assert UID.encode() not in content, file
    key = done / "inputs.csv"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "local key, do not share" in key.read_text().splitlines()[0]


def test_probabilities_are_those_of_the_library_path(done: Path, checkpoint: Path) -> None:
    task = load_task(checkpoint)
    assert task.preprocessing is not None
    volume = phantom(0).volume
    stored = replace(volume, array=np.rint(volume.array).astype(np.int16))
    nobody = torch.tensor(0)
    sample = to_sample(prepare_volume(stored, task.preprocessing), id="x", subject=nobody, scan=nobody)
    with torch.inference_mode():
        found = task.predict_step(collate([sample]), 0)
    names = paths_of(done)
    (row,) = [row for row in rows(done) if names[row["id"]] == f"{SENTINEL}_a.nii.gz"]
    given = [float(row[f"prob_{name}"]) for name in task.class_names]
    np.testing.assert_allclose(given, found["prob"][0].numpy(), atol=1e-5)


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """The results once more, to go on with."""
    shutil.copytree(done, tmp_path / "copy")
    return tmp_path / "copy"


def test_resume_redoes_nothing_that_is_finished(
    copy: Path, mixed: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows(copy)
    seen: list[str] = []
    from covidct.inference import Predictor
    from covidct.io import ScanInput
    from covidct.result import ScanResult

    def count(self: Predictor, scan: ScanInput, *, id: str) -> ScanResult:
        seen.append(scan.path.name)
        return original(self, scan, id=id)

    original = Predictor.__call__
    monkeypatch.setattr(Predictor, "__call__", count)
    arguments = ["triage", str(mixed), "--checkpoint", str(checkpoint), "--out", str(copy), "--resume"]
    assert main(arguments) == 1
    assert sorted(seen) == [f"{SENTINEL}_broken.nii.gz", f"{SENTINEL}_water"]
    assert rows(copy) == before
    assert "2 of 4 scans are finished" in capsys.readouterr().err
    assert "data:image" in (copy / "index.html").read_text()


def test_resume_does_changed_inputs_again(copy: Path, mixed: Path, checkpoint: Path, tmp_path: Path) -> None:
    moved = tmp_path / "inputs"
    shutil.copytree(mixed, moved)
    out = tmp_path / "second"
    arguments = ["triage", str(moved), "--checkpoint", str(checkpoint), "--out", str(out)]
    assert main(arguments) == 1
    before = {row["id"]: row["prob_covid"] for row in rows(out)}
    write_nifti(moved / f"{SENTINEL}_a.nii.gz", phantom(5, "normal"))
    assert main([*arguments, "--resume"]) == 1
    after = {row["id"]: row["prob_covid"] for row in rows(out)}
    names = paths_of(out)
    assert {names[key] for key in after if after[key] != before[key]} == {f"{SENTINEL}_a.nii.gz"}


def test_results_of_another_run_are_never_mixed_in(
    copy: Path, mixed: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["triage", str(mixed), "--out", str(copy)]
    assert main([*arguments, "--checkpoint", str(checkpoint)]) == 2
    assert "--resume" in capsys.readouterr().err
    other = tmp_path / "other.ckpt"
    torch.save(load_checkpoint(checkpoint) | {"epoch": 7}, other)
    assert main([*arguments, "--checkpoint", str(other), "--resume"]) == 2
    assert "checkpoint_sha256" in capsys.readouterr().err
    assert main([*arguments, "--checkpoint", str(checkpoint), "--resume", "--on-fault", "warn"]) == 2
    assert "on_fault" in capsys.readouterr().err


def test_an_interrupted_run_keeps_what_is_done(
    mixed: Path, checkpoint: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from covidct.inference import Predictor
    from covidct.io import ScanInput
    from covidct.result import ScanResult

    original = Predictor.__call__

    def stop(self: Predictor, scan: ScanInput, *, id: str) -> ScanResult:
        if scan.path.name.endswith("_b"):
            raise KeyboardInterrupt
        return original(self, scan, id=id)

    monkeypatch.setattr(Predictor, "__call__", stop)
    assert main(["triage", str(mixed), "--checkpoint", str(checkpoint), "--out", str(empty)]) == 130
    assert [row["status"] for row in rows(empty)] == ["done", "failed"]


def test_a_fault_of_the_library_is_a_failure_of_one_scan(
    mixed: Path, checkpoint: Path, empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from covidct.inference import Predictor
    from covidct.io import ScanInput
    from covidct.result import ScanResult

    original = Predictor.__call__

    def fail(self: Predictor, scan: ScanInput, *, id: str) -> ScanResult:
        if scan.path.name.endswith("_b"):
            raise ZeroDivisionError(f"{SENTINEL} in the text")
        return original(self, scan, id=id)

    monkeypatch.setattr(Predictor, "__call__", fail)
    assert main(["triage", str(mixed), "--checkpoint", str(checkpoint), "--out", str(empty)]) == 1
    assert f"{SENTINEL} in the text" in capsys.readouterr().err
    assert SENTINEL not in (empty / "cohort.csv").read_text()
    assert "ZeroDivisionError" in (empty / "cohort.csv").read_text()


def test_all_refused_leaves_nothing_behind(mixed: Path, checkpoint: Path, empty: Path) -> None:
    inputs = [str(mixed / f"{SENTINEL}_water"), str(mixed / f"{SENTINEL}_broken.nii.gz")]
    assert main(["triage", *inputs, "--checkpoint", str(checkpoint), "--out", str(empty)]) == 3
    assert not empty.exists()


@pytest.mark.parametrize("device", ["gpu:17", "nothing", "cuda:99"])
def test_an_unknown_device_is_wrong_usage(mixed: Path, checkpoint: Path, empty: Path, device: str) -> None:
    arguments = ["--checkpoint", str(checkpoint), "--out", str(empty), "--device", device]
    assert main(["triage", str(mixed), *arguments]) == 2
    assert not empty.exists()


def test_a_file_as_output_folder_is_wrong_usage(mixed: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main(["triage", str(mixed), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "file")]) == 2


def test_the_mask_of_a_lung_network_is_recorded_everywhere(
    checkpoint: Path, empty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume, _ = two_tone()
    write_series(tmp_path / "scan", volume.array, spacing=volume.spacing)
    lungs = write_lung_checkpoint(tmp_path / "lungs.ckpt")
    source = f"checkpoint:{sha256_file(lungs)}"
    arguments = ["triage", str(tmp_path / "scan"), "--checkpoint", str(checkpoint), "--out", str(empty)]
    assert main(arguments) == 3  # the classical method finds no lungs
    assert main([*arguments, "--lung-checkpoint", str(lungs), "--no-viewer"]) == 0
    (row,) = rows(empty)
    assert row["mask_source"] == source
    assert "viewer-data" not in (empty / "scans" / f"{row['id']}.html").read_text()
    record = json.loads((empty / "scans" / f"{row['id']}.json").read_text())
    assert record["mask_source"] == record["run"]["mask_source"] == source
    assert record["run"]["preprocessing"]["mask_source"] == "threshold"  # what the task was trained with
    assert json.loads((empty / "run.json").read_text())["mask_source"] == source
    assert sha256_file(lungs) in (empty / "scans" / f"{row['id']}.html").read_text()
    capsys.readouterr()
    assert main([*arguments, "--resume"]) == 2
    assert "mask_source" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--lung-checkpoint", str(lungs)]) == 0
    assert rows(empty) == [row]


@pytest.fixture(scope="module")
def lesion_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lesion_checkpoint(tmp_path_factory.mktemp("lesions") / "lesions.ckpt")


def test_lesions_of_the_scans_with_their_network_and_thresholds(
    checkpoint: Path,
    lesion_network: Path,
    empty: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(LesionMaskRCNN, "detect", detect_by_grey_value)
    write_nifti(tmp_path / "in" / f"{SENTINEL}_a.nii.gz", phantom(0))
    plain = ["triage", str(tmp_path / "in"), "--checkpoint", str(checkpoint), "--out", str(empty)]
    arguments = [*plain, "--lesions", str(lesion_network)]
    assert main([*arguments, "--score-threshold", "0.6"]) == 0
    source = f"checkpoint:{sha256_file(lesion_network)}"
    (row,) = rows(empty)
    record = json.loads((empty / "scans" / f"{row['id']}.json").read_text())
    assert record["lesion_source"] == record["run"]["lesion_source"] == source
    assert record["run"]["lesion_thresholds"]["score"] == 0.6
    every = record["lesions"][2]
    assert every["lesion"] == "all"
    assert float(row["consolidation_ml"]) + float(row["ggo_ml"]) == pytest.approx(every["volume_ml"], rel=1e-5)
    page = (empty / "scans" / f"{row['id']}.html").read_text()
    assert "Lesions" in page
    assert sha256_file(lesion_network) in page
    capsys.readouterr()
    for other in (plain, arguments, [*arguments, "--score-threshold", "0.6", "--rpn-nms", "0.2"]):
        assert main([*other, "--resume"]) == 2
        assert "lesion_" in capsys.readouterr().err
    assert main([*arguments, "--score-threshold", "0.6", "--resume"]) == 0
    assert rows(empty) == [row]


def test_a_classifier_of_slices_diagnoses_scans(
    lesion_network: Path, empty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slices = write_slice_checkpoint(tmp_path / "slices.ckpt")
    write_nifti(tmp_path / "in" / "a.nii.gz", phantom(0))
    arguments = ["triage", str(tmp_path / "in"), "--checkpoint", str(slices), "--out", str(empty)]
    assert main(arguments) == 0
    (row,) = rows(empty)
    record = json.loads((empty / "scans" / f"{row['id']}.json").read_text())
    assert len(record["slice_scores"]) == 24
    assert None in record["slice_scores"], "slices without lung have no score"
    assert "suspicious" in record["run"]["slice_rule"]
    assert "its best regions" in (empty / "scans" / f"{row['id']}.html").read_text()
    assert main([*arguments, "--resume"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--resume", "--display-values"]) == 2
    assert "display_values" in capsys.readouterr().err
    assert main([*arguments[:-1], str(tmp_path / "x"), "--lesions", str(slices)]) == 3
    assert "not to LesionMaskRCNNTask" in capsys.readouterr().err
    assert main([*arguments[:-1], str(tmp_path / "x"), "--mask-threshold", "0.5"]) == 2
    assert "lesion network" in capsys.readouterr().err


def test_folders_of_pictures_are_diagnosed_too(empty: Path, tmp_path: Path) -> None:
    record = Preprocessing(kind="ct_slice", classes=("non_covid", "cap", "covid"), size=32, window=None)
    record = replace(record, mask_source="none")
    network = write_slice_checkpoint(tmp_path / "slices.ckpt", record=record)
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(4):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((40, 48), 50 * index, np.uint8))
    assert main(["triage", str(folder), "--checkpoint", str(network), "--out", str(empty)]) == 0
    (row,) = rows(empty)
    assert "all_slices" in row["findings"]


@pytest.mark.real
def test_real_scans(real_data: Path, checkpoint: Path, empty: Path) -> None:
    names = ("ct_cip/ct-64.nrrd", "ct_cip/ct-64Dicom", "ct_totalsegmentator_abdomen")
    code = main(
        ["triage", *(str(real_data / name) for name in names), "--checkpoint", str(checkpoint), "--out", str(empty)]
    )
    assert code == 1
    good = [row for row in rows(empty) if row["status"] == "done"]
    assert len(good) == 2
    assert float(good[0]["prob_covid"]) == pytest.approx(float(good[1]["prob_covid"]), abs=1e-6)
