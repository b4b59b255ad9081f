"""The page of an audit says what is found and what is not known, shows pairs, and nobody's name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from covidct import RESEARCH_USE
from covidct.curation import DuplicatePair, Entry, LeakageAudit, ShortcutProbe, SubjectFault, Unreadable
from covidct.metrics import Estimate
from covidct.report import write_audit_csvs, write_audit_json, write_audit_page
from tests.report.page import Page

SECRET = "Miller_Anna_19541230"  # noqa: S105 - a name of a file


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    (tmp_path / SECRET).mkdir()
    rng = np.random.default_rng(0)
    out = []
    for number in range(1, 7):
        path = tmp_path / SECRET / f"{SECRET}_{number}.png"
        assert cv2.imwrite(str(path), rng.integers(0, 256, (40, 500), dtype=np.uint8))
        split = "train" if number < 4 else "test"
        out.append(Entry(number, path, "<b>covid</b>" if number % 2 else "normal", f"{SECRET} {number % 3}", split))
    return out


def found(entries: list[Entry], **changes: object) -> LeakageAudit:
    e = entries
    pairs = (
        DuplicatePair(e[0], e[1], "identical"),
        DuplicatePair(e[0], e[3], "near", 0.987, 0.995, 1),
        DuplicatePair(e[0], e[2], "near", 0.951, 0.97, 12, "mirrored"),
    )
    told = Estimate(0.9, 0.8, 0.95)
    probe = ShortcutProbe("label", "corners", told, {"normal": told}, 4, 3, warning="The label can be told.")
    values = {
        "entries": (*e, Entry(7, Path(f"/data/{SECRET}.png"))),
        "unreadable": (Unreadable(Entry(7, Path(f"/data/{SECRET}.png")), f"The file '{SECRET}.png' is damaged."),),
        "subject_overlap": (SubjectFault((e[0], e[3]), ("train", "test")),),
        "subject_labels": (SubjectFault((e[0], e[3]), ("<b>covid</b>", "normal")),),
        "pairs": pairs,
        "compared": 9,
        "probes": (probe,),
    }
    return LeakageAudit(**values | changes)  # type: ignore[arg-type]


def test_everything_stands_on_the_page(entries: list[Entry], tmp_path: Path) -> None:
    write_audit_page(found(entries), tmp_path / "audit.html", title="An <audit>", run={"max_distance": 4})
    page = Page(tmp_path / "audit.html")
    headings = [e.attributes["id"] for e in page.all("h2") if "id" in e.attributes]
    assert headings == ["subjects", "across", "labels", "relabelled", "within", "shortcuts", "failed", "run"]
    values = [e.text for e in page.all("p", class_="value")]
    assert values == ["1", "1", "2", "1", "3", "1"]
    images = page.all("img")
    assert len(images) == 6
    assert {(e.attributes["width"], e.attributes["height"]) for e in images} == {("320", "26")}
    assert all(e.attributes["src"].startswith("data:image/jpeg;base64,") and e.attributes["alt"] for e in images)
    for words in ("This split leaks", "0.987", "12 bits", "1 bit apart", "Identical pixels", "mirrored", RESEARCH_USE):
        assert words in page.text
    assert "<b>covid</b>" in page.text  # escaped
    assert "(input)' is damaged" in page.text
    assert SECRET not in page.source


def test_no_leak_is_not_said_louder_than_it_is_known(entries: list[Entry], tmp_path: Path) -> None:
    clean = {"subject_overlap": (), "subject_labels": (), "pairs": (), "probes": (), "unreadable": ()}
    write_audit_page(found(entries, **clean), tmp_path / "a.html")
    assert "the subject of 1 entry is unknown: nothing shows" in Page(tmp_path / "a.html").text
    write_audit_page(replace(found(entries, **clean), entries=tuple(entries)), tmp_path / "b.html")
    text = Page(tmp_path / "b.html").text
    assert "No subject and no picture was found in two splits." in text
    assert "unknown: nothing shows" not in text
    whole = tuple(replace(entry, split="") for entry in entries)
    write_audit_page(replace(found(entries, **clean), entries=whole), tmp_path / "c.html")
    assert "The listing has no splits" in Page(tmp_path / "c.html").text


def test_an_unknown_split_has_its_own_heading(entries: list[Entry], tmp_path: Path) -> None:
    nowhere = replace(entries[4], split="")
    pairs = (
        DuplicatePair(entries[0], nowhere, "near", 0.961, 0.97, 3),
        DuplicatePair(nowhere, entries[5], "near", 0.982, 0.99, 3),
        DuplicatePair(entries[0], entries[5], "chained", 0.961, 0.97, 5, ""),
    )
    audit = found([*entries[:4], nowhere, entries[5]], pairs=pairs, notes=("Hashes were not compared.",))
    write_audit_page(audit, tmp_path / "a.html")
    page = Page(tmp_path / "a.html")
    assert [e.text for e in page.all("h2", id="unknown")] == ["One picture, of which a split is unknown"]
    assert "through entries of unknown split or label; of the weakest link, details 0.961" in page.text
    assert "Hashes were not compared." in page.text
    assert len(page.all("img")) == 6
    write_audit_json(audit, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["notes"] == ["Hashes were not compared."]


def test_long_lists_are_cut_and_say_so(entries: list[Entry], tmp_path: Path) -> None:
    pairs = tuple(DuplicatePair(entries[0], entries[2], "near", 0.95) for _ in range(5))
    faults = tuple(SubjectFault((entries[0],) * 20 + (entries[3],), ("train", "test")) for _ in range(60))
    write_audit_page(found(entries, pairs=pairs, subject_overlap=faults), tmp_path / "a.html", shown=2)
    page = Page(tmp_path / "a.html")
    assert len(page.all("img")) == 4
    for words in ("3 more stand in pairs.csv", "10 more stand in subjects.csv", "and 8 more"):
        assert words in page.text


def test_a_picture_that_is_gone_is_said(entries: list[Entry], tmp_path: Path) -> None:
    audit = found(entries)
    entries[3].path.unlink()
    write_audit_page(audit, tmp_path / "a.html")
    assert "It can no longer be read." in Page(tmp_path / "a.html").text


def test_json_and_csvs(entries: list[Entry], tmp_path: Path) -> None:
    write_audit_json(found(entries), tmp_path / "audit.json", run={"max_distance": 4})
    record = json.loads((tmp_path / "audit.json").read_text())
    assert record["subjects_in_several_splits"] == [{"train": ["row-00001"], "test": ["row-00004"]}]
    assert [pair["kind"] for pair in record["pairs"]] == ["identical", "near", "near"]
    assert record["pairs"][1]["across_splits"]
    assert record["without_subject"] == ["row-00007"]
    assert record["unreadable"][0]["id"] == "row-00007"
    assert record["shortcuts"][0]["features"] == "corners"
    assert record["leaks"]
    assert record["run"] == {"max_distance": 4}
    texts = [path.read_text() for path in write_audit_csvs(found(entries), tmp_path)]
    assert (
        texts[0]
        .splitlines()[2]
        .startswith("row-00001,train,<b>covid</b>,row-00004,test,normal,near,0.987,0.995,1,as it")
    )
    assert texts[1].splitlines()[1].startswith("subject-0001,several splits,row-00001,train")
    assert not any(SECRET in text for text in (*texts, json.dumps(record)))
