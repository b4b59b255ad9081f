"""What holds for every page: it stands alone, is safe whatever things are called, and comes out the same each time."""

from __future__ import annotations

import dataclasses
import re
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from covidct import RESEARCH_USE
from covidct.report import write_cohort_page, write_evaluation_page, write_scan_page
from covidct.report.pages import CONTENT_POLICY, local_link
from covidct.result import CohortResult
from covidct.volume import Finding
from tests.report.page import Page
from tests.report.samples import RUN, evaluated, failed, scan, viewed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;script&gt;",
    "red;background:url(//evil.example/x)",
    "\u202egpj.exe",
    "a\x00b\x1fc",
)


def run_scripts(page: Page) -> list[str]:
    """What a browser runs: all scripts but those that hold data."""
    return [script.text for script in page.all("script") if script.attributes.get("type") != "application/json"]


def evaluation(path: Path) -> None:
    report, cohort = evaluated()
    write_evaluation_page(report, cohort, path, phantoms=True)


def one_scan(path: Path) -> None:
    write_scan_page(scan(1, [0.1, 0.2, 0.7], "cap"), RUN, path, back="../index.html")


def failed_scan(path: Path) -> None:
    write_scan_page(failed(1), RUN, path)


def whole_cohort(path: Path) -> None:
    _, cohort = evaluated()
    write_cohort_page(cohort, path, links={each.id: f"scans/{each.id}.html" for each in cohort.scans})


def viewed_scan(path: Path) -> None:
    write_scan_page(viewed(), RUN, path, back="../index.html")


WRITERS: list[Callable[[Path], None]] = [evaluation, one_scan, failed_scan, whole_cohort, viewed_scan]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_page_stands_alone(writer: Callable[[Path], None], tmp_path: Path) -> None:
    writer(tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    (policy,) = [meta.attributes["content"] for meta in page.all("meta", http_equiv="Content-Security-Policy")]
    hashes = [b64encode(sha256(script.encode()).digest()).decode() for script in run_scripts(page)]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    assert policy == (f"{CONTENT_POLICY}; script-src {allowed}" if hashes else CONTENT_POLICY)
    assert "default-src 'none'" in policy
    assert not {element.tag for element in page.elements} & {"link", "iframe", "object", "embed", "base"}
    for element in page.elements:
        assert not [name for name in element.attributes if name.startswith("on")]
        assert element.attributes.get("src", "data:image/").startswith("data:image/")
        href = element.attributes.get("href", "#")
        assert href.startswith(("#", "./")), href
    assert not re.search(r"https?:|url\(|@import", page.source)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_page_is_well_formed(writer: Callable[[Path], None], tmp_path: Path) -> None:
    writer(tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert page.source.startswith("<!doctype html>")
    assert page.all("html", lang="en")
    assert page.source.count("<title>") - page.source.count("><title>") == 1
    for tag in ("h1", "main", "footer"):
        assert len(page.all(tag)) == 1
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        for name in ("aria-labelledby", "href"):
            target = element.attributes.get(name, "")
            assert not (name == "aria-labelledby" or target.startswith("#")) or not target or target.lstrip("#") in ids
    assert all("alt" in image.attributes for image in page.all("img"))
    assert all(cell.attributes.get("scope") in ("row", "col") for cell in page.all("th"))
    assert all(figure.attributes.get("aria-label") for figure in page.all("svg", role="img"))


@pytest.mark.parametrize("writer", WRITERS)
def test_research_use_stands_on_every_page_twice(writer: Callable[[Path], None], tmp_path: Path) -> None:
    writer(tmp_path / "page.html")
    assert Page(tmp_path / "page.html").text.count(RESEARCH_USE) == 2


@pytest.mark.parametrize("writer", WRITERS)
def test_the_same_results_give_the_same_bytes(writer: Callable[[Path], None], tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        writer(tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_are_text(text: str, tmp_path: Path) -> None:
    bad = scan(
        1,
        [0.1, 0.2, 0.7],
        id=text,
        label=text,
        probabilities={"normal": 0.1, "cap": 0.2, text: 0.7},
        predicted=text,
        findings=(Finding(text, text),),
        geometry={"shape": [3, 4, 5], "format": text, text: text},
        lungs_ml={text: 1.0},
        seconds={text: 1.0},
    )
    broken = dataclasses.replace(failed(1, text), id=text + "2")
    cohort = CohortResult((bad, broken), {text: text, "nested": {text: [text]}})
    report, _ = evaluated()
    report = dataclasses.replace(report, notes=(text,))
    write_scan_page(bad, cohort.run, tmp_path / "scan.html", back=text)
    write_scan_page(broken, cohort.run, tmp_path / "broken.html")
    write_cohort_page(cohort, tmp_path / "cohort.html", title=text, links={text: text})
    write_evaluation_page(report, cohort, tmp_path / "report.html", title=text)
    plain = scan(1, [0.1, 0.2, 0.7])
    write_scan_page(plain, RUN, tmp_path / "plain.html", back="index.html")
    benign = {element.tag for element in Page(tmp_path / "plain.html").elements}
    for name in ("scan", "broken", "cohort", "report"):
        page = Page(tmp_path / f"{name}.html")
        assert not {element.tag for element in page.elements} & {"iframe"}
        assert not any(script in run_scripts(page) for script in HOSTILE)
        assert all(script.lstrip().startswith('"use strict";') for script in run_scripts(page))
        for element in page.elements:
            assert not [attribute for attribute in element.attributes if attribute.startswith("on")]
            assert element.attributes.get("src", "data:image/").startswith("data:image/")
            assert element.attributes.get("href", "#").startswith(("#", "./"))
            assert "evil" not in element.attributes.get("style", "")
        assert re.sub(r"[\x00-\x1f]", "", text) in page.text
    assert {element.tag for element in Page(tmp_path / "scan.html").elements} <= benign


@pytest.mark.parametrize(
    ("target", "link"),
    [
        ("scans/a.html", "./scans/a.html"),
        ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ("//evil.example/x", "./evil.example/x"),
        ("a b?c#d.html", "./a%20b%3Fc%23d.html"),
        ("../index.html", "./../index.html"),
    ],
)
def test_links_stay_local(target: str, link: str) -> None:
    assert local_link(target) == link
