"""The exploratory page, JSON and CSVs show the numbers of the statistics, counts first, and nobody's name."""

from __future__ import annotations

import base64
import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from covidct import RESEARCH_USE
from covidct.curation import CohortStatistics, Entry, ShortcutProbe, Unreadable
from covidct.curation.file_facts import FileFacts
from covidct.curation.statistics import ClassImages, ScanRecord
from covidct.functional import ContrastSplit
from covidct.metrics import Estimate
from covidct.report import example_panels, write_eda_csvs, write_eda_json, write_eda_page
from covidct.report.eda_charts import contrast_chart, grey_chart, month_chart, probe_chart, time_bins
from covidct.report.eda_images import diverging, image_rows
from covidct.report.eda_tables import contrast_sides, count_blocks, size_rows, value_tables
from tests.report.page import Page

SECRET = "Miller_Anna_19541230"  # noqa: S105 - a name of a file


def record(number: int, label: str, subject: str, contrast: float, split: str = "train") -> ScanRecord:
    entry = Entry(number, Path(f"/data/{SECRET}/{SECRET}_{number}.png"), label, subject, split, "<b>site</b>")
    facts = FileFacts("dicom", 3, 3000, kernel="B30f", scanner="SIEMENS", acquired="2020-03")
    return ScanRecord(entry, (3, 10 + number, 20), (5.0, 0.7, 0.7), facts, contrast)


def statistics(**changes: object) -> CohortStatistics:
    rng = np.random.default_rng(0)
    images = {
        label: ClassImages(6, rng.random((8, 8)), rng.random((8, 8)) / 4, np.full(256, 1 / 256))
        for label in ("normal", "covid")
    }
    secret = f"{SECRET} 7"
    records = (
        record(1, "normal", secret, 0.10),
        record(2, "normal", secret, 0.40),
        record(3, "covid", "S2", 0.11),
        record(4, "covid", "", 0.30, "test"),
    )
    told = Estimate(0.9, 0.8, 0.95)
    each = {"covid": told, "normal": Estimate(0.9)}
    probe = ShortcutProbe("label", "corners", told, each, 4, 3, warning="The label can be told from corners alone.")
    values: dict[str, Any] = {
        "records": records,
        "unreadable": (Unreadable(Entry(5, Path(f"/data/{SECRET}.png")), f"The file '{SECRET}.png' is damaged."),),
        "images": images,
        "months": {
            "created": {},
            "modified": {("2020-01", "normal"): 2, ("2020-03", "covid"): 1},
            "accessed": {("1999-12", "normal"): 3},
        },
        "acquired": {("2020-03", "covid"): 1},
        "contrast": ContrastSplit(0.2, "rms", 1, 1),
        "contrast_basis": "training subjects",
        "contrast_note": "",
        "measure": "rms",
        "probes": (probe,),
        "window": (-1250.0, 250.0),
    }
    return CohortStatistics(**values | changes)


@pytest.fixture
def page(tmp_path: Path) -> Page:
    write_eda_page(statistics(), tmp_path / "eda.html", title="A <cohort>", run={"size": 8})
    return Page(tmp_path / "eda.html")


def test_counts_come_first_with_bars(page: Page) -> None:
    assert [e.attributes["id"] for e in page.all("h2") if "id" in e.attributes][:3] == ["counts", "warnings", "images"]
    tally = page.all("table", class_="tally")[0]
    assert "ClassSubjectsScansSlices" in tally.text
    # all: one subject with two scans of three slices; one known subject and an unknown one
    assert "".join(tally.text.split()).startswith("ClassSubjectsScansSlicesAllNormal126COVID-19126")
    assert "Split: test" in tally.text
    assert "Site: <b>site</b>" in tally.text  # escaped
    bars = [e for e in page.all("span") if "--p:" in e.attributes.get("style", "")]
    assert len(bars) >= 12
    assert "A <cohort>" in page.text
    assert RESEARCH_USE in page.text


def test_a_class_of_unknown_subjects_has_no_count() -> None:
    blocks = {block.title: block for block in count_blocks(statistics())}
    (row,) = blocks["Split: test"].rows
    assert (row.counts.subjects, row.counts.unknown, row.counts.scans) == (0, 1, 1)


def test_nobody_is_named_anywhere(tmp_path: Path) -> None:
    found = statistics()
    write_eda_page(found, tmp_path / "eda.html")
    write_eda_json(found, tmp_path / "eda.json")
    write_eda_csvs(found, tmp_path)
    files = list(tmp_path.iterdir())
    assert len(files) == 6
    for file in files:
        text = file.read_text()
        assert "Miller" not in text, file.name
        assert "1954" not in text, file.name
        assert RESEARCH_USE in text
    assert "row-00005" in (tmp_path / "eda.html").read_text()
    assert "is damaged" in (tmp_path / "eda.html").read_text()


def test_the_page_warns_and_shows_images_with_scales(page: Page) -> None:
    assert "The label can be told from corners alone." in page.text
    assert [e.text.strip() for e in page.all("span", class_="tag")] == ["warning"]
    assert len(page.all("img")) == 2 + 2 + 1 + 1
    assert all(e.attributes["src"].startswith("data:image/png;base64,") for e in page.all("img"))
    assert len(page.all("div", class_="scale")) == 4
    assert "tells no time of creation here" in page.text
    assert not page.all("script")


def test_colours_of_differences_are_white_at_zero_and_symmetric() -> None:
    blue_green_red = diverging(np.array([-1.0, -0.5, 0.0, 0.5, 1.0])).astype(int)
    assert blue_green_red[2].min() > 240
    assert blue_green_red[0][0] > blue_green_red[0][2]  # blue below
    assert blue_green_red[4][2] > blue_green_red[4][0]  # red above
    assert np.abs(blue_green_red.sum(1)[[0, 1]] - blue_green_red.sum(1)[[4, 3]]).max() < 160
    rows = image_rows(statistics())
    assert [row.title for row in rows][2:] == ["Difference of means", "Difference of standard deviations"]
    low, middle, high = rows[2].scale.ticks
    assert (middle, low[1:]) == ("0", high[1:])  # the scale has its centre at 0


def test_the_chart_of_contrast_counts_scans_and_draws_the_line() -> None:
    found = statistics()
    chart = contrast_chart(found)
    assert chart is not None
    scans = [int(column.text.rsplit(" ", 2)[1]) for column in chart.columns]
    assert sum(scans) == 4
    assert chart.rules[0].at == chart.frame.at_x(0.2)
    heights = {n: {c.height for c, k in zip(chart.columns, scans, strict=True) if k == n} for n in set(scans)}
    assert all(len(h) == 1 or max(h) - min(h) < 0.3 for h in heights.values())
    nothing = tuple(record(n, "covid", f"s{n}", math.nan) for n in range(2))
    assert contrast_chart(statistics(records=nothing, contrast=None)) is None
    assert contrast_sides(statistics(contrast=None)) == []


def test_sides_are_those_of_subjects() -> None:
    # the first subject has 0.10 and 0.40: its median, 0.25, is above the line
    assert contrast_sides(statistics()) == [("train", 1, 1), ("test", 0, 1)]


def test_the_chart_of_grey_values_has_a_line_per_class() -> None:
    chart = grey_chart(statistics())
    assert [trace.name for trace in chart.traces] == ["Normal", "COVID-19"]
    assert chart.traces[0].line.count("L") == 63
    level = chart.frame.at_y(math.log10(4 / 256))
    assert f" {level:g}L" in chart.traces[0].line


def test_months_are_whole_and_long_spans_become_years() -> None:
    assert time_bins(["2019-11", "2020-02"]) == ["2019-11", "2019-12", "2020-01", "2020-02"]
    assert time_bins(["2001-05", "2004-05"]) == ["2001", "2002", "2003", "2004"]
    assert len(time_bins(["2001-05", "2004-04"])) == 36
    counts = {("2020-01", "a"): 3, ("2020-03", "b"): 1, ("2020-03", "a"): 2}
    chart = month_chart(counts, ("a", "b"), "Change", "files")
    assert chart is not None
    assert [column.text for column in chart.columns] == [
        "2020-01, a: 3 files",
        "2020-03, a: 2 files",
        "2020-03, b: 1 files",
    ]
    assert chart.columns[2].y < chart.columns[1].y  # on top of it
    assert month_chart({}, ("a",), "Change", "files") is None


def test_the_chart_of_probes_shows_each_of_three_classes() -> None:
    three = {name: Estimate(0.7, 0.6, 0.8) for name in "abc"}
    probes = [ShortcutProbe("site", "corners", Estimate(0.55, 0.3, 0.7), three, 9, 9)]
    chart = probe_chart(probes)
    assert len(chart.dots) == 4
    assert chart.frame.x == (0.3, 1)
    assert chart.dots[0].x == chart.frame.at_x(0.55)
    assert [rule.text for rule in chart.rules] == ["chance", "warning"]
    assert len(probe_chart(statistics().probes).dots) == 1


def test_tables_of_sizes_and_values() -> None:
    found = statistics()
    rows = {(row["measure"], row["label"]): row for row in size_rows(found)}
    assert (rows["rows", "covid"]["min"], rows["rows", "covid"]["median"], rows["rows", "covid"]["max"]) == (
        13,
        13.5,
        14,
    )
    assert rows["distance of slices (mm)", "normal"]["median"] == 5.0
    tables = {table.name: table for table in value_tables(found)}
    assert tables["kernel"].rows == [("B30f", [2, 2], 4)]
    assert len(tables["matrix"].rows) == 4
    many = tuple(record(n, "covid", f"s{n}", 0.1) for n in range(1, 12))
    matrix = {table.name: table for table in value_tables(statistics(records=many))}["matrix"]
    assert matrix.rows[-1] == ("3 others", [0, 3], 3)


def test_json_and_csvs_hold_the_numbers(tmp_path: Path) -> None:
    found = statistics()
    write_eda_json(found, tmp_path / "eda.json", run={"size": 8})
    record_ = json.loads((tmp_path / "eda.json").read_text())
    assert record_["total"] == {"subjects": 2, "scans": 4, "slices": 12, "unknown": 1}
    assert record_["shortcuts"][0]["auroc"]["low"] == 0.8
    assert record_["contrast"]["split"]["threshold"] == 0.2
    assert record_["months"][0] == {"what": "file modified", "month": "2020-01", "label": "normal", "count": 2}
    assert record_["run"] == {"size": 8}
    tables = {path.name: list(csv.DictReader(path.open(newline=""))) for path in write_eda_csvs(found, tmp_path)}
    assert sum(int(row["scans"]) for row in tables["counts.csv"]) == 4
    assert [row["side"] for row in tables["scans.csv"]] == ["high", "high", "low", "high"]
    assert [row["id"] for row in tables["scans.csv"]] == [f"row-{n:05d}" for n in range(1, 5)]
    assert tables["shortcuts.csv"][0]["class"] == "all"
    assert tables["shortcuts.csv"][2]["low"] == ""
    empty = {p.name: p.read_text() for p in write_eda_csvs(statistics(probes=(), months={}, acquired={}), tmp_path)}
    assert empty["shortcuts.csv"].startswith("target,features,class,auroc")
    assert empty["months.csv"].startswith("what,month,label,count")


def test_panels_show_scans_of_low_middle_and_high_contrast(tmp_path: Path) -> None:
    y, x = np.mgrid[:60, :60]
    disc = (y - 30) ** 2 + (x - 30) ** 2 < 400
    records = []
    for number, bright in enumerate((90, 160, 250)):
        assert cv2.imwrite(
            str(tmp_path / f"Miller{number}.png"), np.where(disc & (x % 9 > 2), bright, 10).astype(np.uint8)
        )
        entry = Entry(number + 1, tmp_path / f"Miller{number}.png", "covid", f"s{number}")
        records.append(replace(record(1, "covid", "s", bright / 1000), entry=entry))
    found = statistics(records=tuple(records))
    panels = example_panels(found)
    assert [panel.title for panel in panels] == ["High and low contrast", "Equalisation", "Morphology"]
    assert panels[0].text.startswith("row-00003 and row-00001")
    assert panels[1].text.startswith("row-00002 as it is")
    assert [len(panel.pictures) for panel in panels] == [2, 4, 3]
    assert [one.title for one in panels[0].pictures] == ["High contrast, 0.250", "Low contrast, 0.090"]
    for picture, bright in zip(panels[0].pictures, (250, 90), strict=True):
        data = base64.b64decode(picture.image.partition(",")[2])
        pixels = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))
        assert pixels.shape == (picture.height, picture.width) == (60, 60)
        assert abs(int(pixels.max()) - bright) < 25  # JPEG
        share = np.count_nonzero(disc & (x % 9 > 2)) / 3600
        assert picture.most == pytest.approx(1 - share)
        assert picture.bins.startswith("M0 32V32.00H1V32.00H2V0.00H3V32.00H4")  # 10 of 255 is in the third bin
        assert picture.sums.endswith("L64 0.00")
    assert not panels[2].pictures[0].bins
    write_eda_page(found, tmp_path / "eda.html", panels=panels)
    page = Page(tmp_path / "eda.html")
    assert len(page.all("div", class_="panel")) == 3
    assert len(page.all("path", class_="bins")) == 6
    assert "Miller" not in page.source
    assert example_panels(statistics(records=(record(1, "covid", "s", math.nan),))) == []
    records[2].entry.path.unlink()
    assert example_panels(found) == []  # all else of the page is worth writing
