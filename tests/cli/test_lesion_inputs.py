"""What lesions are looked for in, and the names of the masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidct.cli.lesion_inputs import LesionInput, find_lesion_inputs, name_targets
from covidct.errors import InputError, UsageError
from tests.fakes.dicom import body, write_series


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures, a DICOM series in a sub-folder, a volume."""
    for name in ("b10.png", "b2.JPG", ".hidden.png", "notes.txt"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    write_series(tmp_path / "in" / "series", np.asarray(body()))
    (tmp_path / "in" / "c.nii.gz").write_bytes(b"x")
    return tmp_path / "in"


def test_each_picture_is_one_and_each_series(folder: Path) -> None:
    found = {one.path.name: one.kind for one in find_lesion_inputs([folder])}
    assert found == {"b2.JPG": "picture", "b10.png": "picture", "series": "scan", "c.nii.gz": "scan"}
    (one,) = find_lesion_inputs([next((folder / "series").glob("*"))])
    assert one.kind == "slice"


def test_pictures_beside_dicom_are_no_slices(folder: Path) -> None:
    (folder / "series" / "screenshot.png").write_bytes(b"x")
    assert [one.kind for one in find_lesion_inputs([folder / "series"])] == ["scan"]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file or folder"):
        find_lesion_inputs([tmp_path / "absent"])
    with pytest.raises(InputError, match="no scan"):
        find_lesion_inputs([tmp_path])


def test_names_never_meet(tmp_path: Path) -> None:
    places = [("x", "a.png"), ("y", "A.png"), ("z", "a_overlay.png"), ("z", "a.nii.gz")]
    inputs = [LesionInput(tmp_path / a / b, "scan" if b.endswith("gz") else "picture") for a, b in places]
    names = [one.target.name for one in name_targets(inputs, tmp_path / "out")]
    assert names == ["a.png", "A-2.png", "a_overlay-2.png", "a-3.nii.gz"]
