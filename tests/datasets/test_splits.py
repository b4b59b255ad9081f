from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidct.datasets import Record, assign_folds, assign_splits, check_no_overlap
from covidct.errors import ManifestError, UsageError

Cohort = list[tuple[str, int]]


@st.composite
def cohorts(draw: st.DrawFn, *, subjects: tuple[int, int] = (5, 40), scans: int = 5) -> Cohort:
    """(subject, label) of each scan; a subject may have scans of several classes."""
    count = draw(st.integers(*subjects))
    rows = []
    for subject in range(count):
        labels = draw(st.lists(st.integers(0, 2), min_size=1, max_size=scans))
        rows += [(f"p{subject}", label) for label in labels]
    return rows


def split(cohort: Cohort, seed: int = 0, val: float = 0.2, test: float = 0.2) -> list[str]:
    names = assign_splits(*zip(*cohort, strict=True), val_fraction=val, test_fraction=test, seed=seed)
    return [str(name) for name in names]


@settings(max_examples=400, deadline=None)
@given(cohort=cohorts(), seed=st.integers(0, 1000), shuffle=st.randoms(use_true_random=False))
def test_no_subject_in_two_parts_and_order_does_not_matter(cohort: Cohort, seed: int, shuffle: object) -> None:
    names = split(cohort, seed)
    part_of: dict[str, set[str]] = defaultdict(set)
    for (subject, _), name in zip(cohort, names, strict=True):
        part_of[subject].add(name)
    assert all(len(parts) == 1 for parts in part_of.values())
    assert set(names) == {"train", "val", "test"}
    other = cohort.copy()
    shuffle.shuffle(other)  # type: ignore[attr-defined]
    assert dict(zip((s for s, _ in other), split(other, seed), strict=True)) == {
        s: p.copy().pop() for s, p in part_of.items()
    }


def distance(counts: np.ndarray, parts: tuple[int, ...], share: np.ndarray) -> float:
    """How far the parts are from their wanted samples, of each class and of all, in units of their number."""
    counts = np.column_stack([counts, counts.sum(axis=1)])
    total = counts.sum(axis=0)
    filled = np.zeros((len(share), counts.shape[1]))
    for part, count in zip(parts, counts, strict=True):
        filled[part] += count
    return float((((filled - share[:, None] * total) / total) ** 2).sum())


@settings(max_examples=150, deadline=None)
@given(cohort=cohorts(subjects=(10, 40), scans=3), seed=st.integers(0, 1000))
def test_class_ratio_is_near_or_as_near_as_subjects_allow(cohort: Cohort, seed: int) -> None:
    names = split(cohort, seed)
    total = Counter(label for _, label in cohort)
    for part, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        counts = Counter(label for (_, label), name in zip(cohort, names, strict=True) if name == part)
        for label, count in total.items():
            # within 10 % of the class, or within half the largest subject (nothing smaller can be moved)
            assert abs(counts[label] - share * count) <= max(0.1 * count, 3)


@settings(max_examples=60, deadline=None)
@given(cohort=cohorts(subjects=(4, 7), scans=3), seed=st.integers(0, 1000))
def test_small_cohorts_are_split_nearly_as_well_as_by_trying_all_splits(cohort: Cohort, seed: int) -> None:
    subjects = sorted({subject for subject, _ in cohort})
    labels = sorted({label for _, label in cohort})
    counts = np.array([[sum(row == (s, label) for row in cohort) for label in labels] for s in subjects])
    share = np.array([0.6, 0.2, 0.2])
    names = dict(zip((s for s, _ in cohort), split(cohort, seed), strict=True))
    ours = distance(counts, tuple(("train", "val", "test").index(names[s]) for s in subjects), share)
    full = (p for p in itertools.product(range(3), repeat=len(subjects)) if len(set(p)) == 3)
    best = min(distance(counts, parts, share) for parts in full)
    assert ours <= best + 0.25  # in 84 % of such cohorts it is the best


def test_large_balanced_cohort_is_split_exactly() -> None:
    cohort = [(f"p{i}", i % 3) for i in range(300)]
    counts = Counter(zip(split(cohort), (label for _, label in cohort), strict=True))
    assert counts == {(part, label): n for part, n in (("train", 60), ("val", 20), ("test", 20)) for label in range(3)}


def test_seed_chooses_another_split() -> None:
    cohort = [(f"p{i}", i % 3) for i in range(60)]
    assert split(cohort, 0) == split(cohort, 0)
    assert split(cohort, 0) != split(cohort, 1)


def test_fraction_zero_leaves_a_part_empty() -> None:
    assert set(split([(f"p{i}", i % 2) for i in range(10)], val=0.0)) == {"train", "test"}


def test_everything_may_be_the_test_part() -> None:
    assert set(split([(f"p{i}", i % 2) for i in range(10)], val=0.0, test=1.0)) == {"test"}
    assert set(split([(f"p{i}", i % 2) for i in range(10)], val=0.3, test=0.7)) == {"val", "test"}


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.6), (-0.1, 0.2), (1.1, 0.0)])
def test_impossible_fractions_are_refused(val: float, test: float) -> None:
    with pytest.raises(UsageError, match="no shares of a whole"):
        assign_splits(["a", "b", "c"], [0, 1, 0], val_fraction=val, test_fraction=test)


def test_fewer_subjects_than_parts_are_refused() -> None:
    with pytest.raises(UsageError, match="2 subject"):
        assign_splits(["a", "b", "b"], [0, 1, 1])


@settings(max_examples=150, deadline=None)
@given(cohort=cohorts(), seed=st.integers(0, 1000), shuffle=st.randoms(use_true_random=False))
def test_folds_part_the_subjects_and_ignore_the_order(cohort: Cohort, seed: int, shuffle: object) -> None:
    subjects, labels = zip(*cohort, strict=True)
    folds = assign_folds(subjects, labels, num_folds=3, seed=seed)
    fold_of = defaultdict(set)
    for subject, fold in zip(subjects, folds, strict=True):
        fold_of[subject].add(fold)
    assert all(len(found) == 1 for found in fold_of.values())
    assert set(folds) <= {0, 1, 2}
    other = cohort.copy()
    shuffle.shuffle(other)  # type: ignore[attr-defined]
    subjects, labels = zip(*other, strict=True)
    again = assign_folds(subjects, labels, num_folds=3, seed=seed)
    assert dict(zip(subjects, again, strict=True)) == {s: min(f) for s, f in fold_of.items()}


def test_folds_are_stratified() -> None:
    subjects, labels = [f"p{i}" for i in range(90)], [i % 3 for i in range(90)]
    counts = Counter(zip(assign_folds(subjects, labels, num_folds=5), labels, strict=True))
    assert set(counts.values()) == {6}


@pytest.mark.parametrize("folds", [1, 4])
def test_impossible_numbers_of_folds_are_refused(folds: int) -> None:
    with pytest.raises(UsageError, match="num_folds"):
        assign_folds(["a", "b", "c"], [0, 1, 0], num_folds=folds)


def test_overlap_names_records_not_subjects() -> None:
    one, two = (Record(name, "Mrs Doe", 0, number) for number, name in enumerate(("row-1", "row-2")))
    check_no_overlap({"train": [one, two], "test": []})
    with pytest.raises(ManifestError, match=r"1 subject.*row-1 \(train\) and row-2 \(test\)") as caught:
        check_no_overlap({"train": [one], "test": [two]})
    assert "Doe" not in str(caught.value)


def test_overlap_on_purpose_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    one, two = (Record(name, "Mrs Doe", 0, number) for number, name in enumerate(("row-1", "row-2")))
    check_no_overlap({"train": [one], "test": [two]}, allow=True)
    assert "row-1 (train) and row-2 (test)" in caplog.text
    assert "too good to be true" in caplog.text
    assert "Doe" not in caplog.text
