"""Masks of single images: both ways to write them, and what does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from covidct.datasets.image_files import read_lungs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("stored", "labels"),
    [([0, 255], [0, 1]), ([0, 1], [0, 1]), ([0, 1, 2], [0, 1, 2]), ([0, 3, 127, 128, 250], [0, 0, 0, 1, 1])],
)
def test_masks_are_labels_or_dark_and_bright(tmp_path: Path, stored: list[int], labels: list[int]) -> None:
    assert cv2.imwrite(str(tmp_path / "m.png"), np.array([stored], np.uint8))
    mask = read_lungs(tmp_path / "m.png")
    assert mask.dtype == np.uint8
    assert mask[0].tolist() == labels


def test_colour_counts_by_its_brightest_channel(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "m.png"), np.array([[[0, 0, 255], [0, 0, 0]]], np.uint8))
    assert read_lungs(tmp_path / "m.png")[0].tolist() == [1, 0]
