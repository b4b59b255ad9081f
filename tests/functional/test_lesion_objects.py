"""Lesion objects against scikit-image and scipy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import label, regionprops

from covidct.errors import InputError, UsageError
from covidct.functional import MIN_OBJECT_AREA, keep_large_objects, lesion_instances
from covidct.labels import LESION_CLASSES, MaskType

if TYPE_CHECKING:
    from numpy.typing import NDArray

MASKS = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 2))
TYPES = st.sampled_from(["both", "ggo", "merge"])


def binaries(mask: NDArray[np.uint8], mask_type: MaskType) -> list[tuple[int, NDArray[np.bool_]]]:
    if mask_type == "merge":
        return [(1, mask != 0)]
    return [(value, mask == value) for value in ((1, 2) if mask_type == "both" else (1,))]


@settings(max_examples=200, deadline=None)
@given(MASKS, TYPES, st.integers(0, 6))
def test_objects_are_the_regions_of_scikit_image(mask: NDArray[np.uint8], mask_type: MaskType, min_area: int) -> None:
    expected = [
        (value, *region.bbox, np.argwhere(numbers == region.label).tolist())
        for value, binary in binaries(mask, mask_type)
        for numbers in [label(binary, connectivity=2)]  # type: ignore[no-untyped-call]
        for region in regionprops(numbers)  # type: ignore[no-untyped-call]
        if region.area > min_area
    ]
    found = lesion_instances(mask, mask_type=mask_type, min_area=min_area)
    assert found["boxes"].shape == (len(expected), 4)
    assert found["masks"].shape == (len(expected), *mask.shape)
    assert [value.dtype for value in found.values()] == [torch.float32, torch.int64, torch.uint8]
    objects = [
        (int(value), int(y0), int(x0), int(y1), int(x1), np.argwhere(one.numpy()).tolist())
        for (x0, y0, x1, y1), value, one in zip(
            found["boxes"].tolist(), found["labels"].tolist(), found["masks"], strict=True
        )
    ]
    assert sorted(objects) == sorted(expected)
    assert [one[:3] for one in objects] == sorted(one[:3] for one in objects)
    same = lesion_instances(torch.from_numpy(mask), mask_type=mask_type, min_area=min_area)
    assert all(torch.equal(same[key], found[key]) for key in found)


@settings(max_examples=100, deadline=None)
@given(MASKS, TYPES, st.integers(0, 6))
def test_small_parts_go_and_nothing_else(mask: NDArray[np.uint8], mask_type: MaskType, min_area: int) -> None:
    expected = mask.copy()
    for _, binary in binaries(mask, mask_type):
        numbers, count = ndimage.label(binary, structure=np.ones((3, 3)))
        for number in range(1, count + 1):
            if np.count_nonzero(numbers == number) <= min_area:
                expected[numbers == number] = 0
    before = mask.copy()
    kept = keep_large_objects(mask, mask_type=mask_type, min_area=min_area)
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal(mask, before)
    over, all_left = (
        lesion_instances(mask, mask_type=mask_type, min_area=min_area),
        lesion_instances(kept, mask_type=mask_type),
    )
    assert all(torch.equal(over[key], all_left[key]) for key in over)
    np.testing.assert_array_equal(keep_large_objects(kept, mask_type=mask_type, min_area=min_area), kept)


def test_area_must_exceed_the_least_strictly() -> None:
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[2:12, 3:13] = 1  # 100 pixels
    mask[20:30, 3:13] = 2
    mask[30, 3] = 2  # 101
    found = lesion_instances(mask, min_area=MIN_OBJECT_AREA)
    assert found["labels"].tolist() == [2]
    assert found["boxes"].tolist() == [[3.0, 20.0, 13.0, 31.0]]
    assert int(found["masks"].sum()) == 101
    assert np.unique(keep_large_objects(mask)).tolist() == [0, 2]


def test_labels_are_fixed_whatever_a_slice_shows() -> None:
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[1:4, 1:4] = 2
    assert lesion_instances(mask)["labels"].tolist() == [2]
    assert lesion_instances(mask, mask_type="merge")["labels"].tolist() == [1]
    assert len(lesion_instances(mask, mask_type="ggo")["boxes"]) == 0
    mask[4, 4] = 1  # touches by a corner
    assert lesion_instances(mask, mask_type="merge")["boxes"].tolist() == [[1.0, 1.0, 5.0, 5.0]]
    assert lesion_instances(mask)["labels"].tolist() == [1, 2]
    assert {kind: len(names) - 1 for kind, names in LESION_CLASSES.items()} == {"both": 2, "ggo": 1, "merge": 1}


def test_volumes_are_taken_slice_by_slice() -> None:
    volume = np.zeros((3, 8, 8), dtype=np.uint8)
    volume[:, 1, 1:4] = 1  # 3 pixels a slice, 9 in 3-D
    volume[1, 2, 1] = 1
    kept = keep_large_objects(torch.from_numpy(volume), min_area=3)
    assert isinstance(kept, torch.Tensor)
    assert kept.sum(dim=(1, 2)).tolist() == [0, 4, 0]


def test_other_input_is_refused() -> None:
    plane = np.zeros((4, 4), dtype=np.uint8)
    for wrong in (plane[None], plane.astype(np.int64), plane.astype(np.float32)):
        with pytest.raises(InputError, match=r"must be \(H, W\) uint8"):
            lesion_instances(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\(D, H, W\) uint8"):
        keep_large_objects(plane[0])
    with pytest.raises(InputError, match="this one 3"):
        lesion_instances(plane + np.uint8(3))
    with pytest.raises(UsageError, match="'all' is unknown: use one of both, ggo, merge"):
        lesion_instances(plane, mask_type="all")  # type: ignore[arg-type]
