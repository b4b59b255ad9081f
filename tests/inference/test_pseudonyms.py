"""Names that tell nothing, and the file that tells."""

from __future__ import annotations

import csv
import hashlib
import hmac
import os
import stat
from pathlib import Path

import pytest

from covidct.errors import InputError
from covidct.inference import Pseudonyms
from covidct.io import ScanInput


@pytest.fixture
def scan(tmp_path: Path) -> ScanInput:
    path = tmp_path / "Mueller^Eva.nii"
    path.write_bytes(b"x")
    return ScanInput(path)


def test_ids_are_keyed_hashes_that_last(tmp_path: Path, scan: ScanInput) -> None:
    table = tmp_path / "out" / "inputs.csv"
    names = Pseudonyms(table)
    name = names.id_of(scan)
    names.write([scan])
    assert Pseudonyms(table).id_of(scan) == name
    assert Pseudonyms(tmp_path / "other.csv").id_of(scan) != name
    key = bytes.fromhex(table.read_text().splitlines()[0].rpartition("key=")[2])
    wanted = hmac.new(key, f"{scan.path.resolve()}\0".encode(), hashlib.sha256).hexdigest()
    assert name == f"scan-{wanted[:12]}"
    assert names.id_of(ScanInput(scan.path, "1.2.3")) != name


def test_the_table_is_marked_and_the_owners_alone(tmp_path: Path, scan: ScanInput) -> None:
    table = tmp_path / "out" / "inputs.csv"
    before = os.umask(0)
    try:
        names = Pseudonyms(table)
        names.write([scan])
    finally:
        os.umask(before)
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    first, *lines = table.read_text().splitlines()
    assert "local key, do not share" in first
    rows = list(csv.DictReader(lines))
    assert [(row["id"], row["path"]) for row in rows] == [(names.id_of(scan), str(scan.path.resolve()))]


def test_rows_of_earlier_runs_stay(tmp_path: Path, scan: ScanInput) -> None:
    table = tmp_path / "inputs.csv"
    Pseudonyms(table).write([scan])
    names = Pseudonyms(table)
    names.write([ScanInput(tmp_path / "other.nii", "1.2")])
    assert len(table.read_text().splitlines()) == 4
    assert Pseudonyms(table).is_unchanged(scan)


def test_a_changed_input_is_noticed(tmp_path: Path, scan: ScanInput) -> None:
    names = Pseudonyms(tmp_path / "inputs.csv")
    assert not names.is_unchanged(scan)
    names.write([scan])
    assert names.is_unchanged(scan)
    scan.path.write_bytes(b"longer")
    assert not names.is_unchanged(scan)


def test_a_changed_folder_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    names = Pseudonyms(tmp_path / "inputs.csv")
    names.write([ScanInput(folder)])
    assert names.is_unchanged(ScanInput(folder))
    (folder / "1.dcm").write_bytes(b"x")
    assert not names.is_unchanged(ScanInput(folder))


@pytest.mark.parametrize("text", ["", "id,path\n", "# local key, do not share: key=zz\n", "\x00", "# local key\nid\n"])
def test_a_foreign_file_is_refused(tmp_path: Path, text: str) -> None:
    table = tmp_path / "inputs.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=r"inputs\.csv"):
        Pseudonyms(table)
