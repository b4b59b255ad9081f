"""DICOM pictures: the grey-value steps of the standard, against pydicom's own tables and windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEG2000Lossless

from covidct.errors import InputError, ModalityError
from covidct.io.dicom_image import read_dicom_image
from tests.fakes.dicom import edit, write_enhanced, write_series

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RNG = np.random.default_rng(5)
STORED = RNG.integers(0, 4096, (1, 40, 48)).astype(np.uint16)


def picture(folder: Path, stored: NDArray[Any] = STORED, **elements: Any) -> Path:  # noqa: ANN401
    """Write one X-ray; ``stored`` holds the pixels as they are."""
    (path,) = write_series(folder, stored, slope=None, intercept=None, dtype=stored.dtype.str, modality="DX")
    edit(path, **elements)
    return path


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_equals_pydicom(tmp_path: Path, function: str) -> None:
    path = picture(tmp_path, BitsStored=12, HighBit=11, WindowCenter=1800, WindowWidth=1500, VOILUTFunction=function)
    image = read_dicom_image(path)
    dataset = pydicom.dcmread(path)
    assert image.array == pytest.approx(apply_voi_lut(dataset.pixel_array, dataset) / 4095, abs=1e-6)
    assert image.steps == (f"window 1800/1500 {function}",)
    assert image.array.dtype == np.float32


def test_monochrome1_is_inverted_last(tmp_path: Path) -> None:
    window: dict[str, Any] = {"WindowCenter": [1800, 10], "WindowWidth": [1500, 10]}
    one = read_dicom_image(picture(tmp_path / "1", PhotometricInterpretation="MONOCHROME1", **window))
    two = read_dicom_image(picture(tmp_path / "2", PhotometricInterpretation="MONOCHROME2", **window))
    assert one.array == pytest.approx(1 - two.array, abs=1e-6)
    assert one.steps == ("window 1800/1500 LINEAR", "inverted (MONOCHROME1)")


def table(values: NDArray[Any], first: int, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(values), first, bits], values.astype(np.uint16).tolist()
    item["LUTData"].VR = "US"
    item["LUTDescriptor"].VR = "US"
    item.ModalityLUTType = "OD"
    return item


def test_tables_equal_pydicom(tmp_path: Path) -> None:
    curve = np.rint(np.linspace(0, 1, 4096) ** 2 * 4095)
    voi = np.rint(np.linspace(0, 1, 4096) ** 0.5 * 1023)
    path = picture(tmp_path, ModalityLUTSequence=[table(curve, 0, 16)], VOILUTSequence=[table(voi, 0, 10)])
    image = read_dicom_image(path)
    dataset = pydicom.dcmread(path)
    wanted = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset) / 1023
    assert image.array == pytest.approx(wanted, abs=1e-6)
    assert image.steps == ("modality LUT", "VOI LUT")


def test_depths_and_signs(tmp_path: Path) -> None:
    eight = RNG.integers(0, 256, (1, 30, 20)).astype(np.uint8)
    image = read_dicom_image(picture(tmp_path / "8", eight))
    assert image.array == pytest.approx(eight[0] / 255, abs=1e-6)
    signed = (STORED.astype(np.int32) - 2000).astype(np.int16)
    image = read_dicom_image(picture(tmp_path / "s", signed))
    low, high = int(signed.min()), int(signed.max())
    assert image.array == pytest.approx((signed[0] - low) / (high - low), abs=1e-6)
    assert image.steps == (f"stretched from {low} to {high}",)


def test_padding_is_left_out_of_the_stretch(tmp_path: Path) -> None:
    stored = STORED.clip(100, 3000).copy()
    stored[0, :5] = 4095
    (path,) = write_series(tmp_path, stored, slope=None, intercept=None, padding=4095)
    image = read_dicom_image(path)
    assert (image.array[:5] == 0).all()
    assert image.array[5:].max() == 1
    assert "padding set to 0" in image.steps


def test_spacing_of_patient_then_detector(tmp_path: Path) -> None:
    assert read_dicom_image(picture(tmp_path / "a")).spacing == (0.75, 0.5)
    path = picture(tmp_path / "b", PixelSpacing=None, ImagerPixelSpacing=[0.2, 0.1])
    assert read_dicom_image(path).spacing == (0.2, 0.1)
    path = picture(tmp_path / "c", PixelSpacing=None)
    assert np.isnan(read_dicom_image(path).spacing).all()


def test_colour_with_equal_channels_is_grey(tmp_path: Path) -> None:
    grey = RNG.integers(0, 256, (1, 20, 24)).astype(np.uint8)
    rgb = np.repeat(grey[0, ..., None], 3, axis=-1)
    elements = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    path = picture(tmp_path / "g", grey, PixelData=rgb.tobytes(), **elements)
    assert read_dicom_image(path).array == pytest.approx(grey[0] / 255, abs=1e-6)
    rgb[3, 4, 1] ^= 255
    path = picture(tmp_path / "c", grey, PixelData=rgb.tobytes(), **elements)
    assert read_dicom_image(path).array == pytest.approx(rgb / 255, abs=1e-6)


def test_odd_windows_are_recorded_not_fatal(tmp_path: Path) -> None:
    image = read_dicom_image(picture(tmp_path, WindowCenter=100, WindowWidth=0))
    assert [f.code for f in image.findings] == ["invalid_window"]
    flat = read_dicom_image(picture(tmp_path / "f", np.full_like(STORED, 7)))
    assert flat.array.max() == 0
    assert [f.code for f in flat.findings] == ["flat_image"]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_dicom_image(tmp_path / "absent.dcm")
    (tmp_path / "text.dcm").write_text("no")
    with pytest.raises(InputError, match="no DICOM"):
        read_dicom_image(tmp_path / "text.dcm")
    with pytest.raises(ModalityError, match="frames"):
        read_dicom_image(write_enhanced(tmp_path / "e.dcm", STORED.astype(np.int16).repeat(3, axis=0)))
    path = picture(tmp_path / "slope", RescaleSlope=0, RescaleIntercept=0)
    with pytest.raises(InputError, match="slope"):
        read_dicom_image(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="truncated"):
        read_dicom_image(path)


def test_compressed_equals_plain(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path / "j", STORED, slope=None, intercept=None, syntax=JPEG2000Lossless)
    assert np.array_equal(read_dicom_image(path).array, read_dicom_image(picture(tmp_path / "p")).array)


@pytest.mark.real
def test_real_pairs(real_data: Path) -> None:
    folder = real_data / "dicom_reader"
    two = read_dicom_image(next((folder / "cxr").glob("1.2*.dcm")))
    one = read_dicom_image(folder / "cxr" / "Fake_MONOHR1.dcm")
    assert one.array == pytest.approx(1 - two.array, abs=1e-6)
    assert (two.modality, two.spacing) == ("CR", (0.168, 0.168))
    for plain, packed in (("693_UNCR", "693_J2KR"), ("693_UNCI", "693_J2KI")):
        first, second = (read_dicom_image(folder / "valid" / f"{name}.dcm").array for name in (plain, packed))
        assert np.array_equal(first, second)
    small = read_dicom_image(folder / "valid" / "MR_small.dcm").array
    for form in ("RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"):
        assert np.array_equal(read_dicom_image(folder / "valid" / f"MR_small_{form}.dcm").array, small)
