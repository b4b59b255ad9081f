"""Every bad input is one sentence, exit code 2 or 3, and nothing half-written."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch

from covidct.__main__ import main
from covidct.weights import RECORD_KEY, load_checkpoint
from tests.fakes.checkpoint import phantom, write_nifti
from tests.fakes.dicom import write_series

Make = Callable[[Path], Path]


def chest(folder: Path, **options: object) -> list[Path]:
    """A good DICOM series of a phantom, changed by ``options``."""
    volume = phantom().volume
    return write_series(folder, np.rint(volume.array), spacing=volume.spacing, **options)  # type: ignore[arg-type]


def edit(paths: list[Path], **values: object) -> None:
    """Set elements of DICOM files."""
    for path in paths:
        dataset = pydicom.dcmread(path)
        for name, value in values.items():
            setattr(dataset, name, value)
        dataset.save_as(path)


def empty_folder(at: Path) -> Path:
    (at / "scan").mkdir()
    return at / "scan"


def not_an_image(at: Path) -> Path:
    (at / "letter.txt").write_text("Dear colleague")
    return at / "letter.txt"


def not_an_image_but_named_so(at: Path) -> Path:
    (at / "letter.dcm").write_text("Dear colleague")
    return at / "letter.dcm"


def truncated_nifti(at: Path) -> Path:
    path = write_nifti(at / "scan.nii", phantom())
    path.write_bytes(path.read_bytes()[:5000])
    return path


def truncated_gzip(at: Path) -> Path:
    path = write_nifti(at / "scan.nii.gz", phantom())
    path.write_bytes(path.read_bytes()[:5000])
    return path


def truncated_dicom(at: Path) -> Path:
    path = chest(at / "scan")[3]
    path.write_bytes(path.read_bytes()[:-700])
    return at / "scan"


def unknown_transfer_syntax(at: Path) -> Path:
    for path in chest(at / "scan"):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    return at / "scan"


def magnetic_resonance(at: Path) -> Path:
    edit(chest(at / "scan"), Modality="MR", SOPClassUID=pydicom.uid.MRImageStorage)
    return at / "scan"


def chest_x_ray(at: Path) -> Path:
    path = chest(at / "scan")[0]
    edit([path], Modality="DX", SOPClassUID=pydicom.uid.DigitalXRayImageStorageForPresentation)
    return path


def x_ray_picture(at: Path) -> Path:
    import cv2

    cv2.imwrite(str(at / "chest.png"), np.full((64, 64), 90, np.uint8))
    return at / "chest.png"


def two_slices(at: Path) -> Path:
    for path in chest(at / "scan")[2:]:
        path.unlink()
    return at / "scan"


def nan_pixels(at: Path) -> Path:
    array = np.full((16, 16, 12), np.nan, np.float32)
    nib.save(nib.Nifti1Image(array, np.diag([5.0, 5, 5, 1])), at / "scan.nii")  # type: ignore[no-untyped-call]
    return at / "scan.nii"


def slope_zero(at: Path) -> Path:
    edit(chest(at / "scan"), RescaleSlope=0)
    return at / "scan"


def giant_matrix(at: Path) -> Path:
    edit(chest(at / "scan"), Rows=65535, Columns=65535)
    return at / "scan"


def giant_nifti(at: Path) -> Path:
    header = nib.Nifti1Header()  # type: ignore[no-untyped-call]
    header.set_data_dtype(np.int16)  # type: ignore[no-untyped-call]
    header["dim"][:4] = [3, 32767, 32767, 32767]
    header["magic"] = b"n+1"
    header["sform_code"] = 1
    header["srow_x"], header["srow_y"], header["srow_z"] = np.eye(4)[:3]
    header["pixdim"][1:4] = 1
    header["vox_offset"] = 352
    (at / "scan.nii").write_bytes(header.binaryblock + bytes(4 + 1000))
    return at / "scan.nii"


def zip_that_climbs(at: Path) -> Path:
    with zipfile.ZipFile(at / "scan.zip", "w") as archive:
        for path in chest(at / "scan"):
            archive.write(path, f"../{path.name}")
    return at / "scan.zip"


def no_lungs(at: Path) -> Path:
    water = np.zeros((24, 32, 32), np.int16)
    water[:, :3] = -1000
    write_series(at / "scan", water, spacing=(10.0, 8.0, 8.0))
    return at / "scan"


def missing(at: Path) -> Path:
    return at / "nowhere.nii.gz"


SCANS: tuple[tuple[Make, str], ...] = (
    (empty_folder, r"DICOM|scan"),
    (not_an_image, r"letter\.txt"),
    (not_an_image_but_named_so, r"letter\.dcm|DICOM"),
    (truncated_nifti, r"scan\.nii"),
    (truncated_gzip, r"damaged|truncated|ends"),
    (truncated_dicom, r"slice003|pixel"),
    (unknown_transfer_syntax, r"MPEG2.*(gdcmconv|convert)"),
    (magnetic_resonance, r"(?i)magnetic|MR"),
    (chest_x_ray, r"(?i)x-ray|DX"),
    (x_ray_picture, r"chest\.png"),
    (two_slices, r"at least 3"),
    (nan_pixels, r"(?i)nan|finite|number"),
    (slope_zero, r"(?i)slope"),
    (giant_matrix, r"65535"),
    (giant_nifti, r"32767|bytes"),
    (zip_that_climbs, r"outside"),
    (no_lungs, r"No lungs"),
    (missing, r"nowhere"),
)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run, and return the one sentence of the refusal."""
    code = main(arguments)
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("covidct: error: ")]
    assert code in (2, 3), captured.err
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    assert "itself failed" not in captured.err
    return lines[0]


@pytest.mark.parametrize(("make", "words"), SCANS, ids=lambda value: getattr(value, "__name__", ""))
def test_segment_refuses(
    make: Make, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], real_regex: Callable[[str, str], bool]
) -> None:
    scan = make(tmp_path)
    out = tmp_path / "out" / "lungs.nrrd"
    sentence = refused(["segment", str(scan), str(out)], capsys)
    assert real_regex(words, sentence), sentence
    assert not out.parent.exists()


@pytest.mark.parametrize(("make", "words"), SCANS, ids=lambda value: getattr(value, "__name__", ""))
def test_triage_refuses(
    make: Make,
    words: str,
    tmp_path: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    real_regex: Callable[[str, str], bool],
) -> None:
    scan = make(tmp_path)
    out = tmp_path / "out"
    sentence = refused(["triage", str(scan), "--checkpoint", str(checkpoint), "--out", str(out)], capsys)
    assert real_regex(words, sentence), sentence
    assert not out.exists()


@pytest.fixture
def real_regex() -> Callable[[str, str], bool]:
    """``re.search`` as a question."""
    import re

    return lambda pattern, text: re.search(pattern, text) is not None


def of_another_task(at: Path, good: Path) -> None:
    content = load_checkpoint(good)
    torch.save(content | {RECORD_KEY: content[RECORD_KEY] | {"task": "COVNetTask"}}, at)


def of_another_kind(at: Path, good: Path) -> None:
    content = load_checkpoint(good)
    record = content[RECORD_KEY]
    torch.save(content | {RECORD_KEY: record | {"preprocessing": record["preprocessing"] | {"kind": "cxr"}}}, at)


def pickled(at: Path, good: Path) -> None:
    torch.save({"model": Path("/tmp"), "state_dict": {}}, at)  # noqa: S108


def damaged(at: Path, good: Path) -> None:
    content = bytearray(good.read_bytes())
    content[len(content) // 2] ^= 0xFF
    at.write_bytes(content)


def cut_short(at: Path, good: Path) -> None:
    at.write_bytes(good.read_bytes()[:-2000])


def of_other_weights(at: Path, good: Path) -> None:
    content = load_checkpoint(good)
    torch.save(content | {"state_dict": {"weight": torch.zeros(2)}}, at)


def absent(at: Path, good: Path) -> None:
    assert not at.exists()


CHECKPOINTS = (of_another_task, of_another_kind, pickled, damaged, cut_short, of_other_weights, absent)


@pytest.mark.parametrize("make", CHECKPOINTS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("verb", ["triage", "test", "fit"])
def test_a_bad_checkpoint_is_refused(
    make: Callable[[Path, Path], None],
    verb: str,
    tmp_path: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if verb == "fit" and make in (of_another_task, of_another_kind, of_other_weights):
        pytest.skip("resuming checks these when the weights are restored")
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bad.ckpt"
    make(bad, checkpoint)
    if verb == "triage":
        scan = write_nifti(tmp_path / "scan.nii", phantom())
        arguments = ["triage", str(scan), "--checkpoint", str(bad), "--out", "out"]
    else:
        arguments = [verb, "--ckpt_path", str(bad), "--data=CTVolumeDataModule", "--data.dataset=PhantomCTVolumes"]
        arguments += ["--trainer.default_root_dir=out", *(["--model=MaskedGAPResNetTask"] if verb == "fit" else [])]
    assert "bad.ckpt" in refused(arguments, capsys) or make is of_another_kind
    assert not (tmp_path / "out").exists()


def table(at: Path, rows: list[str]) -> Path:
    at.write_text("\n".join(["path,label,subject,split", *rows]) + "\n")
    return at


MANIFESTS = {
    "missing file": (["a.nii,covid,p1,train", "nowhere.nii,normal,p2,val"], r"nowhere\.nii"),
    "unknown label": (["a.nii,covid,p1,train", "b.nii,flu,p2,val"], r"flu"),
    "subject in two splits": (["a.nii,covid,p1,train", "b.nii,normal,p1,test"], r"split"),
    "no label column": (None, r"label"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_bad_manifest_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import re

    monkeypatch.chdir(tmp_path)
    for index, file in enumerate(("a.nii", "b.nii")):
        write_nifti(tmp_path / file, phantom(index))
    rows, words = MANIFESTS[name]
    manifest = table(tmp_path / "cohort.csv", rows or [])
    if rows is None:
        manifest.write_text("path,subject\na.nii,p1\n")
    arguments = ["fit", "--model=MaskedGAPResNetTask", "--model.num_classes=3", "--model.backbone=resnet18"]
    arguments += ["--data=CTVolumeDataModule", "--data.dataset=ManifestVolumes", f"--data.dataset.manifest={manifest}"]
    arguments += ["--data.size=32", f"--data.cache_dir={tmp_path / 'cache'}", "--trainer.max_steps=1"]
    arguments += ["--trainer.accelerator=cpu", "--trainer.default_root_dir=out"]
    sentence = refused(arguments, capsys)
    assert re.search(words, sentence), sentence
    assert not list(tmp_path.rglob("*.ckpt"))
