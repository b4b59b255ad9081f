"""``covidct segment``: masks on the scan's own grid, volumes, refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk

from covidct import RESEARCH_USE
from covidct.__main__ import main
from covidct.weights import sha256_file
from tests.fakes.checkpoint import phantom, write_nifti
from tests.fakes.dicom import identify, write_series
from tests.fakes.lung_network import two_tone, write_lung_checkpoint


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * np.sum((a > 0) & (b > 0)) / (np.sum(a > 0) + np.sum(b > 0)))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"])
def test_the_mask_lies_on_the_scans_own_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    truth = phantom()
    scan = write_nifti(tmp_path / "scan.nii.gz", truth)
    out = tmp_path / f"lungs{suffix}"
    assert main(["segment", str(scan), str(out)]) == 0
    written: Any = sitk.ReadImage(str(out))
    source: Any = sitk.ReadImage(str(scan))
    assert written.GetSize() == source.GetSize()
    np.testing.assert_allclose(written.GetSpacing(), source.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(written.GetOrigin(), source.GetOrigin(), atol=1e-3)
    mask = sitk.GetArrayFromImage(written)
    assert set(np.unique(mask)) == {0, 1, 2}
    assert dice(mask, truth.lung_mask) > 0.9
    text = capsys.readouterr().out
    assert RESEARCH_USE in text
    right = float(re.search(r"right lung (\d+) ml", text).group(1))  # type: ignore[union-attr]
    voxel = np.prod(source.GetSpacing()) / 1000
    assert right == pytest.approx(np.sum(mask == 1) * voxel, abs=1)


def test_dicom_and_nifti_of_one_scan_give_the_same_voxels(tmp_path: Path) -> None:
    truth = phantom()
    volume = truth.volume
    origin = volume.affine[:3, 3].tolist()
    write_series(tmp_path / "dicom", np.rint(volume.array), spacing=volume.spacing, origin=origin)
    scan = write_nifti(tmp_path / "scan.nii", truth)
    for source, name in ((tmp_path / "dicom", "a.nrrd"), (scan, "b.nrrd")):
        assert main(["segment", str(source), str(tmp_path / name)]) == 0
    a, b = (sitk.ReadImage(str(tmp_path / name)) for name in ("a.nrrd", "b.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(a), sitk.GetArrayFromImage(b))


def test_one_of_several_series_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = phantom().volume
    for index, uid in enumerate(("1.2.826.0.1.1", "1.2.826.0.1.2")):
        names = [f"{index}-{k:03d}.dcm" for k in range(volume.shape[0])]
        write_series(tmp_path / "two", np.rint(volume.array), spacing=volume.spacing, names=names, series_uid=uid)
    out = tmp_path / "lungs.nrrd"
    assert main(["segment", str(tmp_path / "two"), str(out)]) == 3
    assert "1.2.826.0.1.1" in capsys.readouterr().err
    assert not out.exists()
    assert main(["segment", str(tmp_path / "two"), str(out), "--series", "1.2.826.0.1.2"]) == 0


def test_repair_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = phantom().volume
    paths = write_series(tmp_path / "gap", np.rint(volume.array), spacing=volume.spacing)
    paths[10].unlink()
    out = tmp_path / "lungs.nrrd"
    assert main(["segment", str(tmp_path / "gap"), str(out)]) == 3
    assert "missing" in capsys.readouterr().err
    assert main(["segment", str(tmp_path / "gap"), str(out), "--on-fault", "repair"]) == 0
    assert "[repaired]" in capsys.readouterr().err
    assert out.exists()


def write_two_tone(path: Path, *, affine: np.ndarray | None = None) -> tuple[Path, np.ndarray]:
    """A scan for the network of known weights as MetaImage, and its lungs."""
    volume, lungs = two_tone()
    image: Any = sitk.GetImageFromArray(volume.array[:, ::-1] if affine is not None else volume.array)
    image.SetSpacing(volume.spacing[::-1])
    if affine is not None:
        image.SetDirection(affine.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path, lungs[:, ::-1] if affine is not None else lungs


@pytest.mark.parametrize("flipped", [False, True])
def test_a_network_writes_its_mask_on_the_grid_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flipped: bool
) -> None:
    scan, wanted = write_two_tone(tmp_path / "scan.mha", affine=np.diag([1.0, -1.0, 1.0]) if flipped else None)
    network = write_lung_checkpoint(tmp_path / "lungs.ckpt")
    out = tmp_path / "lungs.nii.gz"
    assert main(["segment", str(scan), str(out)]) == 3  # nothing below the threshold that is a lung
    capsys.readouterr()
    assert main(["segment", str(scan), str(out), "--checkpoint", str(network), "--device", "cpu"]) == 0
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    for side in (1, 2):
        assert dice(found == side, wanted == side) > 0.85
    text = capsys.readouterr().out
    assert sha256_file(network)[:12] in text
    assert float(re.search(r"left lung (\d+) ml", text).group(1)) == np.sum(found == 2)  # type: ignore[union-attr]


def test_what_is_no_lung_network_is_refused(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, _ = write_two_tone(tmp_path / "scan.mha")
    (tmp_path / "broken.ckpt").write_bytes(checkpoint.read_bytes()[:5000])
    out = tmp_path / "lungs.nrrd"
    for network, sentence in (
        (checkpoint, "MaskedGAPResNetTask"),
        (tmp_path / "broken.ckpt", "damaged"),
        (tmp_path / "absent.ckpt", "not a file"),
    ):
        assert main(["segment", str(scan), str(out), "--checkpoint", str(network)]) == 3
        assert sentence in capsys.readouterr().err
    assert main(["segment", str(scan), str(out), "--device", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("name", ["mask.png", "mask", "mask.gz", "mask.nhdr"])
def test_a_suffix_that_holds_no_volume_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    scan = write_nifti(tmp_path / "scan.nii", phantom())
    assert main(["segment", str(scan), str(tmp_path / name)]) == 2
    assert ".nrrd" in capsys.readouterr().err


def test_the_scan_is_never_overwritten(tmp_path: Path) -> None:
    scan = write_nifti(tmp_path / "scan.nii", phantom())
    before = scan.read_bytes()
    assert main(["segment", str(scan), str(tmp_path / "." / "scan.nii")]) == 2
    (tmp_path / "folder.nii").mkdir()
    assert main(["segment", str(scan), str(tmp_path / "folder.nii")]) == 2
    assert scan.read_bytes() == before


@pytest.mark.real
def test_real_scans(real_data: Path, tmp_path: Path) -> None:
    pairs = {"ct_cip/ct-64.nrrd": "a.nrrd", "ct_cip/ct-64Dicom": "b.nrrd"}
    for source, name in pairs.items():
        assert main(["segment", str(real_data / source), str(tmp_path / name)]) == 0
    a, b = (sitk.ReadImage(str(tmp_path / name)) for name in pairs.values())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(a), sitk.GetArrayFromImage(b))
    lungs = sitk.GetArrayFromImage(sitk.ReadImage(str(real_data / "ct_cip/wholeLung-64.nrrd")))
    assert dice(sitk.GetArrayFromImage(a), lungs) > 0.93


def test_dicom_objects_beside_the_mask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = phantom().volume
    identify(write_series(tmp_path / "ct", np.rint(volume.array), spacing=volume.spacing))
    out = tmp_path / "out" / "lungs.nii.gz"
    folder = tmp_path / "out" / "lungs_dicom"
    folder.mkdir(parents=True)
    (folder / "sc_9.dcm").write_bytes(b"of an earlier run")
    (folder / "notes.txt").write_text("of the user")
    assert main(["segment", str(tmp_path / "ct"), str(out), "--dicom"]) == 0
    assert "name the patient" in capsys.readouterr().out
    names = {path.name for path in folder.iterdir()}
    assert names == {"seg_lungs.dcm", "sr.dcm", "notes.txt", *(f"sc_{number}.dcm" for number in range(1, 7))}
    segmentation = hd.seg.segread(folder / "seg_lungs.dcm")
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    assert int(segmentation.pixel_array.sum()) == np.count_nonzero(written)
    content: Any = hd.sr.srread(folder / "sr.dcm").content
    assert content.get_image_measurement_groups() == []
    found = content.get_volumetric_roi_measurement_groups()
    voxel = np.prod(volume.spacing) / 1000
    assert [group.get_measurements()[0].value for group in found] == pytest.approx(
        [np.count_nonzero(written == value) * voxel for value in (1, 2)], rel=1e-4
    )


def test_dicom_objects_of_what_is_no_series_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = write_nifti(tmp_path / "scan.nii.gz", phantom())
    assert main(["segment", str(scan), str(tmp_path / "m.nii.gz"), "--dicom"]) == 3
    assert "leave --dicom out" in capsys.readouterr().err
    assert not (tmp_path / "m.nii.gz").exists()
