from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from covidct.curation import select_series
from covidct.errors import UsageError
from covidct.io import SeriesInfo, find_series
from tests.fakes.cohort import save_nifti
from tests.fakes.dicom import body, edit, write_series

if TYPE_CHECKING:
    from pathlib import Path

NAN = float("nan")
PLAIN = SeriesInfo("1.2", "dicom", "CT", (60, 512, 512), (1.0, 0.7, 0.7), thickness=1.25, contrast=False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"thickness": 3.0}, None),
        ({"thickness": 3.01}, "slice thickness 3.01 mm is more than 3 mm"),
        ({"thickness": 5.0, "spacing": (1.0, 1.0, 1.0)}, "slice thickness 5 mm"),
        ({"thickness": NAN, "spacing": (3.0000001, 1.0, 1.0)}, None),
        ({"thickness": NAN, "spacing": (5.0, 1.0, 1.0)}, "distance of the slices"),
        ({"thickness": 0.0, "spacing": (5.0, 1.0, 1.0)}, "distance of the slices"),
        ({"contrast": True, "contrast_basis": "ContrastBolusAgent"}, "says ContrastBolusAgent"),
    ],
)
def test_the_rules_of_the_paper(change: dict[str, Any], reason: str | None) -> None:
    info = replace(PLAIN, **change)
    selection = select_series([info])
    assert selection.kept == (() if reason else (info,))
    assert [item.series for item in selection.excluded] == ([info] if reason else [])
    if reason:
        assert len(selection.excluded[0].reasons) == 1
        assert reason in selection.excluded[0].reasons[0]


def test_rules_can_be_left_out_and_all_reasons_are_listed() -> None:
    thick = replace(PLAIN, thickness=5.0, contrast=True, contrast_basis="ProtocolName")
    assert len(select_series([thick]).excluded[0].reasons) == 2
    assert "ProtocolName" not in str(select_series([thick], contrast="keep").excluded[0].reasons)
    assert select_series([thick], contrast="keep", max_thickness_mm=None).kept == (thick,)
    assert select_series([thick], contrast="keep", max_thickness_mm=5).kept == (thick,)


def test_unknown_stays_unknown() -> None:
    silent = replace(PLAIN, thickness=NAN, spacing=(NAN, NAN, NAN), contrast=None)
    assert select_series([silent, PLAIN]).kept == (silent, PLAIN)
    selection = select_series([silent, PLAIN], unknown="exclude")
    assert selection.kept == (PLAIN,)
    assert selection.excluded[0].reasons == (
        "the header does not say whether a contrast agent was given",
        "the header tells no slice thickness",
    )


@pytest.mark.parametrize("wrong", [{"contrast": "yes"}, {"unknown": "drop"}, {"max_thickness_mm": 0.0}])
def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        select_series([PLAIN], **wrong)


def test_files_of_several_kinds_without_a_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    for path in write_series(tmp_path / "a", body(), spacing=(1.0, 0.7, 0.7), series_uid="1.1"):
        edit(path, SliceThickness="1.25", ContrastBolusAgent="Agent of SENTINEL")
    write_series(tmp_path / "b", body((14, 44, 36)), spacing=(1.0, 0.7, 0.7), series_uid="1.2")
    save_nifti(np.zeros((8, 9, 9), np.int16), np.diag([1.0, 1.0, 5.0, 1.0]), tmp_path / "c.nii.gz")
    monkeypatch.setattr("covidct.io.dicom.read_hu", refuse)  # where it is used, or it would stay replaced
    monkeypatch.setattr("covidct.io.nifti.read_voxels", refuse)
    selection = select_series(find_series(tmp_path))
    assert [info.uid for info in selection.kept] == ["1.2"]
    assert [item.series.uid for item in selection.excluded] == ["1.1", ""]
    assert "SENTINEL" not in str(selection)


@pytest.mark.real
def test_thick_slices_of_a_real_scan(real_data: Path) -> None:
    selection = select_series(find_series(real_data / "ct_lung_pet_ct_dx"))
    assert selection.kept == ()
    assert selection.excluded[0].reasons == ("slice thickness 5 mm is more than 3 mm",)
    thin = select_series(find_series(real_data / "ct_cip" / "simple_dicom")).kept
    assert [info.thickness for info in thin] == [0.625]
