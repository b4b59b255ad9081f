"""``covidct segment`` with a lesion network: scans, slices, pictures, folders of them, refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk

from covidct import RESEARCH_USE
from covidct.__main__ import main
from covidct.models import LesionMaskRCNN
from covidct.weights import sha256_file
from tests.fakes.checkpoint import phantom, write_nifti
from tests.fakes.dicom import identify, write_series
from tests.fakes.lesion_network import RECORD, detect_by_grey_value, write_lesion_checkpoint
from tests.fakes.lung_network import two_tone, write_lung_checkpoint

detect = LesionMaskRCNN.detect  # of random weights

GREY = [0.27, 0.7, 0.9]  # nothing, ground-glass opacity, consolidation


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a lesion network on Hounsfield units."""
    return write_lesion_checkpoint(tmp_path_factory.mktemp("lesions") / "lesions.ckpt")


@pytest.fixture(scope="module")
def of_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a lesion network on display values."""
    return write_lesion_checkpoint(tmp_path_factory.mktemp("lesions") / "p.ckpt", record=replace(RECORD, window=None))


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks answer by grey value."""
    monkeypatch.setattr(LesionMaskRCNN, "detect", detect_by_grey_value)


def blocks(height: int = 64, width: int = 96) -> np.ndarray:
    """A slice with a block of each type at edges that the network of 64 x 64 can see."""
    mask = np.zeros((height, width), np.uint8)
    mask[16:32, 24:48], mask[40:56, 60:72] = 1, 2
    return mask


def write_picture(path: Path, mask: np.ndarray, *, bits: int = 8, channels: int = 1) -> Path:
    grey = np.choose(mask, GREY) * (2**bits - 1)
    pixels = np.rint(grey).astype(np.uint16 if bits == 16 else np.uint8)
    if channels > 1:
        pixels = np.repeat(pixels[..., None], channels, 2)
        pixels[..., 3:] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def differing(found: np.ndarray, wanted: np.ndarray) -> int:
    """Pixels that differ; corners of blocks are rounded where slices are interpolated."""
    assert found.shape == wanted.shape
    return int(np.count_nonzero(found != wanted))


def read_png(path: Path) -> np.ndarray:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return np.asarray(found)


def test_a_scan_gets_a_label_map_on_its_own_grid(
    tmp_path: Path, lesions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hu = np.full((6, 128, 128), -850, np.int16)
    hu[2:4, 32:64, 16:48] = -200
    scan: Any = sitk.GetImageFromArray(hu)
    scan.SetSpacing((2.0, 2.0, 5.0))
    scan.SetOrigin((-30.0, 12.0, 7.0))
    sitk.WriteImage(scan, str(tmp_path / "scan.nii.gz"))
    out = tmp_path / "mask.nii.gz"
    assert main(["segment", str(tmp_path / "scan.nii.gz"), str(out), "--checkpoint", str(lesions), "--overlays"]) == 0
    written: Any = sitk.ReadImage(str(out))
    assert written.GetSize() == scan.GetSize()
    np.testing.assert_allclose(written.GetOrigin(), scan.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(written.GetSpacing(), scan.GetSpacing(), atol=1e-5)
    mask = sitk.GetArrayFromImage(written)
    assert differing(mask, (hu > -300).astype(np.uint8)) <= 2 * 4 * 3
    text = capsys.readouterr().out
    assert RESEARCH_USE in text
    assert sha256_file(lesions)[:12] in text
    (row,) = re.findall(r"Ground-glass opacity +(\d+) +(\d+) +([\d.]+)", text)
    assert [int(row[0]), int(row[1])] == [1, int(np.count_nonzero(mask))]
    assert float(row[2]) == pytest.approx(np.count_nonzero(mask) * 0.02, abs=0.05)
    assert read_png(tmp_path / "mask_overlay.png").shape[2] >= 3


@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (16, 1), (8, 3), (8, 4)])
def test_a_picture_gets_a_picture(tmp_path: Path, of_pictures: Path, bits: int, channels: int) -> None:
    wanted = blocks()
    scan = write_picture(tmp_path / "slice.png", wanted, bits=bits, channels=channels)
    out = tmp_path / "mask.png"
    assert main(["segment", str(scan), str(out), "--checkpoint", str(of_pictures)]) == 0
    assert differing(read_png(out), wanted) <= 8
    assert read_png(out).dtype == np.uint8


def test_an_overlay_has_the_colours_of_the_slides(tmp_path: Path, of_pictures: Path) -> None:
    scan = write_picture(tmp_path / "slice.png", blocks(512, 512).repeat(1, 0))
    assert main(["segment", str(scan), str(tmp_path / "m.png"), "--checkpoint", str(of_pictures), "--overlays"]) == 0
    drawn = read_png(tmp_path / "m_overlay.png").astype(int)[..., ::-1]  # red, green, blue
    assert drawn.shape == (512, 512, 3)
    assert (drawn[24, 36] - drawn[24, 36].min())[0] > 60, "ground glass is red"
    assert (drawn[48, 66] - drawn[48, 66].min())[2] > 60, "consolidation is blue"
    assert np.ptp(drawn[300, 300]) == 0


def test_a_picture_of_unknown_window_needs_a_word(
    tmp_path: Path, lesions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, out = write_picture(tmp_path / "slice.png", blocks()), tmp_path / "mask.png"
    arguments = ["segment", str(scan), str(out), "--checkpoint", str(lesions)]
    assert main(arguments) == 3
    assert "--display-values" in capsys.readouterr().err
    assert not out.exists()
    assert main([*arguments, "--display-values"]) == 0
    assert "window [-1250, 250] HU" in capsys.readouterr().err
    assert differing(read_png(out), blocks()) <= 8


def test_a_single_dicom_slice_is_seen_in_hounsfield_units(tmp_path: Path, lesions: Path) -> None:
    wanted = blocks()
    hu = np.choose(wanted, [-850, -200, 100]).astype(np.int16)
    path = write_series(tmp_path / "in", np.stack([hu] * 3), spacing=(5.0, 0.8, 0.8))[1]
    assert main(["segment", str(path), str(tmp_path / "m.png"), "--checkpoint", str(lesions), "--overlays"]) == 0
    assert differing(read_png(tmp_path / "m.png"), wanted) <= 8
    assert (tmp_path / "m_overlay.png").exists()


def test_a_folder_of_pictures_gets_a_folder_of_masks(
    tmp_path: Path, of_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_picture(folder / "a.png", blocks())
    write_picture(folder / "a.jpg", blocks())
    write_picture(folder / "a_overlay.png", blocks(128, 128))
    write_picture(folder / "empty.tif", np.zeros((40, 90), np.uint8))
    write_picture(folder / "tiny.png", np.zeros((4, 4), np.uint8))
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture")
    assert main(["segment", str(folder), str(out), "--checkpoint", str(of_pictures), "--overlays"]) == 1
    captured = capsys.readouterr()
    assert re.search(r"tiny\.png.*4 x 4 pixels, too small", captured.err)
    assert "broken.png" in captured.err
    names = {path.name for path in out.iterdir()}
    stems = {"a", "a-2", "a_overlay-2", "empty"}
    assert names == {f"{stem}.png" for stem in stems} | {f"{stem}_overlay.png" for stem in stems}
    assert not read_png(out / "empty.png").any()
    assert differing(read_png(out / "a-2.png"), blocks()) <= 8
    assert "4 masks" in captured.out


def test_scans_and_slices_together(tmp_path: Path, lesions: Path) -> None:
    scan = write_nifti(tmp_path / "scan.nii.gz", phantom())
    path = write_series(tmp_path / "in", np.rint(phantom().volume.array), spacing=(5.0, 0.8, 0.8))[12]
    (tmp_path / "broken.nii").write_bytes(b"damaged")
    inputs = [str(scan), str(path), str(tmp_path / "broken.nii"), str(tmp_path / "in")]
    assert main(["segment", *inputs, str(tmp_path / "out"), "--checkpoint", str(lesions)]) == 1
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"scan.nii.gz", f"{path.stem}.png", "in.nii.gz"}
    assert main(["segment", inputs[2], str(tmp_path / "none"), "--checkpoint", str(lesions)]) == 3
    assert not (tmp_path / "none").exists()


def test_one_of_several_series_can_be_chosen(tmp_path: Path, lesions: Path) -> None:
    volume = phantom().volume
    for index, uid in enumerate(("1.2.826.0.1.1", "1.2.826.0.1.2")):
        names = [f"{index}-{k:03d}.dcm" for k in range(volume.shape[0])]
        write_series(tmp_path / "two", np.rint(volume.array), spacing=volume.spacing, names=names, series_uid=uid)
    arguments = ["segment", str(tmp_path / "two"), "--checkpoint", str(lesions)]
    assert main([*arguments, str(tmp_path / "both")]) == 0
    assert {one.name for one in (tmp_path / "both").iterdir()} == {"two.nii.gz", "two-2.nii.gz"}
    assert main([*arguments, str(tmp_path / "one.nrrd"), "--series", "1.2.826.0.1.2"]) == 0
    assert main([*arguments, str(tmp_path / "x.nrrd"), "--series", "1.2.3"]) == 2


def test_thresholds_are_options(tmp_path: Path, of_pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, out = write_picture(tmp_path / "slice.png", blocks()), tmp_path / "mask.png"
    arguments = ["segment", str(scan), str(out), "--checkpoint", str(of_pictures)]
    more = ["--mask-threshold", "0.5", "--roi-nms", "0.4", "--rpn-nms", "0.6"]
    assert main([*arguments, "--score-threshold", "0.8", *more]) == 0
    assert set(np.unique(read_png(out))) == {0, 2}
    for option in ("--score-threshold", "--mask-threshold", "--roi-nms", "--rpn-nms"):
        assert main([*arguments, option, "1.5"]) == 2
        assert "[0, 1]" in capsys.readouterr().err


def test_a_lung_network_measures_the_shares(tmp_path: Path, lesions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume, _ = two_tone()
    image: Any = sitk.GetImageFromArray(volume.array)
    image.SetSpacing((10.0, 10.0, 10.0))
    sitk.WriteImage(image, str(tmp_path / "scan.mha"))
    lungs = write_lung_checkpoint(tmp_path / "lungs.ckpt")
    arguments = ["segment", str(tmp_path / "scan.mha"), str(tmp_path / "m.nrrd"), "--checkpoint", str(lesions)]
    assert main([*arguments, "--lung-checkpoint", str(lungs), "--device", "cpu"]) == 0
    assert re.search(r"Consolidation .* left ", capsys.readouterr().out)
    assert main([*arguments, "--lung-checkpoint", str(lesions)]) == 3
    assert "not to UNet3dTask" in capsys.readouterr().err


def test_outputs_that_cannot_be_are_wrong_usage(tmp_path: Path, lesions: Path) -> None:
    folder = tmp_path / "in"
    picture = write_picture(folder / "a.png", blocks())
    scan = write_nifti(tmp_path / "scan.nii.gz", phantom())
    (tmp_path / "file").write_text("")
    before = picture.read_bytes()
    for inputs, out in (
        ([picture], picture),
        ([picture], tmp_path / "a.nii.gz"),
        ([scan], tmp_path / "a.png"),
        ([folder], folder),
        ([picture], folder),
        ([picture, scan], tmp_path / "both.png"),
        ([picture, scan], tmp_path / "file"),
        ([tmp_path / "absent.png"], tmp_path / "a.png"),
    ):
        assert main(["segment", *map(str, inputs), str(out), "--checkpoint", str(lesions), "--display-values"]) == 2
    assert picture.read_bytes() == before


def test_options_of_lesions_need_a_lesion_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = write_nifti(tmp_path / "scan.nii.gz", phantom())
    for option in (["--overlays"], ["--display-values"], ["--score-threshold", "0.5"], ["--lung-checkpoint", "x"]):
        assert main(["segment", str(scan), str(tmp_path / "m.nii"), *option]) == 2
        assert "lesion network" in capsys.readouterr().err
    assert main(["segment", str(scan), str(scan), str(tmp_path / "m.nii")]) == 2
    assert "one at a time" in capsys.readouterr().err


def test_a_network_of_one_class_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    merged = write_lesion_checkpoint(tmp_path / "m.ckpt", mask_type="merge", record=replace(RECORD, window=None))
    scan = write_picture(tmp_path / "slice.png", blocks())
    assert main(["segment", str(scan), str(tmp_path / "m.png"), "--checkpoint", str(merged)]) == 0
    assert "1 lesion of unknown type" in capsys.readouterr().out
    assert set(np.unique(read_png(tmp_path / "m.png"))) == {0, 1}


@pytest.mark.real
def test_real_pictures_and_slices(real_data: Path, tmp_path: Path, lesions: Path) -> None:
    folder = real_data / "ct_covid_slice_lesion"
    arguments = ["--checkpoint", str(lesions), "--overlays", "--display-values"]
    assert main(["segment", str(folder), str(tmp_path / "pictures"), *arguments]) == 0
    mask = read_png(tmp_path / "pictures" / "015_axial0079.png")
    assert mask.shape == read_png(folder / "015_axial0079.png").shape[:2]
    assert set(np.unique(mask)) == {0, 1, 2}, "chest wall and bone are bright"
    series = real_data / "ct_lung_pet_ct_dx" / "Lung_Dx-A0001" / "series2_kernelL"
    one = sorted(series.glob("*.dcm"))[30]
    assert main(["segment", str(one), str(tmp_path / "slice.png"), *arguments]) == 0
    assert read_png(tmp_path / "slice.png").shape == (512, 512)


@pytest.mark.real
@pytest.mark.slow
def test_a_real_series(real_data: Path, tmp_path: Path, lesions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LesionMaskRCNN, "detect", detect)
    series = real_data / "ct_lung_pet_ct_dx" / "Lung_Dx-A0001" / "series2_kernelL"
    out = tmp_path / "scan.nii.gz"
    assert main(["segment", str(series), str(out), "--checkpoint", str(lesions), "--overlays"]) == 0
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(out))).shape == (64, 512, 512)


def test_dicom_objects_of_lungs_and_lesions_and_none_of_a_picture(
    lesions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = phantom().volume
    inputs = tmp_path / "in"
    identify(write_series(inputs / "ct", np.rint(volume.array), spacing=volume.spacing))
    write_nifti(inputs / "plain.nii.gz", phantom(1))
    out = tmp_path / "out"
    arguments = ["segment", str(inputs / "ct"), str(inputs / "plain.nii.gz"), str(out), "--checkpoint", str(lesions)]
    assert main([*arguments, "--dicom"]) == 1
    told = capsys.readouterr().err
    assert "plain.nii.gz" in told
    assert "leave --dicom out" in told
    assert (out / "ct.nii.gz").is_file()
    assert not (out / "plain.nii.gz").exists()
    written: Any = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "ct.nii.gz")))
    segmentation = hd.seg.segread(out / "ct_dicom" / "seg_lesions.dcm")
    numbers = {item.segmented_property_type.meaning: item.segment_number for item in segmentation.SegmentSequence}
    frames = segmentation.pixel_array
    for meaning, value in (("Ground glass opacity", 1), ("Lung consolidation", 2)):
        own = [
            frame.sum()
            for frame, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True)
            if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == numbers.get(meaning)
        ]
        assert sum(own) == np.count_nonzero(written == value)
    assert hd.seg.segread(out / "ct_dicom" / "seg_lungs.dcm").SeriesInstanceUID == segmentation.SeriesInstanceUID
    (made,) = segmentation.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert made.AlgorithmParameters == f"weights_sha256={sha256_file(lesions)}"
