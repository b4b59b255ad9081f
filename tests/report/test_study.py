"""The page, JSON and CSV of a study show the figures of its reports and tests, and nothing else."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct import RESEARCH_USE
from covidct.labels import BINARY_CLASSES
from covidct.metrics import compare_predictions, report_from_confusion
from covidct.report import Study, StudySection, write_study_csv, write_study_json, write_study_page
from covidct.report.study import auroc_chart
from covidct.result import Preview
from tests.report.page import Page

if TYPE_CHECKING:
    from pathlib import Path

PUBLISHED = {"mean": [[554, 43], [69, 1396]], "mask": [[557, 40], [52, 1413]]}


@pytest.fixture(scope="module")
def study() -> Study:
    """Two poolings, two seeds, 30 cases, the paper's matrices beside."""
    rng = np.random.default_rng(0)
    target = np.arange(30) % 2

    def prob(skill: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        covid = 1 / (1 + np.exp(-(rng.normal(size=30) + skill * (target - 0.5))))
        return np.stack([1 - covid, covid], axis=1)

    runs = {name: {seed: prob(skill) for seed in (3, 5)} for name, skill in (("mean", 1.0), ("mask", 3.0))}
    comparison = compare_predictions(runs, target, np.arange(30), BINARY_CLASSES, resamples=40)
    preview = Preview(np.zeros((2, 24, 24), np.uint8), np.ones((2, 24, 24), np.uint8), None, (4, 5))
    return Study(
        title="GAP <against> weighted GAP",
        text="Which is better?",
        sections=(StudySection("test", "Test part", "Trained a little.", comparison),),
        titles={"mean": "GAP", "mask": "Mask-weighted GAP"},
        published={n: report_from_confusion(m, BINARY_CLASSES, resamples=10) for n, m in PUBLISHED.items()},
        source="A paper, Figure 8.",
        preview=preview,
        preview_text="Two slices.",
        run={"seeds": [3, 5]},
        phantoms=True,
    )


def test_the_page_shows_every_matrix_and_the_papers_table(study: Study, tmp_path: Path) -> None:
    write_study_page(study, tmp_path / "study.html")
    page = Page(tmp_path / "study.html")
    comparison = study.sections[0].comparison
    shown = [e.text for e in page.all("td", class_="num") if "--share" in e.attributes.get("style", "")]
    reports = [*comparison.reports.values(), *study.published.values()]
    wanted = [f"{n}{100 * n / sum(row):.0f} %" for report in reports for row in report.confusion for n in row]
    assert shown == wanted
    for figure in ("94.57 %", "95.29 %", "92.80 %", "96.14 %", "95.54 %", "96.45 %", "93.30 %", "96.85 %"):
        assert figure in page.text  # the paper's matrices: facts of its Table II to two digits
    assert "GAP <against> weighted GAP" in page.text
    assert RESEARCH_USE in page.text
    assert "simulated test objects" in page.text
    assert len(page.all("img")) == 2


def test_the_page_shows_the_paired_tests(study: Study, tmp_path: Path) -> None:
    write_study_page(study, tmp_path / "study.html")
    rows = [e.text for e in Page(tmp_path / "study.html").all("tr") if e.text.startswith("GAP, Mask-weighted GAP")]
    tests = study.sections[0].comparison.tests
    assert len(rows) == len(tests) == 3
    for row, test in zip(rows, tests, strict=True):
        where = "all, averaged" if test.seed is None else f"seed {test.seed}"
        assert f"GAP, Mask-weighted GAP{where}{test.mcnemar.only_a}{test.mcnemar.only_b}" in row
        assert f"{test.auroc_difference.value:.3f}" in row


def test_the_chart_has_a_row_per_section_and_pooling(study: Study) -> None:
    two = replace(study, sections=(study.sections[0], replace(study.sections[0], name="b", title="Other")))
    chart = auroc_chart(two)
    assert [tick.text for tick in chart.y_ticks] == [
        f"{title}: {name}" for title in ("Test part", "Other") for name in ("GAP", "Mask-weighted GAP")
    ]
    assert len(chart.traces) == 4
    assert len(chart.dots) == 4 * 3
    report = study.sections[0].comparison.reports["mask"]
    assert chart.dots[3].x == chart.frame.at_x(report.scores["auroc"]["covid"].value)


def test_json_holds_all(study: Study, tmp_path: Path) -> None:
    write_study_json(study, tmp_path / "study.json")
    record = json.loads((tmp_path / "study.json").read_text())
    assert record["research_use"] == RESEARCH_USE
    assert record["published"]["mask"]["confusion"]["counts"] == PUBLISHED["mask"]
    section = record["sections"]["test"]
    assert section["seeds"] == [3, 5]
    assert [test["seed"] for test in section["tests"]] == [None, 3, 5]
    tested = study.sections[0].comparison.tests[0].mcnemar
    assert section["tests"][0]["mcnemar"]["p_value"] == tested.p_value
    assert section["seed_reports"]["mean"]["5"]["cases"] == 30


def test_csv_holds_all(study: Study, tmp_path: Path) -> None:
    write_study_csv(study, tmp_path / "study.csv")
    with (tmp_path / "study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    values = {
        tuple(row[key] for key in ("section", "variant", "seed", "metric", "scope")): row["value"] for row in rows
    }
    comparison = study.sections[0].comparison
    report = comparison.seed_reports["mask"][5]
    assert float(values["test", "mask", "5", "auroc", "covid"]) == report.scores["auroc"]["covid"].value
    pooled = comparison.tests[0]
    assert float(values["test", "mean - mask", "mean", "p_value", "overall"]) == pooled.mcnemar.p_value
    assert int(values["test", "mean - mask", "mean", "only_b", "overall"]) == pooled.mcnemar.only_b
    assert float(values["published", "mask", "", "sensitivity", "covid"]) == pytest.approx(1413 / 1465)
    assert len(values) == len(rows)
