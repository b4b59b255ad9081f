"""Kernel, scanner and month of a series: what headers say, and never a day."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from covidct.io import find_series
from covidct.io.acquisition import acquisition_of
from tests.fakes.dicom import body, edit, write_series

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ([], ("", "", "")),
        ([{}, {"kernel": "B30f"}], ("B30f", "", "")),
        ([{"kernel": "Qr40f\\3 \\"}], ("Qr40f+3", "", "")),
        ([{"manufacturer": "SIEMENS", "model": "Sensation 16"}], ("", "SIEMENS Sensation 16", "")),
        ([{"manufacturer": "Philips", "model": "PHILIPS MX8000"}], ("", "PHILIPS MX8000", "")),
        ([{"manufacturer": "GE", "model": "None", "kernel": "unknown"}], ("", "GE", "")),
        ([{"model": "iCT 256"}], ("", "iCT 256", "")),
        ([{"acquisition_date": "20200317"}], ("", "", "2020-03")),
        ([{"acquisition_date": "2020.03.17"}], ("", "", "2020-03")),
        ([{"acquisition_time": "20191231235959.12+0100"}], ("", "", "2019-12")),
        ([{"acquisition_date": "20201301"}], ("", "", "")),
        ([{"acquisition_date": "unknown"}], ("", "", "")),
    ],
)
def test_what_headers_say(headers: list[dict[str, Any]], wanted: tuple[str, str, str]) -> None:
    assert acquisition_of(headers) == wanted


def test_a_series_tells_scanner_and_kernel_but_no_date(tmp_path: Path) -> None:
    for path in write_series(tmp_path, body()):
        edit(
            path,
            Manufacturer="SIEMENS",
            ManufacturerModelName="Sensation 16",
            ConvolutionKernel="B30f",
            AcquisitionDate="20200317",
        )
    (info,) = find_series(tmp_path)
    assert (info.kernel, info.scanner, info.acquired) == ("B30f", "SIEMENS Sensation 16", "2020-03")
    record = info.to_dict()
    assert (record["kernel"], record["scanner"]) == ("B30f", "SIEMENS Sensation 16")
    assert "2020" not in json.dumps({k: v for k, v in record.items() if k != "uid"})
    assert "2020" not in repr(info).replace(info.uid, "")
