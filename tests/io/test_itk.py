from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct.errors import GeometryError, InputError
from covidct.io import read_scan
from covidct.io.itk import itk_info, read_itk
from covidct.io.writers import write_mask

from .files import SHAPE, affine, itk, reoriented, rotation, save_nifti, scan, sitk

if TYPE_CHECKING:
    from pathlib import Path

HU, LUNGS = scan()
TURNS = list(product(permutations(range(3)), product((False, True), repeat=3)))


@pytest.mark.parametrize(("order", "flips"), TURNS)
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_each_orientation_comes_onto_the_canonical_grid_and_back(
    tmp_path: Path, order: tuple[int, int, int], flips: tuple[bool, bool, bool], suffix: str
) -> None:
    grid = rotation(4.0) @ affine()
    image = reoriented(itk(HU, grid), order, flips)
    sitk.WriteImage(image, str(tmp_path / f"ct{suffix}"))
    volume = read_itk(tmp_path / f"ct{suffix}")
    np.testing.assert_array_equal(volume.array, HU)
    np.testing.assert_allclose(volume.affine, grid, atol=1e-6)

    write_mask(LUNGS, volume, tmp_path / f"mask{suffix}")
    back = sitk.ReadImage(str(tmp_path / f"mask{suffix}"))
    truth = reoriented(itk(LUNGS, grid), order, flips)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(truth))  # Dice 1
    np.testing.assert_allclose(back.GetDirection(), image.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(back.GetOrigin(), image.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(back.GetSpacing(), image.GetSpacing(), rtol=1e-6)
    assert _centroid_gap(back, truth) <= 0.01


def _centroid_gap(one: object, other: object) -> float:
    places = []
    for image in (one, other):
        statistics = sitk.LabelShapeStatisticsImageFilter()
        statistics.Execute(sitk.Cast(sitk.Greater(image, 0), sitk.sitkUInt8))
        places.append(statistics.GetCentroid(1))
    return float(np.abs(np.subtract(*places)).max())


@pytest.mark.parametrize("name", ["x.nrrd", "x.nhdr", "x.mha", "x.mhd"])
@pytest.mark.parametrize("compress", [False, True])
def test_every_form_of_file_is_read(tmp_path: Path, name: str, compress: bool) -> None:
    sitk.WriteImage(itk(HU.astype(np.int32), affine()), str(tmp_path / name), compress)
    volume = read_scan(tmp_path / name)
    np.testing.assert_array_equal(volume.array, HU)
    assert volume.array.dtype == np.int16
    assert volume.source is not None
    assert volume.source.format == {"n": "nrrd", "m": "metaimage"}[name[2]]
    info = itk_info(tmp_path / name)
    assert info.shape == SHAPE
    np.testing.assert_allclose(info.spacing, volume.spacing)


def test_other_axes_and_colour_are_refused(tmp_path: Path) -> None:
    for name, image in (
        ("flat", sitk.GetImageFromArray(HU[0])),
        ("long", sitk.GetImageFromArray(np.stack([HU] * 2))),
        ("colour", sitk.GetImageFromArray(np.stack([HU] * 3, -1), isVector=True)),
        ("thin", itk(HU[:2], affine())),
    ):
        for suffix in (".nrrd", ".mha"):
            sitk.WriteImage(image, str(tmp_path / f"{name}{suffix}"))
            with pytest.raises(InputError, match=r"axes|per voxel|too_few_slices|contradicts"):
                read_itk(tmp_path / f"{name}{suffix}")


def test_a_header_without_orientation_is_a_guess(tmp_path: Path) -> None:
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 13 11 9\nencoding: raw\nendian: little\n"
    (tmp_path / "a.nrrd").write_bytes((header + "spacings: 0.7 0.8 2.5\n\n").encode() + HU.tobytes())
    meta = "ObjectType = Image\nNDims = 3\nDimSize = 13 11 9\nElementType = MET_SHORT\nElementSpacing = 0.7 0.8 2.5\n"
    (tmp_path / "a.mha").write_bytes((meta + "ElementDataFile = LOCAL\n").encode() + HU.tobytes())
    for name in ("a.nrrd", "a.mha"):
        with pytest.raises(GeometryError, match="no_orientation"):
            read_itk(tmp_path / name)
        volume = read_itk(tmp_path / name, on_fault="warn")
        np.testing.assert_array_equal(volume.array, HU)
        np.testing.assert_allclose(volume.spacing, (2.5, 0.8, 0.7))


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "LAS"])
def test_every_space_of_nrrd_is_read_as_simpleitk_does(tmp_path: Path, space: str) -> None:
    header = (
        f"NRRD0004\n# a comment\ntype: short\ndimension: 3\nspace: {space}\nsizes: 13 11 9\nencoding: raw\n"
        "endian: little\nkinds: domain domain domain\nspace directions: (-0.7,0,0) (0,-0.8,0) (0,0,2.5)\n"
        "space origin: (31,-17.5,-240)\nnote:=(1,2,3): x\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(header.encode() + HU.tobytes())
    volume = read_itk(tmp_path / "a.nrrd")
    reference = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "a.nrrd")), "LPS")
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(reference))
    np.testing.assert_allclose(volume.affine[:3, 3], reference.GetOrigin())
    np.testing.assert_allclose(volume.spacing[::-1], reference.GetSpacing())


def test_sheared_directions_are_refused_or_resampled(tmp_path: Path) -> None:
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 13 11 9\nencoding: raw\n"
        "endian: little\nspace directions: (0.7,0,0) (0,0.8,0) (0,0.6,2.5)\nspace origin: (0,0,0)\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(header.encode() + HU.tobytes())
    with pytest.raises(GeometryError, match="sheared"):
        read_itk(tmp_path / "a.nrrd")
    volume = read_itk(tmp_path / "a.nrrd", on_fault="repair")
    np.testing.assert_allclose(volume.spacing, (2.5, 0.8, 0.7), rtol=1e-9)
    np.testing.assert_array_equal(volume.array[0, : SHAPE[1]], HU[0])


def test_damaged_files_are_refused_without_noise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for suffix in (".nrrd", ".mha"):
        whole = tmp_path / f"a{suffix}"
        sitk.WriteImage(itk(HU, affine()), str(whole), True)
        content = whole.read_bytes()
        sizes = b"13 11 9"
        for name, damaged in {
            "empty": b"",
            "text": b"hello world\n" * 9,
            "short": content[: len(content) // 2],
            "header": content[:60],
            "huge": content.replace(sizes, b"65535 65535 65535"),
            "big": content.replace(sizes, b"4000 4000 100"),
            "negative": content.replace(sizes, b"-13 11 9"),
            "words": content.replace(sizes, b"a b c"),
            "flipped": content[:-40] + b"\xff" * 20 + content[-20:],
            "elsewhere": b"NRRD0004\ntype: short\nendian: big\nsizes: 13 11 9\nencoding: raw\ndata file: ../x\n\n"
            if suffix == ".nrrd"
            else b"NDims = 3\nDimSize = 13 11 9\nElementType = MET_SHORT\nElementDataFile = /etc/passwd\n",
        }.items():
            path = tmp_path / f"{name}{suffix}"
            path.write_bytes(damaged)
            with pytest.raises(InputError) as caught:
                read_itk(path)
            assert str(caught.value).endswith(".")
            assert "0x" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_another_format_under_the_name_is_refused(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", HU)
    (tmp_path / "a.nii").rename(tmp_path / "a.nrrd")
    with pytest.raises(InputError, match="not NRRD"):
        read_itk(tmp_path / "a.nrrd")


@pytest.mark.real
def test_nrrd_and_dicom_of_one_scan_are_equal(real_data: Path) -> None:
    nrrd, dicom = (read_scan(real_data / "ct_cip" / name) for name in ("ct-64.nrrd", "ct-64Dicom"))
    np.testing.assert_array_equal(nrrd.array, dicom.array)
    np.testing.assert_allclose(nrrd.affine, dicom.affine, atol=1e-3)
    assert nrrd.intensity == dicom.intensity == "hu"


def test_information_names_what_reading_refuses(tmp_path: Path) -> None:
    sitk.WriteImage(itk(HU[:2], affine()), str(tmp_path / "two.nrrd"))
    assert [(f.code, f.action) for f in itk_info(tmp_path / "two.nrrd").findings] == [("too_few_slices", "refused")]
    meta = "ObjectType = Image\nNDims = 3\nDimSize = 13 11 9\nElementType = MET_SHORT\nElementSpacing = 0.7 0.8 2.5\n"
    (tmp_path / "a.mha").write_bytes((meta + "ElementDataFile = LOCAL\n").encode() + HU.tobytes())
    assert [(f.code, f.action) for f in itk_info(tmp_path / "a.mha").findings] == [("no_orientation", "refused")]
    with pytest.raises(GeometryError, match="no_orientation"):
        read_itk(tmp_path / "a.mha", on_fault="repair")
