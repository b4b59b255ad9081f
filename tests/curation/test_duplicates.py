"""Planted duplicates are found, patients are not taken for one another; what is kept of an image is small."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK

from covidct.curation import Entry, Unreadable, find_duplicates, read_listing
from covidct.curation.fingerprints import TURNS, fingerprint, turned
from covidct.errors import InputError, UsageError
from covidct.functional import window_hu
from covidct.phantom import simulate_ct
from tests.benchmarks.bench_planted_copies import COHORTS, article
from tests.curation.planted import KINDS, found_rates, plant, rescaled

PHANTOMS = 0.97  # correlation of copies: phantoms have fewer details than patients, so others are more alike
TARGETS = {"exact": 1.0, **dict.fromkeys(KINDS[1:], 0.95)}


def chest(seed: int, size: int = 128, level: int = 6) -> np.ndarray:
    """A slice of a phantom patient; those of one level are more alike than those of patients are."""
    volume = simulate_ct(seed, shape=(12, size, size)).volume
    return np.asarray(np.rint(255 * window_hu(volume.array[level], -1250, 250)), np.uint8)


def listed(pictures: list[np.ndarray], folder: Path) -> list[Entry]:
    """Each written and listed as a patient of its own in the training part."""
    entries = []
    for number, picture in enumerate(pictures, start=1):
        assert cv2.imwrite(str(folder / f"{number}.png"), picture)
        entries.append(Entry(number, folder / f"{number}.png", "covid", f"p{number}", "train"))
    return entries


def test_planted_copies_of_phantoms(tmp_path: Path) -> None:
    pictures = [chest(seed, level=2 + seed) for seed in range(8)]
    entries = listed(pictures, tmp_path)
    truth = plant(entries, pictures, tmp_path)
    rates, false = found_rates(entries, truth, min_correlation=PHANTOMS)
    assert all(rates[kind] >= least for kind, least in TARGETS.items()), rates
    assert false <= 0.01


@pytest.mark.real
@pytest.mark.parametrize("cohort", ["covid_ct", "cxr_darkcovid"])
def test_planted_copies_of_real_images(real_data: Path, tmp_path: Path, cohort: str) -> None:
    table, columns = COHORTS[cohort]
    entries = list(read_listing(real_data / cohort / table, columns=columns))[:: 24 if cohort == "covid_ct" else 36]
    entries = [Entry(n, e.path, e.label, article(e)[0], "train") for n, e in enumerate(entries, 1)]
    pictures = [np.asarray(cv2.imread(str(entry.path), cv2.IMREAD_GRAYSCALE)) for entry in entries]
    rates, false = found_rates(entries, plant(entries, pictures, tmp_path))
    assert all(rates[kind] >= least for kind, least in TARGETS.items()), rates
    assert false <= 0.01


@pytest.mark.real
def test_copies_of_the_slice_that_has_a_twin_in_the_official_test_split(real_data: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader((real_data / "covid_ct" / "index.csv").open(newline="")))
    known = next(row for row in rows if row["path"].endswith("CT_NonCOVID/71_0.png"))
    others = [row for row in rows if row is not known][::20]
    entries = [
        Entry(n, real_data / "covid_ct" / row["path"], row["class"], "", "train")
        for n, row in enumerate([known, *others], start=1)
    ]
    picture = np.asarray(cv2.imread(str(entries[0].path), cv2.IMREAD_GRAYSCALE))
    truth = plant(entries[:1], [picture], tmp_path)  # numbers 2 to 6
    copies = [Entry(100 + number, tmp_path / f"{number}.png", "COVID", "", "test") for number in truth]
    pairs = find_duplicates([*entries, *copies]).pairs
    partners = {pair.second.number: pair for pair in pairs if pair.first.number == 1}
    assert set(partners) == {100 + number for number in truth}
    assert all(pair.across_splits and pair.labels_differ for pair in partners.values())


def test_identical_pixels_in_other_files(tmp_path: Path) -> None:
    picture = chest(0)
    for name in ("a.png", "b.tiff", "c.bmp"):
        assert cv2.imwrite(str(tmp_path / name), picture)
    assert cv2.imwrite(str(tmp_path / "d.png"), picture.astype(np.uint16) * 257)  # the same greys in 16 bits
    almost = picture.copy()
    almost[5, 5] ^= 1
    assert cv2.imwrite(str(tmp_path / "e.png"), almost)
    found = find_duplicates(read_listing(tmp_path)).pairs
    assert [(p.first.number, p.second.number, p.kind) for p in found] == [
        (1, 2, "identical"),
        (1, 3, "identical"),
        (1, 4, "identical"),
        (1, 5, "near"),
    ]
    assert found[3].details == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("turn", range(8))
def test_turned_and_mirrored_copies_when_asked(tmp_path: Path, turn: int) -> None:
    pictures = [chest(0), rescaled(turned(chest(0), turn), np.random.default_rng(turn)), chest(3, level=9)]
    entries = listed(pictures, tmp_path)
    found = find_duplicates(entries, turns=True, min_correlation=PHANTOMS).pairs
    assert [(pair.first.number, pair.second.number) for pair in found] == [(1, 2)]
    inverse = turn if turn >= 4 else -turn % 4  # how the second must be laid to fit the first
    assert found[0].turn == TURNS[inverse]
    if turn:
        assert find_duplicates(entries, min_correlation=PHANTOMS).pairs == ()


def test_ways_of_lying_are_the_eight_of_the_square() -> None:
    picture = np.arange(6).reshape(2, 3)
    ways = [turned(picture, turn).tolist() for turn in range(8)]
    assert len({str(way) for way in ways}) == 8
    assert ways[4] == [[2, 1, 0], [5, 4, 3]]
    assert turned(turned(picture, 1), 3).tolist() == picture.tolist()


def test_scans_of_one_patient_resampled_and_of_others(tmp_path: Path) -> None:
    entries: list[Entry] = []
    for seed in range(3):
        hu = simulate_ct(seed, shape=(24, 96, 96)).volume.array
        path = tmp_path / f"{seed}.nii.gz"
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(hu), str(path))
        entries.append(Entry(len(entries) + 1, path, "covid", f"p{seed}", "train"))
    hu = simulate_ct(1, shape=(24, 96, 96)).volume.array
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, plane in enumerate(window_hu(hu, -1250, 250)[1:-1, 2:-2]):
        copy = cv2.resize(np.rint(255 * plane).astype(np.uint8), (140, 140), interpolation=cv2.INTER_AREA)
        assert cv2.imwrite(str(folder / f"{index}.jpg"), copy)
    entries.append(Entry(4, folder, "covid", "p1", "test"))
    found = find_duplicates(entries, min_correlation=PHANTOMS).pairs
    assert [(pair.first.number, pair.second.number) for pair in found] == [(2, 4)]


def test_near_duplicates_of_one_subject_in_one_split_are_not_looked_for(tmp_path: Path) -> None:
    """Neighbouring slices are many, and no leak; a copy under another name, in another split or of nobody is one."""
    picture = chest(0)
    rng = np.random.default_rng(0)
    entries = listed([picture, *(rescaled(picture, rng) for _ in range(5)), picture], tmp_path)
    subjects, splits = ("a", "a", "a", "b", "", "a", "a"), ("train", "train", "test", "train", "train", "", "train")
    entries = [replace(e, subject=w, split=s) for e, w, s in zip(entries, subjects, splits, strict=True)]
    found = find_duplicates(entries)
    pairs = {(pair.first.number, pair.second.number) for pair in found.pairs}
    assert (1, 2) not in pairs
    assert (1, 7) in pairs  # equal pixels cost nothing to find
    assert {(1, 3), (1, 4), (1, 5), (1, 6), (2, 3), (2, 4), (2, 5), (2, 6)} <= pairs
    more = find_duplicates(entries, within_subjects=True)
    assert {(pair.first.number, pair.second.number) for pair in more.pairs} == pairs | {(1, 2)}
    assert more.compared == found.compared + 1


def test_more_candidates_than_are_kept_are_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = listed([chest(0), rescaled(chest(0), np.random.default_rng(0)), chest(0), chest(3)], tmp_path)
    assert find_duplicates(entries).notes == ()
    monkeypatch.setattr("covidct.curation.fingerprints._MOST", 0)
    found = find_duplicates(entries)
    assert [(pair.first.number, pair.second.number, pair.kind) for pair in found.pairs] == [(1, 3, "identical")]
    assert len(found.notes) == 2
    assert "hashes" in found.notes[0]
    assert "thumbnails" in found.notes[1]


def test_flat_pictures_are_equal_or_nothing(tmp_path: Path) -> None:
    flat = [np.full((40, 40), value, np.uint8) for value in (0, 0, 9)]
    found = find_duplicates(listed([*flat, chest(0)], tmp_path)).pairs
    assert [(pair.first.number, pair.second.number, pair.kind) for pair in found] == [(1, 2, "identical")]


def test_what_is_kept_of_an_image_is_small(tmp_path: Path) -> None:
    from covidct.curation import read_stack

    (entry,) = listed([chest(0, 256)], tmp_path)
    one = fingerprint(read_stack(entry))
    assert one.thumb.nbytes + len(one.digest) + 8 < 5000


def test_unreadable_entries_and_bad_options(tmp_path: Path) -> None:
    entries = listed([chest(0)], tmp_path)
    (tmp_path / "x.png").write_bytes(b"no picture")
    entries.append(Entry(2, tmp_path / "x.png"))
    unreadable: list[Unreadable] = []
    seen: list[str] = []
    assert find_duplicates(entries, unreadable=unreadable, on_scan=lambda scan: seen.append(scan.entry.id)).pairs == ()
    assert [item.entry.number for item in unreadable] == [2]
    assert seen == ["row-00001"]
    with pytest.raises(InputError):
        find_duplicates(entries)
    with pytest.raises(UsageError, match="min_correlation=0"):
        find_duplicates(entries, min_correlation=0)
    with pytest.raises(UsageError, match="max_distance=65"):
        find_duplicates(entries, max_distance=65)
