from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct.errors import InputError
from covidct.io.slice_locations import read_slice_locations
from tests.fakes.dicom import body, edit, positions, write_series

if TYPE_CHECKING:
    from pathlib import Path


def test_locations_and_positions_in_the_order_of_the_names(tmp_path: Path) -> None:
    names = ["b10.dcm", "b9.dcm", "a.dcm", "scout.dcm"]
    files = write_series(tmp_path, body((4, 40, 36)), names=names)
    for number, file in enumerate(files[:2]):
        edit(file, SliceLocation=f"{-100.5 + number}")
    edit(files[3], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "notes.txt").write_text("no slice")
    locations, places = read_slice_locations(tmp_path)
    np.testing.assert_array_equal(locations, [np.nan, -99.5, -100.5])
    np.testing.assert_allclose(places, positions(4)[[2, 1, 0]])
    with pytest.raises(InputError, match="no file or folder"):
        read_slice_locations(tmp_path / "nowhere")


def test_an_empty_folder_has_no_slices(tmp_path: Path) -> None:
    locations, places = read_slice_locations(tmp_path)
    assert locations.shape == (0,)
    assert places.shape == (0, 3)
