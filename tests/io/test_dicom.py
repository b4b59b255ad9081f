"""Reading DICOM series: every orientation, every syntax, zips, real scans."""

from __future__ import annotations

import importlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from covidct.errors import CodecError, GeometryError, InputError, ModalityError
from covidct.io import find_series, read_scan
from covidct.io.dicom import read_dicom
from tests.fakes.dicom import AXIAL, body, edit, positions, write_enhanced, write_series

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HU = body()
SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    JPEGLosslessSV1,
]
MARK = (3, 9, 5)  # slice, row, column of one voxel that stands out


def orientations() -> list[tuple[tuple[float, ...], bool]]:
    """Row and column direction along any two signed axes (24), slices written in either order (48)."""
    result = []
    for a, b in itertools.permutations(range(3), 2):
        for sign_a, sign_b in itertools.product((1.0, -1.0), repeat=2):
            row, column = np.zeros(3), np.zeros(3)
            row[a], column[b] = sign_a, sign_b
            result += [((*row.tolist(), *column.tolist()), False), ((*row.tolist(), *column.tolist()), True)]
    return result


@pytest.mark.parametrize(("orientation", "backwards"), orientations())
def test_every_orientation_keeps_voxels_in_place(
    tmp_path: Path, orientation: tuple[float, ...], backwards: bool
) -> None:
    hu = HU.copy()
    hu[MARK] = 2500
    at = positions(len(hu), orientation=orientation)
    order = slice(None, None, -1 if backwards else 1)
    write_series(tmp_path, hu[order], orientation=orientation, places=at[order])
    volume = read_scan(tmp_path)
    k, r, c = MARK
    truth = at[k] + r * 0.75 * np.array(orientation[3:]) + c * 0.5 * np.array(orientation[:3])
    d, h, w = np.argwhere(volume.array == 2500)[0]
    assert np.abs((volume.affine @ (w, h, d, 1))[:3] - truth).max() <= 0.01
    assert (np.diag(volume.affine)[:3] > 0).all()  # towards left, back and head
    assert sorted(volume.array.shape) == sorted(hu.shape)
    assert np.sort(volume.array, axis=None).tolist() == np.sort(hu, axis=None).tolist()
    assert volume.source is not None
    assert volume.source.shape == hu.shape
    assert np.abs(volume.source.affine @ (c, r, k, 1) - (*truth, 1)).max() <= 0.01


def test_axial_series_is_read_as_written(tmp_path: Path) -> None:
    write_series(tmp_path, HU)
    volume = read_scan(tmp_path)
    assert volume.array.dtype == np.int16
    assert volume.array.flags.c_contiguous
    assert np.array_equal(volume.array, HU)
    assert volume.spacing == pytest.approx((2.0, 0.75, 0.5))
    assert volume.affine[:3, 3] == pytest.approx((-10, 20, -30))
    assert volume.findings == ()
    assert (volume.modality, volume.intensity) == ("CT", "hu")


def test_oblique_series_keeps_its_angles(tmp_path: Path) -> None:
    turn = np.radians(20)
    orientation = (np.cos(turn), 0.0, np.sin(turn), 0.0, 1.0, 0.0)
    write_series(tmp_path, HU, orientation=orientation)
    volume = read_scan(tmp_path)
    assert np.array_equal(volume.array, HU)
    assert volume.affine[:3, 0] / 0.5 == pytest.approx(orientation[:3], abs=1e-6)
    assert volume.affine[:3, 2] / 2.0 == pytest.approx(np.cross(orientation[:3], orientation[3:]), abs=1e-6)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name.split(",")[0])
def test_syntaxes_give_the_same_voxels(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path, HU, syntax=syntax)
    assert np.array_equal(read_scan(tmp_path).array, HU)


@pytest.mark.parametrize(
    ("dtype", "bits", "intercept"),
    [("<i2", None, 0), ("<u2", 12, -1024), ("<i2", 13, 0), ("<i2", 12, 0), ("<u2", 16, -8192)],
)
def test_stored_forms(tmp_path: Path, dtype: str, bits: int | None, intercept: int) -> None:
    hu = np.clip(HU, -1024, 1000)
    write_series(tmp_path, hu, dtype=dtype, bits=bits, intercept=intercept)
    assert np.array_equal(read_scan(tmp_path).array, hu)


def test_eight_bits(tmp_path: Path) -> None:
    hu = (np.rint((HU + 1024) / 10) * 10 - 1024).clip(-1024, 1500).astype(np.int16)
    write_series(tmp_path, hu, dtype="u1", slope=10)
    assert np.array_equal(read_scan(tmp_path).array, hu)


def test_overlay_bits_are_masked(tmp_path: Path) -> None:
    hu = HU.clip(-1024, 3000)
    paths = write_series(tmp_path, hu, bits=12)
    raw = paths[4].read_bytes()
    plane = (hu[4] + 1024).astype("<u2")
    paths[4].write_bytes(raw.replace(plane.tobytes(), (plane | (plane % 2) << 15).astype("<u2").tobytes()))
    assert np.array_equal(read_scan(tmp_path).array, hu)


@pytest.mark.parametrize("padding", [-2000, -3024, -2048, 500])
def test_padding_becomes_air(tmp_path: Path, padding: int) -> None:
    hu = HU.astype(np.int32)
    hu[hu == 500] = 501
    hu[:, :3] = padding
    write_series(tmp_path, hu, dtype="<i2", intercept=0, padding=padding if padding > 0 else None)
    array = read_scan(tmp_path).array
    assert (array[:, :3] == -1024).all()
    assert np.array_equal(array[:, 3:], hu[:, 3:])


def test_fractional_slope_and_large_values_give_float32(tmp_path: Path) -> None:
    write_series(tmp_path / "slope", HU, slope=0.5, intercept=-1024.0)
    volume = read_scan(tmp_path / "slope")
    assert volume.array.dtype == np.float32
    assert volume.array == pytest.approx(HU)
    high = HU.astype(np.int32)
    high[5, 20, 9] = 60_000
    write_series(tmp_path / "high", high)
    assert read_scan(tmp_path / "high").array.max() == 60_000


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, ImplicitVRLittleEndian])
def test_enhanced_file(tmp_path: Path, syntax: str) -> None:
    order = np.random.default_rng(1).permutation(len(HU)).tolist()
    path = write_enhanced(tmp_path / "enhanced.dcm", HU, order=order, syntax=syntax)
    volume = read_scan(path)
    assert np.array_equal(volume.array, HU)
    assert volume.affine[:3, 3] == pytest.approx((-10, 20, -30))
    (info,) = find_series(path)
    assert info.shape == HU.shape


def test_other_files_beside_are_ignored(tmp_path: Path) -> None:
    write_series(tmp_path / "deep" / "er", HU)
    for name in ("LICENSE", "notes.xml", "DICOMDIR", "Thumbs.db", "empty"):
        (tmp_path / name).write_bytes(b"" if name == "empty" else b"not an image " * 30)
    assert np.array_equal(read_scan(tmp_path).array, HU)


def test_bad_inputs_are_one_sentence(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no DICOM image"):
        read_scan(empty)
    with pytest.raises(InputError, match="no file or folder"):
        read_scan(tmp_path / "absent")
    (tmp_path / "text.dcm").write_text("hello")
    with pytest.raises(InputError, match="no scan"):
        read_scan(tmp_path / "text.dcm")
    with pytest.raises(InputError, match="no scan"):
        find_series(tmp_path / "text.dcm")


def test_unknown_syntax_is_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HU)
    for path in paths:
        data = path.read_bytes()
        path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.99"))
    with pytest.raises(CodecError, match=r"1\.2\.840\.10008\.1\.2\.99.*gdcmconv"):
        read_scan(tmp_path)


@pytest.mark.parametrize("modality", ["MR", "CR", "SEG"])
def test_other_modalities(tmp_path: Path, modality: str) -> None:
    write_series(tmp_path, HU, modality=modality)
    with pytest.raises(ModalityError, match="not a CT"):
        read_scan(tmp_path)
    volume = read_scan(tmp_path, on_fault="warn")
    assert volume.modality == modality
    assert [f.code for f in volume.findings] == ["not_ct"]


def test_missing_modality_is_a_matter_of_values(tmp_path: Path) -> None:
    write_series(tmp_path / "hu", HU, modality=None)
    volume = read_scan(tmp_path / "hu")
    assert (volume.modality, [f.code for f in volume.findings]) == ("", ["missing_modality"])
    write_series(tmp_path / "no", HU + 2000, modality=None)
    with pytest.raises(InputError, match="not_hu"):
        read_scan(tmp_path / "no")


@pytest.mark.parametrize("slope", [0, -1])
def test_slope_that_makes_no_numbers(tmp_path: Path, slope: int) -> None:
    for path in write_series(tmp_path, HU):
        edit(path, RescaleSlope=slope)
    with pytest.raises(InputError, match="slope"):
        read_scan(tmp_path)


def write_float(folder: Path, hu: NDArray[Any]) -> None:
    for path, plane in zip(write_series(folder, HU, slope=1, intercept=0, dtype="<i2"), hu, strict=True):
        edit(path, BitsAllocated=32, BitsStored=32, HighBit=31, PixelData=None, FloatPixelData=plane.tobytes())


def test_float_pixels_that_are_not_finite(tmp_path: Path) -> None:
    hu = HU.astype("<f4")
    hu[:, :2] = np.nan
    write_float(tmp_path / "outside", hu)
    volume = read_scan(tmp_path / "outside")
    assert (volume.array[:, :2] == -1024).all()
    assert np.array_equal(volume.array[:, 2:], hu[:, 2:])
    assert [(f.code, f.action) for f in volume.findings] == [("padding", "repaired")]
    hu[3, 20, 15] = np.inf
    write_float(tmp_path / "inside", hu)
    with pytest.raises(InputError, match="not_finite"):
        read_scan(tmp_path / "inside")


def test_absurd_matrix_is_refused_before_allocation(tmp_path: Path) -> None:
    for path in write_series(tmp_path, HU):
        edit(path, Rows=65535, Columns=65535)
    with pytest.raises(GeometryError, match="65535 x 65535"):
        read_scan(tmp_path)


def test_information_is_free_of_identity_and_paths(tmp_path: Path) -> None:
    folder = tmp_path / "SENTINEL_PATH"
    write_series(folder, HU)
    (info,) = find_series(folder)
    text = repr(info) + str(info.to_dict())
    assert "SENTINEL" not in text
    assert info.to_dict()["shape"] == list(HU.shape)
    assert info.spacing == pytest.approx((2.0, 0.75, 0.5))
    assert "SENTINEL" not in repr(read_dicom(folder).findings)


@pytest.mark.real
def test_real_series_equal_simpleitk_and_nrrd(real_data: Path) -> None:
    sitk: Any = importlib.import_module("SimpleITK")  # it has no types

    volume = read_scan(real_data / "ct_cip" / "ct-64Dicom")
    image = sitk.ReadImage(str(real_data / "ct_cip" / "ct-64.nrrd"))
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(image))
    volume = read_scan(real_data / "ct_lung_pet_ct_dx")
    assert volume.shape == (64, 512, 512)
    assert [f.code for f in volume.findings] == ["reversed_names"]
    folder = next((real_data / "ct_lung_pet_ct_dx").rglob("*.dcm")).parent
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(image))
    assert volume.affine[:3, 3] == pytest.approx(image.GetOrigin())


@pytest.mark.real
def test_real_files_are_read_or_refused(real_data: Path) -> None:
    with pytest.raises(GeometryError, match="has 2 slices"):
        read_scan(real_data / "dicom_reader" / "lungmask_minimal_header")
    for name in ("odd/reportsi.dcm", "odd/liver_1frame.dcm", "valid/MR_small.dcm", "odd/rtdose.dcm"):
        with pytest.raises(ModalityError, match="not_ct"):
            read_scan(real_data / "dicom_reader" / name)
    with pytest.raises(ModalityError, match="X-ray"):
        read_scan(real_data / "dicom_reader" / "cxr" / "Fake_MONOHR1.dcm")


def test_the_fake_places_slices_along_the_normal() -> None:
    at: NDArray[np.float64] = positions(3, orientation=AXIAL)
    assert np.diff(at, axis=0).tolist() == [[0, 0, 2], [0, 0, 2]]


def test_frames_without_places_are_refused(tmp_path: Path) -> None:
    for path, plane in zip(write_series(tmp_path, HU), HU, strict=True):
        twice = np.stack([plane, plane]) + 1024
        edit(path, NumberOfFrames=2, PixelData=twice.astype("<u2").tobytes())
    for policy in ("error", "warn"):
        with pytest.raises(GeometryError, match=r"2 frames have one place|too_few_slices"):
            read_scan(tmp_path, on_fault=policy)


def test_listing_names_what_header_alone_tells(tmp_path: Path) -> None:
    for path in write_series(tmp_path, HU):
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.99"))
    (info,) = find_series(tmp_path)
    assert [(f.code, f.action) for f in info.findings] == [("missing_codec", "refused")]
    assert ".dcm" not in info.findings[0].message


def test_volume_files_beside_the_series_are_recorded(tmp_path: Path) -> None:
    write_series(tmp_path, HU)
    (tmp_path / "JOHN_DOE.nii.gz").write_bytes(b"")
    volume = read_scan(tmp_path)
    assert np.array_equal(volume.array, HU)
    assert [(f.code, f.action) for f in volume.findings] == [("other_files", "recorded")]
    assert "1 volume file " in volume.findings[0].message
    assert "DOE" not in repr(volume.findings)
