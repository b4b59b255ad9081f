"""Distance of data sets: assignment by scipy, Sinkhorn's fixed point, invariances, and what is refused."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from covidct.curation import LabelDistances, otdd, pixel_features
from covidct.curation.label_distance import LabelDistance
from covidct.curation.labelled import stratified
from covidct.curation.otdd import Outer
from covidct.errors import InputError, UsageError

Floats = NDArray[np.float64]


def bures(a: Floats, b: Floats) -> float:
    """Squared distance of two Gaussians by scipy."""
    one, two = (np.cov(each, rowvar=False) for each in (a, b))
    root = sqrtm(one)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + two - 2 * sqrtm(root @ two @ root)).real)


def cost_by_hand(x: Floats, y: NDArray[Any], x2: Floats, y2: NDArray[Any]) -> Floats:
    """The cost as it is defined, sample by sample."""
    cost = cdist(x, x2, "sqeuclidean") / 2
    for label in set(y.tolist()):
        for other in set(y2.tolist()):
            a, b = x[y == label], x2[y2 == other]
            same = a.shape == b.shape and bool((a == b).all())
            cost[np.ix_(y == label, y2 == other)] += 0 if same else bures(a, b) / 2
    return np.asarray(cost)


def sinkhorn_by_hand(cost: Floats, epsilon: float) -> float:
    """The dual value at the fixed point, by the plain iteration in double precision."""
    n, m = cost.shape
    f, g = np.zeros(n), np.zeros(m)
    for _ in range(20_000):
        before = f
        g = -epsilon * logsumexp((f[:, None] - cost) / epsilon - np.log(n), axis=0)
        f = -epsilon * logsumexp((g[None] - cost) / epsilon - np.log(m), axis=1)
        if np.abs(f - before).max() < 1e-10:
            break
    return float(f.mean() + g.mean())


def two_sets(n: int = 40, m: int = 40, d: int = 5, seed: int = 0) -> tuple[Floats, NDArray[Any], Floats, NDArray[Any]]:
    """Two sets of three and of two classes."""
    rng = np.random.default_rng(seed)
    y, y2 = np.arange(n) % 3, np.arange(m) % 2
    x = rng.normal(size=(n, d)) + 2 * y[:, None]
    x2 = rng.normal(size=(m, d)) * 1.5 + 3 * y2[:, None]
    return x, y, x2, y2


def test_one_class_a_side_is_half_of_assignment_plus_label_distance() -> None:
    rng = np.random.default_rng(0)
    x, x2 = rng.normal(size=(30, 4)), rng.normal(size=(30, 4)) * 2 + 1
    squared = cdist(x, x2, "sqeuclidean")
    rows, columns = linear_sum_assignment(squared)
    result = otdd(x, np.zeros(30), x2, np.zeros(30))
    assert result.distance == pytest.approx((squared[rows, columns].mean() + bures(x, x2)) / 2)
    expected = np.zeros((30, 30))
    expected[rows, columns] = 1 / 30
    np.testing.assert_allclose(result.coupling, expected)


def test_several_classes_are_the_best_assignment_of_the_cost_by_hand() -> None:
    x, y, x2, y2 = two_sets()
    cost = cost_by_hand(x, y, x2, y2)
    rows, columns = linear_sum_assignment(cost)
    result = otdd(x, y, x2, y2)
    assert result.solver == "exact"
    assert result.distance == pytest.approx(cost[rows, columns].mean())
    assert result.classes == (0, 1, 2)
    assert result.other_classes == (0, 1)
    moved = np.zeros((3, 2))
    np.add.at(moved, (y[rows], y2[columns]), 1 / 40)
    np.testing.assert_allclose(result.class_coupling, moved, atol=1e-12)
    np.testing.assert_allclose(
        result.label_distance, [[bures(x[y == k], x2[y2 == j]) for j in range(2)] for k in range(3)], rtol=1e-6
    )


def test_exact_label_distances_enter_with_their_half_too() -> None:
    x, y, x2, y2 = two_sets(24, 24)
    labels = np.empty((3, 2))
    for k in range(3):
        for j in range(2):
            a, b = np.repeat(x[y == k], 3, 0), np.repeat(x2[y2 == j], 2, 0)  # 8 and 12 samples: 24 of equal weight
            squared = cdist(a, b, "sqeuclidean")
            labels[k, j] = squared[linear_sum_assignment(squared)].mean()
    cost = (cdist(x, x2, "sqeuclidean") + labels[np.ix_(y, y2)]) / 2
    result = otdd(x, y, x2, y2, label_distance="exact")
    np.testing.assert_allclose(result.label_distance, labels)
    assert result.distance == pytest.approx(cost[linear_sum_assignment(cost)].mean())


def test_entropic_and_debiased_are_sinkhorns_fixed_point() -> None:
    x, y, x2, y2 = two_sets(20, 26)
    cross, own, other = cost_by_hand(x, y, x2, y2), cost_by_hand(x, y, x, y), cost_by_hand(x2, y2, x2, y2)
    epsilon = 0.2 * cross.mean()
    ab, aa, bb = (sinkhorn_by_hand(cost, epsilon) for cost in (cross, own, other))
    biased = otdd(x, y, x2, y2, outer="entropic", epsilon=0.2, debiased=False)
    assert biased.epsilon == pytest.approx(epsilon)
    assert biased.distance == pytest.approx(ab, rel=1e-5)
    debiased = otdd(x, y, x2, y2, outer="entropic", epsilon=0.2)
    assert debiased.distance == pytest.approx(ab - aa / 2 - bb / 2, rel=1e-4)
    assert debiased.distance < biased.distance


def test_sinkhorn_goes_to_the_exact_cost() -> None:
    x, y, x2, y2 = two_sets(30, 30)
    exact = otdd(x, y, x2, y2, outer="exact").distance
    for debiased in (False, True):
        gaps = [
            abs(otdd(x, y, x2, y2, outer="entropic", epsilon=e, debiased=debiased).distance - exact)
            for e in (0.3, 0.03, 0.0003)
        ]
        assert gaps[2] < 0.01 * exact < gaps[0]


@pytest.mark.parametrize("label_distance", ["gaussian", "exact"])
@pytest.mark.parametrize("outer", ["exact", "entropic"])
def test_a_set_has_no_distance_to_itself(outer: Outer, label_distance: LabelDistance) -> None:
    x, y, *_ = two_sets()
    assert otdd(x, y, x, y, outer=outer, label_distance=label_distance).distance == pytest.approx(0, abs=1e-9)
    if outer == "entropic":
        assert otdd(x, y, x, y, outer=outer, debiased=False).distance > 0.01


@pytest.mark.parametrize("outer", ["exact", "entropic"])
def test_symmetric(outer: Outer) -> None:
    x, y, x2, y2 = two_sets(30, 44)
    there, back = otdd(x, y, x2, y2, outer=outer), otdd(x2, y2, x, y, outer=outer)
    assert back.distance == pytest.approx(there.distance, rel=1e-5)
    np.testing.assert_allclose(back.label_distance, there.label_distance.T, rtol=1e-12)


@pytest.mark.parametrize("outer", ["exact", "entropic"])
def test_names_and_order_of_labels_and_samples_do_not_matter(outer: Outer) -> None:
    x, y, x2, y2 = two_sets()
    plain = otdd(x, y, x2, y2, outer=outer)
    renamed = otdd(x, np.array(["z", "a", "m"])[y], x2, 7 - y2, outer=outer)
    assert renamed.distance == pytest.approx(plain.distance, rel=1e-6)
    assert renamed.classes == ("a", "m", "z")
    np.testing.assert_allclose(renamed.label_distance, plain.label_distance[[1, 2, 0]][:, [1, 0]])
    order = np.random.default_rng(0).permutation(len(x))
    assert otdd(x[order], y[order], x2, y2, outer=outer).distance == pytest.approx(plain.distance, rel=1e-6)


@pytest.mark.parametrize("outer", ["exact", "entropic"])
def test_a_common_rotation_and_translation_do_not_matter(outer: Outer) -> None:
    x, y, x2, y2 = two_sets()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    moved = otdd(x @ turn + 100, y, x2 @ turn + 100, y2, outer=outer)
    assert moved.distance == pytest.approx(otdd(x, y, x2, y2, outer=outer).distance, rel=1e-6)


@pytest.mark.parametrize("outer", ["exact", "entropic"])
def test_tensors_give_what_arrays_give(outer: Outer) -> None:
    x, y, x2, y2 = two_sets()
    arrays = otdd(x, y, x2, y2, outer=outer)
    tensors = otdd(torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(x2), y2.tolist(), outer=outer)
    assert isinstance(arrays.coupling, np.ndarray)
    assert isinstance(tensors.coupling, torch.Tensor)
    assert tensors.distance == arrays.distance
    np.testing.assert_array_equal(tensors.coupling.numpy(), arrays.coupling)
    np.testing.assert_allclose(arrays.coupling.sum(1), 1 / 40, rtol=1e-3)
    np.testing.assert_allclose(arrays.coupling.sum(0), 1 / 40, rtol=1e-3)


def test_fewer_samples_than_dimensions_are_no_trouble() -> None:
    x, y, x2, y2 = two_sets(24, 24, d=200)
    cost = cost_by_hand(x, y, x2, y2)
    assert otdd(x, y, x2, y2).distance == pytest.approx(cost[linear_sum_assignment(cost)].mean(), rel=1e-6)


def test_auto_is_exact_for_few_samples_and_entropic_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covidct.curation.transport.EXACT_UP_TO", 30)
    x, y, x2, y2 = two_sets(31, 20, d=2)
    assert otdd(x, y, x2, y2).solver == "entropic"
    assert otdd(x, y, x2, y2, max_samples=30).solver == "exact"


def test_points_that_are_all_one_have_no_distance() -> None:
    x, y = np.ones((4, 3)), np.zeros(4)
    assert otdd(x, y, x, y, outer="entropic").distance == 0


def test_images_are_flattened_or_go_through_a_function() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 12, 8, 8))
    y = np.arange(12) % 2
    assert otdd(a, y, b, y).distance == otdd(a.reshape(12, 64), y, b.reshape(12, 64), y).distance
    means = otdd(a, y, b, y, features=lambda images: images.mean((1, 2))[:, None])
    assert means.distance == otdd(a.mean((1, 2))[:, None], y, b.mean((1, 2))[:, None], y).distance
    assert otdd(a, y, b, y, features=pixel_features).distance > 0


def test_rare_classes_are_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    x, y, x2, y2 = two_sets()
    y = y.copy()
    y[0] = 9
    with caplog.at_level(logging.WARNING):
        result = otdd(x, y, x2, y2)
    assert "The first set: left out for fewer than 2 samples: 9." in caplog.text
    assert result.dropped == (9,)
    assert result.classes == (0, 1, 2)
    np.testing.assert_array_equal(result.rows, np.arange(1, 40))
    assert result.distance == pytest.approx(otdd(x[1:], y[1:], x2, y2).distance)
    assert otdd(x, y, x2, y2, min_class_size=1).classes == (0, 1, 2, 9)


def test_large_sets_are_drawn_by_class_and_seed() -> None:
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1, 2], [300, 90, 3])
    x = rng.normal(size=(393, 2))
    result = otdd(x, y, x, y, max_samples=40)
    assert len(result.rows) == 40
    np.testing.assert_array_equal(np.bincount(y[result.rows]), [29, 9, 2])
    np.testing.assert_array_equal(result.rows, result.columns)  # the same seed for both: still no distance to itself
    assert result.distance == pytest.approx(0, abs=1e-12)
    np.testing.assert_array_equal(otdd(x, y, x, y, max_samples=40).rows, result.rows)
    assert (otdd(x, y, x, y, max_samples=40, seed=1).rows != result.rows).any()


@pytest.mark.parametrize(
    ("sizes", "count", "least", "drawn"),
    [
        ([400, 15, 15], 6, 2, [2, 2, 2]),
        ([400, 15, 15], 10, 2, [6, 2, 2]),  # the rest goes to the class that has the most
        ([400, 15, 15], 4, 2, [4, 0, 0]),  # no room for two of each: in proportion
        ([100, 100, 50], 5, 2, [2, 2, 1]),
        ([300, 90, 3], 40, 2, [29, 9, 2]),  # 38 in the ratio of 300 to 90
        ([1000, 20], 100, 20, [80, 20]),
        ([50, 1], 20, 2, [19, 1]),
        ([7, 7, 7], 10, 2, [4, 3, 3]),
    ],
)
def test_draws_are_in_proportion(sizes: list[int], count: int, least: int, drawn: list[int]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rows = stratified(labels, count, np.random.default_rng(0), least=least)
    assert len(set(rows.tolist())) == count
    np.testing.assert_array_equal(np.bincount(labels[rows], minlength=len(sizes)), drawn)


def test_classes_that_a_draw_leaves_too_small_are_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    y = np.repeat(["a", "b", "c"], [400, 15, 15])
    x = np.random.default_rng(0).normal(size=(430, 2))
    result = otdd(x, y, x, y, max_samples=4)
    assert result.classes == ("a",)
    assert result.dropped == ("b", "c")
    assert len(result.rows) == 4
    assert "of 4 samples they have too few: b, c" in caplog.text
    even = np.repeat(np.arange(5), 4)
    with pytest.raises(InputError, match="4 samples of 5 classes leave none with 2"):
        otdd(x[:20], even, x[:20], even, max_samples=4)


def test_label_distances_are_known_to_a_second_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.Tensor] = []
    real = torch.linalg.svdvals

    def counted(product: torch.Tensor) -> torch.Tensor:
        calls.append(product)
        return torch.as_tensor(real(product))

    monkeypatch.setattr(torch.linalg, "svdvals", counted)
    x, y, x2, y2 = two_sets()
    cache = LabelDistances()
    entropic = otdd(x, y, x2, y2, outer="entropic", cache=cache)
    assert len(calls) == len(cache) == 3 * 2 + 3 + 1  # between, and within each set, every pair once
    exact = otdd(x, y, x2, y2, outer="exact", cache=cache)
    assert len(calls) == 10
    np.testing.assert_array_equal(entropic.label_distance, exact.label_distance)
    otdd(x, y, x2 + 1, y2, outer="exact", cache=cache)
    assert len(calls) == 16


GOOD = {"x": np.eye(6, 3), "y": [0, 1] * 3, "x2": np.eye(6, 3), "y2": [0, 1] * 3}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x2": np.eye(6, 4)}, UsageError, "3 features per sample and the second 4"),
        ({"x": np.zeros((0, 3)), "y": []}, InputError, "The first set has no samples"),
        ({"y2": [0, 1]}, UsageError, "The second set: y has the shape"),
        ({"y": [[0]] * 6}, UsageError, "one label per sample"),
        ({"y": [0, 1, 2, 3, 4, 5]}, InputError, "no class has 2 samples"),
        ({"y": [0, None, 1, 1, 1, 1]}, UsageError, "neither a whole number nor a word"),
        ({"y": [0, float("nan"), 1, 1, 1, 1]}, UsageError, "neither a whole number nor a word"),
        ({"x": np.full((6, 3), np.nan)}, InputError, "not finite"),
        ({"x2": np.full((6, 3), np.inf)}, InputError, "The second set: x holds values that are not finite"),
        ({"x": np.arange(6.0)}, UsageError, "N, d"),
        ({"x": np.float64(3), "y": []}, UsageError, "N, d"),
        ({"features": lambda images: images[:2]}, UsageError, "for 6 images"),
        ({"features": lambda images: images[:, 0]}, UsageError, "one row of numbers"),
        ({"outer": "emd"}, UsageError, "'auto', 'exact' or 'entropic'"),
        ({"label_distance": "bures"}, UsageError, "'gaussian' or 'exact'"),
        ({"epsilon": 0.0}, UsageError, "positive share"),
        ({"epsilon": float("nan")}, UsageError, "positive share"),
        ({"min_class_size": 0}, UsageError, "at least 1"),
        ({"max_samples": 1}, UsageError, "at least 2"),
        ({"cache": LabelDistances("exact")}, UsageError, "cache holds exact"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(
    change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        otdd(**{**GOOD, **change})
    assert "\n" not in str(caught.value)


def test_one_class_is_enough() -> None:
    x, _, x2, y2 = two_sets()
    assert otdd(x, np.zeros(40), x2, y2).label_distance.shape == (1, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("outer", ["exact", "entropic"])
def test_on_a_gpu_as_on_the_cpu(outer: Outer) -> None:
    x, y, x2, y2 = two_sets(d=64)
    on_cpu = otdd(x, y, x2, y2, outer=outer)
    on_gpu = otdd(torch.from_numpy(x).cuda(), y, torch.from_numpy(x2).cuda(), torch.from_numpy(y2).cuda(), outer=outer)
    assert on_gpu.coupling.is_cuda
    assert on_gpu.distance == pytest.approx(on_cpu.distance, rel=1e-6)
    with pytest.raises(UsageError, match="move one of them"):
        otdd(x, y, torch.from_numpy(x2).cuda(), y2)
