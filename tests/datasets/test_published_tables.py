from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from covidct.datasets.published_tables import check_split_files, read_columns, read_split_files
from covidct.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_split_files_keep_order_part_and_fields(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("b.png 2 1 2 3 4\n\n 2A_images/a.png\n", encoding="utf-8-sig")
    (tmp_path / "test.txt").write_text("c.png\r\n")
    files = check_split_files({"train": str(tmp_path / "train.txt"), "test": tmp_path / "test.txt"})
    lines = read_split_files(files)
    assert list(lines) == ["b.png", "a.png", "c.png"]
    assert [line.split for line in lines.values()] == ["train", "train", "test"]
    assert lines["b.png"].fields == ("2", "1", "2", "3", "4")
    assert lines["a.png"].place == "line 3 of train.txt"
    assert read_split_files(check_split_files(None)) == {}


def test_wrong_split_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="part 'training'"):
        check_split_files({"training": "x"})
    with pytest.raises(ManifestError, match=r"no file .*nowhere"):
        read_split_files({"train": tmp_path / "nowhere"})
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(ManifestError, match=r"empty\.txt is empty"):
        read_split_files({"train": tmp_path / "empty.txt"})
    (tmp_path / "one.txt").write_text("a.png\nb.png\n")
    (tmp_path / "two.txt").write_text("b.png\n")
    with pytest.raises(ManifestError, match=r"b\.png in line 2 of one\.txt and in line 1 of two\.txt"):
        read_split_files({"train": tmp_path / "one.txt", "test": tmp_path / "two.txt"})
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match=r"bytes\.txt cannot be read as text"):
        read_split_files({"train": tmp_path / "bytes.txt"})


def test_columns_of_a_table(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text('Patient ID, Source ,country\nCP_0,CNCB, China\n\n"A,1",x,\n')
    assert read_columns(table, ("country", "patient id")) == [
        {"country": "China", "patient id": "CP_0"},
        {"country": "", "patient id": "A,1"},
    ]
    with pytest.raises(ManifestError, match=r"t\.csv has no column 'finding'"):
        read_columns(table, ("finding",))
    table.write_text("a,b\n1,2\n3\n")
    with pytest.raises(ManifestError, match=r"Row 2 of the table t\.csv has too few"):
        read_columns(table, ("a",))
    table.write_text("")
    with pytest.raises(ManifestError, match="no column 'a'"):
        read_columns(table, ("a",))
