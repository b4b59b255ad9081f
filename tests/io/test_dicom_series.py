"""Which files belong together: several series, phases in one series, other objects beside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom.uid import generate_uid

from covidct.errors import CovidctError, GeometryError
from covidct.io import find_series, read_scan
from tests.fakes.dicom import body, edit, write_series

if TYPE_CHECKING:
    from pathlib import Path

HU = body()
N = len(HU)


def test_several_series_are_listed_and_chosen(tmp_path: Path) -> None:
    write_series(tmp_path / "a", HU)
    write_series(tmp_path / "b", HU[:6])
    infos = find_series(tmp_path)
    assert [info.shape[0] for info in infos] == [N, 6]
    with pytest.raises(GeometryError) as caught:
        read_scan(tmp_path)
    for info in infos:
        assert info.uid in str(caught.value)
        assert " x ".join(map(str, info.shape)) in str(caught.value)
        assert read_scan(tmp_path, series=info.uid).shape == info.shape
    assert "series=" in str(caught.value)
    with pytest.raises(CovidctError, match=r"no series 1\.2\.3"):
        read_scan(tmp_path, series="1.2.3")


def test_phases_of_one_series_are_told_apart(tmp_path: Path) -> None:
    uid = generate_uid()
    phases = [HU, HU[:, ::-1]]
    for number, hu in enumerate(phases):
        for path in write_series(tmp_path / str(number), hu, series_uid=uid):
            edit(path, AcquisitionNumber=number + 1)
    assert [info.uid for info in find_series(tmp_path)] == [f"{uid}#1", f"{uid}#2"]
    with pytest.raises(GeometryError, match="several_series"):
        read_scan(tmp_path)
    for number, hu in enumerate(phases):
        assert np.array_equal(read_scan(tmp_path, series=f"{uid}#{number + 1}").array, hu)


def test_scout_series_beside_is_recorded(tmp_path: Path) -> None:
    write_series(tmp_path / "a", HU)
    write_series(tmp_path / "b", HU[:1])
    volume = read_scan(tmp_path)
    assert np.array_equal(volume.array, HU)
    assert [(f.code, f.action) for f in volume.findings] == [("other_series", "recorded")]


def test_ct_is_found_beside_other_modalities(tmp_path: Path) -> None:
    write_series(tmp_path / "a", HU[:6])
    write_series(tmp_path / "b", HU, modality="MR")
    volume = read_scan(tmp_path)
    assert np.array_equal(volume.array, HU[:6])
    assert [f.code for f in volume.findings] == ["other_series"]


def test_findings_about_other_series_identify_nothing(tmp_path: Path) -> None:
    write_series(tmp_path / "a", HU)
    write_series(tmp_path / "b", HU[:1], series_uid="1.2.3.4.5")
    (finding,) = read_scan(tmp_path).findings
    assert "CT, 1 x 44 x 36" in finding.message
    assert "1.2.3.4.5" not in finding.message
