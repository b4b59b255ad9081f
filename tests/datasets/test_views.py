"""Projections as public tables and DICOM write them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from covidct.datasets import ManifestCXR
from covidct.datasets.views import is_frontal
from covidct.errors import ManifestError, UsageError
from tests.fakes.cohort import write_images, write_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "view",
    [
        "",
        "nan",
        "Unknown",
        "PA",
        "AP",
        "ap supine",
        "AP_erect",
        "Portable AP",
        "Frontal",
        "Antero-Posterior",
        "PA/left",
    ],
)
def test_frontal_views(view: str) -> None:
    assert is_frontal(view)


@pytest.mark.parametrize(
    "view", ["L", "LL", "RL", "lateral", "Left Lateral", "PA and lateral", "AP/LAT", "LAO", "Axial", "Coronal"]
)
def test_other_views(view: str) -> None:
    assert not is_frontal(view)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_images(tmp_path, 3)
    views = ("PA", "LATERAL", "")
    rows = [
        {"path": f"{place}.png", "label": "covid", "subject": f"p{place}", "view": view}
        for place, view in enumerate(views)
    ]
    return write_table(tmp_path / "views.csv", rows)


def test_lateral_views_are_refused_by_row(table: Path) -> None:
    with pytest.raises(ManifestError, match=r"1 views that are not frontal, first in row 2 \(LATERAL\)"):
        len(ManifestCXR(table))


def test_lateral_views_are_left_out_where_asked(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = ManifestCXR(table, other_views="exclude")
        assert [(record.id, record.source) for record in dataset.records] == [("row-00001", 0), ("row-00003", 1)]
    assert "1 views that are not frontal, first in row 2: they are left out" in caplog.text
    assert [dataset.load(source).lung_mask for source in (0, 1)] == [None, None]


def test_a_table_of_lateral_views_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    row = {"path": "0.png", "label": "covid", "subject": "p", "view": "RL"}
    table = write_table(tmp_path / "t.csv", [row])
    with pytest.raises(ManifestError, match="and no other ones"):
        len(ManifestCXR(table, other_views="exclude"))
    with pytest.raises(UsageError, match="other_views='skip'"):
        ManifestCXR(table, other_views="skip")  # type: ignore[arg-type]
