"""The published layout of COVID-CT, in miniature, and the real slices with their official split."""

from __future__ import annotations

import logging
import pickle
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import COVIDCT, check_no_overlap
from covidct.datasets.covid_ct_names import image_key, named_subject
from covidct.errors import InputError, ManifestError, UsageError
from covidct.io import content_digest
from covidct.sample import check_batch, check_sample

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.datasets.base import Record, Split

PARTS: dict[str, dict[str, list[str]]] = {
    "COVID": {
        "train": ["2020.02.10.1-p6-52%10.png", "2020.02.10.1-p6-52%2.png", "2020.03.13.2-p23-154.png"],
        "val": ["2020.03.13.2-p23-155.png", "2020.03.13.2-p23-156.png"],
        "test": ["kjr-21-e24-p5-29.png"],
    },
    "NonCOVID": {
        "train": ["34%0.jpg", "34%1.jpg", "14.png", "15.png"],
        "val": ["23.png"],
        "test": ["14%0.jpg", "3.jpg"],
    },
}


def grey(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (20, 24), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The download: images of several depths and colours, one that is in no list, and the official lists."""
    seed = 0
    for word, parts in PARTS.items():
        folder, lists = tmp_path / "Images-processed" / f"CT_{word}", tmp_path / "Data-split" / word
        folder.mkdir(parents=True)
        lists.mkdir(parents=True)
        for part, names in parts.items():
            (lists / f"{part}CT_{word}.txt").write_text("\n".join(names) + "\n")
            for name in names:
                assert cv2.imwrite(str(folder / name), grey(seed))
                seed += 1
        assert cv2.imwrite(str(folder / "unlisted.png"), grey(99))
        (folder / "._unlisted.png").write_bytes(b"resource fork")
    (tmp_path / "Data-split" / "test.txt").write_text("nothing of interest\n")
    return tmp_path


def of_part(dataset: COVIDCT) -> dict[Split, list[Record]]:
    parts: dict[Split, list[Record]] = {"train": [], "val": [], "test": []}
    for record in dataset.records:
        assert record.split is not None
        parts[record.split].append(record)
    return parts


def test_the_official_split_and_label_1_for_covid(root: Path) -> None:
    dataset = COVIDCT(root)
    assert dataset.class_names == ("non_covid", "covid")
    found = Counter((record.split, record.label) for record in dataset.records)
    assert found == {
        (part, label): len(names)
        for label, word in enumerate(("NonCOVID", "COVID"))
        for part, names in PARTS[word].items()
    }
    assert [record.id for record in dataset.records[:3]] == [
        "CT_COVID-2020.02.10.1-p6-52_10",
        "CT_COVID-2020.02.10.1-p6-52_2",
        "CT_COVID-2020.03.13.2-p23-154",
    ]
    sample = dataset[0]
    check_sample(sample, "ct_slice")
    assert (int(sample["label"]), int(sample["slice_label"])) == (1, 1)
    torch.testing.assert_close(sample["image"][0], torch.from_numpy(grey(0) / 255).float())
    assert len(pickle.loads(pickle.dumps(dataset))) == 13  # noqa: S301


def test_names_tell_cases_and_figures(root: Path) -> None:
    dataset = COVIDCT(root)
    subjects = {record.id: record.subject for record in dataset.records}
    assert subjects["CT_COVID-2020.02.10.1-p6-52_10"] == subjects["CT_COVID-2020.02.10.1-p6-52_2"]
    assert subjects["CT_NonCOVID-34_0"] == subjects["CT_NonCOVID-34_1"]
    assert len(set(subjects.values())) == 11
    assert subjects["CT_NonCOVID-14"] != subjects["CT_NonCOVID-14_0"]  # two collections number their images alike
    check_no_overlap(of_part(dataset))
    hashes = [dataset.scan_hash(record) for record in dataset.records]
    assert len(set(hashes)) == 11


def test_the_published_tables_tell_the_patients(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    positives = [
        '2020.02.10.1-p6-52%10.png,Patient 2,50,"a, b\nc"',
        "2020.02.10.1-p6-52%2.png,Patient 2,50,",
        "2020.03.13.2-p23-155.png,Patient 131 ,,",
        "2020.03.13.2-p23-156,Patient 131,,",  # the published rows below number 171 have no suffix
        "kjr-21-e24-p5-29,,,",
    ]
    rows = "\n".join(positives)
    (root / "COVID-CT-MetaInfo.csv").write_text(f"File name,Patient ID,Age,Captions\n{rows}\n")
    negatives = "0,14.png,medpix_patient_38\n1,15.png,medpix_patient_38\n2,14%0.jpg,crawled_patient_14"
    (root / "NonCOVID-CT-MetaInfo.csv").write_text(f",image name,patient id\n{negatives}\n")
    subjects = {record.id: record.subject for record in COVIDCT(root).records}
    assert subjects["CT_COVID-2020.03.13.2-p23-155"] == subjects["CT_COVID-2020.03.13.2-p23-156"]
    assert subjects["CT_NonCOVID-14"] == subjects["CT_NonCOVID-15"] != subjects["CT_NonCOVID-14_0"]
    assert len(set(subjects.values())) == 9

    (root / "COVID-CT-MetaInfo.csv").rename(root / "kept.csv")
    (root / "COVID-CT-MetaInfo.xlsx").write_bytes(b"PK no spreadsheet")
    with pytest.raises(ManifestError, match=r"COVID-CT-MetaInfo\.xlsx .*save it as COVID-CT-MetaInfo\.csv"):
        len(COVIDCT(root))
    sheet = pd.read_csv(root / "kept.csv", dtype=str)
    monkeypatch.setattr(pd, "read_excel", lambda path, dtype: sheet.astype(dtype).replace("nan", np.nan))
    assert {record.id: record.subject for record in COVIDCT(root).records} == subjects
    monkeypatch.setattr(pd, "read_excel", lambda path, dtype: pd.DataFrame({"File name": ["a"]}))
    with pytest.raises(ManifestError, match="no column 'patient id'"):
        len(COVIDCT(root))


def test_a_patient_in_two_parts_is_refused_unless_allowed(root: Path) -> None:
    rows = "14.png,p\n23.png,p\n"
    (root / "NonCOVID-CT-MetaInfo.csv").write_text(f"image name,patient id\n{rows}")
    with pytest.raises(ManifestError, match="1 subject"):
        check_no_overlap(of_part(COVIDCT(root)))
    assert COVIDCT(root, allow_subject_overlap=True).allow_subject_overlap
    (root / "NonCOVID-CT-MetaInfo.csv").write_text(f"image name,patient id\n{rows}14.png,q\n")
    with pytest.raises(ManifestError, match=r"14\.png to two patients"):
        len(COVIDCT(root))


def test_other_layouts(root: Path) -> None:
    expected = [(record.id, record.split) for record in COVIDCT(root).records]
    (root / "Images-processed").rename(root / "images")
    split = root / "split"
    split.mkdir()
    for file in (root / "Data-split").rglob("*.txt"):
        file.rename(split / file.name)
    shutil.rmtree(root / "Data-split")
    assert [(record.id, record.split) for record in COVIDCT(root).records] == expected
    for folder in list((root / "images").iterdir()):
        folder.rename(root / folder.name.upper())
    (root / "images").rmdir()
    for file in list(split.iterdir()):
        file.rename(root / file.name)
    split.rmdir()
    assert [(record.id, record.split) for record in COVIDCT(root).records] == expected
    for file in root.glob("*.txt"):
        file.unlink()
    assert len(COVIDCT(root)) == 15  # the unlisted ones too
    assert {record.split for record in COVIDCT(root).records} == {None}


def test_parts_that_are_not_there(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "Data-split" / "COVID" / "testCT_COVID.txt").unlink()
    with pytest.raises(ManifestError, match=r"testCT_COVID\.txt is missing"):
        len(COVIDCT(root))
    (root / "Data-split" / "NonCOVID" / "testCT_NonCOVID.txt").unlink()
    with caplog.at_level(logging.WARNING):
        assert Counter(record.split for record in COVIDCT(root).records) == {"train": 7, "val": 3}
    assert "left out test" in caplog.text
    (root / "Images-processed" / "CT_COVID" / "2020.03.13.2-p23-154.png").unlink()
    with pytest.raises(ManifestError, match=r"1 image\(s\).*p23-154\.png \(line 3 of trainCT_COVID\.txt\)"):
        len(COVIDCT(root))


def test_what_is_there_twice(root: Path) -> None:
    images = root / "Images-processed" / "CT_NonCOVID"
    lists = root / "Data-split" / "NonCOVID"
    (lists / "trainCT_NonCOVID.txt").write_text("34%0.jpg\n34_0.jpg\n")
    with pytest.raises(ManifestError, match=r"34%0\.jpg in line 1 .* as 34_0\.jpg in line 2"):
        len(COVIDCT(root))
    (lists / "copy").mkdir()
    (lists / "copy" / "valCT_NonCOVID.txt").write_text("23.png\n")
    with pytest.raises(ManifestError, match=r"two split files valCT_NonCOVID\.txt"):
        len(COVIDCT(root))
    (lists / "copy" / "valCT_NonCOVID.txt").unlink()
    assert cv2.imwrite(str(images / "14.jpg"), grey(0))
    with pytest.raises(ManifestError, match=r"14\.jpg and as 14\.png"):
        len(COVIDCT(root))


@pytest.mark.parametrize("case", ["grey16", "rgb", "rgba", "jpg"])
def test_every_kind_of_picture_becomes_one_grey_channel(root: Path, case: str) -> None:
    file = root / "Images-processed" / "CT_NonCOVID" / "23.png"
    pixels = grey(5)
    channels = np.stack([pixels, np.roll(pixels, 3), pixels[::-1]], axis=-1)  # blue, green, red
    expected = (channels / 255) @ (0.114, 0.587, 0.299)
    if case == "grey16":
        assert cv2.imwrite(str(file), pixels.astype(np.uint16) * 257)
        expected = pixels / 255
    elif case == "rgb":
        assert cv2.imwrite(str(file), channels)
    elif case == "rgba":
        assert cv2.imwrite(str(file), np.dstack([channels, np.full_like(pixels, 255)]))
    else:
        file.unlink()
        smooth = np.linspace(0, 255, 480).reshape(20, 24).astype(np.uint8)
        assert cv2.imwrite(str(file.with_suffix(".jpg")), smooth)
        expected = smooth / 255
    dataset = COVIDCT(root)
    index = next(number for number, record in enumerate(dataset.records) if record.id == "CT_NonCOVID-23")
    image = dataset[index]["image"]
    assert image.shape == (1, 20, 24)
    np.testing.assert_allclose(image[0].numpy(), expected, atol=0.02 if case == "jpg" else 1e-6)


def test_a_damaged_file_is_named(root: Path) -> None:
    file = root / "Images-processed" / "CT_NonCOVID" / "23.png"
    file.write_bytes(file.read_bytes()[:60])
    dataset = COVIDCT(root)
    index = next(number for number, record in enumerate(dataset.records) if record.id == "CT_NonCOVID-23")
    with pytest.raises(InputError, match=r"23\.png"):
        dataset.load(index)


def test_the_classes(root: Path) -> None:
    assert COVIDCT(root, classes={"covid": "sick", "non_covid": "other"}).class_names == ("sick", "other")
    for classes in ("three", {"covid": "a", "normal": "b"}, "none"):
        with pytest.raises(UsageError):
            COVIDCT(root, classes=classes)
    keys = {
        COVIDCT(root, classes=classes).content_key(0, digest=content_digest)
        for classes in ("covid_vs_rest", {"covid": "sick", "non_covid": "other"})
    }
    assert len(keys) == 2
    with pytest.raises(ManifestError, match="no folder"):
        len(COVIDCT(root / "nowhere"))
    (root / "empty" / "CT_COVID").mkdir(parents=True)
    with pytest.raises(ManifestError, match="no image"):
        len(COVIDCT(root / "empty"))


def test_names() -> None:
    assert image_key("a/b\\2020.03.25.20043166-p17-78") == "2020.03.25.20043166-p17-78"
    assert image_key("10%0.JPG") == image_key("10_0.png") == "10_0"
    one, two = (named_subject(f"2020.02.26.20026989-p34-114_{panel}", "train") for panel in ("1_0", "2_1"))
    assert one == two
    one, two = (named_subject(f"2020.03.16.20035105-p6-64-{panel}", "val") for panel in (1, 4))
    assert one == two != named_subject("2020.03.16.20035105-p6-64-1", "test")
    others = ("2020.03.13.20035212-p23-155", "2020.03.13.20035212-p23-156", "14", "14_0", "15", "kjr-21-e25-p1-6")
    assert len({named_subject(key, "val") for key in others}) == 6
    assert named_subject("14_0", "val") == named_subject("14_1", "train")


@pytest.mark.real
def test_the_published_slices(real_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = COVIDCT(real_data / "covid_ct")
    with caplog.at_level(logging.WARNING):
        found = Counter((record.split, record.label) for record in dataset.records)
    # README of the publishers' DenseNet-169 baseline; the test part is not in this copy
    assert found == {("train", 1): 191, ("train", 0): 234, ("val", 1): 60, ("val", 0): 58}
    assert "left out test" in caplog.text
    parts = of_part(dataset)
    check_no_overlap(parts)
    module = CTSliceDataModule(
        dataset, window=None, size=64, mask_source="none", batch_size=4, num_workers=0, cache_dir=str(tmp_path)
    )
    for index in (0, 300, 542):
        check_sample(dataset[index], "ct_slice")
    assert dataset.load(0).scan.array.shape == (389, 512)
    assert module.class_names == ("non_covid", "covid")


def test_a_data_module_takes_the_split(root: Path) -> None:
    module = CTSliceDataModule(
        COVIDCT(root), window=None, size=16, mask_source="none", batch_size=3, cache_dir=str(root / "cache")
    )
    module.prepare_data()
    module.setup("test")
    (batch,) = list(module.test_dataloader())
    check_batch(batch, "ct_slice")
    assert batch["image"].shape == (3, 1, 16, 16)
    assert sorted(batch["label"].tolist()) == [0, 0, 1]
