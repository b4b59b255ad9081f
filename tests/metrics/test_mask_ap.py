"""The reference's average precision of masks against loops over pixels, closed forms and its published rules."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covidct.errors import UsageError
from covidct.metrics import REFERENCE_THRESHOLDS, reference_mask_ap
from covidct.metrics.mask_ap import mask_iou

Image = dict[str, torch.Tensor]
SIDE = 4


def image(masks: torch.Tensor, labels: list[int], scores: list[float] | None = None) -> Image:
    """Regions in torchvision's form; with ``scores`` they are predictions."""
    record = {"boxes": torch.zeros(len(masks), 4), "labels": torch.tensor(labels, dtype=torch.int64)}
    if scores is None:
        return record | {"masks": masks.to(torch.uint8)}
    return record | {"masks": masks[:, None].float(), "scores": torch.tensor(scores)}


def strip(start: int, stop: int) -> torch.Tensor:
    """Pixels ``start`` to ``stop`` of a row of 200, in a 1 x 200 mask."""
    mask = torch.zeros(1, 200)
    mask[0, start:stop] = 1
    return mask


def ap(predicted: Image, target: Image) -> list[float]:
    found: list[float] = reference_mask_ap([predicted], [target])[0].tolist()
    return found


def steps(last: float) -> list[float]:
    """1 up to the threshold ``last``, 0 above."""
    return [float(threshold <= last) for threshold in REFERENCE_THRESHOLDS]


def brute_force(predicted: Image, target: Image, threshold: Fraction) -> float:
    """The published rules in words: sets of pixels, loops, no tensors."""

    def regions(record: Image) -> list[tuple[int, set[int]]]:
        flat = record["masks"].flatten(1)
        pixels = [{k for k, value in enumerate(row.tolist()) if value > 0.5} for row in flat]
        return list(zip(record["labels"].tolist(), pixels, strict=True))

    found, objects = regions(predicted), regions(target)
    if not found or not objects:
        return float(len(found) == len(objects))
    scores = predicted["scores"].tolist()
    ranking = sorted(range(len(found)), key=lambda k: (-scores[k], k))
    marked = set()
    for label, pixels in objects:
        best = (Fraction(-1), -1)
        for place, which in enumerate(ranking):
            other, mask = found[which]
            union = len(pixels | mask)
            iou = Fraction(len(pixels & mask), union) if union else Fraction(0)
            if other == label and iou > best[0]:
                best = iou, place
        if best[0] > threshold:
            marked.add(best[1])
    area = Fraction(0)
    for place in marked:  # a step of recall; from here on, the best precision
        precisions = [Fraction(sum(m <= rank for m in marked), rank + 1) for rank in range(place, len(found))]
        area += max(precisions) / len(objects)
    return float(area)


@st.composite
def images(draw: st.DrawFn) -> tuple[Image, Image]:
    def some(most: int) -> tuple[torch.Tensor, list[int]]:
        number = draw(st.integers(0, most))
        bits = draw(st.lists(st.integers(0, 2 ** (SIDE * SIDE) - 1), min_size=number, max_size=number))
        rows = [[bits_ >> k & 1 for k in range(SIDE * SIDE)] for bits_ in bits]
        masks = torch.tensor(rows, dtype=torch.float32).reshape(number, SIDE, SIDE)
        return masks, draw(st.lists(st.integers(1, 2), min_size=number, max_size=number))

    objects, true = some(4)
    masks, labels = some(4)
    copies = draw(st.lists(st.integers(0, max(len(objects) - 1, 0)), max_size=4 if len(objects) else 0))
    flips = draw(st.lists(st.integers(0, SIDE * SIDE - 1), min_size=len(copies), max_size=len(copies)))
    for copy, flip in zip(copies, flips, strict=True):  # predictions that come near
        near = objects[copy].clone().flatten()
        near[flip] = 1 - near[flip]
        masks, labels = torch.cat([masks, near.reshape(1, SIDE, SIDE)]), [*labels, true[copy]]
    scores = draw(st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.9]), min_size=len(masks), max_size=len(masks)))
    return image(masks, labels, scores), image(objects, true)


@given(st.lists(images(), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_equals_brute_force(pairs: list[tuple[Image, Image]]) -> None:
    predictions, targets = (list(records) for records in zip(*pairs, strict=True))
    found = reference_mask_ap(predictions, targets)
    assert found.shape == (len(pairs), 10)
    assert found.dtype == torch.float32
    for row, (predicted, target) in zip(found.tolist(), pairs, strict=True):
        expected = [brute_force(predicted, target, Fraction(50 + 5 * step, 100)) for step in range(10)]
        assert row == pytest.approx(expected, abs=1e-6)


def test_the_truth_as_prediction_is_perfect() -> None:
    masks = torch.stack([strip(0, 20), strip(30, 90), strip(90, 91)])
    target = image(masks, [1, 2, 1])
    assert ap(image(masks, [1, 2, 1], [0.2, 0.9, 0.5]), target) == [1.0] * 10


def test_one_object_one_prediction_with_an_iou_of_62_percent() -> None:
    predicted, target = image(strip(0, 62)[None], [1], [0.9]), image(strip(0, 100)[None], [1])
    assert ap(predicted, target) == steps(0.6)
    assert float(reference_mask_ap([predicted], [target]).mean()) == pytest.approx(0.30)


def test_empty_images() -> None:
    none, region = torch.zeros(0, 1, 200), strip(0, 100)[None]
    assert ap(image(none, [], []), image(none, [])) == [1.0] * 10
    assert ap(image(region, [1], [0.9]), image(none, [])) == [0.0] * 10
    assert ap(image(none, [], []), image(region, [1])) == [0.0] * 10
    assert reference_mask_ap([], []).shape == (0, 10)


@pytest.mark.parametrize("percent", range(50, 100, 5))
def test_an_iou_that_equals_a_threshold_is_no_match(percent: int) -> None:
    predicted, target = image(strip(0, percent)[None], [1], [0.9]), image(strip(0, 100)[None], [1])
    assert ap(predicted, target) == [float(k < percent) for k in range(50, 100, 5)]


def test_the_class_must_match() -> None:
    masks = torch.stack([strip(0, 100), strip(0, 62)])
    target = image(masks[:1], [1])
    assert ap(image(masks[:1], [2], [0.9]), target) == [0.0] * 10
    # the better overlap is of another class: a false prediction before the hit
    assert ap(image(masks, [2, 1], [0.9, 0.5]), target) == [step / 2 for step in steps(0.6)]


def test_an_object_takes_the_best_overlap_and_not_the_best_score() -> None:
    masks = torch.stack([strip(0, 62), strip(0, 100)])
    target = image(masks[1:], [1])
    assert ap(image(masks, [1, 1], [0.9, 0.5]), target) == [0.5] * 10
    assert ap(image(masks, [1, 1], [0.5, 0.9]), target) == [1.0] * 10


def test_a_prediction_that_serves_two_objects_is_one_hit() -> None:
    target = image(torch.stack([strip(0, 100), strip(10, 100)]), [1, 1])
    predicted = image(strip(0, 95)[None], [1], [0.9])  # IoU .95 and .85
    assert ap(predicted, target) == [0.5 * step for step in steps(0.9)]


def test_the_envelope_of_precision() -> None:
    """Hit, false, hit over three objects: 1/3 at precision 1 and 1/3 at 2/3."""
    target = image(torch.stack([strip(0, 20), strip(30, 50), strip(60, 80)]), [1, 1, 1])
    predicted = image(torch.stack([strip(0, 20), strip(100, 120), strip(60, 80)]), [1, 1, 1], [0.9, 0.8, 0.7])
    assert ap(predicted, target) == pytest.approx([1 / 3 + 2 / 9] * 10)
    reversed_scores = predicted | {"scores": torch.tensor([0.7, 0.8, 0.1])}  # false, hit, hit: 2/3 at both
    assert ap(reversed_scores, target) == pytest.approx([4 / 9] * 10)


def test_thresholds_of_masks_and_overlaps() -> None:
    soft = image(0.4 * strip(0, 100)[None], [1], [0.9])
    target = image(strip(0, 80)[None], [1])
    assert reference_mask_ap([soft], [target], thresholds=(0.3, 0.7, 0.9)).tolist() == [[0.0, 0.0, 0.0]]
    found = reference_mask_ap([soft], [target], thresholds=(0.3, 0.7, 0.9), mask_threshold=0.3)
    assert found.tolist() == [[1.0, 1.0, 0.0]]
    assert reference_mask_ap([soft], [target], mask_threshold=0.4).tolist() == [[0.0] * 10]  # strictly greater


def test_overlaps_are_exact_under_autocast_and_of_empty_masks() -> None:
    masks = torch.zeros(3, 300, 300, dtype=torch.bool)
    masks[0], masks[1, :299] = True, True
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mask_iou(masks, masks)
    share = 299 / 300
    assert found.tolist() == [[1.0, share, 0.0], [share, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_what_does_not_fit_is_refused() -> None:
    predicted, target = image(strip(0, 9)[None], [1], [0.9]), image(strip(0, 9)[None], [1])
    with pytest.raises(UsageError, match="1 images and targets of 2"):
        reference_mask_ap([predicted], [target] * 2)
    with pytest.raises(UsageError, match="predictions of image 0 lack scores"):
        reference_mask_ap([target], [target])
    with pytest.raises(UsageError, match="targets of image 0 have the shapes"):
        reference_mask_ap([predicted], [target | {"labels": torch.tensor([1, 2])}])
    with pytest.raises(UsageError, match=r"\(1, 200\) pixels, its true ones of \(1, 199\)"):
        reference_mask_ap([predicted], [target | {"masks": target["masks"][..., 1:]}])
