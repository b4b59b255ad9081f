"""``audit_listing``: subjects and pictures in two splits, contradicting labels, what is unknown."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from covidct.curation import Entry, LeakageAudit, audit_listing
from covidct.functional import window_hu
from covidct.phantom import simulate_ct


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Five levels of five patients."""
    return [
        np.asarray(
            np.rint(255 * window_hu(simulate_ct(k, shape=(12, 96, 96)).volume.array[2 + 2 * k], -1250, 250)), np.uint8
        )
        for k in range(5)
    ]


def write(folder: Path, *pictures: np.ndarray) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        assert cv2.imwrite(str(path), picture)
    return paths


def numbers(entries: tuple[Entry, ...]) -> list[int]:
    return [entry.number for entry in entries]


def audit(entries: list[Entry]) -> LeakageAudit:
    return audit_listing(entries, min_correlation=0.97)  # phantoms of one level are alike


def test_a_clean_split_does_not_leak(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    paths = write(tmp_path, *pictures)
    splits = ("train", "train", "train", "val", "test")
    found = audit([Entry(k + 1, p, "covid", f"p{k}", splits[k]) for k, p in enumerate(paths)])
    assert not found.leaks
    for part in (found.pairs, found.subject_overlap, found.subject_labels, found.without_subject, found.probes):
        assert part == ()


def test_subjects_in_two_splits_and_with_two_labels(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    paths = write(tmp_path, *pictures)
    entries = [
        Entry(1, paths[0], "covid", "a", "train"),
        Entry(2, paths[1], "normal", "b", "train"),
        Entry(3, paths[2], "normal", "a", "test"),
        Entry(4, paths[3], "covid", "", "test"),  # two unknown ones are not one subject
        Entry(5, paths[4], "normal", "", "train"),
    ]
    found = audit(entries)
    assert found.leaks
    assert [(numbers(f.entries), f.words) for f in found.subject_overlap] == [([1, 3], ("train", "test"))]
    assert [(numbers(f.entries), f.words) for f in found.subject_labels] == [([1, 3], ("covid", "normal"))]
    assert numbers(found.without_subject) == [4, 5]
    assert found.pairs == ()


def test_entries_that_cannot_be_read_still_have_subjects(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    paths = write(tmp_path, pictures[0])
    found = audit([Entry(1, paths[0], "", "a", "train"), Entry(2, tmp_path / "gone.png", "", "a", "val")])
    assert [item.entry.number for item in found.unreadable] == [2]
    assert len(found.subject_overlap) == 1
    assert found.subject_labels == ()


def test_pictures_in_two_splits_and_with_two_labels(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    smaller = cv2.resize(pictures[1], (80, 80), interpolation=cv2.INTER_AREA)
    paths = write(tmp_path, pictures[0], pictures[0], pictures[1], np.asarray(smaller), pictures[2], pictures[2])
    entries = [
        Entry(1, paths[0], "covid", "a", "train"),
        Entry(2, paths[1], "covid", "b", "test"),
        Entry(3, paths[2], "covid", "c", "train"),
        Entry(4, paths[3], "normal", "d", "train"),
        Entry(5, paths[4], "covid", "e", "train"),
        Entry(6, paths[5], "covid", "e", ""),  # in no split
    ]
    found = audit(entries)
    told = [(p.first.number, p.second.number, p.kind, p.across_splits, p.labels_differ) for p in found.pairs]
    assert told == [
        (1, 2, "identical", True, False),
        (5, 6, "identical", False, False),
        (3, 4, "near", False, True),
    ]
    assert [pair.same_subject for pair in found.pairs] == [False, True, False]
    parts = (found.pairs_across, found.pairs_within, found.pairs_unknown, found.label_conflicts)
    assert [len(part) for part in parts] == [1, 1, 1, 1]
    assert found.leaks


def test_identical_pictures_of_three_splits_are_tied_to_the_first(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    paths = write(tmp_path, *[pictures[0]] * 4)
    splits = ("train", "train", "val", "test")
    found = audit([Entry(k + 1, p, "", f"p{k}", splits[k]) for k, p in enumerate(paths)])
    assert [(pair.first.number, pair.second.number) for pair in found.pairs] == [(1, 2), (1, 3), (1, 4)]
    assert len(found.pairs_across) == 2


def test_a_first_copy_without_split_and_label_hides_no_leak(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    paths = write(tmp_path, *[pictures[0]] * 3, pictures[1])
    found = audit(
        [
            Entry(1, paths[0], "", "a", ""),
            Entry(2, paths[1], "covid", "b", "train"),
            Entry(3, paths[2], "normal", "c", "test"),
            Entry(4, paths[3], "normal", "d", "test"),
        ]
    )
    assert found.leaks
    assert [numbers((pair.first, pair.second)) for pair in found.pairs_across] == [[2, 3]]
    assert [numbers((pair.first, pair.second)) for pair in found.label_conflicts] == [[2, 3]]
    assert [numbers((pair.first, pair.second)) for pair in found.pairs_unknown] == [[1, 2], [1, 3]]
    assert found.pairs_within == ()


def test_a_near_copy_without_split_and_label_ties_its_neighbours(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    smaller = np.asarray(cv2.resize(pictures[0], (80, 80), interpolation=cv2.INTER_AREA))
    paths = write(tmp_path, smaller, pictures[0], pictures[0])
    entries = [
        Entry(1, paths[0], "covid", "a", "train"),
        Entry(2, paths[1], "", "b", ""),  # stands for the third, whose pixels are equal
        Entry(3, paths[2], "normal", "c", "test"),
    ]
    found = audit(entries)
    assert found.leaks
    told = [(p.first.number, p.second.number, p.kind, p.across_splits, p.labels_differ) for p in found.pairs]
    assert told == [
        (2, 3, "identical", False, False),
        (1, 2, "near", False, False),
        (1, 3, "chained", True, True),
    ]
    assert found.pairs[2].details == found.pairs[1].details < 1
    assert found.pairs[2].turn == ""
    assert len(found.pairs_unknown) == 2


def test_what_was_not_searched_is_said_and_nothing_else_is_lost(
    tmp_path: Path, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covidct.curation.fingerprints._MOST", -1)
    paths = write(tmp_path, pictures[0], pictures[0], pictures[1])
    splits = ("train", "test", "test")
    found = audit([Entry(k + 1, p, "covid", "one", splits[k]) for k, p in enumerate(paths)])
    assert len(found.notes) == 2
    assert len(found.subject_overlap) == 1
    assert len(found.pairs_across) == 1


def test_shortcuts_are_probed_in_the_same_pass(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    entries = []
    for number in range(20):
        picture = rng.integers(0, 200, (48, 48), dtype=np.uint8)
        if number % 2:
            picture[:5, :5] = 255
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        entries.append(Entry(number + 1, tmp_path / f"{number}.png", "ab"[number % 2], f"p{number}", "train"))
    seen: list[str] = []
    found = audit_listing(entries, probes=True, resamples=50, on_scan=seen.append)
    corners = next(probe for probe in found.probes if probe.features == "corners")
    assert corners.auroc.value > 0.95
    assert corners.warning
    assert seen == [f"row-{number:05d}" for number in range(1, 21)]
