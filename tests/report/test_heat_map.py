"""The heat map: colours and numbers of the cells, frames on the smallest of each row."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from covidct.errors import UsageError
from covidct.report import label_distance_heat_map
from covidct.report.heat_map import heat_cells, heat_gradient

DISTANCES = np.array([[1.25, 7.5, 3.0], [40.0, 2.0, 9.0]])


def test_cells_show_the_distances_and_frames_the_row_minima() -> None:
    figure = label_distance_heat_map(
        DISTANCES, ["a", "b"], ["p", "q", "r"], row_title="first", column_title="second", title="t"
    )
    axis = figure.axes[0]
    np.testing.assert_array_equal(axis.images[0].get_array(), DISTANCES)
    numbers = {text.get_position(): text.get_text() for text in axis.texts}
    assert numbers == {(j, k): f"{DISTANCES[k, j]:.4g}" for k in range(2) for j in range(3)}
    frames = {
        (round(patch.get_x() + patch.get_width() / 2), round(patch.get_y() + patch.get_height() / 2))
        for patch in axis.patches
        if isinstance(patch, Rectangle)
    }
    assert frames == {(0, 0), (1, 1)}
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["p", "q", "r"]
    assert (axis.get_ylabel(), axis.get_xlabel(), axis.get_title()) == ("first", "second", "t")


def test_numbers_stand_out_from_their_cell() -> None:
    axis = label_distance_heat_map(DISTANCES, "ab", "pqr").axes[0]
    for text in axis.texts:
        column, row = (int(place) for place in text.get_position())
        cell = axis.images[0].cmap(axis.images[0].norm(DISTANCES[row, column]))[:3]
        assert abs(np.dot(cell, (0.299, 0.587, 0.114)) - (text.get_color() == "white")) > 0.45


def test_many_classes_have_no_numbers() -> None:
    names = list(range(31))
    assert not label_distance_heat_map(np.ones((31, 31)), names, names).axes[0].texts


def test_names_must_fit() -> None:
    with pytest.raises(UsageError, match="one name per row"):
        label_distance_heat_map(DISTANCES, "abc", "pqr")
    with pytest.raises(UsageError, match="one name per row"):
        label_distance_heat_map(np.ones((0, 0)), "", "")


def test_cells_of_a_page_have_the_colours_of_the_picture() -> None:
    image = label_distance_heat_map(DISTANCES, "ab", "pqr").axes[0].images[0]
    cells = heat_cells(DISTANCES)
    assert [[cell.text for cell in row] for row in cells] == [["1.25", "7.5", "3"], ["40", "2", "9"]]
    assert [[cell.nearest for cell in row] for row in cells] == [[True, False, False], [False, True, False]]
    for row, values in zip(cells, DISTANCES, strict=True):
        for cell, value in zip(row, values, strict=True):
            colour = image.cmap(image.norm(value))[:3]
            assert cell.ground == "rgb({} {} {})".format(*(round(255 * part) for part in colour))
            assert abs(np.dot(colour, (0.299, 0.587, 0.114)) - (cell.ink == "#fff")) > 0.45
    assert heat_gradient().startswith(heat_cells(np.array([[0.0, 1.0]]))[0][0].ground)
    assert len({cell.ground for cell in heat_cells(np.ones((1, 2)))[0]}) == 1
