from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as PillowImage

from covidct.errors import CovidctError, GeometryError, InputError, UsageError
from covidct.io import read_mask, read_scan, write_mask
from covidct.volume import Volume, unknown_affine

from .files import SHAPE, affine, itk, nib, rotation, save_nifti, scan, sitk

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HU, LUNGS = scan()


def pictures(folder: Path, slices: NDArray[np.uint8]) -> Path:
    folder.mkdir()
    for number, pixels in enumerate(slices):
        PillowImage.fromarray(pixels).save(folder / f"mask{number}.png")
    return folder


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    save_nifti(tmp_path / "ct.nii.gz", HU, rotation(3.0) @ affine(), "SAR")
    return read_scan(tmp_path / "ct.nii.gz")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("dtype", ["bool", "u1", "i8"])
def test_every_format_gives_back_what_was_written(tmp_path: Path, volume: Volume, suffix: str, dtype: str) -> None:
    mask = LUNGS.astype(dtype)
    write_mask(mask, volume, tmp_path / f"mask{suffix}")
    back = read_mask(tmp_path / f"mask{suffix}", volume)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, mask)
    assert not list(tmp_path.glob(".tmp-*"))
    assert not any("ct" in p.name for p in tmp_path.glob("mask*"))


def test_a_mask_of_another_orientation_is_turned(tmp_path: Path, volume: Volume) -> None:
    save_nifti(tmp_path / "mask.nii", LUNGS, rotation(3.0) @ affine(), "PIL")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii", volume), LUNGS)


def test_a_mask_of_another_spacing_is_taken_by_the_nearest_voxel(tmp_path: Path, volume: Volume) -> None:
    grid = itk(np.zeros(SHAPE, np.uint8), rotation(3.0) @ affine())
    fine_shape = [2 * n for n in SHAPE[::-1]]
    fine = affine((1.25, 0.4, 0.35))
    fine[:3, 3] -= (0.175, 0.2, 0.625)  # the same outer corners
    reference = sitk.Image(fine_shape, sitk.sitkUInt8)
    reference.CopyInformation(itk(np.zeros(fine_shape[::-1], np.uint8), rotation(3.0) @ fine))
    source = sitk.GetImageFromArray(LUNGS)
    source.CopyInformation(grid)
    sitk.WriteImage(
        sitk.Resample(source, reference, sitk.Transform(), sitk.sitkNearestNeighbor), str(tmp_path / "m.mha")
    )
    np.testing.assert_array_equal(read_mask(tmp_path / "m.mha", volume), LUNGS)


def test_a_mask_of_another_scan_is_refused(tmp_path: Path, volume: Volume) -> None:
    for moved in (affine(origin=(0, 0, 0)), affine((2.5, 1.2, 0.7)), rotation(90) @ affine()):
        save_nifti(tmp_path / "mask.nii", LUNGS, moved)
        with pytest.raises(GeometryError, match="same part of space"):
            read_mask(tmp_path / "mask.nii", volume)
    save_nifti(tmp_path / "mask.nii", LUNGS[:-3], rotation(3.0) @ affine())
    with pytest.raises(GeometryError, match="same part of space"):
        read_mask(tmp_path / "mask.nii", volume)


def test_labels_are_checked_and_mapped(tmp_path: Path, volume: Volume) -> None:
    grid = rotation(3.0) @ affine()
    save_nifti(tmp_path / "m.nii", (LUNGS > 0).astype(np.uint8) * 255, grid)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii", volume), LUNGS > 0)
    save_nifti(tmp_path / "m.nii", np.choose(LUNGS, [0, 10, 700]).astype(np.int16), grid)
    with pytest.raises(InputError, match=r"0, 10, 700.*mapping"):
        read_mask(tmp_path / "m.nii", volume)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii", volume, mapping={10: 1, 700: 2}), LUNGS)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii", volume, mapping={700: 1}), LUNGS == 2)
    both = {10: 1, 700: 2}
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii", volume, mapping=both, unlisted="error"), LUNGS)
    with pytest.raises(InputError, match=r"labels 0, 10, 700; 0, 700 are known"):
        read_mask(tmp_path / "m.nii", volume, mapping={700: 1}, unlisted="error")
    with pytest.raises(UsageError, match="unlisted"):
        read_mask(tmp_path / "m.nii", volume, mapping={700: 1}, unlisted="ask")  # type: ignore[arg-type]
    save_nifti(tmp_path / "m.nii", LUNGS.astype(np.float32), grid)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii", volume), LUNGS)
    save_nifti(tmp_path / "m.nii", LUNGS.astype(np.float32) * 0.5, grid)
    with pytest.raises(InputError, match="whole numbers"):
        read_mask(tmp_path / "m.nii", volume)
    save_nifti(tmp_path / "m.nii", LUNGS.astype(np.int16) - 1, grid)
    with pytest.raises(InputError, match="mapping"):
        read_mask(tmp_path / "m.nii", volume)
    with pytest.raises(UsageError, match="0 to 255"):
        read_mask(tmp_path / "m.nii", volume, mapping={1: 300})


def test_pictures_pair_by_voxels_as_stored(tmp_path: Path) -> None:
    save_nifti(tmp_path / "ct.nii", HU, affine(), "LAS")  # rows run to the front: pictures of it are upside down
    volume = read_scan(tmp_path / "ct.nii")
    stored = np.ascontiguousarray(LUNGS[:, ::-1])
    np.testing.assert_array_equal(read_mask(pictures(tmp_path / "labels", stored), volume), LUNGS)
    soft = (stored > 0).astype(np.uint8) * 255
    soft[0, 0, 0], soft[4, 5, 5] = 40, 200  # what JPEG or scaling leaves at edges
    expected = stored > 0
    expected[4, 5, 5] = True
    np.testing.assert_array_equal(read_mask(pictures(tmp_path / "soft", soft), volume), expected[:, ::-1])
    with pytest.raises(InputError, match="mapping"):
        read_mask(pictures(tmp_path / "three", (stored * 127).astype(np.uint8)), volume)
    with pytest.raises(GeometryError, match="not a pair"):
        read_mask(pictures(tmp_path / "few", stored[1:]), volume)
    with pytest.raises(InputError, match="single picture"):
        read_mask(tmp_path / "few" / "mask0.png", volume)


def test_a_scan_of_pictures_has_masks_of_pictures(tmp_path: Path) -> None:
    volume = read_scan(pictures(tmp_path / "scan", (LUNGS * 100).astype(np.uint8)))
    np.testing.assert_array_equal(read_mask(pictures(tmp_path / "mask", LUNGS), volume), LUNGS)
    save_nifti(tmp_path / "m.nii", LUNGS)
    with pytest.raises(GeometryError, match="folder of pictures"):
        read_mask(tmp_path / "m.nii", volume)
    with pytest.raises(GeometryError, match="no geometry"):
        write_mask(LUNGS, volume, tmp_path / "out.nii.gz")


def test_absent_and_unknown_files(tmp_path: Path, volume: Volume) -> None:
    with pytest.raises(InputError, match="no mask"):
        read_mask(tmp_path / "absent.nii", volume)
    (tmp_path / "a.npy").write_bytes(b"x")
    with pytest.raises(InputError, match="no format"):
        read_mask(tmp_path / "a.npy", volume)


def test_write_refuses_what_is_no_mask_of_this_scan(tmp_path: Path, volume: Volume) -> None:
    for mask, match in (
        (LUNGS[:-1], "shape"),
        (LUNGS.astype(float), "whole numbers"),
        (LUNGS.astype(int) * 200, "0 to 255"),
        (LUNGS.astype(int) - 1, "0 to 255"),
    ):
        with pytest.raises(UsageError, match=match):
            write_mask(mask, volume, tmp_path / "out.nii")
    with pytest.raises(UsageError, match=r"\.nii\.gz"):
        write_mask(LUNGS, volume, tmp_path / "out.png")
    (tmp_path / "file").write_text("")
    for name in ("out.nii", "out.nrrd"):
        with pytest.raises(CovidctError, match="cannot be written"):
            write_mask(LUNGS, volume, tmp_path / "file" / name)
    assert not list(tmp_path.glob("*out*"))


def test_a_volume_made_in_memory_is_written_on_its_own_grid(tmp_path: Path) -> None:
    write_mask(LUNGS, Volume(HU, affine()), tmp_path / "m.nii")
    np.testing.assert_allclose(nib.load(tmp_path / "m.nii").affine, np.diag([-1, -1, 1, 1]) @ affine(), atol=1e-4)
    with pytest.raises(GeometryError, match="no geometry"):
        write_mask(LUNGS, Volume(HU, unknown_affine()), tmp_path / "n.nii")


@pytest.mark.real
def test_real_masks_fit_their_scans(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "ct_imlab_lung3d"
    volume = read_scan(folder / "id002_ct.nii.gz")
    mask = read_mask(folder / "id002_lung_lr_derived.nii.gz", volume)
    assert set(np.unique(mask)) == {0, 1, 2}
    assert volume.array[mask > 0].mean() < -600
    left = np.argwhere(mask == 2)[:, 2].mean() - np.argwhere(mask == 1)[:, 2].mean()
    assert left > 0  # the width axis runs to the patient's left
    write_mask(mask, volume, tmp_path / "m.nii.gz")
    reference = nib.load(folder / "id002_lung_lr_derived.nii.gz")
    np.testing.assert_array_equal(nib.load(tmp_path / "m.nii.gz").dataobj, reference.dataobj)
    with pytest.raises(GeometryError, match="same part"):
        read_mask(folder / "id001_lung.nii.gz", volume)
    cip = read_scan(real_data / "ct_cip" / "ct-64Dicom")
    assert cip.array[read_mask(real_data / "ct_cip" / "wholeLung-64.nrrd", cip) > 0].mean() < -600
    thirds = read_mask(
        real_data / "ct_cip" / "lm-64.nrrd", cip, mapping=dict.fromkeys((12, 13, 14), 1) | dict.fromkeys((9, 10, 11), 2)
    )
    assert set(np.unique(thirds)) == {0, 1, 2}


@pytest.mark.parametrize("name", ["of [1] one.mhd", "Größe 患者.mhd", "Größe 患者.nrrd", "MASK.MHD", "MASK.NII.GZ"])
def test_odd_names(tmp_path: Path, volume: Volume, name: str) -> None:
    write_mask(LUNGS, volume, tmp_path / name)
    np.testing.assert_array_equal(read_mask(tmp_path / name, volume), LUNGS)
    readers = {".mhd": "MetaImageIO", ".nrrd": "NrrdImageIO", ".gz": "NiftiImageIO"}  # ITK knows small letters only
    image = sitk.ReadImage(str(tmp_path / name), imageIO=readers[(tmp_path / name).suffix.lower()])
    assert np.array_equal(sitk.GetArrayFromImage(image) > 0, stored_form(volume))


def stored_form(volume: Volume) -> NDArray[np.bool_]:
    """The mask on the grid of the file, by nibabel."""
    image = nib.as_closest_canonical(nib.Nifti1Image(LUNGS.T, np.diag([-1, -1, 1, 1]) @ rotation(3.0) @ affine()))
    assert volume.source is not None
    tools = nib.orientations
    target = tools.io_orientation(np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.source.affine)
    turned = image.as_reoriented(tools.ornt_transform(tools.io_orientation(image.affine), target))
    return np.asarray(turned.dataobj).T > 0


def test_a_mask_without_orientation_is_refused_with_the_right_advice(tmp_path: Path, volume: Volume) -> None:
    image = nib.Nifti1Image(LUNGS.T, np.diag([-0.7, -0.8, 2.5, 1]))
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "mask.nii")
    with pytest.raises(GeometryError, match="no_orientation") as caught:
        read_mask(tmp_path / "mask.nii", volume)
    assert "on_fault" not in str(caught.value)
