from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy import ndimage

from covidct.errors import InputError, UsageError
from covidct.functional import clahe, equalise, equalise_histogram, lung_field, stochastic_enhance, window_hu
from covidct.preprocessing import Preprocessing
from covidct.sample import check_sample
from covidct.transforms import prepare_image, prepare_slices, prepare_volume, to_sample
from covidct.transforms.prepare import to_unit
from covidct.volume import Image, Volume, unknown_affine
from tests.fakes.chests import chest

RAW = chest((24, 32, 40), spacing=(12.0, 8.0, 8.0), lesion=True)
VOLUME = cast("Volume", RAW.scan)
CUBE = Preprocessing(kind="ct_volume", classes=("a", "b"), size=32, mask_source="file")
SLICE = Preprocessing(kind="ct_slice", classes=("a", "b"), size=16, mask_source="file")
CXR = Preprocessing(kind="cxr", classes=("a", "b"), size=16, mask_source="none", window=None)
IDENTITY: dict[str, Any] = {"id": "x", "subject": torch.tensor(1), "scan": torch.tensor(2), "label": torch.tensor(0)}


def cube(preprocessing: Preprocessing = CUBE) -> dict[str, np.ndarray]:
    return prepare_volume(
        VOLUME,
        preprocessing,
        lung_mask=RAW.lung_mask,
        lesion_mask=RAW.lesion_mask,
        slice_label=RAW.slice_label,
    )


def test_fixed_point_spans_the_unit_interval_exactly() -> None:
    unit = to_unit(np.arange(65536, dtype=np.uint16))
    assert unit.dtype == np.float32
    assert (unit[0], unit[-1]) == (0.0, 1.0)
    np.testing.assert_allclose(unit, np.arange(65536) / 65535, rtol=1e-7)


def test_cube_is_isotropic_and_keeps_the_contract() -> None:
    prepared = cube()
    sample = to_sample(prepared, **IDENTITY)
    check_sample(sample, "ct_volume")
    assert sample["image"].shape == sample["lung_mask"].shape == (1, 32, 32, 32)
    side = 40 * 8.0  # the longest extent
    np.testing.assert_allclose(prepared["spacing"], side / 32)
    # 24 * 12 = 288 mm of 320 mm: 28.8 of 32 slices are inside the scan
    assert 28 <= prepared["slice_mask"].sum() <= 30


def test_window_maps_hu_linearly() -> None:
    flat = replace(VOLUME, array=np.full(VOLUME.shape, -500, dtype=np.int16))
    prepared = prepare_volume(flat, replace(CUBE, mask_source="none"))
    inside = prepared["image"][0, 10:20, 10:20, 10:20]
    np.testing.assert_allclose(inside / 65535, (-500 + 1250) / 1500, atol=1e-5)
    corner = prepared["image"][0, 0, 0, 0]  # outside the scan: air
    assert corner / 65535 == pytest.approx((-1024 + 1250) / 1500, abs=1e-5)


def test_masks_keep_volume_and_place() -> None:
    prepared = cube()
    for key, mask in (("lung_mask", RAW.lung_mask), ("lesion_mask", RAW.lesion_mask)):
        assert mask is not None
        for value in np.unique(mask)[1:]:
            before, after = mask == value, prepared[key][0] == value
            assert after.sum() * 10.0**3 == pytest.approx(before.sum() * 12 * 8 * 8, rel=0.12)
            native = np.array(ndimage.center_of_mass(before))[::-1]
            moved = np.array(ndimage.center_of_mass(after))[::-1]
            world = VOLUME.affine[:3, :3] @ native + VOLUME.affine[:3, 3]
            found = prepared["affine"][:3, :3] @ moved + prepared["affine"][:3, 3]
            np.testing.assert_allclose(found, world, atol=4.0)  # mm; a voxel has 10


def test_slice_labels_follow_their_slices() -> None:
    prepared = cube()
    assert RAW.slice_label is not None
    millimetres = prepared["affine"][2, 3] + np.arange(32) * prepared["affine"][2, 2]
    for z, label, inside in zip(millimetres, prepared["slice_label"], prepared["slice_mask"], strict=True):
        distance = np.abs(z - np.arange(24) * 12.0)
        assert inside == (distance.min() <= 6.0 + 1e-6)
        if not inside:
            assert label == -1
        elif np.sort(distance)[1] - distance.min() > 1e-6:
            assert label == RAW.slice_label[distance.argmin()]


def test_masking_variants_share_the_image_between_them() -> None:
    image, lungs = (cube()[key][0] for key in ("image", "lung_mask"))
    only = cube(replace(CUBE, masking="lungs"))["image"][0]
    rest = cube(replace(CUBE, masking="no_lungs"))["image"][0]
    assert not only[lungs == 0].any()
    assert not rest[lungs > 0].any()
    np.testing.assert_array_equal(only.astype(int) + rest, image)


def test_threshold_mask_is_like_the_true_one() -> None:
    found = prepare_volume(VOLUME, replace(CUBE, mask_source="threshold"))["lung_mask"] > 0
    truth = (cube()["lung_mask"] > 0) & (cube()["lesion_mask"] == 0)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9


def test_prepare_is_pure() -> None:
    before = VOLUME.array.copy()
    first, second = cube(), cube()
    np.testing.assert_array_equal(VOLUME.array, before)
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])


def test_native_grid_without_a_size() -> None:
    prepared = cube(replace(CUBE, size=None))
    assert prepared["image"].shape == (1, *VOLUME.shape)
    np.testing.assert_array_equal(prepared["lung_mask"][0], RAW.lung_mask)
    np.testing.assert_array_equal(prepared["slice_label"], RAW.slice_label)
    assert prepared["slice_mask"].all()


def test_slices_keep_the_depth_and_lie_where_they_lay() -> None:
    prepared = cube(replace(CUBE, size=16, grid="slices"))
    sample = to_sample(prepared, **IDENTITY)
    check_sample(sample, "ct_volume")
    assert sample["image"].shape == sample["lung_mask"].shape == (1, 24, 16, 16)
    np.testing.assert_allclose(prepared["spacing"], [12.0, 32 * 8 / 16, 40 * 8 / 16])
    np.testing.assert_array_equal(prepared["slice_label"], RAW.slice_label)
    assert prepared["slice_mask"].all()
    # the far corner of the last pixel is where it was: (w, h) + 1/2 pixel
    before = VOLUME.affine @ [39.5, 31.5, 23, 1]
    np.testing.assert_allclose(prepared["affine"] @ [15.5, 15.5, 23, 1], before)
    np.testing.assert_allclose(prepared["affine"] @ [-0.5, -0.5, 0, 1], VOLUME.affine @ [-0.5, -0.5, 0, 1])


def test_lung_field_is_made_at_native_resolution() -> None:
    record = replace(CUBE, size=None, mask_source="lung_field")
    found = prepare_volume(VOLUME, record)["lung_mask"][0]
    np.testing.assert_array_equal(found, lung_field(VOLUME.array, VOLUME.spacing).mask)
    assert set(np.unique(found)) == {0, 1}
    empty = replace(VOLUME, array=np.zeros(VOLUME.shape, dtype=np.int16))
    with pytest.raises(InputError, match="No lungs were found"):
        prepare_volume(empty, record)


def test_enhancement_comes_after_the_window_and_before_the_masking() -> None:
    plain = cube(replace(CUBE, size=16, grid="slices"))
    toned = cube(replace(CUBE, size=16, grid="slices", enhancement="tone", masking="lungs"))
    grey = plain["image"] / 65535 * 255
    curve = 1 / (1 + np.exp(-0.35 * grey ** (1 / 1.5)))
    expected = (curve - 0.5) / (1 / (1 + np.exp(-0.35 * 255 ** (1 / 1.5))) - 0.5)
    expected[plain["lung_mask"] == 0] = 0
    np.testing.assert_allclose(toned["image"] / 65535, expected, atol=1e-4)
    walked = prepare_volume(VOLUME, replace(CUBE, size=16, grid="slices", enhancement="stochastic", mask_source="none"))
    one = stochastic_enhance(plain["image"][0, 5] / np.float32(65535))
    np.testing.assert_allclose(walked["image"][0, 5] / 65535, one, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "function"), [("equalise", equalise_histogram), ("clahe", clahe), ("equalise_clahe", equalise)]
)
def test_equalisation_of_the_windowed_slices(name: Any, function: Any) -> None:  # noqa: ANN401
    record = replace(SLICE, size=None, window=(-1000.0, 0.0), enhancement=name, masking="lungs")
    found = prepare_slices(VOLUME, record, lung_mask=RAW.lung_mask)["image"] / 65535
    lungs = cast("np.ndarray", RAW.lung_mask) > 0
    expected = function(VOLUME.array, window=(-1000.0, 0.0)) * lungs
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-5)
    plain = function(window_hu(VOLUME.array, -1000.0, 0.0)) * lungs  # what the window clips counts here
    assert (np.abs(plain - expected).max() > 0.05) == (name != "clahe")
    # display values, in the shape of an image
    image = Image(np.random.default_rng(0).random((70, 90), dtype=np.float32))
    own = replace(CXR, enhancement=name, size=None)
    np.testing.assert_allclose(prepare_image(image, own)["image"][0, 0] / 65535, function(image.array), atol=1e-5)


def test_display_values_of_unknown_spacing_keep_their_depth() -> None:
    unit = Volume(np.random.default_rng(0).random((5, 20, 30), dtype=np.float32), unknown_affine(), intensity="unit")
    prepared = prepare_volume(unit, replace(CUBE, mask_source="none", window=None, size=16))
    sample = to_sample(prepared, **IDENTITY)
    check_sample(sample, "ct_volume")
    assert sample["image"].shape == (1, 5, 16, 16)
    assert sample["image"].mean() == pytest.approx(unit.array.mean(), abs=0.01)  # area averages keep the mean
    assert bool(sample["slice_mask"].all())


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"mask_source": "threshold"}, InputError, "needs Hounsfield units"),
        ({"mask_source": "none"}, InputError, "The window"),
        ({"mask_source": "file", "window": None}, InputError, "without a lung mask"),
    ],
)
def test_display_values_are_refused_where_hu_are_needed(
    change: dict[str, object], error: type[Exception], says: str
) -> None:
    unit = Volume(np.zeros((5, 20, 30), dtype=np.float32), unknown_affine(), intensity="unit")
    window = {} if change["mask_source"] == "none" else {"window": None}
    with pytest.raises(error, match=says):
        prepare_volume(unit, replace(CUBE, **{**window, **change}))  # type: ignore[arg-type]


def test_scan_without_lungs_is_refused() -> None:
    water = replace(VOLUME, array=np.zeros(VOLUME.shape, dtype=np.int16))
    with pytest.raises(InputError, match="No lungs were found"):
        prepare_volume(water, replace(CUBE, mask_source="threshold"))
    with pytest.raises(InputError, match="empty lung mask"):
        prepare_volume(VOLUME, CUBE, lung_mask=np.zeros(VOLUME.shape, dtype=np.uint8))


def test_hu_of_unknown_spacing_are_refused() -> None:
    with pytest.raises(InputError, match="spacing of this volume is unknown"):
        prepare_volume(replace(VOLUME, affine=unknown_affine()), replace(CUBE, mask_source="none"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "cxr"}, "made for cxr"),
        ({"mask_source": "oracle"}, "'oracle' does not fit"),
        ({"window": None}, "needs a window"),
    ],
)
def test_unknown_settings_are_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        cube(replace(CUBE, **change))  # type: ignore[arg-type]


def test_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="give a mask of this scan"):
        prepare_volume(VOLUME, CUBE, lung_mask=np.ones((2, 2, 2), dtype=np.uint8))


def test_slices_are_resized_in_plane() -> None:
    prepared = prepare_slices(
        VOLUME,
        SLICE,
        indices=[6, 12],
        lung_mask=RAW.lung_mask,
        lesion_mask=RAW.lesion_mask,
        slice_label=RAW.slice_label,
    )
    sample = to_sample({key: value[1] for key, value in prepared.items()}, **IDENTITY)
    check_sample(sample, "ct_slice")
    assert sample["image"].shape == (1, 16, 16)
    assert sample["position"] == 144.0
    assert sample["spacing"].tolist() == [16.0, 20.0]  # 32 * 8 / 16 and 40 * 8 / 16 mm
    # halving both sides of an image is averaging blocks of two
    even = prepare_slices(
        replace(VOLUME, array=VOLUME.array[:, :, :32]), replace(SLICE, mask_source="none"), indices=[12]
    )
    blocks = VOLUME.array[12, :, :32].reshape(16, 2, 16, 2).mean(axis=(1, 3))
    expected = np.clip((blocks + 1250) / 1500, 0, 1)
    np.testing.assert_allclose(even["image"][0, 0] / 65535, expected, atol=2e-5)


def test_absent_slices_are_refused() -> None:
    with pytest.raises(InputError, match="has 24 slices"):
        prepare_slices(VOLUME, replace(SLICE, mask_source="none"), indices=[24])


def test_image_becomes_one_grey_channel() -> None:
    colours = np.zeros((80, 120, 3), dtype=np.float32)
    colours[:40, :, 1] = 1.0
    prepared = prepare_image(Image(colours, spacing=(0.5, 0.2)), CXR)
    sample = to_sample({key: value[0] for key, value in prepared.items()}, **IDENTITY)
    check_sample(sample, "cxr")
    assert sample["image"].shape == (1, 16, 16)
    assert float(sample["image"][0, :8].mean()) == pytest.approx(0.587, abs=1e-3)  # BT.601 weight of green
    np.testing.assert_allclose(sample["spacing"], [80 * 0.5 / 16, 120 * 0.2 / 16], rtol=1e-6)


def test_image_mask_moves_with_the_image() -> None:
    picture = np.zeros((80, 160), dtype=np.float32)
    picture[16:48, 32:96] = 1.0
    prepared = prepare_image(
        Image(picture), replace(CXR, mask_source="file", size=10), lung_mask=picture.astype(np.uint8)
    )
    np.testing.assert_array_equal(prepared["image"][0] > 32767, prepared["lung_mask"][0] == 1)
    assert prepared["lung_mask"].sum() == 4 * 4


def test_image_with_threshold_or_window_or_as_volume_is_refused() -> None:
    picture = Image(np.zeros((20, 20), dtype=np.float32))
    with pytest.raises(UsageError, match="'threshold' does not fit"):
        prepare_image(picture, replace(CXR, mask_source="threshold"))
    with pytest.raises(InputError, match="cannot be applied to display values"):
        prepare_image(picture, replace(CXR, window=(-1250, 250)))
    with pytest.raises(UsageError, match="no volume"):
        prepare_image(picture, replace(CUBE, window=None))
