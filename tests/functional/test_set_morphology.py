"""Morphology against the definitions of sets, written out, and against scipy."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from covidct.errors import InputError, UsageError
from covidct.functional import closing, dilate, erode, opening

Points = frozenset[tuple[int, int]]

_SIDE = 12
_ELEMENTS = {
    "three": [[1, 1, 0], [0, 1, 0], [0, 0, 0]],
    "right": [[0, 1, 1]],
    "far": [[0, 0, 0, 0, 1]],  # without its origin
    "even": [[1, 0], [1, 1]],
    "long": [[1, 0, 1, 1, 0], [0, 0, 1, 0, 0], [1, 1, 1, 0, 0]],
    "cross": [[0, 1, 0], [1, 1, 1], [0, 1, 0]],
}


@pytest.fixture(params=_ELEMENTS)
def element(request: pytest.FixtureRequest) -> NDArray[np.uint8]:
    return np.array(_ELEMENTS[request.param], np.uint8)


def images() -> list[NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    return [rng.random((_SIDE, _SIDE)) < share for share in (0.15, 0.5, 0.85)]


def points(mask: NDArray[Any], origin: tuple[int, int] = (0, 0)) -> Points:
    """Places of the set pixels, seen from the origin."""
    return frozenset((int(r) - origin[0], int(c) - origin[1]) for r, c in zip(*np.nonzero(mask), strict=True))


def moved(shape: Points, z: tuple[int, int]) -> Points:
    return frozenset((r + z[0], c + z[1]) for r, c in shape)


def dilated(a: Points, b: Points, within: range) -> Points:
    """{z | (B^)_z meets A}."""
    reflected = frozenset((-r, -c) for r, c in b)
    return frozenset(z for z in product(within, within) if moved(reflected, z) & a)


def eroded(a: Points, b: Points, within: range) -> Points:
    """{z | (B)_z within A}."""
    return frozenset(z for z in product(within, within) if moved(b, z) <= a)


def drawn(found: Points) -> NDArray[np.bool_]:
    mask = np.zeros((_SIDE, _SIDE), bool)
    for r, c in found:
        if 0 <= r < _SIDE and 0 <= c < _SIDE:
            mask[r, c] = True
    return mask


def centre(element: NDArray[Any]) -> tuple[int, int]:
    return element.shape[0] // 2, element.shape[1] // 2


PICTURE, PLANE = range(_SIDE), range(-8, _SIDE + 8)


def test_dilation_and_erosion_by_their_sets(element: NDArray[np.uint8]) -> None:
    for image in images():
        for origin in (None, (0, 0), (element.shape[0] - 1, element.shape[1] - 1)):
            a, b = points(image), points(element, centre(element) if origin is None else origin)
            np.testing.assert_array_equal(dilate(image, element, origin=origin), drawn(dilated(a, b, PICTURE)))
            np.testing.assert_array_equal(erode(image, element, origin=origin), drawn(eroded(a, b, PICTURE)))


def test_opening_and_closing_by_sets_of_the_plane(element: NDArray[np.uint8]) -> None:
    b = points(element, centre(element))
    for image in images():
        a = points(image)
        np.testing.assert_array_equal(opening(image, element), drawn(dilated(eroded(a, b, PLANE), b, PLANE)))
        np.testing.assert_array_equal(closing(image, element), drawn(eroded(dilated(a, b, PLANE), b, PLANE)))


def test_the_reflection_of_an_asymmetric_element() -> None:
    dot = np.zeros((3, 5), bool)
    dot[1, 2] = True
    right = np.array([[0, 1, 1]])
    assert points(dilate(dot, right)) == {(1, 2), (1, 3)}
    assert points(erode(dilate(dot, right), right)) == {(1, 2)}


def test_duality(element: NDArray[np.uint8]) -> None:
    """(A eroded by B)^c is A^c dilated by B^; beyond the picture lies A^c where A does not."""
    reflected, row_column = element[::-1, ::-1], tuple(n - 1 - n // 2 for n in element.shape)
    for image in images():
        for border in (False, True):
            found = dilate(~image, reflected, origin=(row_column[0], row_column[1]), border=not border)
            np.testing.assert_array_equal(~erode(image, element, border=border), found)


def test_opening_lies_within_and_closing_around_up_to_the_border(element: NDArray[np.uint8]) -> None:
    for image in images():
        small, large = opening(image, element), closing(image, element)
        assert not (small & ~image).any()
        assert not (image & ~large).any()
        np.testing.assert_array_equal(opening(small, element), small)
        np.testing.assert_array_equal(closing(large, element), large)


@pytest.mark.parametrize("border", [False, True])
def test_equals_scipy(element: NDArray[np.uint8], border: bool) -> None:
    image = np.random.default_rng(1).random((40, 53)) < 0.6
    for ours, scipys in ((dilate, ndimage.binary_dilation), (erode, ndimage.binary_erosion)):
        np.testing.assert_array_equal(
            ours(image, element, border=border), scipys(image, element, border_value=int(border))
        )
    wide = np.pad(image, 10)  # within the plane: scipy cuts off what reaches beyond the picture
    inner = np.s_[10:-10, 10:-10]
    np.testing.assert_array_equal(opening(image, element), ndimage.binary_opening(wide, element)[inner])
    np.testing.assert_array_equal(closing(image, element), ndimage.binary_closing(wide, element)[inner])


def test_stacks_and_kinds() -> None:
    stack = np.random.default_rng(2).random((2, 10, 20, 30)) < 0.7
    for function in (dilate, erode, opening, closing):
        found = function(stack, np.ones((3, 2)))
        assert found.dtype == np.bool_
        assert found.shape == stack.shape
        np.testing.assert_array_equal(found[1, 7], function(stack[1, 7], np.ones((3, 2))))
        grey = function(stack.astype(np.uint8) * 255, np.ones((3, 2)))
        assert grey.dtype == np.uint8
        np.testing.assert_array_equal(grey, found)
        assert function(stack[:0], np.ones((3, 2))).shape == (0, 10, 20, 30)


def test_an_element_larger_than_the_picture() -> None:
    image = np.ones((3, 4), bool)
    assert not erode(image, np.ones((9, 9))).any()
    assert erode(image, np.ones((9, 9)), border=True).all()
    assert closing(image, np.ones((9, 9))).all()
    assert not opening(image, np.ones((9, 9))).any()


@pytest.mark.parametrize("function", [dilate, erode, opening, closing])
def test_what_is_no_mask_or_element_is_refused(function: Any) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match="no mask"):
        function(np.zeros((4, 4)), np.ones((3, 3)))
    with pytest.raises(InputError, match="no mask"):
        function(np.zeros(4, bool), np.ones((3, 3)))
    for wrong in (np.zeros((3, 3)), np.ones(3)):
        with pytest.raises(UsageError, match="structuring element"):
            function(np.zeros((4, 4), bool), wrong)


@pytest.mark.parametrize("origin", [(-1, 0), (0, 3), (3, 0)])
def test_an_origin_outside_the_element_is_refused(origin: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="origin"):
        dilate(np.zeros((4, 4), bool), np.ones((3, 3)), origin=origin)
