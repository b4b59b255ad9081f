from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from pydicom.dataset import Dataset

from covidct.io import find_series
from covidct.io.contrast import contrast_of, contrast_word
from tests.fakes.dicom import body, edit, write_series

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "contrast"),
    [
        ("2 Chest C-/Thorax", False),
        ("5/5mm Plain", False),
        ("CHEST W/O CONTRAST", False),
        ("Thorax non-contrast 1.0", False),
        ("NCCT lung", False),
        ("Chest, unenhanced", False),
        ("ct thorax nativ", False),
        ("PRE-CONTRAST", False),
        ("no IV contrast", False),
        ("WITHOUT INTRAVENOUS CONTRAST", False),
        ("CHEST WO IV CON", False),
        ("NONCON", False),
        ("CT CHEST W/O", False),
        ("Thorax ohne KM", False),
        ("Contrast: none", False),
        ("CHEST WITH CONTRAST", True),
        ("Thorax_w_contrast", True),
        ("Chest C+ 1mm", True),
        ("CTPA 0.625", True),
        ("Angio Thorax", True),
        ("venous phase", True),
        ("without and with contrast", True),
        ("with and without contrast", True),
        ("CHEST W&WO CONTRAST", True),
        ("w/wo contrast", True),
        ("non-ionic contrast", True),
        ("contrast enhanced", True),
        ("C-SPINE", None),
        ("Thorax 1.0 B70f", None),
        ("INSPIRATION", None),
        ("Vitamin C lung", None),
        ("", None),
    ],
)
def test_words(text: str, contrast: bool | None) -> None:
    assert contrast_word(text) is contrast


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({}, (None, "")),
        ({"contrast_agent": "ISOVUE300/100"}, (True, "ContrastBolusAgent")),
        ({"contrast_agent": "None", "series_description": "C+"}, (False, "ContrastBolusAgent")),
        ({"contrast_agent": "no contrast"}, (False, "ContrastBolusAgent")),
        ({"contrast_agent": "none", "contrast_volume": (80.0,)}, (True, "ContrastBolusVolume")),
        ({"contrast_volume": (0.0,)}, (None, "")),
        ({"agents": True}, (True, "ContrastBolusAgentSequence")),
        ({"series_description": "5mm", "protocol": "Chest C-"}, (False, "ProtocolName")),
        ({"series_description": "Chest C+", "protocol": "Chest C-"}, (True, "SeriesDescription")),
    ],
)
def test_the_surest_element_counts(header: dict[str, Any], expected: tuple[bool | None, str]) -> None:
    assert contrast_of([{}, header]) == expected


def test_headers_of_files(tmp_path: Path) -> None:
    paths = write_series(tmp_path, body())
    assert find_series(tmp_path)[0].contrast is None
    for path in paths:
        edit(path, SliceThickness="0")
    assert math.isnan(find_series(tmp_path)[0].thickness)
    assert find_series(tmp_path)[0].to_dict()["thickness"] is None
    for path in paths:
        edit(path, SliceThickness="1.25", ProtocolName="Chest C-")
    edit(paths[3], SliceThickness="2.5")
    info = find_series(tmp_path)[0]
    assert (info.thickness, info.contrast, info.contrast_basis) == (2.5, False, "ProtocolName")
    assert info.to_dict()["thickness"] == 2.5
    edit(paths[3], ContrastBolusAgent="Agent of SENTINEL")
    info = find_series(tmp_path)[0]
    assert (info.contrast, info.contrast_basis) == (True, "ContrastBolusAgent")
    assert "SENTINEL" not in str(info.to_dict()) + repr(info)


@pytest.mark.parametrize("undefined", [True, False])
def test_agents_listed_in_a_sequence(tmp_path: Path, undefined: bool) -> None:
    import pydicom

    path = write_series(tmp_path, body())[0]
    agent = Dataset()
    agent.CodeMeaning = "Iodine"
    edit(path, ContrastBolusAgentSequence=[agent])
    dataset = pydicom.dcmread(path)
    dataset["ContrastBolusAgentSequence"].is_undefined_length = undefined
    dataset.save_as(path)
    assert find_series(tmp_path)[0].contrast_basis == "ContrastBolusAgentSequence"


@pytest.mark.real
def test_real_headers(real_data: Path) -> None:
    info = find_series(real_data / "ct_lung_pet_ct_dx")[0]
    assert (info.thickness, info.contrast, info.contrast_basis) == (5.0, False, "ProtocolName")
    info = find_series(real_data / "ct_cip" / "ct-64Dicom")[0]
    assert (round(info.thickness, 3), info.contrast) == (3.987, None)
