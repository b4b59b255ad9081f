"""The published layout of COVIDx CXR-3, in miniature."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from covidct.datasets import COVIDxCXR3, check_no_overlap
from covidct.errors import ManifestError, UsageError
from covidct.io import content_digest
from covidct.sample import check_sample

if TYPE_CHECKING:
    from pathlib import Path

LISTS = {
    "train": [
        "5 ARDSSevere.png negative cohen",
        "101 pneumocystis-3-1.jpg negative cohen",
        "101 pneumocystis-3-2.jpg negative cohen",
        "ANON56 CR.1.2.840.1003000225002.png negative actmed",
        "5 MIDRC-RICORD-1C-5-0.png positive ricord",
    ],
    "test": ["419639-001464 MIDRC-RICORD-1C-419639-001464-39871-0.png positive ricord", "0f3a 0f3a.png negative rsna"],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    seed = 0
    for part, lines in LISTS.items():
        (tmp_path / part).mkdir()
        (tmp_path / f"{part}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            picture = np.random.default_rng(seed).integers(0, 256, (80, 72, 3), dtype=np.uint8)
            assert cv2.imwrite(str(tmp_path / part / line.split()[1]), picture)
            seed += 1
    assert cv2.imwrite(str(tmp_path / "train" / "unlisted.png"), picture)
    return tmp_path


def test_records_are_the_lists(root: Path) -> None:
    dataset = COVIDxCXR3(root)
    assert dataset.class_names == ("non_covid", "covid")
    assert [record.id for record in dataset.records][:2] == ["train-ARDSSevere", "train-pneumocystis-3-1"]
    assert Counter((record.split, record.label) for record in dataset.records) == {
        ("train", 0): 4,
        ("train", 1): 1,
        ("test", 0): 1,
        ("test", 1): 1,
    }
    assert [record.site for record in dataset.records] == ["cohen"] * 3 + ["actmed", "ricord", "ricord", "rsna"]
    check_no_overlap({part: [r for r in dataset.records if r.split == part] for part in ("train", "test")})


def test_patients_count_within_their_source(root: Path) -> None:
    subjects = [record.subject for record in COVIDxCXR3(root).records]
    assert subjects[1] == subjects[2]
    assert len(set(subjects)) == len(subjects) - 1  # 5 of cohen is not 5 of ricord


def test_samples_keep_the_contract(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(COVIDxCXR3(root)))  # noqa: S301 - spawned workers do this
    sample = dataset[4]
    check_sample(sample, "cxr")
    assert sample["image"].shape == (3, 80, 72)
    assert "lung_mask" not in sample
    keys = {dataset.content_key(source, digest=content_digest) for source in range(len(dataset))}
    assert len(keys) == len(dataset)


def test_words_of_the_three_class_lists(root: Path) -> None:
    (root / "test.txt").write_text(
        "a MIDRC-RICORD-1C-419639-001464-39871-0.png COVID-19 ricord\nb 0f3a.png normal rsna\n"
    )
    (root / "train.txt").unlink()
    assert [record.label for record in COVIDxCXR3(root, classes="three").records] == [2, 0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("5 ARDSSevere.png negative", r"Line 1 of train\.txt is wrong: a line has four words"),
        ("5 ARDSSevere.png perhaps cohen", r"Line 1 of train\.txt: The label 'perhaps' is unknown"),
        ("5 gone.png negative cohen", r"1 image\(s\) of the lists are not in COVIDx CXR-3, the first is gone\.png"),
        ("5 a.png negative cohen\n6 a.png positive cohen", r"names a\.png in line 1"),
        ("", "is empty"),
    ],
)
def test_wrong_lists_are_refused(root: Path, text: str, says: str) -> None:
    (root / "train.txt").write_text(text)
    with pytest.raises(ManifestError, match=says):
        len(COVIDxCXR3(root))


def test_wrong_folders_are_refused(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ManifestError, match=r"no train\.txt or test\.txt"):
        len(COVIDxCXR3(tmp_path_factory.mktemp("empty")))
    (root / "train").rename(root / "images")
    with pytest.raises(ManifestError, match="no folder train"):
        len(COVIDxCXR3(root))
    with pytest.raises(UsageError, match="classes='two'"):
        COVIDxCXR3(root, classes="two")
