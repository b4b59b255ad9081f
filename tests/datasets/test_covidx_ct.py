from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from jsonargparse import ArgumentParser

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import BaseDataset, COVIDxCT
from covidct.errors import InputError, ManifestError, UsageError
from covidct.io import content_digest
from covidct.sample import check_batch, check_sample

HEADER = "patient id,source,country,sex,age,finding,verified finding,slice selection,view,modality"
ROWS = (
    "NCP_96,CNCB,China,,,COVID-19,Yes,Expert,Axial,CT",
    "NCP_9,CNCB,China,,,COVID-19,No,Expert,Axial,CT",
    "CP_10,CNCB,China,,,Pneumonia,Yes,Automatic,Axial,CT",
    "Normal_1663,CNCB,China,,,Normal,Yes,Expert,Axial,CT",
    "HUST-Patient9,iCTCF,China,F,25,COVID-19,Yes,Automatic,Axial,CT",
    "HUST-Patient97,iCTCF,,M,46,COVID-19,No,Automatic,Axial,CT",
    "radiopaedia-29,Radiopaedia,Italy,,,Pneumonia,Yes,Expert,Axial,CT",
)
NAMES = {
    "NCP_96_1328_0032.png": 2,
    "NCP_96_1328_0100.png": 2,
    "NCP_96_1330_0001.png": 2,
    "NCP_9_1_0001.png": 2,
    "CP_10_3153_0172.png": 1,
    "Normal_1663_1_0000.png": 0,
    "HUST-Patient97-0001.png": 2,
    "HUST-Patient9-0001.png": 2,
    "radiopaedia-29-86491-1-0007.png": 1,
}


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (20, 24), dtype=np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images of several collections, the table of patients, and a split of them."""
    for seed, name in enumerate(NAMES):
        picture(tmp_path / "2A_images" / name, seed)
    (tmp_path / "metadata.csv").write_text("\n".join((HEADER, *ROWS)) + "\n")
    parts = {"train": list(NAMES)[:5], "val": list(NAMES)[5:6], "test": list(NAMES)[6:]}
    for part, names in parts.items():
        lines = [f"{name} {NAMES[name]} 2 3 22 19" for name in names]
        (tmp_path / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def split_of(root: Path) -> dict[str, str]:
    return {part: str(root / f"{part}.txt") for part in ("train", "val", "test")}


def test_split_and_table_tell_everything(root: Path) -> None:
    dataset = COVIDxCT(root, split_files=split_of(root), metadata=root / "metadata.csv", site="both")
    assert {f"{record.id}.png": record.label for record in dataset.records} == NAMES
    assert [record.split for record in dataset.records] == ["train"] * 5 + ["val"] + ["test"] * 3
    assert [record.subject for record in dataset.records] == [
        "NCP_96",
        "NCP_96",
        "NCP_96",
        "NCP_9",
        "CP_10",
        "Normal_1663",
        "HUST-Patient97",
        "HUST-Patient9",
        "radiopaedia-29",
    ]
    sites = [record.site for record in dataset.records]
    assert sites == ["CNCB, China"] * 6 + ["iCTCF", "iCTCF, China", "Radiopaedia, Italy"]
    scans = [dataset.scan_hash(record) for record in dataset.records[:3]]
    assert scans[0] == scans[1] != scans[2]
    for index in (0, 5, 8):
        sample = dataset[index]
        check_sample(sample, "ct_slice")
        assert int(sample["slice_label"]) == int(sample["label"]) == dataset.records[index].label
    assert len(pickle.loads(pickle.dumps(dataset))) == 9  # noqa: S301
    source = COVIDxCT(root, split_files=split_of(root), metadata=str(root / "metadata.csv"))
    assert {record.site for record in source.records} == {"CNCB", "iCTCF", "Radiopaedia"}
    country = COVIDxCT(root, split_files=split_of(root), metadata=str(root / "metadata.csv"), site="country")
    assert {record.site for record in country.records} == {"China", "", "Italy"}


def test_only_verified_findings(root: Path) -> None:
    dataset = COVIDxCT(root, metadata=root / "metadata.csv", verified_only=True)
    assert {record.subject for record in dataset.records} == {
        "NCP_96",
        "CP_10",
        "Normal_1663",
        "HUST-Patient9",
        "radiopaedia-29",
    }
    assert dict(dataset.excluded) == {"NCP_9": "verified finding: No", "HUST-Patient97": "verified finding: No"}
    assert [record.label for record in dataset.records if record.subject.startswith(("HUST", "radio"))] == [2, 1]
    everything = COVIDxCT(root, metadata=root / "metadata.csv")
    assert dict(everything.excluded) == {}
    assert len(everything) == 9


def test_names_of_mask_net_are_the_same_patients(tmp_path: Path) -> None:
    for seed, name in enumerate(("0_1663_1_0000.png", "1_10_3153_0172.png", "2_96_1328_0032.png")):
        picture(tmp_path / name, seed)
    dataset = COVIDxCT(tmp_path)
    assert [record.label for record in dataset.records] == [0, 1, 2]
    assert [record.subject for record in dataset.records] == ["Normal_1663", "CP_10", "NCP_96"]
    assert {record.site for record in dataset.records} == {""}
    (tmp_path / "train.txt").write_text("2_96_1328_0032.png\n0_1663_1_0000.png\n")  # train_split_classification.txt
    listed = COVIDxCT(tmp_path, split_files={"train": str(tmp_path / "train.txt")}, classes="covid_vs_rest")
    assert [(record.id, record.label, record.split) for record in listed.records] == [
        ("2_96_1328_0032", 1, "train"),
        ("0_1663_1_0000", 0, "train"),
    ]
    words = COVIDxCT(tmp_path, classes={"ncp": "ill", "cp": "ill", "normal": "well"})
    assert [record.label for record in words.records] == [1, 0, 0]


def test_lists_of_both_namings_are_found_among_images_of_either(root: Path) -> None:
    """The shipped configuration: digits in the author's training list, words in the data set's own lists."""
    config = yaml.safe_load((Path(__file__).parents[2] / "examples" / "configs" / "mask_net.yaml").read_text())
    arguments = config["data"]["init_args"]["dataset"]["init_args"]
    split = {part: str(root / name) for part, name in arguments["split_files"].items()}
    assert Path(split["train"]).name == "train_split_classification.txt"
    Path(split["train"]).write_text("2_96_1328_0032.png\n1_10_3153_0172.png\n")
    Path(split["val"]).write_text("Normal_1663_1_0000.png 0 2 3 22 19\n")
    Path(split["test"]).write_text("NCP_9_1_0001.png 2 2 3 22 19\n")
    wanted = [("train", "NCP_96", 2), ("train", "CP_10", 1), ("val", "Normal_1663", 0), ("test", "NCP_9", 2)]
    words = COVIDxCT(**{**arguments, "root": root, "split_files": split})
    assert [(record.split, record.subject, record.label) for record in words.records] == wanted
    assert [record.id for record in words.records][:2] == ["NCP_96_1328_0032", "CP_10_3153_0172"]
    for word, digit in (("Normal", "0"), ("CP", "1"), ("NCP", "2")):
        for path in (root / "2A_images").glob(f"{word}_*.png"):
            path.rename(path.with_name(path.name.replace(word, digit, 1)))
    digits = COVIDxCT(root, split_files=split)
    assert [(record.split, record.subject, record.label) for record in digits.records] == wanted
    assert [record.id for record in digits.records][2:] == ["0_1663_1_0000", "2_9_1_0001"]


def test_a_slice_under_both_names_is_refused(root: Path) -> None:
    (root / "test.txt").write_text("2_96_1328_0032.png\n")  # in train.txt as NCP_96_1328_0032.png
    both = r"as NCP_96_1328_0032\.png in line 1 of train\.txt and as 2_96_1328_0032\.png in line 1 of test\.txt"
    with pytest.raises(ManifestError, match=both):
        len(COVIDxCT(root, split_files=split_of(root)))
    picture(root / "extra" / "1_10_3153_0172.png", 0)
    there = r"1_10_3153_0172\.png is in extra and again in 2A_images as CP_10_3153_0172\.png: keep one"
    with pytest.raises(ManifestError, match=there):
        len(COVIDxCT(root, metadata=root / "metadata.csv"))


@pytest.mark.parametrize(("yes", "no"), [("TRUE", "False"), ("1", "0"), ("yes", ""), ("True", "no")])
def test_verified_in_other_words(root: Path, yes: str, no: str) -> None:
    table = [HEADER, *(row.replace(",Yes,", f",{yes},").replace(",No,", f",{no},") for row in ROWS)]
    (root / "metadata.csv").write_text("\n".join(table))
    dataset = COVIDxCT(root, metadata=root / "metadata.csv", verified_only=True)
    assert set(dataset.excluded) == {"NCP_9", "HUST-Patient97"}
    assert len(dataset) == 7


def test_an_unknown_word_for_verified_is_refused(root: Path) -> None:
    (root / "metadata.csv").write_text("\n".join((HEADER, ROWS[0].replace("Yes", "ja"), *ROWS[1:])))
    with pytest.raises(
        ManifestError, match=r"table of patients says 'ja' of the verified finding of NCP_96: write yes"
    ):
        len(COVIDxCT(root, metadata=root / "metadata.csv", verified_only=True))
    assert len(COVIDxCT(root, metadata=root / "metadata.csv")) == 9, "nobody asks"


def test_nobody_verified_is_an_error(root: Path) -> None:
    (root / "metadata.csv").write_text("\n".join((HEADER, *(row.replace(",Yes,", ",No,") for row in ROWS))))
    with pytest.raises(ManifestError, match=r"None of the 9 images is of a patient whose finding is verified"):
        len(COVIDxCT(root, metadata=root / "metadata.csv", verified_only=True))


def test_images_are_cut_to_their_box(root: Path) -> None:
    whole = COVIDxCT(root, split_files=split_of(root))
    cut = COVIDxCT(root, split_files=split_of(root), crop=True)
    np.testing.assert_array_equal(cut[0]["image"], whole[0]["image"][:, 3:19, 2:22])
    assert cut.content_key(0, digest=content_digest) != whole.content_key(0, digest=content_digest)
    (root / "val.txt").write_text("Normal_1663_1_0000.png 0 2 3 25 19\n")
    with pytest.raises(InputError, match=r"\(2, 3, 25, 19\) of Normal_1663_1_0000\.png .* 20 x 24 pixels"):
        COVIDxCT(root, split_files=split_of(root), crop=True).load(5)
    (root / "val.txt").write_text("Normal_1663_1_0000.png\n")
    with pytest.raises(ManifestError, match=r"no box in line 1 of val\.txt"):
        len(COVIDxCT(root, split_files=split_of(root), crop=True))


def test_batches_and_sites_in_a_data_module(root: Path) -> None:
    module = CTSliceDataModule(
        COVIDxCT(root, split_files=split_of(root), metadata=root / "metadata.csv"),
        window=None,
        size=16,
        batch_size=5,
        augment=False,
        cache_dir=str(root / "cache"),
    )
    module.prepare_data()
    module.setup("fit")
    (batch,) = list(module.train_dataloader())
    check_batch(batch, "ct_slice")
    assert sorted(batch["label"].tolist()) == [1, 2, 2, 2, 2]
    assert module.mask_type is None
    assert "instances" not in batch


def test_what_does_not_fit_is_named(root: Path) -> None:
    (root / "val.txt").write_text("Normal_1663_1_0000.png 2 2 3 22 19\n")
    with pytest.raises(ManifestError, match=r"is Normal by its name and NCP in line 1 of val\.txt"):
        len(COVIDxCT(root, split_files=split_of(root)))
    for wrong in ("3 2 3 22 19", "0 2 3 22", "0 a b c d"):
        (root / "val.txt").write_text(f"Normal_1663_1_0000.png {wrong}\n")
        with pytest.raises(ManifestError, match=r"Line 1 of val\.txt is wrong"):
            len(COVIDxCT(root, split_files=split_of(root)))
    (root / "val.txt").write_text("Normal_1664_1_0000.png 0 2 3 22 19\n")
    with pytest.raises(ManifestError, match=r"1 image\(s\) of the split .* Normal_1664_1_0000\.png \(line 1 of val"):
        len(COVIDxCT(root, split_files=split_of(root)))
    with pytest.raises(ManifestError, match=r"class of HUST-Patient9-0001\.png is unknown"):
        len(COVIDxCT(root))
    (root / "metadata.csv").write_text("\n".join((HEADER, *ROWS[1:])))
    with pytest.raises(ManifestError, match=r"NCP_96_1328_0032\.png is of no patient of metadata\.csv"):
        len(COVIDxCT(root, metadata=root / "metadata.csv"))
    picture(root / "other" / "CP_10_3153_0172.png", 0)
    with pytest.raises(ManifestError, match=r"CP_10_3153_0172\.png is in 2A_images and again in other"):
        len(COVIDxCT(root, split_files=split_of(root)))
    (root / "empty").mkdir()
    for folder, message in ((root / "nowhere", "no folder"), (root / "empty", "no image below")):
        with pytest.raises(ManifestError, match=message):
            len(COVIDxCT(folder))


def test_other_names_without_a_table_are_scans(root: Path) -> None:
    dataset = COVIDxCT(root, split_files={"test": str(root / "test.txt")})
    assert [record.subject for record in dataset.records] == [
        "HUST-Patient97",
        "HUST-Patient9",
        "radiopaedia-29-86491-1",
    ]


def test_written_in_yaml(root: Path) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataset, "dataset")
    init = {"root": str(root), "split_files": split_of(root), "metadata": str(root / "metadata.csv"), "site": "both"}
    node = {"dataset": {"class_path": "covidct.datasets.COVIDxCT", "init_args": init}}
    assert len(parser.instantiate(parser.parse_object(node))["dataset"]) == 9


@pytest.mark.parametrize(
    "wrong", [{"site": "city"}, {"verified_only": True}, {"crop": True}, {"split_files": {"x": ""}}]
)
def test_wrong_arguments_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        COVIDxCT(tmp_path, **wrong)
