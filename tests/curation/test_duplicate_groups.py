"""Groups of one picture: which pairs show what is known of it, and what only a chain shows."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from covidct.curation import Entry
from covidct.curation.duplicate_groups import Tie, hidden_ties, identical_pairs


def listed(*words: str) -> list[Entry]:
    """Entries of ``split label``; ``-`` is unknown."""
    entries = []
    for number, word in enumerate(words, start=1):
        split, label = ("" if part == "-" else part for part in word.split())
        entries.append(Entry(number, Path(f"{number}.png"), label, f"p{number}", split))
    return entries


def test_each_is_paired_with_the_first() -> None:
    entries = listed("train ill", "train ill", "test well")
    assert identical_pairs(entries, [0, 1, 2]) == [(0, 1), (0, 2)]
    assert identical_pairs(entries, [2]) == []


def test_a_first_of_which_nothing_is_known_hides_nothing() -> None:
    entries = listed("- -", "train ill", "test well", "test -")
    assert identical_pairs(entries, [0, 1, 2, 3]) == [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3)]
    apart = listed("- ill", "train -", "- well", "test -")
    assert set(identical_pairs(apart, [0, 1, 2, 3])) == {(0, 1), (0, 2), (0, 3), (1, 3)}


@pytest.mark.parametrize("seed", range(20))
def test_pairs_show_what_all_pairs_would(seed: int) -> None:
    """The splits that are apart in all pairs are so in the few; labels too."""
    rng = np.random.default_rng(seed)
    entries = listed(*(f"{rng.choice(['-', 'train', 'test'])} {rng.choice(['-', 'ill', 'well'])}" for _ in range(5)))

    def apart(pairs: list[tuple[int, int]]) -> set[frozenset[str]]:
        told = set()
        for one, other in pairs:
            for word in ("split", "label"):
                both = {getattr(entries[one], word), getattr(entries[other], word)}
                if len(both) == 2 and "" not in both:
                    told.add(frozenset(both))
        return told

    assert apart(identical_pairs(entries, range(5))) == apart(list(combinations(range(5), 2)))


def test_an_entry_without_a_split_ties_two_that_have_one() -> None:
    entries = listed("train ill", "- ill", "test ill", "train ill", "test ill")
    ties = [Tie(0, 1, 0.99, 0.995), Tie(1, 2, 0.95, 0.97)]
    assert hidden_ties(entries, ties) == [Tie(0, 2, 0.95, 0.97)]
    assert hidden_ties(entries, [*ties, Tie(0, 2, 0.91, 0.92)]) == []  # it shows by itself
    assert hidden_ties(entries, [Tie(3, 4)]) == []
    assert hidden_ties(entries, []) == []


def test_a_split_that_shows_in_no_pair_is_tied_once() -> None:
    entries = listed("train -", "val -", "- -", "test -", "test -", "- ill", "- well")
    ties = [Tie(0, 1), Tie(0, 2, 0.98, 1), Tie(2, 3, 0.97, 1), Tie(3, 4), Tie(2, 5, 0.96, 1), Tie(5, 6, 0.95, 1)]
    assert hidden_ties(entries, ties) == [Tie(0, 3, 0.97, 1)]  # the labels differ in a pair of their own
    assert hidden_ties(entries, ties[:-1]) == [Tie(0, 3, 0.97, 1)]


def test_labels_are_tied_as_splits_are() -> None:
    entries = listed("- ill", "- -", "- -", "- well")
    ties = [Tie(0, 1), Tie(1, 2, 0.93, 0.99), Tie(2, 3, 0.94, 0.96)]
    assert hidden_ties(entries, ties) == [Tie(0, 3, 0.93, 0.96)]
