from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from covidct.datasets import COVID19CTSeg
from covidct.errors import InputError, ManifestError, UsageError
from covidct.io import content_digest
from covidct.sample import check_sample
from covidct.volume import Volume
from tests.fakes.chests import chest
from tests.fakes.cohort import save_nifti

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = ("coronacases_002", "coronacases_010", "radiopaedia_10_85902_1", "radiopaedia_10_85902_3", "radiopaedia_4_9_1")
FOLDERS = ("COVID-19-CT-Seg_20cases", "Lung_Mask", "Infection_Mask")
CODES = np.array([0, 2, 1], dtype=np.uint8)  # the publisher's: 1 left, 2 right


def display(hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    """The lung window [-1250, 250] in 256 steps."""
    steps: NDArray[np.uint8] = np.rint((np.clip(hu.astype(float), -1250, 250) + 1250) / 1500 * 255).astype(np.uint8)
    return steps


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five chests with a lesion: two in HU, two in display values (float and uint8), one of radiopaedia in HU."""
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    for seed, name in enumerate(NAMES):
        raw: Any = chest(lesion=True, seed=seed)
        array = raw.scan.array
        if "_10_" in name and name.startswith("radio"):
            array = display(array).astype(np.float32 if name.endswith("1") else np.uint8)
        for folder, values in zip(FOLDERS, (array, CODES[raw.lung_mask], raw.lesion_mask), strict=True):
            save_nifti(values, raw.scan.affine, tmp_path / folder / f"{name}.nii.gz")
    return tmp_path


def test_records(root: Path) -> None:
    dataset = COVID19CTSeg(root)
    records = dataset.records
    assert [record.id for record in records] == [*NAMES[:2], "radiopaedia_4_9_1", *NAMES[2:4]]
    assert {record.label for record in records} == {1}
    assert [record.site for record in records] == ["coronacases"] * 2 + ["radiopaedia"] * 3
    assert len({record.subject for record in records}) == 4  # two stacks of one radiopaedia case are one patient
    assert records[3].subject == records[4].subject
    assert len(pickle.loads(pickle.dumps(dataset))) == 5  # noqa: S301


def test_scans_masks_and_slice_labels(root: Path) -> None:
    dataset = COVID19CTSeg(root, classes="three")
    raw, expected = dataset.load(1), chest(lesion=True, seed=1)
    assert isinstance(raw.scan, Volume)
    assert isinstance(expected.scan, Volume)
    np.testing.assert_array_equal(raw.scan.array, expected.scan.array)
    np.testing.assert_array_equal(raw.lung_mask, expected.lung_mask)
    np.testing.assert_array_equal(raw.lesion_mask, expected.lesion_mask)
    assert expected.slice_label is not None
    assert expected.slice_label.any()
    np.testing.assert_array_equal(raw.slice_label, expected.slice_label)  # 0 normal, 2 covid
    for index in (0, 4):
        check_sample(dataset[index], "ct_volume", intensity="hu")


def test_a_slice_needs_enough_infection(root: Path) -> None:
    pixels = np.count_nonzero(np.asarray(chest(lesion=True).lesion_mask), axis=(1, 2))
    least = int(pixels.max())
    labels = COVID19CTSeg(root, min_infection_pixels=least).load(0).slice_label
    np.testing.assert_array_equal(labels, (pixels >= least).astype(int))
    assert labels is not None
    assert 0 < np.count_nonzero(labels) < np.count_nonzero(pixels)


@pytest.mark.parametrize("source", [3, 4])
def test_display_values_are_put_back_to_hu(root: Path, source: int) -> None:
    raw, expected = COVID19CTSeg(root).load(source), chest(lesion=True, seed=source - 1)
    assert isinstance(raw.scan, Volume)
    assert isinstance(expected.scan, Volume)
    assert raw.scan.intensity == "hu"
    assert raw.scan.array.dtype == np.int16
    assert [finding.code for finding in raw.scan.findings] == ["display_values"]
    inside = np.clip(expected.scan.array, -1024, 250)
    assert np.abs(raw.scan.array.astype(int) - inside).max() <= 1500 / 255 / 2 + 1  # half a step, and rounding
    np.testing.assert_array_equal(raw.lung_mask, expected.lung_mask)


def test_values_decide_not_names(root: Path) -> None:
    raw, expected = COVID19CTSeg(root, windowed="error").load(2), chest(lesion=True, seed=4)
    assert isinstance(raw.scan, Volume)
    assert isinstance(expected.scan, Volume)
    np.testing.assert_array_equal(raw.scan.array, expected.scan.array)
    assert raw.scan.findings == ()


def test_windowed_scans_can_be_left_out_or_refused(root: Path) -> None:
    dataset = COVID19CTSeg(root, windowed="exclude")
    assert [record.id for record in dataset.records] == [*NAMES[:2], NAMES[4]]
    assert sorted(dataset.excluded) == list(NAMES[2:4])
    assert all("display values" in reason for reason in dataset.excluded.values())
    assert dataset.scan_hash(dataset.records[2]) == COVID19CTSeg(root).scan_hash(COVID19CTSeg(root).records[2])
    assert COVID19CTSeg(root).excluded == {}
    with pytest.raises(InputError, match=r"radiopaedia_10_85902_1 holds display values .* windowed='map'"):
        COVID19CTSeg(root, windowed="error").load(3)


def test_display_values_of_unknown_window_are_refused(root: Path) -> None:
    raw: Any = chest(seed=0)
    save_nifti(display(raw.scan.array).astype(np.int16), raw.scan.affine, root / FOLDERS[0] / "coronacases_002.nii.gz")
    with pytest.raises(InputError, match="not_hu"):
        COVID19CTSeg(root).load(0)


def test_geometry_of_display_scans_is_checked(root: Path) -> None:
    sheared = np.diag([10.0, 10.0, 10.0, 1.0])
    sheared[0, 2] = 6.0
    raw: Any = chest(seed=0)
    save_nifti(display(raw.scan.array), sheared, root / FOLDERS[0] / "radiopaedia_10_85902_1.nii.gz")
    for policy in ("error", "repair"):  # nothing mends the geometry of a scan that is no HU
        with pytest.raises(InputError, match="correct the file"):
            COVID19CTSeg(root, on_fault=policy).load(3)


def test_swapped_sides_and_unknown_codes(root: Path) -> None:
    raw: Any = chest(seed=0)
    save_nifti(raw.lung_mask, raw.scan.affine, root / "Lung_Mask" / "coronacases_002.nii.gz")
    with pytest.raises(InputError, match="swapped_sides"):
        COVID19CTSeg(root).load(0)
    np.testing.assert_array_equal(COVID19CTSeg(root, on_fault="repair").load(0).lung_mask, raw.lung_mask)
    save_nifti(3 * raw.lung_mask, raw.scan.affine, root / "Infection_Mask" / "coronacases_010.nii.gz")
    with pytest.raises(InputError, match="labels 0, 3, 6"):
        COVID19CTSeg(root).load(1)


def test_longer_names_of_mirrors(root: Path) -> None:
    scans = root / "ct_scans"
    (root / FOLDERS[0]).rename(scans)
    for old, new in (
        ("coronacases_002", "coronacases_org_002"),
        ("coronacases_010", "coronacases_org_case010"),
        ("radiopaedia_4_9_1", "radiopaedia_org_covid-19-pneumonia-4_9_1-dcm"),
    ):
        (scans / f"{old}.nii.gz").rename(scans / f"{new}.nii.gz")
    assert [record.id for record in COVID19CTSeg(root).records][:3] == [*NAMES[:2], "radiopaedia_4_9_1"]


def test_what_is_missing_twice_or_strange_is_said(root: Path) -> None:
    scans = root / FOLDERS[0]
    twice = scans / "coronacases_org_002.nii.gz"
    twice.touch()
    with pytest.raises(ManifestError, match="coronacases_002 twice"):
        len(COVID19CTSeg(root))
    twice.rename(scans / "scan.nii")
    with pytest.raises(ManifestError, match=r"scan\.nii in COVID.* has no name"):
        len(COVID19CTSeg(root))
    (scans / "scan.nii").unlink()
    (root / "Infection_Mask" / "coronacases_010.nii.gz").unlink()
    with pytest.raises(ManifestError, match=r"1 scan.* no mask in Infection_Mask, the first is coronacases_010"):
        len(COVID19CTSeg(root))
    for path in scans.iterdir():
        path.unlink()
    with pytest.raises(ManifestError, match="no NIfTI file"):
        len(COVID19CTSeg(root))
    with pytest.raises(UsageError, match="windowed"):
        COVID19CTSeg(root, windowed="guess")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="min_infection_pixels"):
        COVID19CTSeg(root, min_infection_pixels=0)


def test_content_depends_on_arguments(root: Path) -> None:
    variants: list[dict[str, Any]] = [{}, {"min_infection_pixels": 9}, {"classes": "three"}, {"windowed": "error"}]
    keys = [COVID19CTSeg(root, **options).content_key(0, digest=content_digest) for options in variants]
    assert len({*keys, COVID19CTSeg(root).content_key(1, digest=content_digest)}) == 5
