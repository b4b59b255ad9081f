"""The layout of the DarkCovidNet data in miniature, and the real images with their split."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from covidct.datamodules import CXRDataModule
from covidct.datasets import DarkCovid, check_no_overlap
from covidct.datasets.dark_covid import named_subject
from covidct.errors import ManifestError, UsageError
from covidct.sample import check_sample

NAMES = {
    "Covid-19": ["nejmc2001573_f1a.jpeg", "nejmc2001573_f1b.jpeg", "covid-19-pneumonia-24-day6.jpg"],
    "No_findings": ["00001280_004.png", "00001303_001.png"],
    "Pneumonia": ["00001280_009.png", "00000061_012.png"],
}


def write(folder: Path) -> Path:
    for word, names in NAMES.items():
        (folder / word).mkdir(parents=True)
        for seed, name in enumerate(names):
            picture = np.random.default_rng(seed).integers(0, 256, (70, 90), dtype=np.uint8)
            assert cv2.imwrite(str(folder / word / name), picture)
    return folder


@pytest.mark.parametrize("inside", ["", "X-Ray Image DataSet"])
def test_published_folders_have_no_split(tmp_path: Path, inside: str) -> None:
    write(tmp_path / inside)
    dataset = DarkCovid(tmp_path)
    assert dataset.class_names == ("normal", "cap", "covid")
    assert [record.label for record in dataset.records] == [0, 0, 1, 1, 2, 2, 2]
    assert {record.split for record in dataset.records} == {None}
    assert dataset.records[0].subject == dataset.records[3].subject == "00001280"  # in two classes
    assert dataset.records[5].subject == dataset.records[6].subject == "nejmc2001573"
    check_sample(dataset[0], "cxr")


def test_binary_is_without_pneumonia(tmp_path: Path) -> None:
    dataset = DarkCovid(write(tmp_path), task="binary")
    assert dataset.class_names == ("normal", "covid")
    assert [record.label for record in dataset.records] == [0, 0, 1, 1, 1]
    with pytest.raises(UsageError, match="task='four'"):
        DarkCovid(tmp_path, task="four")  # type: ignore[arg-type]


def test_the_table_gives_part_and_subject(tmp_path: Path) -> None:
    write(tmp_path / "images")
    rows = [f"images/Covid-19/{name},Covid-19,2,{'val' if 'day' in name else 'train'},g1" for name in NAMES["Covid-19"]]
    rows[2] = rows[2].replace("g1", "g2")
    table = tmp_path / "split.csv"
    table.write_text("path,class,label,split,group\n" + "\n".join(rows) + "\n")
    dataset = DarkCovid(tmp_path)
    assert [(record.split, record.subject) for record in dataset.records] == [
        ("train", "g1"),
        ("train", "g1"),
        ("val", "g2"),
    ]
    for wrong, says in (
        (rows[0].replace("train", "tune"), r"Row 2 of split\.csv is wrong"),
        (rows[0].replace("f1a", "f9"), "Row 2 .* is not there"),
        (rows[1], "names an image twice"),
    ):
        table.write_text("\n".join(["path,class,label,split,group", rows[1], wrong]))
        with pytest.raises(ManifestError, match=says):
            len(DarkCovid(tmp_path))


@pytest.mark.parametrize(
    ("stem", "subject"),
    [
        ("00001362_017", "00001362"),
        ("1-s2.0-S0929664620300449-gr2_lrg-a", "1-s2.0-S0929664620300449"),
        ("1-s2.0-S1684118220300682-main.pdf-003-b2", "1-s2.0-S1684118220300682-main"),
        ("covid-19-pneumonia-15-PA", "covid-19-pneumonia-15"),
        ("covid-19-pneumonia-24-day12", "covid-19-pneumonia-24"),
        ("41591_2020_819_Fig1_HTML.webp-day10", "41591_2020_819"),
        ("lancet-case2a", "lancet-case2"),
        ("7EF28E12-F628-4BEC-A8C5-E6277C2E4F60", "7EF28E12-F628-4BEC-A8C5-E6277C2E4F60"),
        ("gr1", "gr1"),
    ],
)
def test_subjects_of_names(stem: str, subject: str) -> None:
    assert named_subject(stem) == subject


@pytest.mark.real
def test_real_images_and_their_split(real_data: Path) -> None:
    dataset = DarkCovid(real_data / "cxr_darkcovid")
    parts = {part: [r for r in dataset.records if r.split == part] for part in ("train", "val", "test")}
    assert {part: Counter(r.label for r in records) for part, records in parts.items()} == {
        "train": {0: 300, 1: 300, 2: 74},
        "val": {0: 50, 1: 50, 2: 13},
        "test": {},
    }
    check_no_overlap(parts)  # type: ignore[arg-type]
    by_group = defaultdict(set)
    for record, file in zip(dataset.records, dataset.files, strict=True):
        by_group[record.subject].add(named_subject(file.path.stem))
    assert all(len(names) == 1 for names in by_group.values())  # what names tell splits no group
    binary = DarkCovid(real_data / "cxr_darkcovid", task="binary")
    assert Counter((r.split, r.label) for r in binary.records) == {
        ("train", 0): 300,
        ("train", 1): 74,
        ("val", 0): 50,
        ("val", 1): 13,
    }


@pytest.mark.real
@pytest.mark.slow
def test_real_statistics_are_those_of_all_training_pixels(real_data: Path, tmp_path: Path) -> None:
    dataset = DarkCovid(real_data / "cxr_darkcovid")
    module = CXRDataModule(dataset, size=64, cache_dir=str(tmp_path))
    module.prepare_data()
    module.setup("fit")
    assert [len(module.records(part)) for part in ("train", "val", "test")] == [674, 113, 0]
    mean, std = module.image_statistics()
    pixels = np.concatenate([module.samples("train")[i]["image"].numpy().ravel() for i in range(674)]).astype(float)
    np.testing.assert_allclose((mean, std), (pixels.mean(), pixels.std()), atol=1e-6)
