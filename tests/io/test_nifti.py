from __future__ import annotations

import gzip
import resource
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct.errors import CovidctError, GeometryError, InputError, UsageError
from covidct.io.nifti import nifti_info, read_nifti
from covidct.io.writers import write_mask

from .files import AXCODES, LPS_TO_RAS, SHAPE, affine, centroid, nib, nifti, rotation, save_nifti, scan, sitk

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.io.faults import OnFault

HU, LUNGS = scan()


def codes(path: Path, on_fault: OnFault) -> set[str]:
    return {finding.code for finding in read_nifti(path, on_fault=on_fault).findings}


@pytest.mark.parametrize("axcodes", AXCODES)
def test_each_orientation_comes_onto_the_canonical_grid_and_back(tmp_path: Path, axcodes: str) -> None:
    grid = rotation(4.0) @ affine()
    image = save_nifti(tmp_path / "ct.nii.gz", HU, grid, axcodes)
    volume = read_nifti(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(volume.array, HU)
    np.testing.assert_allclose(volume.affine, grid, atol=1e-4)
    np.testing.assert_allclose(volume.spacing, (2.5, 0.8, 0.7), rtol=1e-6)
    assert volume.array.dtype == np.int16
    assert volume.array.flags.c_contiguous

    write_mask(LUNGS, volume, tmp_path / "mask.nii.gz")
    back = nib.load(tmp_path / "mask.nii.gz")
    assert nib.aff2axcodes(back.affine) == tuple(axcodes)
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-4)
    assert back.get_data_dtype() == np.uint8
    truth = nifti(LUNGS, grid, axcodes)
    np.testing.assert_array_equal(np.asarray(back.dataobj), np.asarray(truth.dataobj))  # Dice 1
    seen = centroid(np.asarray(back.dataobj), back.affine)
    expected = centroid(LUNGS.T, LPS_TO_RAS @ grid)
    assert np.abs(seen - expected).max() <= 0.01


@pytest.mark.parametrize("thick", [0.5, 1.0, 2.5, 5.0, 10.0])
@pytest.mark.parametrize("fine", [0.5, 0.97, 3.3, 10.0])
def test_spacing_and_volume_are_kept(tmp_path: Path, thick: float, fine: float) -> None:
    grid = affine((thick, fine, fine * 1.1))
    save_nifti(tmp_path / "ct.nii", HU, grid, "RAS")
    volume = read_nifti(tmp_path / "ct.nii")
    np.testing.assert_allclose(volume.spacing, (thick, fine, fine * 1.1), rtol=1e-6)
    assert np.count_nonzero(volume.array < -500) == np.count_nonzero(HU < -500)
    assert abs(np.linalg.det(volume.affine)) == pytest.approx(thick * fine * fine * 1.1, rel=1e-5)


def test_a_file_beside_it_of_the_same_stem_is_not_mistaken_for_it(tmp_path: Path) -> None:
    other = scan(seed=1)[0]
    save_nifti(tmp_path / "a.nii", other)
    save_nifti(tmp_path / "a.nii.gz", HU)
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz").array, HU)
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii").array, other)
    (tmp_path / "a.nii").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_nifti(tmp_path / "a.nii")


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", HU)
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "a.nii").read_bytes())
    (tmp_path / "c.nii").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    np.testing.assert_array_equal(read_nifti(tmp_path / "b.nii.gz").array, HU)
    np.testing.assert_array_equal(read_nifti(tmp_path / "c.nii").array, HU)


@pytest.mark.parametrize("kind", ["i2", "i4", "i8", "f4", "f8", ">i2", ">f4"])
def test_values_agree_with_nibabel_for_every_dtype(tmp_path: Path, kind: str) -> None:
    header = nib.Nifti1Header(endianness=">" if kind.startswith(">") else "<")
    header.set_data_dtype(np.dtype(kind))
    image = nib.Nifti1Image(HU.T.astype(kind), LPS_TO_RAS @ affine(), header)
    nib.save(image, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii")
    assert volume.array.dtype == (np.float32 if np.dtype(kind).kind == "f" else np.int16)
    np.testing.assert_array_equal(volume.array, nib.load(tmp_path / "a.nii").get_fdata().T)


@pytest.mark.parametrize(("slope", "intercept", "dtype"), [(1, -1024, "i2"), (2, -24, "i2"), (0.5, -3, "f4")])
def test_scaling_of_the_header_is_applied(tmp_path: Path, slope: float, intercept: float, dtype: str) -> None:
    stored = np.rint((HU - intercept) / slope).astype(np.uint16 if intercept == -1024 else np.int16)
    image = nib.Nifti1Image(stored.T, LPS_TO_RAS @ affine())
    image.header.set_slope_inter(slope, intercept)
    block = bytearray(image.header.binaryblock + b"\0" * 4 + stored.tobytes())
    block[112:120] = struct.pack("<2f", slope, intercept)
    block[108:112] = struct.pack("<f", 352)
    block[344:348] = b"n+1\0"
    (tmp_path / "a.nii").write_bytes(block)
    volume = read_nifti(tmp_path / "a.nii")
    assert volume.array.dtype == dtype
    np.testing.assert_allclose(volume.array, np.maximum(nib.load(tmp_path / "a.nii").get_fdata().T, -1024), atol=1e-3)


def test_nifti_2_is_read(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(HU.T, LPS_TO_RAS @ affine()), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz").array, HU)


def test_header_extensions_are_skipped(tmp_path: Path) -> None:
    image = nifti(HU, affine())
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 3000))
    for name in ("a.nii", "a.nii.gz"):
        nib.save(image, tmp_path / name)
        np.testing.assert_array_equal(read_nifti(tmp_path / name).array, HU)


def test_four_axes_are_read_when_the_last_has_one_entry(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(HU.T[..., None], LPS_TO_RAS @ affine()), tmp_path / "one.nii")
    np.testing.assert_array_equal(read_nifti(tmp_path / "one.nii").array, HU)
    nib.save(nib.Nifti1Image(np.stack([HU.T] * 2, -1), LPS_TO_RAS @ affine()), tmp_path / "two.nii")
    with pytest.raises(InputError, match="4 axes"):
        read_nifti(tmp_path / "two.nii")
    nib.save(nib.Nifti1Image(HU.T[..., 0], np.eye(4)), tmp_path / "flat.nii")
    with pytest.raises(InputError, match="2 axes"):
        read_nifti(tmp_path / "flat.nii")
    save_nifti(tmp_path / "thin.nii", HU[:2])
    with pytest.raises(GeometryError, match="too_few_slices"):
        read_nifti(tmp_path / "thin.nii")


def test_colour_and_complex_are_refused(tmp_path: Path) -> None:
    colour = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colour, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match="colour"):
        read_nifti(tmp_path / "a.nii")
    nib.save(nib.Nifti1Image(HU.astype(np.complex64), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match="complex"):
        read_nifti(tmp_path / "a.nii")


def test_small_shear_is_straightened_and_recorded(tmp_path: Path) -> None:
    grid = affine()
    grid[1, 2] += 5e-4 * grid[2, 2]
    save_nifti(tmp_path / "a.nii", HU, grid)
    volume = read_nifti(tmp_path / "a.nii")
    assert [f.code for f in volume.findings] == ["not_orthonormal"]
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    middle = np.array([*(np.array(SHAPE[::-1]) - 1) / 2, 1])
    np.testing.assert_allclose(volume.affine @ middle, grid @ middle, atol=1e-4)
    write_mask(LUNGS, volume, tmp_path / "mask.nii.gz")
    back = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(back.affine, LPS_TO_RAS @ grid, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(back.dataobj).T, LUNGS)


def test_shear_is_refused_resampled_or_kept(tmp_path: Path) -> None:
    shape = (40, 48, 44)
    z, y, x = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    grid = np.diag([1.0, 1.0, 2.0, 1.0])
    grid[1, 2] = 2.0 * np.tan(np.radians(15))  # a gantry tilted by 15 degrees
    place = np.stack([x, y, z], -1) @ grid[:3, :3].T
    ball = np.linalg.norm(place - (22, 35, 40), axis=-1) < 15
    hu = np.where(ball, 40, -1000).astype(np.int16)
    image = nib.Nifti1Image(hu.T, LPS_TO_RAS @ grid)
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(GeometryError, match=r"sheared.*repair"):
        read_nifti(tmp_path / "a.nii.gz")
    kept = read_nifti(tmp_path / "a.nii.gz", on_fault="warn")
    np.testing.assert_array_equal(kept.array, hu)
    straight = read_nifti(tmp_path / "a.nii.gz", on_fault="repair")
    assert "sheared" in {f.code for f in straight.findings}
    np.testing.assert_allclose(straight.spacing, (2, 1, 1), rtol=1e-6)
    k, j, i = np.meshgrid(*[np.arange(n) for n in straight.shape], indexing="ij")
    where = np.stack([i, j, k], -1) @ straight.affine[:3, :3].T + straight.affine[:3, 3]
    truth = np.linalg.norm(where - (22, 35, 40), axis=-1) < 15
    seen = straight.array > -480
    assert 2 * np.count_nonzero(truth & seen) / (truth.sum() + seen.sum()) >= 0.98

    nib.save(nib.Nifti1Image(ball.T.astype(np.float32), LPS_TO_RAS @ grid), tmp_path / "unit.nii")
    assert (
        read_nifti(tmp_path / "unit.nii", on_fault="repair").intensity == "unit"
    )  # what is new does not look like air

    write_mask(truth, straight, tmp_path / "mask.nii.gz")  # back on the slanting grid
    back = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-4)
    assert int(back.header["qform_code"]) == 0
    stored = np.asarray(back.dataobj).T > 0
    assert 2 * np.count_nonzero(stored & ball) / (stored.sum() + ball.sum()) >= 0.98
    with pytest.raises(GeometryError, match=r"\.nii\.gz"):
        write_mask(truth, straight, tmp_path / "mask.nrrd")
    assert not (tmp_path / "mask.nrrd").exists()


def test_missing_and_contradictory_orientation(tmp_path: Path) -> None:
    image = nifti(HU, affine())
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "qform.nii")
    np.testing.assert_allclose(read_nifti(tmp_path / "qform.nii").affine, affine(), atol=1e-4)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "none.nii")
    with pytest.raises(GeometryError, match="no_orientation"):
        read_nifti(tmp_path / "none.nii")
    volume = read_nifti(tmp_path / "none.nii", on_fault="warn")
    assert "no_orientation" in {f.code for f in volume.findings}
    np.testing.assert_allclose(volume.spacing, (2.5, 0.8, 0.7), rtol=1e-6)

    image = nifti(HU, affine())
    image.set_qform(LPS_TO_RAS @ affine(origin=(0, 0, 0)), code=1)
    nib.save(image, tmp_path / "two.nii")
    with pytest.raises(GeometryError, match="qform_sform"):
        read_nifti(tmp_path / "two.nii")
    assert "qform_sform" in codes(tmp_path / "two.nii", "warn")
    image.set_sform(LPS_TO_RAS @ affine(), code=4)  # a template's space: allowed to differ
    nib.save(image, tmp_path / "two.nii")
    np.testing.assert_allclose(read_nifti(tmp_path / "two.nii").affine, affine(), atol=1e-4)


def test_units_and_implausible_spacing(tmp_path: Path) -> None:
    metres = np.diag([1e-3, 1e-3, 1e-3, 1]) @ affine()
    image = nifti(HU, metres)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_nifti(tmp_path / "a.nii").spacing, (2.5, 0.8, 0.7), rtol=1e-5)
    image.header.set_xyzt_units("mm")
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(GeometryError, match="implausible_spacing"):
        read_nifti(tmp_path / "a.nii")


def test_damaged_affine_is_refused(tmp_path: Path) -> None:
    for broken in (np.nan, 0.0):
        save_nifti(tmp_path / "a.nii", HU)
        block = bytearray((tmp_path / "a.nii").read_bytes())
        block[280:328] = struct.pack("<12f", *[broken] * 12)
        (tmp_path / "a.nii").write_bytes(block)
        with pytest.raises(GeometryError):
            read_nifti(tmp_path / "a.nii", on_fault="warn")


def test_padding_and_nan_outside_become_air_and_nan_inside_is_refused(tmp_path: Path) -> None:
    hu = HU.astype(np.float32)
    hu[:, :2, :2], hu[:, -2:, -2:] = np.nan, -3024
    save_nifti(tmp_path / "a.nii", hu)
    volume = read_nifti(tmp_path / "a.nii")
    assert (volume.array[:, :2, :2] == -1024).all()
    assert (volume.array[:, -2:, -2:] == -1024).all()
    assert {f.code for f in volume.findings} == {"padding"}
    hu[4, 5, 6] = np.nan
    save_nifti(tmp_path / "a.nii", hu)
    with pytest.raises(InputError, match="not_finite"):
        read_nifti(tmp_path / "a.nii")
    repaired = read_nifti(tmp_path / "a.nii", on_fault="repair")
    assert repaired.array[4, 5, 6] == -1024
    assert "not_finite" in {f.code for f in repaired.findings}
    save_nifti(tmp_path / "a.nii", np.full(SHAPE, np.nan, np.float32))
    with pytest.raises(InputError, match="finite"):
        read_nifti(tmp_path / "a.nii", on_fault="warn")


def test_values_that_are_not_hu(tmp_path: Path) -> None:
    unit = (np.clip(HU, -1000, 400) + 1000) / 1400
    save_nifti(tmp_path / "unit.nii", unit.astype(np.float32))
    save_nifti(tmp_path / "byte.nii", np.rint(unit * 255).astype(np.uint8))
    save_nifti(tmp_path / "raw.nii", (HU + 1024).astype(np.int16))
    for name in ("unit", "byte", "raw"):
        with pytest.raises(InputError, match="not_hu"):
            read_nifti(tmp_path / f"{name}.nii")
    for name, tolerance in (("unit", 1e-6), ("byte", 2e-3)):
        volume = read_nifti(tmp_path / f"{name}.nii", on_fault="repair")
        assert volume.intensity == "unit"
        np.testing.assert_allclose(volume.array, unit, atol=tolerance)
    with pytest.raises(InputError, match="not_hu"):
        read_nifti(tmp_path / "raw.nii", on_fault="repair")
    taken = read_nifti(tmp_path / "raw.nii", on_fault="warn")
    assert taken.intensity == "hu"
    assert "not_hu" in {f.code for f in taken.findings}
    with pytest.raises(UsageError, match="on_fault"):
        read_nifti(tmp_path / "raw.nii", on_fault="ignore")  # type: ignore[arg-type]


def test_truncated_and_overlong_files_are_refused(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", HU)
    save_nifti(tmp_path / "a.nii.gz", HU)
    plain, packed = (tmp_path / "a.nii").read_bytes(), (tmp_path / "a.nii.gz").read_bytes()
    for name, content in (
        ("b.nii", plain[:-10]),
        ("b.nii", plain[:300]),
        ("b.nii", b""),
        ("b.nii", b"hello" * 200),
        ("b.nii", plain + bytes(2 << 20)),
        ("b.nii.gz", packed[:-300]),
        ("b.nii.gz", packed[:-2]),
        ("b.nii.gz", packed[:-6] + b"\0" + packed[-5:]),  # checksum
        ("b.nii.gz", gzip.compress(plain[:-10])),
        ("b.nii.gz", gzip.compress(plain + bytes(2 << 20))),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError):
            read_nifti(tmp_path / name)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(plain[:1000]) + gzip.compress(plain[1000:]) + bytes(512))
    np.testing.assert_array_equal(read_nifti(tmp_path / "b.nii.gz").array, HU)  # several members and padding are legal


def test_claims_of_size_cost_nothing(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", HU)
    plain = bytearray((tmp_path / "a.nii").read_bytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for shape in ((32767, 32767, 32767), (32767, 32767, 1), (2000, 1000, 500), (0, 5, 5), (-3, 5, 5)):
        plain[40:48] = struct.pack("<4h", 3, *shape)
        (tmp_path / "b.nii").write_bytes(plain)
        (tmp_path / "b.nii.gz").write_bytes(gzip.compress(plain))
        for name in ("b.nii", "b.nii.gz"):
            with pytest.raises(InputError, match=r"claims|damaged"):
                read_nifti(tmp_path / name)
    plain[40:48] = struct.pack("<4h", 3, *SHAPE[::-1])
    bomb = gzip.compress(bytes(plain) + bytes(200 << 20))  # 1000 : 1
    (tmp_path / "bomb.nii.gz").write_bytes(bomb)
    with pytest.raises(InputError, match="more than"):
        read_nifti(tmp_path / "bomb.nii.gz")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 260 << 10  # kilobytes: the 200 MiB made here, and no more


def test_info_reads_the_header_alone(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii.gz", HU, None, "RAS")
    info = nifti_info(tmp_path / "a.nii.gz")
    assert info.shape == SHAPE
    np.testing.assert_allclose(info.spacing, (2.5, 0.8, 0.7), rtol=1e-6)
    whole = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    assert nifti_info(tmp_path / "cut.nii.gz").shape == SHAPE


@pytest.mark.real
def test_real_scans_agree_with_nibabel_and_simpleitk(real_data: Path) -> None:
    for name in ("ct_imlab_lung3d/id001_ct", "ct_imlab_lung3d/id003_ct", "ct_totalsegmentator_abdomen/example_ct"):
        path = real_data / f"{name}.nii.gz"
        volume = read_nifti(path)
        reference = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
        np.testing.assert_array_equal(volume.array, np.maximum(sitk.GetArrayFromImage(reference), -1024))
        np.testing.assert_allclose(volume.affine[:3, 3], reference.GetOrigin(), atol=1e-3)
        np.testing.assert_allclose(volume.spacing[::-1], reference.GetSpacing(), rtol=1e-5)
        assert volume.array.dtype == np.int16
        assert volume.intensity == "hu"
    masks = sorted((real_data / "mosmed_lesion_masks").rglob("*.nii.gz"))
    with pytest.raises(CovidctError, match="not_hu"):
        read_nifti(masks[0])


def test_a_guess_is_no_repair(tmp_path: Path) -> None:
    image = nifti(HU, affine())
    image.set_qform(LPS_TO_RAS @ affine(origin=(0, 0, 0)), code=1)
    nib.save(image, tmp_path / "qform_sform.nii")
    image = nifti(HU, affine())
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "no_orientation.nii")
    nib.save(nifti(HU, affine((2500, 800, 700))), tmp_path / "implausible_spacing.nii")
    for path in tmp_path.iterdir():
        for policy in ("error", "repair"):
            with pytest.raises(GeometryError, match=rf"{path.stem}.*correct"):
                read_nifti(path, on_fault=policy)
        assert [(f.code, f.action) for f in read_nifti(path, on_fault="warn").findings] == [(path.stem, "recorded")]
        assert [(f.code, f.action) for f in nifti_info(path).findings] == [(path.stem, "refused")]


def test_information_names_what_reading_refuses(tmp_path: Path) -> None:
    save_nifti(tmp_path / "two.nii.gz", HU[:2])
    assert [(f.code, f.action) for f in nifti_info(tmp_path / "two.nii.gz").findings] == [("too_few_slices", "refused")]
    sheared = affine()
    sheared[0, 2] = 0.5
    save_nifti(tmp_path / "sheared.nii", HU)
    image = nib.Nifti1Image(HU.T, LPS_TO_RAS @ sheared)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "sheared.nii")
    assert [(f.code, f.action) for f in nifti_info(tmp_path / "sheared.nii").findings] == [("sheared", "refused")]
    save_nifti(tmp_path / "cut.nii", HU)
    (tmp_path / "cut.nii").write_bytes((tmp_path / "cut.nii").read_bytes()[:-100])
    with pytest.raises(InputError, match="too early"):
        nifti_info(tmp_path / "cut.nii")
