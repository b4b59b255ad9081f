from __future__ import annotations

import pickle
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from covidct.datasets import LUNA16
from covidct.errors import InputError, ManifestError, UsageError
from covidct.io import content_digest
from covidct.sample import check_sample
from covidct.volume import Volume
from tests.fakes.chests import chest
from tests.fakes.metaimage import save_mhd

if TYPE_CHECKING:
    from pathlib import Path

UIDS = {0: ("1.3.6.10", "1.3.6.9"), 3: ("1.3.6.200",)}
CODES = np.array([0, 4, 3], dtype=np.uint8)  # the publisher's: 4 right lung, 3 left lung


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three chests in two subsets; the mask of each has a trachea (5) between the lungs."""
    seed = 0
    for subset, uids in UIDS.items():
        for uid in uids:
            raw: Any = chest(seed=seed)
            codes = CODES[raw.lung_mask]
            codes[:, 14, 15] = 5
            save_mhd(tmp_path / f"subset{subset}" / f"{uid}.mhd", raw.scan.array, raw.scan.affine)
            save_mhd(tmp_path / "seg-lungs-LUNA16" / f"{uid}.mhd", codes, raw.scan.affine)
            seed += 1
    return tmp_path


def test_records_without_identity(root: Path) -> None:
    dataset = LUNA16(root, subsets=[0, 3])
    assert [record.id for record in dataset.records] == ["luna16-s0-0001", "luna16-s0-0002", "luna16-s3-0001"]
    assert [record.subject for record in dataset.records] == ["1.3.6.9", "1.3.6.10", "1.3.6.200"]
    assert {record.label for record in dataset.records} == {-1}
    assert {record.split for record in dataset.records} == {None}
    alone = LUNA16(root, subsets=(3,)).records[0]
    assert alone.id == "luna16-s3-0001"
    assert LUNA16(root, subsets=(3,)).scan_hash(alone) == dataset.scan_hash(dataset.records[2])
    assert len(pickle.loads(pickle.dumps(dataset))) == 3  # noqa: S301


def test_masks_are_matched_by_uid_and_mapped(root: Path) -> None:
    dataset = LUNA16(root, subsets=(0, 3))
    for source, seed in enumerate((1, 0, 2)):
        raw, expected = dataset.load(source), chest(seed=seed)
        assert isinstance(raw.scan, Volume)
        assert isinstance(expected.scan, Volume)
        np.testing.assert_array_equal(raw.scan.array, expected.scan.array)
        np.testing.assert_array_equal(raw.lung_mask, expected.lung_mask)
    sample = dataset[1]
    check_sample(sample, "ct_volume", intensity="hu")
    assert "1.3.6" not in str(sample)
    keys = {dataset.content_key(source, digest=content_digest) for source in range(3)}
    keys.add(LUNA16(root, subsets=(0, 3), on_fault="repair").content_key(0, digest=content_digest))
    assert len(keys) == 4


def test_swapped_sides_are_refused_or_mended(root: Path) -> None:
    raw: Any = chest(seed=2)
    swapped = np.array([0, 3, 4], dtype=np.uint8)[raw.lung_mask]
    save_mhd(root / "seg-lungs-LUNA16" / "1.3.6.200.mhd", swapped, raw.scan.affine)
    with pytest.raises(InputError, match="patient's left"):
        LUNA16(root, subsets=(3,)).load(0)
    mended = LUNA16(root, subsets=(3,), on_fault="repair").load(0)
    assert isinstance(mended.scan, Volume)
    assert mended.scan.findings[-1].code == "swapped_sides"
    np.testing.assert_array_equal(mended.lung_mask, raw.lung_mask)


def test_unknown_codes_are_refused(root: Path) -> None:
    raw: Any = chest(seed=2)
    save_mhd(root / "seg-lungs-LUNA16" / "1.3.6.200.mhd", raw.lung_mask, raw.scan.affine)
    with pytest.raises(InputError, match=r"labels 0, 1, 2; 0, 3, 4, 5 are known"):
        LUNA16(root, subsets=(3,)).load(0)


def test_what_is_missing_or_twice_is_said(root: Path) -> None:
    with pytest.raises(ManifestError, match="no folder subset1 in"):
        len(LUNA16(root))
    copy = root / "subset3" / "deeper"
    copy.mkdir()
    shutil.copy(root / "subset0" / "1.3.6.9.mhd", copy)
    with pytest.raises(ManifestError, match=r"1\.3\.6\.9 is in subset0 and again in subset3"):
        len(LUNA16(root, subsets=(0, 3)))
    shutil.copy(root / "seg-lungs-LUNA16" / "1.3.6.9.mhd", copy)
    shutil.move(copy, root / "seg-lungs-LUNA16" / "deeper")
    with pytest.raises(ManifestError, match="two masks"):
        len(LUNA16(root, subsets=(0, 3)))
    shutil.rmtree(root / "seg-lungs-LUNA16" / "deeper")
    (root / "seg-lungs-LUNA16" / "1.3.6.9.mhd").unlink()
    (root / "seg-lungs-LUNA16" / "1.3.6.200.mhd").unlink()
    with pytest.raises(ManifestError, match=r"2 scan\(s\) of LUNA16 have no mask .* 1\.3\.6\.9:"):
        len(LUNA16(root, subsets=(0, 3)))
    (root / "subset5").mkdir()
    with pytest.raises(ManifestError, match=r"no \.mhd file"):
        len(LUNA16(root, subsets=(5,)))
    shutil.rmtree(root / "seg-lungs-LUNA16")
    with pytest.raises(ManifestError, match="no folder seg-lungs-LUNA16"):
        len(LUNA16(root, subsets=(0,)))


@pytest.mark.parametrize("subsets", [(), (10,), (1, 1)])
def test_wrong_subsets(subsets: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="subsets"):
        LUNA16("nowhere", subsets=subsets)


def test_scans_stored_turned_by_half_a_circle(tmp_path: Path) -> None:
    """A few LUNA16 files have TransformMatrix = -1 0 0 0 -1 0 0 0 1: their rows and columns run the other way."""
    raw: Any = chest(seed=5)
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    turn[:2, 3] = raw.scan.shape[2] - 1, raw.scan.shape[1] - 1
    affine = raw.scan.affine @ turn
    for folder, array in (("subset0", raw.scan.array), ("seg-lungs-LUNA16", CODES[raw.lung_mask])):
        save_mhd(tmp_path / folder / "1.2.3.mhd", array[:, ::-1, ::-1], affine)
    assert "-1 0 0 0 -1 0 0 0 1" in (tmp_path / "subset0" / "1.2.3.mhd").read_text()
    loaded = LUNA16(tmp_path, subsets=(0,)).load(0)
    assert isinstance(loaded.scan, Volume)
    np.testing.assert_array_equal(loaded.scan.array, raw.scan.array)
    np.testing.assert_array_equal(loaded.lung_mask, raw.lung_mask)
