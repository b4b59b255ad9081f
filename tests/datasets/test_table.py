from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidct.datasets.table import read_slice_labels, read_table
from covidct.errors import ManifestError
from covidct.labels import class_map

THREE = class_map("three")


def write(folder: Path, text: str, *, files: int = 4) -> Path:
    for number in range(files):
        (folder / f"{number}.nii").touch()
    (folder / "cohort.csv").write_text(text, encoding="utf-8")
    return folder / "cohort.csv"


def message(folder: Path, text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        read_table(write(folder, text), classes=THREE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_reads_every_column(tmp_path: Path) -> None:
    (tmp_path / "m.nii").touch()
    text = (
        "subject,label,path,split,mask,lesion_mask,slice_labels,site,age\n"
        "p1,COVID-19,0.nii,train,m.nii,m.nii,m.nii,Wuhan,50\np2, cp ,1.nii,test,,,,,\n"
    )
    first, second = read_table(write(tmp_path, text), classes=THREE)
    assert (first.number, first.path, first.label, first.subject) == (1, tmp_path / "0.nii", 2, "p1")
    assert (first.split, first.mask, first.site) == ("train", tmp_path / "m.nii", "Wuhan")
    assert (second.label, second.split, second.mask, second.lesion_mask, second.slice_labels) == (
        1,
        "test",
        *[None] * 3,
    )


def test_series_of_one_folder_are_rows_of_their_own(tmp_path: Path) -> None:
    text = "path,label,subject,series_uid\n0.nii,covid,p,1.2.3\n0.nii,covid,p,1.2.4\n"
    rows = read_table(write(tmp_path, text), classes=THREE)
    assert [row.series_uid for row in rows] == ["1.2.3", "1.2.4"]
    assert "rows 1 and 2 name the same file" in message(tmp_path, text.replace("1.2.4", "1.2.3"))


def test_parquet_and_csv_give_the_same(tmp_path: Path) -> None:
    csv = write(tmp_path, "path,label,subject\n0.nii,covid,1\n1.nii,,2\n")
    frame = pd.DataFrame({"path": ["0.nii", "1.nii"], "label": ["covid", None], "subject": [1, 2]})
    frame.to_parquet(tmp_path / "cohort.parquet")
    assert read_table(csv, classes=THREE) == read_table(tmp_path / "cohort.parquet", classes=THREE)
    assert read_table(csv, classes=THREE)[1].label == -1


def test_spreadsheet_with_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes(b"\xef\xbb\xbfpath,label,subject\r\n0.nii,covid,p\r\n")
    assert len(read_table(path, classes=THREE)) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\n0.nii,covid\n", "has no column subject"),
        ("path,label,subject\n", "has no rows"),
        ("", "has no column path, label, subject"),
        ("path,label,subject\n0.nii,covid,p,x,y\n0.nii\n", "row 1 has 5 cells, the header has 3"),
        ("path,label,subject\n0.nii,covid,p\n9.nii,covid,q\n8.nii,covid,r\n", r"row 2: the path 9.nii .*1 more"),
        ("path,label,subject,mask\n0.nii,covid,p,no.nii\n", "row 1: the mask no.nii does not exist;"),
        ("path,label,subject\n0.nii,flu,p\n", "row 1: The label 'flu' is unknown"),
        ("path,label,subject\n0.nii,covid,\n", "row 1: the column subject is empty"),
        ("path,label,subject\n,covid,p\n", "row 1: the column path is empty"),
        ("path,label,subject,split\n0.nii,covid,p,holdout\n", "'holdout' is unknown: use train, val or test"),
        ("path,label,subject,split\n0.nii,covid,p,train\n1.nii,covid,q,\n", "row 2: the split is empty"),
        ("path,label,subject\n0.nii,covid,p\n./0.nii,cap,p\n", "rows 1 and 2 name the same file"),
        (
            "path,label,subject,split\n0.nii,covid,Doe,train\n1.nii,covid,Doe,test\n",
            r"1 subject\(s\) into more than one split, first in row 1 \(train\) and row 2 \(test\)",
        ),
    ],
)
def test_every_fault_is_one_sentence_that_names_the_place(tmp_path: Path, text: str, says: str) -> None:
    found = message(tmp_path, text)
    assert re.search(says, found), found
    assert "Doe" not in found


def test_absent_table_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="does not exist"):
        read_table(tmp_path / "no.csv", classes=THREE)
    (tmp_path / "x.parquet").write_bytes(b"not parquet")
    with pytest.raises(ManifestError, match="cannot be read as a table"):
        read_table(tmp_path / "x.parquet", classes=THREE)
    (tmp_path / "x.csv").write_bytes(bytes(range(256)))
    with pytest.raises(ManifestError):
        read_table(tmp_path / "x.csv", classes=THREE)


def test_own_classes(tmp_path: Path) -> None:
    table = write(tmp_path, "path,label,subject\n0.nii,Mild,p\n1.nii,severe,q\n")
    rows = read_table(table, classes=class_map({"mild": "low", "severe": "high"}))
    assert [row.label for row in rows] == [0, 1]


@pytest.mark.parametrize("form", ["text", "npy"])
def test_slice_labels(tmp_path: Path, form: str) -> None:
    if form == "text":
        (tmp_path / "3.nii").write_text("0\n1\n-1\ncap\n")
        expected, file = [0, 2, -1, 1], "3.nii"
    else:
        np.save(tmp_path / "s.npy", np.array([0, 1, -1]))
        expected, file = [0, 2, -1], "s.npy"
    table = tmp_path / "cohort.csv"
    table.write_text(f"path,label,subject,slice_labels\n0.nii,covid,p,{file}\n")
    (tmp_path / "0.nii").touch()
    (row,) = read_table(table, classes=THREE)
    assert read_slice_labels(row, classes=THREE).tolist() == expected


@pytest.mark.parametrize("content", [b"7\n", b"covid\nflu\n", b"\xff\xfe\x00"])
def test_bad_slice_labels_are_refused(tmp_path: Path, content: bytes) -> None:
    table = write(tmp_path, "path,label,subject,slice_labels\n0.nii,covid,p,s.txt\n".replace("s.txt", "1.nii"))
    (tmp_path / "1.nii").write_bytes(content)
    (row,) = read_table(table, classes=THREE)
    with pytest.raises(ManifestError, match="Row 1: the slice labels"):
        read_slice_labels(row, classes=THREE)


def test_what_spreadsheets_do_to_a_table(tmp_path: Path) -> None:
    text = "Path, Label,SUBJECT,Split\r\n\r\n0.nii,Covid,7,Train\r\n,,,\r\n  \r\n1.nii,CAP,8,TEST\r\n,,,\r\n"
    rows = read_table(write(tmp_path, text), classes=THREE)
    assert [(row.number, row.label, row.subject, row.split) for row in rows] == [
        (1, 2, "7", "train"),
        (2, 1, "8", "test"),
    ]


def test_whole_numbers_of_parquet_stay_whole(tmp_path: Path) -> None:
    write(tmp_path, "")
    frame = pd.DataFrame({"path": ["0.nii", "1.nii"], "label": [1.0, None], "subject": [3.0, 4.0], "site": [None, 2]})
    frame.to_parquet(tmp_path / "cohort.parquet")
    first, second = read_table(tmp_path / "cohort.parquet", classes=class_map({"0": "no", "1": "yes"}))
    assert (first.label, first.subject, first.site) == (1, "3", "")
    assert (second.label, second.subject, second.site) == (-1, "4", "2")


def test_a_column_given_twice_and_impossible_names_are_refused(tmp_path: Path) -> None:
    assert "column label twice" in message(tmp_path, "path,label,subject,label\n0.nii,cap,1,covid\n")
    assert "does not exist" in message(tmp_path, f"path,label,subject\n{'a' * 5000},cap,1\n")


@pytest.mark.parametrize("dtype", ["int8", "float32", "bool"])
def test_slice_labels_of_any_number_type(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "labels.npy", np.array([0, 1, 1]).astype(dtype))
    (row,) = read_table(write(tmp_path, "path,label,subject,slice_labels\n0.nii,covid,1,labels.npy\n"), classes=THREE)
    assert read_slice_labels(row, classes=THREE).tolist() == [0, 2, 2]


def test_slice_labels_from_a_windows_editor(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffNo finding\r\nCOVID-19\r\n-1\r\n\r\n".encode())
    (row,) = read_table(write(tmp_path, "path,label,subject,slice_labels\n0.nii,covid,1,labels.txt\n"), classes=THREE)
    assert read_slice_labels(row, classes=THREE).tolist() == [0, 2, -1]
