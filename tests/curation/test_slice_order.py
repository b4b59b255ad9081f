"""Cleaning by hash: one foreign slice is removed and no other, in either direction; ends stay."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from PIL import Image

from covidct.curation import check_slice_order
from covidct.curation.hashes import HashKind
from covidct.curation.slice_order import order_of_hashes
from covidct.errors import UsageError


def smooth_stack(depth: int = 24) -> np.ndarray:
    """An ellipse with two dark lungs that swell and shrink slowly: (D, 96, 96) uint8."""
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    slices = []
    for index in range(depth):
        lung = 0.25 + 0.25 * np.sin(np.pi * (index + 1) / (depth + 1))
        body = 180.0 * ((x / 0.9) ** 2 + (y / 0.7) ** 2 < 1)
        for side in (-0.4, 0.4):
            body[((x - side) / (0.7 * lung)) ** 2 + (y / lung) ** 2 < 1] = 30
        slices.append(body)
    return np.stack(slices).astype(np.uint8)


def foreign() -> np.ndarray:
    """A picture like no slice: bright corners and bars."""
    return (255 * (np.add.outer(np.arange(96) // 12, np.arange(96) // 24) % 2)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["ahash", "dhash", "phash"])
@pytest.mark.parametrize("place", [1, 11, 22])
def test_one_foreign_slice_alone_is_removed(kind: HashKind, place: int) -> None:
    threshold = {"ahash": 5, "dhash": 8, "phash": 12}[kind]  # the smooth steps of the other hashes are larger
    stack = np.insert(smooth_stack(), place, foreign(), axis=0)
    found = check_slice_order(stack, kind=kind, threshold=threshold)
    assert [one.index for one in found.removed] == [place]
    assert found.kept == tuple(index for index in range(25) if index != place)
    assert len(found.distances) == 24
    hash_of = {"ahash": imagehash.average_hash, "dhash": imagehash.dhash, "phash": imagehash.phash}[kind]
    before, here, after = (hash_of(Image.fromarray(stack[place + step])) for step in (-1, 0, 1))
    assert (found.removed[0].before, found.removed[0].after) == (here - before, here - after)


def test_backwards_the_same_slices_are_removed() -> None:
    stack = smooth_stack()
    stack[[4, 15]] = foreign(), np.zeros((96, 96), np.uint8)
    forward, backward = check_slice_order(stack), check_slice_order(stack[::-1])
    assert [one.index for one in forward.removed] == [4, 15]
    assert [23 - one.index for one in backward.removed] == [15, 4]
    assert backward.distances == forward.distances[::-1]


def test_nothing_is_removed_from_a_smooth_stack_or_at_its_ends() -> None:
    stack = smooth_stack()
    assert check_slice_order(stack).removed == ()
    stack[0] = stack[-1] = foreign()
    assert check_slice_order(stack).removed == ()


def by_bits(*counts: int) -> np.ndarray:
    """Hashes of so many low bits each: the distance of two is the difference of their counts."""
    return np.array([2**count - 1 for count in counts], np.uint64)


@pytest.mark.parametrize(
    ("counts", "removed"),
    [
        ((0, 5, 0), []),  # more than the threshold, not equal to it
        ((0, 6, 0), [1]),
        ((0, 6, 1), []),  # both neighbours must be far
        ((0, 10, 0, 10, 0), [1, 2, 3]),  # all at once, by the original order
        ((0, 20, 22, 0), []),  # two alike keep each other
        ((0, 30), []),
        ((7,), []),
        ((), []),
    ],
)
def test_the_rule_on_hashes(counts: tuple[int, ...], removed: list[int]) -> None:
    assert [one.index for one in order_of_hashes(by_bits(*counts), kind="ahash").removed] == removed


def test_floats_are_the_grey_levels_of_a_picture() -> None:
    stack = np.insert(smooth_stack(), 7, foreign(), axis=0)
    assert check_slice_order(stack.astype(np.float32) / np.float32(255)) == check_slice_order(stack)


def test_plain_data() -> None:
    found = check_slice_order(np.insert(smooth_stack(), 7, foreign(), axis=0)).to_dict()
    assert found["slices"] == 25
    assert [one["index"] for one in found["removed"]] == [7]
    assert (found["hash"], found["threshold"]) == ("ahash", 5)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="threshold=65"):
        check_slice_order(smooth_stack(), threshold=65)
    with pytest.raises(UsageError, match="slices"):
        check_slice_order(smooth_stack()[0])
