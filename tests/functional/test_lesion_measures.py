"""The lesion table against closed forms, brute force and scipy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import label

from covidct.errors import InputError
from covidct.functional import LesionMeasures, lesion_table
from covidct.phantom import simulate_ct

SPACING = (2.0, 0.5, 0.8)


def boxes(depth: int = 12) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int16]]:
    """Two lungs of 800 voxels a slice, and lesions of known size in them and outside."""
    lungs, lesions = np.zeros((depth, 40, 60), np.uint8), np.zeros((depth, 40, 60), np.uint8)
    lungs[:, 5:35, 5:25], lungs[:, 5:35, 30:50] = 1, 2
    lesions[2:5, 10:14, 8:18] = 1  # 120 voxels, right
    lesions[2:4, 14:16, 8:12] = 2  # 16 voxels, right, touching the ground glass
    lesions[8:10, 20:25, 32:36] = 2  # 40 voxels, left
    lesions[0, 0, 0:7] = 1  # outside of both
    hu = np.full(lesions.shape, -800, np.int16)
    hu[lesions == 1], hu[lesions == 2] = -600, 20
    return lesions, lungs, hu


def test_boxes_of_known_size() -> None:
    lesions, lungs, hu = boxes()
    ground_glass, consolidation, every = lesion_table(lesions, lung_mask=lungs, hu=hu, spacing=SPACING)
    lung = 12 * 30 * 20
    assert [row.lesion for row in (ground_glass, consolidation, every)] == [
        "ground_glass_opacity",
        "consolidation",
        "all",
    ]
    assert [row.objects for row in (ground_glass, consolidation, every)] == [2, 2, 3]
    for row, voxels in ((ground_glass, 127), (consolidation, 56), (every, 183)):
        assert row.volume_ml == pytest.approx(voxels * 0.8 / 1000)
        assert row.unknown == ()
    assert ground_glass.right_percent == pytest.approx(100 * 120 / lung)
    assert ground_glass.left_percent == 0
    assert every.right_percent == pytest.approx(100 * 136 / lung)
    assert every.left_percent == pytest.approx(100 * 40 / lung)
    assert every.lungs_percent == pytest.approx(100 * 176 / (2 * lung))
    assert [row.side for row in (ground_glass, consolidation, every)] == ["right", "both", "both"]
    assert (ground_glass.mean_hu, consolidation.mean_hu) == (-600, 20)
    assert every.mean_hu == pytest.approx((127 * -600 + 56 * 20) / 183)


@pytest.mark.parametrize("seed", range(3))
def test_objects_are_counted_as_scipy_counts_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lesions = (rng.random((14, 20, 18)) < 0.12).astype(np.uint8) * rng.integers(1, 3, (14, 20, 18), np.uint8)
    table = lesion_table(lesions)
    for row, mask in zip(table, (lesions == 1, lesions == 2, lesions > 0), strict=True):
        assert row.objects == label(mask, structure=np.ones((3, 3, 3)))[1]


def test_objects_that_are_known_are_counted_by_their_numbers() -> None:
    lesions = np.zeros((1, 8, 8), np.uint8)
    lesions[0, 1:5, 1:5], lesions[0, 1:5, 5:7] = 1, 2
    objects = np.zeros(lesions.shape, np.int64)
    objects[0, 1:5, 1:3], objects[0, 1:5, 3:5], objects[0, 1:5, 5:7] = 4, 9, 7  # two of them touch
    assert [row.objects for row in lesion_table(lesions, objects=objects)] == [2, 1, 3]
    assert [row.objects for row in lesion_table(lesions)] == [1, 1, 1]


def test_the_shell_of_a_ball() -> None:
    """In a ball of 40 mm, what lies outside of its inner 20 mm is near the surface: 1 - (20/40)^3 of it."""
    grid = np.mgrid[-46:47, -46:47, -46:47].astype(np.float32)
    ball = ((grid**2).sum(0) < 40**2).astype(np.uint8)
    lesions = np.zeros_like(ball)
    lesions[(grid**2).sum(0) < 30**2] = 1
    row = lesion_table(lesions, lung_mask=ball, spacing=(1.0, 1.0, 1.0))[0]
    assert row.lungs_peripheral_percent == pytest.approx(100 * (1 - 0.5**3), abs=2)
    assert row.peripheral_percent == pytest.approx(100 * (1 - (20 / 30) ** 3), abs=4)
    assert row.unknown == ("sides", "hu")


def test_lesions_outside_the_lungs_count_in_volume_alone() -> None:
    lesions, lungs, _ = boxes()
    lungs[lesions > 0] = 0
    row = lesion_table(lesions, lung_mask=lungs, spacing=SPACING)[2]
    assert row.volume_ml == pytest.approx(183 * 0.8 / 1000)
    assert (row.objects, row.side, row.lungs_percent) == (3, "none", 0)
    assert math.isnan(row.peripheral_percent)


@pytest.mark.parametrize(
    ("left_out", "unknown", "lost"),
    [
        ("spacing", "spacing", {"volume_ml", "peripheral_percent", "lungs_peripheral_percent"}),
        ("hu", "hu", {"mean_hu"}),
        (
            "lung_mask",
            "lung_mask",
            {"right_percent", "left_percent", "lungs_percent", "peripheral_percent", "lungs_peripheral_percent"},
        ),
    ],
)
def test_what_is_unknown_is_nan_and_said(left_out: str, unknown: str, lost: set[str]) -> None:
    lesions, lungs, hu = boxes()
    known: dict[str, Any] = {"lung_mask": lungs, "hu": hu, "spacing": SPACING}
    for row in lesion_table(lesions, **{**known, left_out: None}):
        assert row.unknown == (unknown,)
        nan = {key for key, value in row.to_dict().items() if isinstance(value, float) and math.isnan(value)}
        assert nan == lost
        assert (row.side is None) == (left_out == "lung_mask")


def test_a_mask_without_sides_gives_shares_of_both_lungs_alone() -> None:
    lesions, lungs, _ = boxes()
    row = lesion_table(lesions, lung_mask=(lungs > 0).astype(np.uint8), spacing=SPACING)[2]
    assert row.unknown == ("sides", "hu")
    assert row.side is None
    assert math.isnan(row.right_percent)
    assert row.lungs_percent == pytest.approx(100 * 176 / (2 * 12 * 30 * 20))
    empty = lesion_table(lesions, lung_mask=np.zeros_like(lungs), spacing=SPACING)[2]
    assert empty.unknown == ("lung_mask", "hu")


def test_a_single_slice() -> None:
    lesions, lungs, hu = boxes()
    lesions, lungs, hu = lesions[3:4], lungs[3:4], hu[3:4]
    known = lesion_table(lesions, lung_mask=lungs, hu=hu, spacing=SPACING)[2]
    assert known.volume_ml == pytest.approx(48 * 0.8 / 1000)
    assert known.side == "right"
    for spacing in ((0.5, 0.8), (math.nan, 0.5, 0.8)):
        flat = lesion_table(lesions, lung_mask=lungs, hu=hu, spacing=spacing)[2]
        assert flat.unknown == ("thickness",)
        assert math.isnan(flat.volume_ml)
        assert flat.peripheral_percent == known.peripheral_percent
        assert flat.right_percent == known.right_percent == pytest.approx(100 * 48 / 600)


def test_no_lesion_at_all() -> None:
    _, lungs, hu = boxes()
    for row in lesion_table(np.zeros_like(lungs), lung_mask=lungs, hu=hu, spacing=SPACING):
        assert (row.objects, row.volume_ml, row.lungs_percent, row.side) == (0, 0, 0, "none")
        assert math.isnan(row.mean_hu)
        assert math.isnan(row.peripheral_percent)


def test_one_lung_is_missing() -> None:
    lesions, lungs, hu = boxes()
    lungs[lungs == 1] = 0
    row = lesion_table(lesions, lung_mask=lungs, hu=hu, spacing=SPACING)[2]
    assert math.isnan(row.right_percent)
    assert row.left_percent == row.lungs_percent > 0
    assert row.side == "left"


def test_phantoms_tell_their_diagnosis() -> None:
    covid, cap = (simulate_ct(4, diagnosis=name, shape=(48, 64, 64)) for name in ("covid", "cap"))
    rows = [
        lesion_table(ct.lesion_mask, lung_mask=ct.lung_mask, hu=ct.volume.array, spacing=ct.volume.spacing)
        for ct in (covid, cap)
    ]
    assert rows[0][2].side == "both"
    assert rows[1][2].side in ("right", "left")
    for ground_glass, consolidation, every in rows:
        assert ground_glass.mean_hu < consolidation.mean_hu
        assert every.volume_ml == pytest.approx(ground_glass.volume_ml + consolidation.volume_ml)


def test_rows_are_plain_data() -> None:
    lesions, lungs, hu = boxes()
    for row in lesion_table(lesions, lung_mask=lungs, hu=hu, spacing=SPACING):
        record = json.loads(json.dumps(row.to_dict(), allow_nan=False))
        assert LesionMeasures(**record | {"unknown": tuple(record["unknown"])}) == row


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lesion_mask": np.zeros((4, 4), np.uint8)}, "lesion_mask must be"),
        ({"lesion_mask": np.full((2, 4, 4), 3, np.uint8)}, "of 0, 1 and 2"),
        ({"lung_mask": np.zeros((2, 4, 4), np.int16)}, "lung_mask must be"),
        ({"lung_mask": np.zeros((2, 4, 5), np.uint8)}, "lung_mask has shape"),
        ({"hu": np.zeros((1, 4, 4))}, "hu has shape"),
        ({"objects": np.zeros((2, 4, 5), int)}, "objects has shape"),
        ({"spacing": (1.0, 1.0)}, "spacing"),
        ({"spacing": (1.0, 0.0, 1.0)}, "above 0"),
        ({"spacing": (1.0, 1.0, math.inf)}, "spacing"),
    ],
)
def test_other_arrays_are_refused(changes: dict[str, Any], message: str) -> None:
    given = {"lesion_mask": np.zeros((2, 4, 4), np.uint8)} | changes
    with pytest.raises(InputError, match=message):
        lesion_table(given.pop("lesion_mask"), **given)


@pytest.mark.real
def test_real_masks(real_data: Path) -> None:
    """Voxels, millilitres and parts of expert masks, counted by numpy and scipy."""
    import nibabel as nib

    for path in sorted((real_data / "mosmed_lesion_masks" / "masks").rglob("*.nii*"))[::10]:
        image = nib.Nifti1Image.from_filename(path)
        mask = (np.asarray(image.dataobj).T > 0).astype(np.uint8)
        spacing = tuple(float(step) for step in image.header.get_zooms()[::-1])  # type: ignore[no-untyped-call]
        row = lesion_table(mask, spacing=spacing)[2]
        assert row.objects == label(mask, structure=np.ones((3, 3, 3)))[1]
        assert row.volume_ml == pytest.approx(np.count_nonzero(mask) * np.prod(spacing) / 1000)
