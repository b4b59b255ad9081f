from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from covidct.errors import GeometryError, InputError
from covidct.io import read_image, read_scan
from covidct.io.raster import image_files, raster_info, read_raster_folder

from .files import tiff

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RNG = np.random.default_rng(5)
GREY8 = RNG.integers(0, 256, (12, 16), dtype=np.uint8)
GREY12 = RNG.integers(0, 4096, (12, 16), dtype=np.uint16)
GREY16 = RNG.integers(0, 65536, (12, 16), dtype=np.uint16)
COLOUR16 = RNG.integers(0, 65536, (12, 16, 3), dtype=np.uint16)


def save(path: Path, pixels: NDArray[Any], **options: Any) -> Path:  # noqa: ANN401
    PillowImage.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_8_bits_are_divided_by_255(tmp_path: Path, suffix: str) -> None:
    image = read_image(save(tmp_path / f"a{suffix}", GREY8))
    np.testing.assert_allclose(image.array, GREY8 / 255, atol=1e-7)
    assert image.array.dtype == np.float32
    assert image.steps == ("divided by 255",)
    assert np.isnan(image.spacing).all()


def test_dark_8_bits_stay_dark(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", GREY8 // 8))
    np.testing.assert_allclose(image.array, (GREY8 // 8) / 255, atol=1e-7)


def test_16_bit_files_are_scaled_by_their_depth(tmp_path: Path) -> None:
    for name, pixels, content, top in (
        ("png16", GREY16, None, 65535),
        ("png12", GREY12, None, 4095),  # 12 bits in 16: PNG cannot say so, the largest value does
        ("tif16", GREY16, tiff(GREY16, 16), 65535),
        ("tif12", GREY12, tiff(GREY12, 12), 4095),
        ("dark12", GREY12 // 100, tiff(GREY12 // 100, 12), 4095),
        ("says14", GREY12, tiff(GREY12, 16, tags=((281, 3, 2**14 - 1),)), 2**14 - 1),
        ("inverted", 65535 - GREY16, tiff(GREY16, 16, photometric=0), 65535),
    ):
        path = tmp_path / (f"{name}.png" if content is None else f"{name}.tif")
        path.write_bytes(content) if content is not None else save(path, pixels)
        image = read_image(path)
        np.testing.assert_allclose(image.array, pixels / top, atol=1e-7, err_msg=name)
        assert image.steps[-1] == f"divided by {top}"


def test_jpeg_is_read_as_pillow_decodes_it(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", cv2.resize(GREY8, (64, 48)), quality=95)
    np.testing.assert_allclose(read_image(path).array, np.asarray(PillowImage.open(path)) / 255, atol=1e-7)


def test_equal_channels_become_grey_and_alpha_is_dropped(tmp_path: Path) -> None:
    same = np.repeat(GREY8[..., None], 3, axis=-1)
    other = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    opaque, thin = np.full_like(GREY8[..., None], 255), np.full_like(GREY8[..., None], 90)
    cases = {
        "rgb": (same, GREY8, set()),
        "rgba": (np.concatenate([same, opaque], -1), GREY8, set()),
        "thin": (np.concatenate([same, thin], -1), GREY8, {"alpha"}),
        "la": (np.concatenate([GREY8[..., None], thin], -1), GREY8, {"alpha"}),
        "colour": (other, other, {"colour"}),
    }
    for name, (stored, expected, codes) in cases.items():
        image = read_image(save(tmp_path / f"{name}.png", stored))
        np.testing.assert_allclose(image.array, expected / 255, atol=1e-7, err_msg=name)
        assert {finding.code for finding in image.findings} == codes
    palette = PillowImage.fromarray(GREY8 // 16 * 16).convert("P")
    palette.save(tmp_path / "p.png")
    np.testing.assert_allclose(read_image(tmp_path / "p.png").array, (GREY8 // 16 * 16) / 255, atol=1e-7)
    PillowImage.fromarray(GREY8 > 100).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bit.png").array, GREY8 > 100)


def test_16_bit_colour_keeps_its_depth(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), COLOUR16[..., ::-1])
    (tmp_path / "a.tif").write_bytes(tiff(COLOUR16, 16, photometric=2))
    for name in ("a.png", "a.tif"):
        np.testing.assert_allclose(read_image(tmp_path / name).array, COLOUR16 / 65535, atol=1e-7)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    path = save(tmp_path / "a.png", GREY8, exif=exif)
    image = read_image(path)
    np.testing.assert_allclose(image.array, np.rot90(GREY8, -1) / 255, atol=1e-7)
    assert "turned as the EXIF orientation says" in image.steps


def test_float_tiff_must_be_in_unit_range(tmp_path: Path) -> None:
    unit = (GREY8 / 255).astype(np.float32)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.tif", unit)).array, unit)
    for bad in (unit * 3000, unit * np.float32(np.nan), unit - 1):
        with pytest.raises(InputError, match="outside"):
            read_image(save(tmp_path / "a.tif", bad.astype(np.float32)))
    with pytest.raises(InputError, match="8 to 16 bits"):
        read_image(save(tmp_path / "a.tif", GREY16.astype(np.int32) - 40000))


def _png(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def test_damaged_huge_and_other_files_are_one_sentence(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.png", GREY8).read_bytes()
    jpeg = save(tmp_path / "a.jpg", cv2.resize(GREY8, (200, 200))).read_bytes()
    pages = [PillowImage.fromarray(GREY8)] * 2
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    for name, content in {
        "empty.png": b"",
        "text.png": b"hello" * 50,
        "cut.png": whole[:-40],
        "head.png": whole[:20],
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "bomb.png": _png(65535, 65535, bytes(1 << 20)),
        "large.png": _png(30000, 3000),
        "short.png": _png(500, 500, bytes(100)),
        "gif.png": b"GIF89a" + bytes(50),
        "pages.tif": (tmp_path / "pages.tif").read_bytes(),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_image(tmp_path / name)
        assert str(caught.value).endswith(".")
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path / "absent.png")


def test_a_folder_becomes_a_volume_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 2, 1, 100):
        save(tmp_path / f"Slice_{number}.png", np.full((6, 7), number, np.uint8))
    (tmp_path / ".hidden.png").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    assert [p.stem for p in image_files(tmp_path)] == [f"Slice_{n}" for n in (1, 2, 9, 10, 100)]
    volume = read_scan(tmp_path)
    np.testing.assert_allclose(volume.array[:, 0, 0] * 255, [1, 2, 9, 10, 100], atol=1e-5)
    assert volume.intensity == "unit"
    assert np.isnan(volume.spacing).all()
    assert volume.array.dtype == np.float32
    assert {f.code for f in volume.findings} == {"no_geometry"}
    with pytest.raises(InputError, match="Hounsfield"):
        volume.require_hu("Lung segmentation")
    info = raster_info(tmp_path)
    assert (info.shape, info.file_count) == ((5, 6, 7), 5)


def test_coloured_slices_become_luma(tmp_path: Path) -> None:
    colour = RNG.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    for number in range(3):
        save(tmp_path / f"{number}.png", colour)
    volume = read_raster_folder(tmp_path)
    expected = np.asarray(PillowImage.fromarray(colour).convert("L")) / 255
    np.testing.assert_allclose(volume.array[0], expected, atol=1 / 255)
    assert "colour" in {f.code for f in volume.findings}


def test_mixed_sizes_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no PNG"):
        read_raster_folder(tmp_path)
    with pytest.raises(InputError, match="no PNG"):
        raster_info(tmp_path)
    save(tmp_path / "1.png", GREY8)
    save(tmp_path / "2.png", GREY8[:-1])
    with pytest.raises(GeometryError, match="mixed_size"):
        read_raster_folder(tmp_path)


@pytest.mark.real
def test_real_images_are_in_range(real_data: Path) -> None:
    paths = sorted((real_data / "covid_ct" / "images" / "CT_COVID").glob("*.png"))[:10]
    paths += sorted((real_data / "cxr_darkcovid" / "images").rglob("*.jp*g"))[:10]
    paths += sorted((real_data / "cxr_original_resolution").rglob("*.*g"))
    for path in paths:
        image = read_image(path)
        with PillowImage.open(path) as opened:
            reference = np.asarray(opened.convert("L")) / 255
        assert image.array.shape[:2] == reference.shape
        assert image.array.min() >= 0
        assert 0.3 < image.array.max() <= 1
        if image.array.ndim == 2:
            np.testing.assert_allclose(image.array, reference, atol=1.01 / 255)


def test_slices_of_a_scan_share_one_scale(tmp_path: Path) -> None:
    for number, value in enumerate((3000, 5000, 4000)):
        save(tmp_path / f"{number}.png", np.full((6, 7), value, np.uint16))
    np.testing.assert_allclose(read_scan(tmp_path).array[:, 0, 0] * 65535, [3000, 5000, 4000], rtol=1e-6)
    save(tmp_path / "1.png", np.full((6, 7), 4095, np.uint16))
    np.testing.assert_allclose(read_scan(tmp_path).array[:, 0, 0] * 4095, [3000, 4095, 4000], rtol=1e-6)
    save(tmp_path / "1.png", np.full((6, 7), 200, np.uint8))
    with pytest.raises(InputError, match="several depths"):
        read_scan(tmp_path)


def test_folders_that_are_no_scan_are_listed_as_such(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / f"{number}.png", GREY8)
    with pytest.raises(GeometryError, match="2 pictures"):
        read_scan(tmp_path)
    assert ("too_few_slices", "refused") in [(f.code, f.action) for f in raster_info(tmp_path).findings]
    save(tmp_path / "2.png", GREY8[:-1])
    assert [(f.code, f.action) for f in raster_info(tmp_path).findings][1:] == [("mixed_size", "refused")]
