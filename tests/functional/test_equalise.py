"""Equalisation against its formula, OpenCV, scikit-image, and CLAHE written out pixel by pixel."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage import exposure

from covidct.errors import InputError, UsageError
from covidct.functional import clahe, equalise, equalise_histogram, window_hu

FUNCTIONS = (equalise_histogram, clahe, equalise)


def picture(shape: tuple[int, int] = (96, 128), seed: int = 0) -> NDArray[np.uint8]:
    """A dull grey picture with structure at several scales."""
    rng = np.random.default_rng(seed)
    smooth = sum(ndimage.gaussian_filter(rng.normal(size=shape), s) * s for s in (1, 4, 16))
    return np.asarray((110 + 15 * smooth / np.std(smooth)).clip(0, 255), np.uint8)


def written_out(image: NDArray[np.uint8], tiles: tuple[int, int], clip: float) -> NDArray[np.float64]:
    """CLAHE of a picture that the tiles divide, as Zuiderveld describes it with OpenCV's way to spread the excess."""
    high, wide = image.shape[0] // tiles[0], image.shape[1] // tiles[1]
    curves = np.empty((*tiles, 256))
    for row in range(tiles[0]):
        for column in range(tiles[1]):
            tile = image[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
            counts = [int((tile == level).sum()) for level in range(256)]
            if clip:
                limit = max(int(clip * tile.size / 256), 1)
                excess = sum(max(count - limit, 0) for count in counts)
                counts = [min(count, limit) + excess // 256 for count in counts]
                rest = excess % 256
                if rest:
                    step = max(256 // rest, 1)
                    for level in range(0, 256, step)[:rest]:
                        counts[level] += 1
            curves[row, column] = np.rint(np.cumsum(counts) * 255 / tile.size).clip(0, 255)
    out = np.empty(image.shape)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            down, across = y / high - 0.5, x / wide - 0.5
            r, c = int(np.floor(down)), int(np.floor(across))
            corners = [
                [curves[min(max(i, 0), tiles[0] - 1), min(max(j, 0), tiles[1] - 1), image[y, x]] for j in (c, c + 1)]
                for i in (r, r + 1)
            ]
            v, u = down - r, across - c
            (a, b), (d, e) = corners
            out[y, x] = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * e)
    return out


def test_four_levels_by_the_formula() -> None:
    """Counts 4, 6, 2, 4 of 16: cdf 4, 10, 12, 16, so (cdf - 4) / 12 is 0, 1/2, 2/3, 1."""
    image = np.repeat(np.array([10, 60, 61, 200], np.uint8), [4, 6, 2, 4]).reshape(4, 4)
    expected = np.repeat(np.array([0, 128, 170, 255], np.uint8), [4, 6, 2, 4]).reshape(4, 4)
    np.testing.assert_array_equal(equalise_histogram(image), expected)


def test_equals_opencv_and_scikit_image() -> None:
    image = picture()
    ours = equalise_histogram(image)
    np.testing.assert_array_equal(ours, cv2.equalizeHist(image))
    # scikit-image keeps the darkest level's share: a straight line leads from the one to the other
    global_equalisation: Any = exposure.equalize_hist  # has no types
    other = global_equalisation(image, nbins=256)
    darkest = (image == image.min()).mean()
    assert np.abs(ours / 255 - (other - darkest) / (1 - darkest)).max() < 0.01


def test_equalising_twice_changes_next_to_nothing() -> None:
    once = equalise_histogram(picture())
    assert np.abs(equalise_histogram(once).astype(int) - once).max() <= 1


def test_black_background_takes_no_share() -> None:
    """The picture within black comes out as it does alone, but for the level that becomes 0."""
    image = picture() + np.uint8(1)
    framed = np.pad(image, 100)
    alone, within = equalise_histogram(image), equalise_histogram(framed)[100:-100, 100:-100]
    rest = image > image.min()
    counts = (image == image.min()).sum() / image.size
    assert np.abs(alone.astype(int) - within)[rest].max() <= 1 + 255 * counts


def test_the_mask_says_what_counts() -> None:
    image = picture()
    mask = np.zeros(image.shape, bool)
    mask[20:60, 30:90] = True
    inside = equalise_histogram(image[20:60, 30:90])
    out = equalise_histogram(image, mask=mask)
    np.testing.assert_array_equal(out[20:60, 30:90], inside)
    below = image < image[mask].min()
    above = image > image[mask].max()
    assert below.any()
    assert above.any()
    assert not out[below].any()
    assert (out[above] == 255).all()
    np.testing.assert_array_equal(equalise_histogram(np.stack([image, image]), mask=mask)[1], out)
    np.testing.assert_array_equal(equalise_histogram(image, mask=~mask & mask), image)


def test_clipped_values_take_no_share_of_the_window() -> None:
    """Half of the pixels far outside the window, at either end: the rest is spread as if it were alone."""
    inner = np.random.default_rng(0).integers(-1200, 200, (40, 50)).astype(np.int16)
    hu = np.vstack([np.full((20, 50), -3024, np.int16), inner, np.full((20, 50), 3000, np.int16)])
    out = equalise_histogram(hu, window=(-1250.0, 250.0))
    np.testing.assert_array_equal(out[20:60], equalise_histogram(inner, window=(-1250.0, 250.0)))
    assert (out[:20] == 0).all()
    assert (out[60:] == 1).all()
    naive = equalise_histogram(window_hu(hu))  # windowed first, the bright end does take a share
    assert naive[20:60].max() < 0.7 < out[20:60].max()
    mask = np.ones(hu.shape, np.uint8)
    mask[:20] = 0
    np.testing.assert_array_equal(equalise_histogram(hu, mask=mask, window=(-1250.0, 250.0)), out)


@pytest.mark.parametrize("clip", [2.0, 4.0, 0.0, 0.001])
@pytest.mark.parametrize(("shape", "tiles"), [((96, 128), (8, 8)), ((48, 60), (4, 3)), ((30, 40), (1, 1))])
def test_clahe_by_its_definition(shape: tuple[int, int], tiles: tuple[int, int], clip: float) -> None:
    image = picture(shape)
    ours = clahe(image, tiles=tiles, clip_limit=clip)
    # OpenCV lays the pixels' places out in single precision: a pixel on an edge between levels may fall to either side
    assert np.abs(ours - written_out(image, tiles, clip)).max() <= 1


@pytest.mark.parametrize("shape", [(96, 128), (101, 67), (512, 512)])
def test_clahe_equals_opencv(shape: tuple[int, int]) -> None:
    image = picture(shape)
    np.testing.assert_array_equal(clahe(image), cv2.createCLAHE(2.0, (8, 8)).apply(image))
    np.testing.assert_array_equal(clahe(image, tiles=(4, 2), clip_limit=3), cv2.createCLAHE(3.0, (2, 4)).apply(image))


def test_clahe_is_like_scikit_images() -> None:
    """Another way to spread the excess and to treat borders: alike, not equal."""
    image = picture((128, 128))
    other = exposure.equalize_adapthist(image, kernel_size=16, clip_limit=2 / 256, nbins=256)
    ours = clahe(image) / 255
    assert np.corrcoef(ours.ravel(), other.ravel())[0, 1] > 0.97


def test_clahe_raises_local_contrast_where_the_whole_has_enough() -> None:
    image = np.hstack([picture((64, 64)) // 4, 128 + picture((64, 64)) // 4])
    left = clahe(image)[:, :48]
    assert left.std() > 1.5 * image[:, :48].std()
    assert clahe(image, clip_limit=0)[:, :48].std() > left.std()


def test_the_document_has_the_global_before_the_local() -> None:
    image = picture()
    np.testing.assert_array_equal(equalise(image), clahe(equalise_histogram(image)))
    np.testing.assert_array_equal(
        equalise(image, tiles=(4, 2), clip_limit=3.0),
        cv2.createCLAHE(3.0, (2, 4)).apply(cv2.equalizeHist(image)),
    )
    assert (equalise(image) != equalise_histogram(clahe(image))).any()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_kinds_of_arrays_agree(function: Any) -> None:  # noqa: ANN401
    levels = np.stack([picture(seed=n) for n in range(6)]).reshape(2, 3, 96, 128)
    out = function(levels)
    assert (out.dtype, out.shape) == (np.uint8, levels.shape)
    np.testing.assert_array_equal(out[1, 2], function(levels[1, 2]))
    unit = levels / np.float32(255)
    for image in (unit, unit.astype(np.float64), unit[..., ::-1][..., ::-1]):
        found = function(image)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(np.rint(found * 255), out)
    assert float(function(unit).max()) <= 1
    tensor = function(torch.from_numpy(levels))
    assert tensor.dtype == torch.uint8
    np.testing.assert_array_equal(tensor.numpy(), out)
    graded = function(torch.from_numpy(unit).requires_grad_())
    assert (graded.dtype, graded.requires_grad) == (torch.float32, False)
    np.testing.assert_array_equal(np.rint(graded.numpy() * 255), out)
    assert function(torch.from_numpy(unit).bfloat16()).dtype == torch.float32
    hu = (levels.astype(np.int16) - 200) * 4
    low, high = int(hu.min()), int(hu.max())
    np.testing.assert_array_equal(function(hu, window=(low, high)), function(window_hu(hu, low, high)))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_input_is_left_alone(function: Any) -> None:  # noqa: ANN401
    for image in (picture(), picture() / np.float32(255)):
        before = image.copy()
        function(image)
        np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(("size", "value", "moved"), [(512, 7, 10), (64, 7, 12), (64, 255, 255)])
def test_clahe_moves_a_constant_slice_as_opencv_does(size: int, value: int, moved: int) -> None:
    flat = np.full((size, size), value, np.uint8)
    assert (cv2.equalizeHist(flat) == value).all()
    assert (cv2.createCLAHE(2.0, (8, 8)).apply(flat) == moved).all()
    for function in (clahe, equalise):
        assert (function(flat) == moved).all()


def test_a_constant_slice_has_nothing_to_spread() -> None:
    for level in (0, 77, 255):
        flat = np.full((16, 16), level, np.uint8)
        np.testing.assert_array_equal(equalise_histogram(flat), flat)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_empty_stack(function: Any) -> None:  # noqa: ANN401
    assert function(np.zeros((0, 16, 16), np.uint8)).shape == (0, 16, 16)
    assert function(np.zeros((0, 16, 16), np.float32)).dtype == np.float32


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        (np.zeros((16, 16), np.int16), {}, UsageError, "apply a window"),
        (np.full((16, 16), -500.0), {}, UsageError, "window=\\(low, high\\)"),
        (np.full((16, 16), np.nan), {}, UsageError, "not finite"),
        (np.full((16, 16), np.nan), {"window": (0.0, 1.0)}, UsageError, "not finite"),
        (np.zeros((16, 16), np.uint8), {"window": (0.0, 1.0)}, UsageError, "display values"),
        (np.zeros((16, 16), np.int16), {"window": (5.0, 5.0)}, UsageError, "empty"),
        (np.zeros((16, 16), np.int16), {"window": (0.0, float("inf"))}, UsageError, "empty"),
        (np.zeros(16, np.uint8), {}, InputError, "no image"),
        (np.zeros((3, 0, 16), np.uint8), {}, InputError, "no image"),
    ],
)
def test_what_cannot_be_equalised_is_refused(
    function: Any,  # noqa: ANN401
    image: NDArray[Any],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        function(image, **options)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="mask has the shape"):
        equalise_histogram(picture(), mask=np.ones((96, 127)))


@pytest.mark.parametrize("function", [clahe, equalise])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tiles": (0, 8)}, "tiles"),
        ({"tiles": (8,)}, "tiles"),
        ({"tiles": (8.0, 8)}, "tiles"),
        ({"tiles": (97, 8)}, "fewer tiles"),
        ({"clip_limit": -1.0}, "clip_limit"),
        ({"clip_limit": float("nan")}, "clip_limit"),
    ],
)
def test_wrong_options_are_refused(function: Any, options: dict[str, Any], message: str) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match=message):
        function(picture(), **options)
