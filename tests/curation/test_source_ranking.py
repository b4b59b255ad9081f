"""Ranking of sources: order, intervals that cover as they say, halves by subject."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from covidct.curation import LabelDistances, LabelledSet, compare_sets, otdd, rank_sources
from covidct.curation.label_distance import LabelDistance
from covidct.curation.labelled import prepare
from covidct.curation.transport import entropic_transport
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


def test_one_subject_of_a_class_gives_no_interval() -> None:
    """Its half would be the whole."""
    x = np.random.default_rng(0).normal(size=(12, 2))
    one = LabelledSet(x, [0] * 6 + [1] * 6, [0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 3, 3])
    compared = compare_sets(one, a_set(12, d=2), resamples=4)
    assert np.isfinite(compared.result.distance)
    assert np.isnan([compared.low, compared.high, compared.halves_mean, *compared.halves]).all()
    assert np.isnan(list(compared.same_class_share.values())).all()
    assert compared.same_class_nearest.keys() == {0, 1}
    assert (compared.subjects, compared.other_subjects) == ({0: 3, 1: 1}, {0: 6, 1: 6})
    assert compared.fewest_subjects == 1
    ranking = rank_sources(a_set(12, d=2), {"one": one, "other": a_set(12, d=2, seed=1)}, resamples=4)
    named = {source.name: source for source in ranking.sources}
    assert np.isnan([named["one"].nearest, named["other"].nearest, named["one"].comparison.low]).all()
    assert np.isfinite(named["other"].comparison.low)


def test_one_sample_of_a_class_in_a_half_gives_no_interval() -> None:
    x = np.random.default_rng(0).normal(size=(10, 2))
    few = LabelledSet(x, [0] * 8 + [1] * 2)
    assert np.isnan(compare_sets(few, a_set(10, d=2), resamples=3).high)
    assert np.isfinite(compare_sets(few, a_set(10, d=2), resamples=3, min_class_size=1).high)


@pytest.mark.parametrize(("subjects", "factor"), [(3, 2.0), (4, 1.0), (5, 1.5), (10, 1.0)])
def test_odd_numbers_of_subjects_widen_the_interval(subjects: int, factor: float) -> None:
    """r / d of the delete-d jackknife: what is kept over what is left out, of 3 it is 2 to 1."""
    one, two = (a_set(2 * 4 * subjects, 2 * k, seed=k, per_subject=4) for k in range(2))
    compared = compare_sets(one, two, resamples=6, confidence=0.6826894921370859)  # one standard deviation
    reach = np.sqrt(factor) * compared.halves.std(ddof=1)
    assert compared.high - compared.result.distance == pytest.approx(reach, rel=1e-6)


def test_the_floor_compares_with_halves_not_with_wholes() -> None:
    """A set that is clearly another one may be nearer at all samples than halves of the target are."""
    d = 40
    target = a_set(80, d=d)
    ranking = rank_sources(target, {"same": a_set(80, seed=1, d=d), "other": a_set(80, 0.5, seed=2, d=d)}, resamples=10)
    same, other = (source.comparison for source in ranking.sources)
    assert same.result.distance < 0.9 * ranking.floor
    assert other.result.distance < 1.1 * ranking.floor
    assert same.halves_mean == pytest.approx(ranking.floor, rel=0.03)
    assert other.halves_mean > 1.1 * ranking.floor
    assert other.halves_mean == other.halves.mean()


def test_sets_too_small_for_the_classes_of_another_are_refused() -> None:
    many = LabelledSet(np.random.default_rng(0).normal(size=(60, 3)), np.repeat(range(6), 10))
    few = a_set(11)
    with pytest.raises(InputError, match="few has 11 samples, but the 6 classes of The target need 12, 2 of each"):
        rank_sources(many, {"few": few}, resamples=2)
    enough = rank_sources(many, {"few": a_set(12)}, resamples=2)
    assert enough.samples == 12
    assert len(enough.sources[0].comparison.result.classes) == 6
    assert not enough.sources[0].comparison.result.dropped


def test_what_is_known_of_the_target_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    solved: list[int] = []
    init = LabelDistances.__init__

    def counted(cost: Any, epsilon: float) -> Any:  # noqa: ANN401
        solved.append(len(cost))
        return entropic_transport(cost, epsilon)

    monkeypatch.setattr(import_module("covidct.curation.otdd"), "entropic_transport", counted)
    pairs: list[LabelDistances] = []

    def noted(self: LabelDistances, kind: LabelDistance) -> None:
        pairs.append(self)
        init(self, kind)

    monkeypatch.setattr(LabelDistances, "__init__", noted)
    sets = {name: a_set(40, k, seed=k) for k, name in enumerate("abc", start=1)}
    options: dict[str, Any] = {"outer": "entropic", "epsilon": 0.1, "resamples": 4}
    ranking = rank_sources(a_set(40), sets, **options)
    assert solved.count(40) == 3 + 3 + 1  # with each candidate, their own, the target's
    # halves: the same, and for the floor with the other half of the target, whose own is new
    assert solved.count(20) == 4 * (3 + 3 + 1 + 1 + 1)
    assert len(pairs) == 1  # one cache for all
    (weight,) = {source.comparison.result.epsilon for source in ranking.sources}
    assert weight > 0
    alone = rank_sources(a_set(40), {"b": sets["b"]}, **options)
    (b,) = (source.comparison for source in ranking.sources if source.name == "b")
    np.testing.assert_array_equal(alone.sources[0].comparison.halves, b.halves)


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
