"""Contrast of cases and their split: values by hand, Otsu by brute force, and only training subjects count."""

from __future__ import annotations

import json
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from covidct.errors import InputError, UsageError
from covidct.functional import ContrastSplit, body_mask, contrast_score

CONTRASTS = st.lists(st.floats(1 / 64, 0.5, width=32), min_size=2, max_size=30).filter(lambda v: max(v) - min(v) > 1e-6)


def body(depth: int = 3, size: int = 96, *, lungs: float = 0.2, tissue: float = 0.8) -> NDArray[np.float32]:
    """An ellipse with two dark ellipses in it, in air, over a thin table."""
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    one = np.zeros((size, size), np.float32)
    one[(y / 0.7) ** 2 + (x / 0.9) ** 2 <= 1] = tissue
    for centre in (-0.4, 0.4):
        one[(y / 0.4) ** 2 + ((x - centre) / 0.25) ** 2 <= 1] = lungs
    one[-6] = 0.7
    return np.repeat(one[None], depth, 0)


def brute_force_otsu(values: list[float]) -> set[int]:
    """Every number of low subjects that makes the variance between the two groups largest."""
    ordered = np.sort(values)
    between = {
        n: n * (len(ordered) - n) * (ordered[:n].mean() - ordered[n:].mean()) ** 2
        for n in range(1, len(ordered))
        if ordered[n - 1] < ordered[n]
    }
    best = max(between.values())
    return {n for n, value in between.items() if value >= best * (1 - 1e-9)}


def test_rms_is_the_standard_deviation_inside_the_mask_and_spread_the_percentiles() -> None:
    rng = np.random.default_rng(0)
    stack = rng.random((4, 20, 30), dtype=np.float32)
    mask = rng.random(stack.shape) < 0.5
    mask[2] = False  # a slice without body is left out
    inside = [stack[k][mask[k]].astype(np.float64) for k in (0, 1, 3)]
    assert contrast_score(stack, mask=mask) == pytest.approx(median(v.std() for v in inside), abs=1e-7)
    spread = median(np.percentile(v, 95) - np.percentile(v, 5) for v in inside)
    assert contrast_score(stack, mask=mask, measure="spread") == pytest.approx(spread, abs=1e-6)


def test_the_body_is_found_with_its_lungs_and_without_table_and_air() -> None:
    stack = body()
    mask = body_mask(stack)
    y, x = np.mgrid[:96, :96] / 95 * 2 - 1
    ellipse = (y / 0.7) ** 2 + (x / 0.9) ** 2 <= 1
    assert (mask[0] & ellipse).sum() >= 0.99 * ellipse.sum()
    assert (mask[0] & ~ellipse).sum() <= 0.02 * ellipse.sum()  # drawing the hull rounds outwards
    assert not mask[:, -6].any()


def test_lungs_that_touch_the_border_belong_to_the_body() -> None:
    cropped = body()[:, 25:71, 10:86].copy()
    cropped[:, :, :6] = 0.2  # the picture is cut through the right lung
    lungs = cropped == np.float32(0.2)
    lungs[:, :, :6] = False
    assert body_mask(cropped)[lungs].all()


@pytest.mark.parametrize(("factor", "shift"), [(0.3, 0.1), (0.05, 0.9), (1.0, 0.1)])
def test_the_body_stays_where_it_is_when_intensities_are_scaled_and_shifted(factor: float, shift: float) -> None:
    stack = body() + np.random.default_rng(1).random((3, 96, 96), dtype=np.float32) * 0.1
    expected = body_mask(stack)
    assert expected.any()
    assert (body_mask(stack * np.float32(factor) + np.float32(shift)) == expected).mean() > 0.999


def test_slices_of_air_are_left_out() -> None:
    stack = body(depth=2)
    with_air = np.concatenate([stack, np.zeros((5, 96, 96), np.float32)])
    assert contrast_score(with_air) == contrast_score(stack)


@pytest.mark.parametrize("measure", ["rms", "spread"])
def test_multiplying_contrast_moves_a_case_across(measure: str) -> None:
    """Check 8 of the facts."""
    train = [0.1, 0.12, 0.11, 0.28, 0.3, 0.27] if measure == "rms" else [0.2, 0.25, 0.22, 0.55, 0.6, 0.58]
    split = ContrastSplit.fit(train, range(6), measure=measure)  # type: ignore[arg-type]
    case = body()
    flat = 0.5 + (case - 0.5) * np.float32(0.25)
    assert split.assign(contrast_score(case, measure=measure)) == "high"  # type: ignore[arg-type]
    assert split.assign(contrast_score(flat, measure=measure)) == "low"  # type: ignore[arg-type]
    ratio = contrast_score(flat, measure=measure) / contrast_score(case, measure=measure)  # type: ignore[arg-type]
    assert ratio == pytest.approx(0.25, rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(CONTRASTS)
def test_the_threshold_is_otsus_by_brute_force(values: list[float]) -> None:
    split = ContrastSplit.fit(values, range(len(values)))
    assert split.low in brute_force_otsu(values)
    assert [split.assign(v) for v in sorted(values)] == ["low"] * split.low + ["high"] * split.high


@settings(max_examples=60, deadline=None)
@given(CONTRASTS)
def test_a_gate_in_float32_decides_as_the_split(values: list[float]) -> None:
    split = ContrastSplit.fit(values, range(len(values)))
    assert float(np.float32(split.threshold)) == split.threshold
    high = np.array(values, np.float32) > np.float32(split.threshold)
    assert [split.assign(v) == "high" for v in values] == high.tolist()
    assert high.sum() == split.high


def test_neighbouring_float32_are_told_apart() -> None:
    low = np.float32(0.2)
    for _ in range(4):  # halfway between them are ties, which are rounded up and down in turn
        high = np.nextafter(low, np.float32(1))
        split = ContrastSplit.fit([float(low), float(high)], "ab")
        assert [split.assign(float(low)), split.assign(float(high))] == ["low", "high"]
        assert split.threshold == float(low)
        low = high


def test_the_split_is_of_subjects_by_their_median() -> None:
    # one subject has so many scans that by scans it would draw the line elsewhere
    scores = [0.10, 0.11, 0.30, 0.31, *[0.20] * 50, 0.50, 0.12]
    subjects = ["a", "b", "c", "d", *["e"] * 50, "f", "f"]
    split = ContrastSplit.fit(scores, subjects)
    medians = [0.10, 0.11, 0.30, 0.31, 0.20, 0.31]
    assert split.low in brute_force_otsu(medians)
    assert split.low + split.high == 6
    assert split.assign_subjects(scores, subjects) == {
        name: "high" if value > split.threshold else "low" for name, value in zip("abcdef", medians, strict=True)
    }


def test_other_subjects_do_not_move_the_threshold() -> None:
    train = ([0.1, 0.2, 0.4], ["a", "b", "c"])
    split = ContrastSplit.fit(*train)
    split.assign_subjects([0.49, 0.48, 0.01], ["x", "y", "z"])
    assert split == ContrastSplit.fit(*train)
    assert split != ContrastSplit.fit([*train[0], 0.49, 0.48, 0.47], [*train[1], "x", "y", "z"])


def test_the_split_travels_as_json() -> None:
    split = ContrastSplit.fit([0.1, 0.2, 0.4], "abc", measure="spread")
    assert ContrastSplit.from_dict(json.loads(json.dumps(split.to_dict()))) == split


@pytest.mark.parametrize("change", [{"threshold": None}, {"threshold": float("nan")}, {"measure": "std"}, {"low": "x"}])
def test_damaged_records_are_refused(change: dict[str, object]) -> None:
    record = ContrastSplit(0.2).to_dict()
    with pytest.raises(InputError, match="contrast split"):
        ContrastSplit.from_dict({**record, **change})
    with pytest.raises(InputError, match="contrast split"):
        ContrastSplit.from_dict({key: value for key, value in record.items() if key not in change})


@pytest.mark.parametrize(
    ("scores", "subjects", "error", "words"),
    [
        ([0.1], ["a"], InputError, "at least two"),
        ([0.1, 0.2], ["a", "a"], InputError, "at least two"),
        ([], [], InputError, "at least two"),
        ([0.1, 0.1], ["a", "b"], InputError, "same contrast"),
        ([0.1, float("nan")], ["a", "b"], InputError, "score 2"),
        ([0.1, 0.2], ["a"], UsageError, "one subject per score"),
    ],
)
def test_what_cannot_be_split_is_refused(
    scores: list[float], subjects: list[str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        ContrastSplit.fit(scores, subjects)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stack", "words"),
    [
        (np.zeros((2, 8, 8), np.float32), "shows a body"),
        (np.full((2, 8, 8), 0.4, np.float32), "shows a body"),
        (np.zeros((8, 8), np.float32), "stack of slices"),
        (np.zeros((0, 8, 8), np.float32), "stack of slices"),
        (np.full((1, 8, 8), np.nan, np.float32), "finite"),
        (np.linspace(-900, 300, 64, dtype=np.float32).reshape(1, 8, 8), "window"),
    ],
)
def test_what_has_no_contrast_is_refused(stack: NDArray[np.float32], words: str) -> None:
    with pytest.raises(InputError, match=words):
        contrast_score(stack)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(UsageError, match="'rms' or 'spread'"):
        contrast_score(body(), measure="michelson")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="shape"):
        contrast_score(body(), mask=np.ones((3, 4, 4), np.bool_))
    with pytest.raises(UsageError, match="'rms' or 'spread'"):
        ContrastSplit.fit([0.1, 0.2], "ab", measure="x")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="neither low nor high"):
        ContrastSplit(0.2).assign(float("nan"))
