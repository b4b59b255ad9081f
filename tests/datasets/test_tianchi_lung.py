from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from covidct.datasets import TianchiLung
from covidct.errors import ManifestError
from covidct.io import content_digest
from covidct.sample import check_sample
from covidct.volume import Volume
from tests.fakes.chests import chest
from tests.fakes.metaimage import save_mhd

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("train_part1/688588.mhd", "train_part2/98765.mhd", "train_subset00/LKDS-00012.mhd")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, name in enumerate(FILES):
        raw: Any = chest(seed=seed)
        save_mhd(tmp_path / name, raw.scan.array, raw.scan.affine)
    return tmp_path


def test_all_scans_are_negative(root: Path) -> None:
    dataset = TianchiLung(root)
    assert [record.id for record in dataset.records] == ["tianchi-0001", "tianchi-0002", "tianchi-0003"]
    assert [record.subject for record in dataset.records] == ["98765", "688588", "LKDS-00012"]
    assert {dataset.class_names[record.label] for record in dataset.records} == {"non_covid"}
    raw, expected = dataset.load(1), chest(seed=0)
    assert isinstance(raw.scan, Volume)
    assert isinstance(expected.scan, Volume)
    np.testing.assert_array_equal(raw.scan.array, expected.scan.array)
    assert raw.slice_label is not None
    np.testing.assert_array_equal(raw.slice_label, np.zeros(24))
    sample = dataset[1]
    check_sample(sample, "ct_volume", intensity="hu")
    assert "688588" not in str(sample)


def test_classes_and_keys(root: Path) -> None:
    words = {"covid": "sick", "normal": "well"}
    own = TianchiLung(root, classes=words)
    assert own.records[0].label == 1
    labels = own.load(0).slice_label
    assert labels is not None
    assert set(labels.tolist()) == {1}
    keys = {data.content_key(0, digest=content_digest) for data in (own, TianchiLung(root))}
    keys |= {TianchiLung(root).content_key(source, digest=content_digest) for source in (1, 2)}
    assert len(keys) == 4
    scans = {TianchiLung(root).scan_hash(record) for record in TianchiLung(root).records}
    assert TianchiLung(root / "train_part1").scan_hash(TianchiLung(root / "train_part1").records[0]) in scans
    assert len(scans) == 3


def test_nothing_there_or_twice(root: Path) -> None:
    with pytest.raises(ManifestError, match=r"no \.mhd file"):
        len(TianchiLung(root / "nowhere"))
    shutil.copy(root / FILES[0], root / "train_part2")
    with pytest.raises(ManifestError, match=r"688588\.mhd is in train_part1 and again in train_part2"):
        len(TianchiLung(root))
