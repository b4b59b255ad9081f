"""The faults of a series, each under the three policies: no volume is silently wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom.uid import generate_uid

from covidct.errors import CovidctError, GeometryError
from covidct.io import find_series, read_scan
from tests.fakes.dicom import body, edit, positions, write_series

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HU = body()
N = len(HU)


@dataclass(frozen=True)
class Case:
    """A fault: how to make it, its name, and what becomes of it.

    Attributes:
        make: writes the series to a folder.
        code: finding that must be named.
        error: shape under ``"error"``, None for a refusal.
        repair: shape and action under ``"repair"``, None for a refusal.
        warn: shape and action under ``"warn"``, None for a refusal.
        exact: whether the repaired volume equals the unharmed one.
    """

    make: Callable[[Path], object]
    code: str
    error: int | None = None
    repair: tuple[int, str] | None = None
    warn: tuple[int, str] | None = None
    exact: bool = False


def missing(*gone: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for k, path in enumerate(write_series(folder, HU)):
            if k in gone:
                path.unlink()

    return make


def add_copy(folder: Path, k: int = 4, name: str = "copy.dcm", **elements: Any) -> Path:  # noqa: ANN401
    paths = write_series(folder, HU)
    copy = folder / name
    copy.write_bytes(paths[k].read_bytes())
    if elements:
        edit(copy, **elements)
    return copy


def changed(folder: Path, count: int = 1, **elements: Any) -> None:  # noqa: ANN401
    for path in write_series(folder, HU)[5 : 5 + count]:
        edit(path, **elements)


def other_pixels(folder: Path) -> None:
    copy = add_copy(folder)
    data = copy.read_bytes()
    copy.write_bytes(data[:-100] + bytes(100))


def second_scan(folder: Path) -> None:
    uid = generate_uid()
    write_series(folder / "a", HU, series_uid=uid)
    write_series(folder / "b", HU[:, ::-1], series_uid=uid)


def localizer(folder: Path) -> None:
    copy = add_copy(folder, SOPInstanceUID=generate_uid(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    edit(copy, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])


def two_series(folder: Path) -> None:
    write_series(folder / "a", HU)
    write_series(folder / "b", HU[:6])


def matrix(folder: Path) -> None:
    uid = generate_uid()
    write_series(folder / "a", HU, series_uid=uid)
    write_series(folder / "b", HU[:1, :-2], series_uid=uid, origin=(0, 0, 90))


def uneven(folder: Path) -> None:
    at = positions(N)
    at[7:, 2] += 0.5
    write_series(folder, HU, places=at)


def tilted(folder: Path) -> None:
    write_series(folder, HU, tilt=15)


def capture(folder: Path) -> None:
    pixels = np.zeros((*HU.shape[1:], 3), np.uint8).tobytes()
    copy = add_copy(folder, SOPInstanceUID=generate_uid(), SamplesPerPixel=3, PhotometricInterpretation="RGB")
    edit(copy, PlanarConfiguration=0, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=pixels)


def far_away(folder: Path) -> None:
    at = positions(N)
    at[5, 0] += 1e5
    write_series(folder, HU, places=at)


def far_up(folder: Path) -> None:
    at = positions(N)
    at[-1, 2] += 53.3
    write_series(folder, HU, places=at)


def shifted(folder: Path) -> None:
    at = positions(N)
    at[6:, 0] += 3
    write_series(folder, HU, places=at)


NAMES = [f"s{k}.dcm" for k in range(N)]
SHUFFLED = [f"s{k}.dcm" for k in np.random.default_rng(3).permutation(N)]
KEEP = (N, "dropped")
CASES = {
    "one missing": Case(missing(4), "missing_slices", None, (N, "repaired"), (N - 1, "recorded")),
    "three adjacent missing": Case(missing(4, 5, 6), "missing_slices", None, (N, "repaired"), (N - 3, "recorded")),
    "a wide gap": Case(missing(4, 5, 6, 7), "missing_slices", None, None, (N - 4, "recorded")),
    "a slice far up": Case(far_up, "uneven_step", None, None, (N, "recorded")),
    "a slice far away": Case(far_away, "shifted_slices|damaged", None, None, None),
    "slope 0": Case(lambda f: changed(f, RescaleSlope=0), "invalid_rescale"),
    "rescale in some": Case(
        lambda f: changed(f, 2, RescaleSlope=None, RescaleIntercept=None),
        "missing_rescale",
        None,
        None,
        (N, "recorded"),
    ),
    "two adjacent missing": Case(missing(4, 5), "missing_slices", None, (N, "repaired"), (N - 2, "recorded")),
    "byte-equal duplicate": Case(add_copy, "duplicate_instance", N, KEEP, KEEP, exact=True),
    "same SOP, other pixels": Case(other_pixels, "duplicate_instance", None, KEEP, KEEP),
    "same place, other SOP": Case(
        lambda f: add_copy(f, SOPInstanceUID=generate_uid()), "duplicate_position", None, KEEP, KEEP, exact=True
    ),
    "second scan of the same places": Case(second_scan, "duplicate_position", None, None, KEEP),
    "shuffled names": Case(
        lambda f: write_series(f, HU, names=SHUFFLED), "shuffled_names", N, (N, "sorted"), (N, "sorted"), exact=True
    ),
    "reversed names": Case(
        lambda f: write_series(f, HU, names=NAMES[::-1]), "reversed_names", N, (N, "sorted"), (N, "sorted"), exact=True
    ),
    "two series": Case(two_series, "several_series"),
    "localizer inside": Case(localizer, "localizer", None, KEEP, KEEP, exact=True),
    "colour picture inside": Case(capture, "colour", None, KEEP, KEEP, exact=True),
    "mixed matrix": Case(matrix, "mixed_matrix", None, None, KEEP),
    "one other orientation": Case(
        lambda f: changed(f, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
        "mixed_orientation",
        None,
        (N, "dropped"),
        (N - 1, "dropped"),
    ),
    "many other orientations": Case(
        lambda f: changed(f, 4, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
        "mixed_orientation",
        None,
        None,
        (N - 4, "dropped"),
    ),
    "mixed spacing": Case(
        lambda f: changed(f, PixelSpacing=[0.8, 0.5]), "mixed_spacing", None, None, (N - 1, "dropped")
    ),
    "uneven step": Case(uneven, "uneven_step", None, (N, "repaired"), (N, "recorded")),
    "tilt": Case(tilted, "gantry_tilt", None, (N, "repaired"), (N, "recorded")),
    "shift": Case(shifted, "shifted_slices", None, (N, "repaired"), (N, "recorded")),
    "no rescale": Case(
        lambda f: write_series(f, HU, slope=None, intercept=None, dtype="<i2"),
        "missing_rescale",
        None,
        (N, "recorded"),
        (N, "recorded"),
        exact=True,
    ),
    "no position": Case(
        lambda f: changed(f, ImagePositionPatient=None), "missing_geometry", None, None, (N - 1, "dropped")
    ),
    "two slices": Case(lambda f: write_series(f, HU[:2]), "too_few_slices"),
    "not HU": Case(lambda f: write_series(f, HU + 3000, intercept=0), "not_hu", None, None, (N, "recorded")),
}


@pytest.mark.parametrize("policy", ["error", "repair", "warn"])
@pytest.mark.parametrize("name", CASES)
def test_fault(tmp_path: Path, name: str, policy: Any) -> None:  # noqa: ANN401
    case = CASES[name]
    case.make(tmp_path)
    wanted = {"error": case.error, "repair": case.repair, "warn": case.warn}[policy]
    if wanted is None:
        with pytest.raises(CovidctError, match=case.code) as caught:
            read_scan(tmp_path, on_fault=policy)
        assert str(caught.value).endswith(".")
        assert not str(caught.value)[0].islower()
        assert str(tmp_path) not in str(caught.value)
        return
    depth = wanted if isinstance(wanted, int) else wanted[0]
    volume = read_scan(tmp_path, on_fault=policy)
    finding = next(f for f in volume.findings if f.code == case.code)
    assert ".dcm" not in repr(volume.findings)  # names of files may identify
    if not isinstance(wanted, int):
        assert finding.action == wanted[1]
    assert volume.shape[0] == depth
    if case.exact and policy != "warn":
        assert np.array_equal(volume.array, HU)


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("two series", "not HU")])
def test_find_series_names_the_fault_from_headers(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    case.make(tmp_path)
    (info,) = find_series(tmp_path)
    finding = next(f for f in info.findings if f.code in case.code)
    assert (finding.action == "refused") == (case.error is None)


def test_truncated_slice_is_named_and_dropped(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HU)
    paths[3].write_bytes(paths[3].read_bytes()[:-300])
    with pytest.raises(GeometryError, match=r"1 file cannot .*truncated.*slice003\.dcm"):
        read_scan(tmp_path)
    volume = read_scan(tmp_path, on_fault="repair")
    assert {f.code: f.action for f in volume.findings} == {"unreadable_file": "dropped", "missing_slices": "repaired"}
    assert volume.shape[0] == N


def test_gap_is_filled_linearly(tmp_path: Path) -> None:
    missing(4, 5)(tmp_path)
    volume = read_scan(tmp_path, on_fault="repair")
    a, b = HU[3].astype(float), HU[6].astype(float)
    assert np.abs(volume.array[4] - (a * 2 / 3 + b / 3)).max() <= 0.5 + 1e-3
    assert np.abs(volume.array[5] - (a / 3 + b * 2 / 3)).max() <= 0.5 + 1e-3
    assert np.array_equal(np.delete(volume.array, [4, 5], axis=0), np.delete(HU, [4, 5], axis=0))
    assert volume.spacing == pytest.approx((2.0, 0.75, 0.5))


def test_steps_within_tolerance_are_even(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    at = positions(N)
    at[:, 2] += rng.uniform(-0.004, 0.004, N)
    write_series(tmp_path, HU, places=at)
    assert read_scan(tmp_path).findings == ()


def sphere(tilt: float, *, shape: tuple[int, int, int] = (44, 72, 64), step: float = 2.0) -> Any:  # noqa: ANN401
    """A ball of air, radius 25 mm, in tissue with air around, sampled on slices that lean; and its centre."""
    at = positions(shape[0], spacing=step, tilt=tilt)
    rows, columns = np.indices(shape[1:]).astype(float)
    centre = at[shape[0] // 2] + (shape[2] / 2 * 1.0, shape[1] / 2 * 1.0, 0)
    x = at[:, 0, None, None] + columns * 1.0 - centre[0]
    y = at[:, 1, None, None] + rows * 1.0 - centre[1]
    z = at[:, 2, None, None] - centre[2]
    distance = np.sqrt(x**2 + y**2 + z**2)
    return np.rint(np.clip((distance - 25) * 500, -450, 450) - 450).astype(np.int16), centre, at


def test_tilted_series_is_made_upright(tmp_path: Path) -> None:
    hu, centre, at = sphere(15)
    write_series(tmp_path, hu, spacing=(2.0, 1.0, 1.0), tilt=15)
    volume = read_scan(tmp_path, on_fault="repair")
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    assert np.abs(directions.T @ directions - np.eye(3)).max() < 1e-6
    d, h, w = np.indices(volume.shape)
    world = np.stack([w, h, d], axis=-1) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    truth = np.linalg.norm(world - centre, axis=-1) < 25
    lowest = (volume.array < -450) & (np.linalg.norm(world - centre, axis=-1) < 31)
    dice = 2 * (truth & lowest).sum() / (truth.sum() + lowest.sum())
    assert dice >= 0.98
    assert volume.source is not None
    assert volume.source.shape == hu.shape
    assert volume.source.affine[:3, 2] == pytest.approx(at[1] - at[0], abs=1e-6)


def test_mask_of_a_tilted_series_goes_back_to_its_slices(tmp_path: Path) -> None:
    import nibabel

    from covidct.io import write_mask

    hu, centre, _ = sphere(15)
    write_series(tmp_path / "in", hu, spacing=(2.0, 1.0, 1.0), tilt=15)
    volume = read_scan(tmp_path / "in", on_fault="repair")
    d, h, w = np.indices(volume.shape)
    world = np.stack([w, h, d], axis=-1) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    mask = (np.linalg.norm(world - centre, axis=-1) < 25).astype(np.uint8)
    write_mask(mask, volume, tmp_path / "mask.nii.gz")
    image: Any = nibabel.load(tmp_path / "mask.nii.gz")
    assert volume.source is not None
    back = np.asarray(image.dataobj).T
    assert back.shape == hu.shape
    truth = hu < -450
    assert 2 * (back.astype(bool) & truth).sum() / (back.sum() + truth.sum()) >= 0.98
    assert np.diag([-1, -1, 1, 1]) @ image.affine == pytest.approx(volume.source.affine, abs=1e-4)


def test_findings_hold_no_identity(tmp_path: Path) -> None:
    tilted(tmp_path)
    text = repr(read_scan(tmp_path, on_fault="repair").findings)
    assert "SENTINEL" not in text
    assert "15.00 degrees" in text
