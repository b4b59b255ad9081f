"""Pictures of a result: square pixels, the right slices, colours where the masks are, words below."""

from __future__ import annotations

import numpy as np
import pytest

from covidct.inference.captures import result_captures
from covidct.io.dicom_terms import STRUCTURES
from covidct.volume import Source, Volume

SPACING = (4.0, 2.0, 1.0)  # mm: slices, rows, columns


def scan(depth: int = 20) -> Volume:
    """Air of 40 x 60 pixels that are twice as high as wide."""
    affine = np.diag([SPACING[2], SPACING[1], SPACING[0], 1.0])
    shape = (depth, 40, 60)
    return Volume(np.full(shape, -900, np.int16), affine, source=Source("array", shape, affine))


def block(volume: Volume, slices: slice, value: int = 1) -> np.ndarray:
    mask = np.zeros(volume.shape, np.uint8)
    mask[slices, 10:30, 15:30] = value
    return mask


def test_pixels_are_square_and_in_place() -> None:
    volume = scan()
    lesions = block(volume, slice(8, 9))
    (picture,) = result_captures(volume, lesions=lesions)
    tall, wide = picture.spacing
    assert tall == pytest.approx(wide, rel=0.005)
    rows = round(40 * SPACING[1] / tall)
    assert min(rows, picture.pixels.shape[1]) >= 512
    red = picture.pixels[:rows, :, 0].astype(int) - picture.pixels[:rows, :, 2]
    where = np.argwhere(red > 40)
    assert where.min(0) * (tall, wide) == pytest.approx([10 * SPACING[1], 15 * SPACING[2]], abs=1.5)
    assert (where.max(0) + 1) * (tall, wide) == pytest.approx([30 * SPACING[1], 30 * SPACING[2]], abs=1.5)


def test_slices_with_lesions_are_shown_and_the_largest_among_them() -> None:
    volume = scan()
    lesions = block(volume, slice(3, 17))
    lesions[11, 5:35, 5:50] = 2
    pictures = result_captures(volume, lesions=lesions, lungs=block(volume, slice(0, 20)))
    places = [int(picture.words.split()[1]) - 1 for picture in pictures]
    assert len(places) == 6
    assert 11 in places
    assert all(3 <= place < 17 for place in places)


def test_without_lesions_the_lungs_and_the_best_slice_are_shown() -> None:
    volume = scan()
    lungs = block(volume, slice(2, 18)) + block(volume, slice(0, 0))
    pictures = result_captures(volume, lungs=lungs, lesions=np.zeros_like(lungs), best=5, words=["covid 0.900"])
    places = [int(picture.words.split()[1]) - 1 for picture in pictures]
    assert 5 in places
    assert all(2 <= place < 18 for place in places)
    assert all("covid 0.900" in picture.words for picture in pictures)
    colour = np.array(STRUCTURES["right_lung"].colour)
    assert (np.abs(pictures[0].pixels.astype(int) - colour).max(-1) < 40).any()


def test_a_scan_without_masks_is_shown_too() -> None:
    pictures = result_captures(scan(4), words=["a line that is far too long for a picture of this width " * 4])
    assert [picture.words.split()[1] for picture in pictures] == ["1", "2", "3", "4"]
    assert {picture.pixels.dtype.name for picture in pictures} == {"uint8"}
