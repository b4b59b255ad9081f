"""Lesion overlays: colours by hand, boxes where they are, labels that stay on the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from covidct.errors import UsageError
from covidct.explain import LESION_COLOURS, SAFE_LESION_COLOURS, lesion_figure, lesion_overlay
from covidct.explain.lesions import lesion_title, lesion_word
from covidct.labels import LESION_CLASSES
from covidct.result import LesionBox


def example(side: int = 128) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Grey 100 with a square of ground glass and one of consolidation."""
    labels = np.zeros((side, side + 8), np.uint8)
    labels[40:60, 30:50], labels[80:90, 70:80] = 1, 2
    return np.full(labels.shape, 100, np.uint8), labels


def test_the_colours_are_those_of_the_slides() -> None:
    assert LESION_COLOURS == ((255, 0, 0), (0, 0, 255))


@pytest.mark.parametrize("colours", [LESION_COLOURS, SAFE_LESION_COLOURS])
def test_masks_are_mixed_with_the_slice(colours: tuple[tuple[int, int, int], ...]) -> None:
    image, labels = example()
    found = lesion_overlay(image, labels, colours=colours, opacity=0.3, scale=1)
    expected = np.repeat(image[..., None], 3, -1).astype(float)
    for label, colour in enumerate(colours, 1):
        expected[labels == label] = 0.7 * 100 + 0.3 * np.array(colour)
    np.testing.assert_allclose(found, expected, atol=0.51)
    assert found.dtype == np.uint8


@pytest.mark.parametrize(("side", "times"), [(128, 3), (200, 2), (384, 1), (512, 1)])
def test_small_slices_are_enlarged_until_labels_can_be_read(side: int, times: int) -> None:
    image, labels = example(side)
    found = lesion_overlay(image, labels)
    assert found.shape == (times * side, times * (side + 8), 3)
    coloured = np.ptp(found.astype(int), -1) > 0
    np.testing.assert_array_equal(coloured, np.kron(labels > 0, np.ones((times, times))) > 0)


def test_boxes_are_drawn_around_their_pixels() -> None:
    image = np.zeros((400, 420), np.uint8)
    box = LesionBox((30, 140, 150, 260), 1, 0.931)
    found = lesion_overlay(image, image, boxes=[box], scale=1)
    red = (found == (255, 0, 0)).all(-1)
    rows, columns = np.nonzero(red[140:])
    assert (rows.min() + 140, rows.max() + 140, columns.min(), columns.max()) == (140, 259, 30, 149)
    assert not red[142:258, 32:148].any()  # an outline
    label = found[120:140, 30:100]
    assert (label > 128).all(-1).sum() > 50  # white letters, smoothed
    assert (label == (255, 0, 0)).all(-1).sum() > 200


@pytest.mark.parametrize("corner", [(0, 0), (395, 0), (0, 395), (395, 395), (-20, -20), (390, 200)])
def test_labels_stay_on_the_picture(corner: tuple[int, int]) -> None:
    image = np.zeros((400, 400), np.uint8)
    x, y = corner
    boxes = [LesionBox((x, y, x + 5, y + 5), 1, 0.5)]
    found = lesion_overlay(image, image, boxes=boxes, scale=1)
    middle = lesion_overlay(image, image, boxes=[LesionBox((200, 200, 205, 205), 1, 0.5)], scale=1)
    white = [np.count_nonzero((one > 200).all(-1)) for one in (found, middle)]
    assert white[0] == white[1] > 0  # all letters are there


def test_the_best_detection_is_on_top() -> None:
    image = np.zeros((400, 400), np.uint8)
    place = (100, 100, 200, 200)
    for first, second in ((1, 2), (2, 1)):
        boxes = [LesionBox(place, first, 0.9), LesionBox(place, second, 0.6)]
        found = lesion_overlay(image, image, boxes=boxes, scale=1)
        assert tuple(found[199, 150]) == LESION_COLOURS[first - 1]


def test_letters_are_black_on_bright_colours() -> None:
    image = np.zeros((400, 400), np.uint8)
    boxes = [LesionBox((100, 100, 300, 300), 2, 0.9)]
    found = lesion_overlay(image, image, boxes=boxes, colours=SAFE_LESION_COLOURS, scale=1)
    plate = found[85:99, 102:135]
    assert not (plate > 250).all(-1).any()
    assert (plate < 60).all(-1).any()


def test_float_slices_are_shown_as_they_are() -> None:
    image = np.linspace(-0.2, 1.2, 400 * 400).reshape(400, 400)
    image[0, 0] = np.nan
    found = lesion_overlay(image, np.zeros((400, 400), np.uint8))
    expected = np.rint(255 * np.clip(np.nan_to_num(image), 0, 1))
    np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, -1))


def test_words() -> None:
    assert [lesion_word(name) for name in LESION_CLASSES["both"][1:]] == ["GGO", "C"]
    assert lesion_word("lesion") == "Lesion"
    assert lesion_title("ground_glass_opacity") == "Ground-glass opacity"
    assert lesion_word("scar") == lesion_title("scar") == "scar"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": np.zeros((3, 4, 4))}, "needs a slice"),
        ({"lesion_mask": np.zeros((4, 5), np.uint8)}, "of its size"),
        ({"lesion_mask": np.full((4, 4), 3, np.uint8)}, "a name and a colour"),
        ({"lesion_mask": np.full((4, 4), 2, np.uint8), "names": LESION_CLASSES["ggo"]}, "a name and a colour"),
        ({"boxes": [LesionBox((0, 0, 1, 1), 0, 0.5)]}, "a name and a colour"),
        ({"boxes": [LesionBox((0, 0, 1, float("nan")), 1, 0.5)]}, "no number"),
        ({"opacity": 1.5}, "opacity"),
        ({"scale": 0}, "scale"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict[str, Any], message: str) -> None:
    given = {"image": np.zeros((4, 4), np.uint8), "lesion_mask": np.zeros((4, 4), np.uint8)} | changes
    with pytest.raises(UsageError, match=message):
        lesion_overlay(given.pop("image"), given.pop("lesion_mask"), **given)


def test_a_figure_shows_slices_with_lesions_above_and_below() -> None:
    slices, labels = np.zeros((20, 64, 80), np.float32), np.zeros((20, 64, 80), np.uint8)
    labels[5:15, 10:20, 10:20] = 1
    found = [[LesionBox((30, 30, 40, 40), 2, 0.7)] if index == 2 else [] for index in range(20)]
    figure = lesion_figure(slices, labels, boxes=found, count=4)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["slice 2", "slice 7", "slice 11", "slice 14"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Ground-glass opacity", "Consolidation"]
    healthy = lesion_figure(slices, np.zeros_like(labels), count=2)
    assert [axis.get_title() for axis in healthy.axes if axis.get_title()] == ["slice 0", "slice 19"]
    for wrong in ({"count": 0}, {"boxes": found[:3]}):
        with pytest.raises(UsageError):
            lesion_figure(slices, labels, **wrong)
    with pytest.raises(UsageError):
        lesion_figure(slices, labels[1:])
