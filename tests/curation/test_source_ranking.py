"""Ranking of sources: order, intervals that cover as they say, halves by subject."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from covidct.curation import LabelledSet, compare_sets, otdd, rank_sources
from covidct.curation.labelled import prepare
from covidct.errors import InputError, UsageError


def a_set(n: int, shift: float = 0.0, *, seed: int = 0, per_subject: int = 1, d: int = 3) -> LabelledSet:
    """Two classes, 4 apart, with subjects that differ from one another."""
    rng = np.random.default_rng(seed)
    subject = np.arange(n) // per_subject
    y = subject % 2
    own = rng.normal(size=(subject.max() + 1, d))[subject] if per_subject > 1 else 0
    return LabelledSet(rng.normal(size=(n, d)) + own + 4 * y[:, None] + shift, y, subject)


def points(data: LabelledSet) -> Any:  # noqa: ANN401
    return prepare(data, name="x", features=None, max_samples=None, min_class_size=2, seed=0)


def test_the_nearest_comes_first_and_is_so_in_all_halves() -> None:
    target = a_set(60)
    ranking = rank_sources(
        target,
        {"far": a_set(80, 3, seed=1), "near": a_set(70, 0.5, seed=2), "mid": a_set(90, 1.5, seed=3)},
        resamples=8,
    )
    assert [source.name for source in ranking.sources] == ["near", "mid", "far"]
    assert [source.nearest for source in ranking.sources] == [1, 0, 0]
    assert ranking.samples == 60  # all are brought to the smallest
    for source in ranking.sources:
        assert len(source.comparison.result.columns) == 60
        assert source.comparison.low < source.comparison.result.distance < source.comparison.high
    assert 0 < ranking.floor < ranking.sources[1].comparison.result.distance


def test_distances_are_those_of_otdd() -> None:
    target, source = a_set(40), a_set(40, 1, seed=1)
    found = compare_sets(target, source, resamples=2).result
    assert found.distance == otdd(target.x, target.y, source.x, source.y).distance
    ranked = rank_sources(target, {"a": source}, resamples=2).sources[0].comparison.result
    assert ranked.distance == found.distance


def test_a_half_takes_half_of_the_subjects_of_each_class_whole() -> None:
    data = points(a_set(64, per_subject=4))
    inside, outside = data.half(np.random.default_rng(0))
    taken, left = set(data.subjects[inside]), set(data.subjects[outside])
    assert taken & left == set()
    assert len(taken) == len(left) == 8
    assert sorted([*inside, *outside]) == list(range(64))
    assert np.bincount(data.labels[inside]).tolist() == [16, 16]


def test_an_only_subject_of_a_class_is_in_every_half() -> None:
    x = np.random.default_rng(0).normal(size=(10, 2))
    data = points(LabelledSet(x, [0] * 6 + [1] * 4, ["a", "b", "c", "d", "e", "f", "g", "g", "g", "g"]))
    for seed in range(5):
        inside, _ = data.half(np.random.default_rng(seed))
        assert (data.labels[inside] == 1).sum() == 4
        assert (data.labels[inside] == 0).sum() == 3


def spread(make: Any, trials: int) -> NDArray[np.float64]:  # noqa: ANN401
    """Distances of sets drawn afresh."""
    return np.array(
        [otdd(one.x, one.y, two.x, two.y).distance for one, two in (make(number) for number in range(trials))]
    )


def test_the_interval_is_as_wide_as_the_distance_varies_over_fresh_subjects() -> None:
    def make(number: int) -> tuple[LabelledSet, LabelledSet]:
        return (
            a_set(60, seed=2 * number, per_subject=3, d=1),
            a_set(60, 2, seed=2 * number + 1, per_subject=3, d=1),
        )

    truth = spread(make, 60).std(ddof=1)
    found = [compare_sets(*make(100 + number), resamples=30).halves.std(ddof=1) for number in range(8)]
    assert 0.75 * truth < np.mean(found) < 1.35 * truth
    without = [
        compare_sets(*(LabelledSet(s.x, s.y) for s in make(100 + number)), resamples=30).halves.std(ddof=1)
        for number in range(8)
    ]
    assert np.mean(without) < 0.85 * np.mean(found)  # samples of a subject are no independent samples


def test_sets_with_the_same_subjects_are_halved_alike() -> None:
    before = a_set(40, per_subject=2)
    after = LabelledSet(np.asarray(before.x) + 10.0, before.y, before.subjects)
    compared = compare_sets(before, after, resamples=5)
    # a common shift of 10 in 3 dimensions: cost 1/2 (300 + 300) for every half, whatever its subjects
    np.testing.assert_allclose(compared.halves, 300, rtol=1e-9)
    assert compared.low == pytest.approx(compared.high)


def test_whether_same_classes_are_nearest() -> None:
    one = a_set(60)
    two = a_set(60, seed=1)
    compared = compare_sets(one, two, resamples=5)
    assert compared.same_class_nearest == {0: True, 1: True}
    assert compared.same_class_share == {0: 1, 1: 1}
    swapped = compare_sets(one, LabelledSet(two.x, 1 - np.asarray(two.y), two.subjects), resamples=5)
    assert swapped.same_class_nearest == {0: False, 1: False}
    assert swapped.same_class_share == {0: 0, 1: 0}
    assert compare_sets(one, LabelledSet(two.x, np.asarray(two.y) + 1), resamples=2).same_class_nearest == {1: False}


def test_one_seed_gives_one_ranking() -> None:
    sets = {"a": a_set(30, 1, seed=1), "b": a_set(40, 1, seed=2)}
    one, two = (rank_sources(a_set(50), sets, resamples=3, seed=4) for _ in range(2))
    for first, second in zip(one.sources, two.sources, strict=True):
        np.testing.assert_array_equal(first.comparison.halves, second.comparison.halves)
    assert one.floor == two.floor


def test_a_target_of_single_subjects_has_no_floor() -> None:
    x = np.random.default_rng(0).normal(size=(8, 2))
    target = LabelledSet(x, [0] * 4 + [1] * 4, [0] * 4 + [1] * 4)
    assert np.isnan(rank_sources(target, {"a": a_set(20, d=2)}, resamples=2).floor)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"candidates": {}}, UsageError, "no candidate"),
        ({"candidates": {"one": a_set(20, d=4)}}, UsageError, "3 features per sample and the second 4"),
        ({"candidates": {"one": LabelledSet(np.zeros((0, 3)), [])}}, InputError, "one has no samples"),
        ({"target": LabelledSet(np.zeros((4, 3)), [0, 0, 1, 1], ["a"])}, UsageError, "The target: subjects"),
        ({"resamples": 1}, UsageError, "at least 2"),
        ({"confidence": 1.0}, UsageError, "between 0 and 1"),
        ({"outer": "emd"}, UsageError, "outer='emd'"),
    ],
)
def test_what_cannot_be_ranked_is_refused(change: dict[str, Any], error: type[Exception], words: str) -> None:
    good: dict[str, Any] = {"target": a_set(20), "candidates": {"one": a_set(20)}}
    with pytest.raises(error, match=words) as caught:
        rank_sources(**{**good, **change})
    assert "\n" not in str(caught.value)
