"""Distances of classes: closed forms, scipy's matrix square roots, an assignment, and each pair computed once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from covidct.curation import LabelDistances
from covidct.curation.label_distance import ClassGaussian
from covidct.curation.transport import exact_transport
from covidct.errors import UsageError


def bures(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The formula as it is written, with covariances and scipy's square root."""
    one, two = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (a, b))
    root = sqrtm(one)
    cross = sqrtm(root @ two @ root)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + two - 2 * cross).real)


def gaussian(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The function under test."""
    return float(LabelDistances().between([torch.from_numpy(a)], [torch.from_numpy(b)])[0, 0])


@pytest.mark.parametrize(
    ("n", "m", "d"),
    [(40, 50, 8), (12, 9, 30), (12, 60, 30), (60, 12, 30), (30, 31, 30), (300, 200, 3)],
    ids=["full rank", "both rank-deficient", "first deficient", "second deficient", "n = d", "many samples"],
)
def test_gaussian_distance_is_scipys(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(n * m + d)
    mix = rng.normal(size=(d, d))
    a, b = rng.normal(size=(n, d)), 0.3 + rng.normal(size=(m, d)) @ mix
    assert gaussian(a, b) == pytest.approx(bures(a, b), rel=1e-6)
    assert gaussian(b, a) == pytest.approx(gaussian(a, b), rel=1e-12)


def test_of_float32_samples_too() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(20, 60)).astype(np.float32) for _ in range(2))
    found = LabelDistances().between([torch.from_numpy(a)], [torch.from_numpy(b)])[0, 0]
    assert found == pytest.approx(bures(a.astype(np.float64), b.astype(np.float64)), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.01, 4), st.floats(0.01, 4), st.integers(2, 40))
def test_in_one_dimension_it_is_means_and_standard_deviations(
    mean: float, other_mean: float, std: float, other_std: float, n: int
) -> None:
    rng = np.random.default_rng(n)
    unit = rng.normal(size=(n, 1))
    unit = (unit - unit.mean()) / unit.std(ddof=1)
    expected = (mean - other_mean) ** 2 + (std - other_std) ** 2
    assert gaussian(mean + std * unit, other_mean - other_std * unit) == pytest.approx(expected, abs=1e-9)


def test_commuting_covariances_have_a_closed_form() -> None:
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    white = rng.normal(size=(50, 6))
    white -= white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T  # covariance is the identity
    stds = rng.uniform(0.2, 2, (2, 6))
    a, b = (white * std @ basis.T + shift for std, shift in zip(stds, (0.0, 1.5), strict=True))
    assert gaussian(a, b) == pytest.approx(6 * 1.5**2 + ((stds[0] - stds[1]) ** 2).sum(), rel=1e-9)


def test_a_common_place_far_off_takes_no_digits() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 15, 40))
    assert gaussian(a + 1e4, b + 1e4) == pytest.approx(gaussian(a, b), rel=1e-7)


def test_never_negative_and_zero_to_itself() -> None:
    rng = np.random.default_rng(5)
    a = rng.normal(size=(20, 50))
    assert gaussian(a, a) == 0
    assert 0 <= gaussian(a, a[::-1].copy()) < 1e-10  # other order, the same class


def test_a_single_sample_has_no_spread() -> None:
    rng = np.random.default_rng(6)
    a, point = rng.normal(size=(9, 4)), rng.normal(size=(1, 4))
    expected = ((a.mean(0) - point[0]) ** 2).sum() + a.var(0, ddof=1).sum()
    assert gaussian(a, point) == pytest.approx(expected)


def test_the_factor_is_no_larger_than_the_smaller_side() -> None:
    wide, tall = torch.randn(5, 20), torch.randn(50, 4)
    for samples in (wide, tall):
        fitted = ClassGaussian.fit(samples)
        assert fitted.factor.shape == (min(samples.shape), samples.shape[1])
        np.testing.assert_allclose(fitted.factor.T @ fitted.factor, np.cov(samples.double().T), atol=1e-12)


def test_exact_distance_is_the_best_assignment() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(25, 3)), rng.normal(size=(25, 3)) + 1
    cost = cdist(a, b, "sqeuclidean")
    rows, columns = linear_sum_assignment(cost)
    found = LabelDistances("exact").between([torch.from_numpy(a)], [torch.from_numpy(b), torch.from_numpy(a)])
    assert found[0, 0] == pytest.approx(cost[rows, columns].mean())
    assert found[0, 1] == 0


def test_exact_distance_of_unequal_numbers_splits_samples() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(6, 2)), rng.normal(size=(9, 2))
    repeated = cdist(np.repeat(a, 3, 0), np.repeat(b, 2, 0), "sqeuclidean")  # 18 samples of equal weight each
    rows, columns = linear_sum_assignment(repeated)
    found = LabelDistances("exact").between([torch.from_numpy(a)], [torch.from_numpy(b)])[0, 0]
    assert found == pytest.approx(repeated[rows, columns].mean())


@pytest.mark.parametrize("kind", ["gaussian", "exact"])
def test_each_pair_is_computed_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    fitted, transport = ClassGaussian.squared_distance, exact_transport

    def counted_gaussian(one: ClassGaussian, other: ClassGaussian) -> float:
        calls.append(one)
        return fitted(one, other)

    def counted_exact(cost: torch.Tensor) -> tuple[float, torch.Tensor]:
        calls.append(cost)
        return transport(cost)

    monkeypatch.setattr(ClassGaussian, "squared_distance", counted_gaussian)
    monkeypatch.setattr("covidct.curation.label_distance.exact_transport", counted_exact)
    one, two, three = (torch.randn(7, 3, generator=torch.Generator().manual_seed(k)) for k in range(3))
    known = LabelDistances(kind)  # type: ignore[arg-type]
    first = known.between([one, two], [three, one])  # 1-3, 2-3, 2-1
    assert len(calls) == len(known) == 3
    again = known.between([three.clone(), one.clone()], [one.clone(), two.clone()])  # 3-1, 3-2, 1-2: none is new
    assert len(calls) == 3
    np.testing.assert_array_equal(first, again.T[[0, 1]][:, [0, 1]])
    known.between([one], [three + 1])
    assert len(calls) == len(known) == 4


def test_content_tells_classes_apart() -> None:
    values = torch.arange(12, dtype=torch.float64)
    known = LabelDistances()
    found = known.between(
        [values.reshape(4, 3)], [values.reshape(4, 3), values.reshape(4, 3).flip(1), values.reshape(4, 3) * 2]
    )
    assert found[0, 0] == 0
    assert found[0, 1] > 0
    assert found[0, 2] > 0


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(UsageError, match="'gaussian' or 'exact'"):
        LabelDistances("bures")  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", ["gaussian", "exact"])
def test_on_a_gpu_as_on_the_cpu(kind: str) -> None:
    torch.backends.cuda.matmul.allow_tf32 = True  # must make no difference
    try:
        one, two = torch.randn(2, 30, 100)
        on_cpu = LabelDistances(kind).between([one], [two])  # type: ignore[arg-type]
        on_gpu = LabelDistances(kind).between([one.cuda()], [two.cuda()])  # type: ignore[arg-type]
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-9)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
