"""Lungs of a slice by threshold and morphology: drawn chests, figures with margins, other gas, scikit-image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure
from skimage import morphology as skimage_morphology

from covidct.errors import InputError, UsageError
from covidct.functional import lung_mask_2d, remove_background
from covidct.functional.background import is_display, keep_parts
from tests.functional.chests import real_scan

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 512


def ellipse(centre: tuple[float, float], radii: tuple[float, float], size: int = SIZE) -> NDArray[np.bool_]:
    """Filled, in shares of the side."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    return np.asarray(((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1)


def chest(size: int = SIZE, *, seed: int = 0) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """HU of a body with two lungs, vessels in them, a trachea, and a table below; and the lungs."""
    rng = np.random.default_rng(seed)
    lungs = ellipse((0.48, 0.32), (0.22, 0.12), size) | ellipse((0.48, 0.68), (0.24, 0.13), size)
    hu = np.where(ellipse((0.5, 0.5), (0.33, 0.44), size), 40, -1000)
    hu[lungs] = -850
    hu[ellipse((0.45, 0.5), (0.018, 0.018), size)] = -990  # trachea
    hu[ellipse((0.9, 0.5), (0.03, 0.3), size)] = 100  # table
    for place in rng.uniform(-0.06, 0.06, (6, 2)):
        hu[ellipse((0.48 + place[0], 0.32 + place[1]), (0.008, 0.008), size)] = 40
    hu = ndimage.gaussian_filter(hu.astype(float), 0.8) + rng.normal(0, 25, hu.shape)
    return hu.astype(np.int16), lungs


def as_picture(hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    """In the window -1250 to 250 HU."""
    return np.asarray(np.rint((hu.clip(-1250, 250) + 1250.0) / 1500 * 255), np.uint8)


def dice(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    return float(2 * np.sum((found > 0) & (wanted > 0)) / (np.sum(found > 0) + np.sum(wanted > 0)))


@pytest.mark.parametrize("size", [128, 256, 512])
def test_both_lungs_with_their_vessels(size: int) -> None:
    hu, lungs = chest(size)
    found = lung_mask_2d(hu)
    assert found.dtype == np.uint8
    assert dice(found, lungs) > 0.98
    picture = as_picture(hu)
    for image in (picture, picture / np.float32(255)):
        assert dice(lung_mask_2d(image), lungs) > 0.98


def test_by_scikit_image_step_by_step() -> None:
    """The same recipe in another library."""
    label: Any = measure.label  # has no types
    morphology: Any = skimage_morphology
    hu, _ = chest(seed=3)
    air = hu < -600
    labels = label(air, connectivity=1)
    ring = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    air &= ~np.isin(labels, ring[ring > 0])
    closed = morphology.closing(morphology.opening(air, morphology.disk(2)), morphology.disk(10))
    filled = ndimage.binary_fill_holes(closed)
    labels, count = ndimage.label(filled)
    areas = ndimage.sum_labels(filled, labels, np.arange(1, count + 1))
    largest = 1 + np.argsort(-areas)[:2]
    np.testing.assert_array_equal(lung_mask_2d(hu), np.isin(labels, largest))


def test_the_document_keeps_one_part() -> None:
    hu, lungs = chest()
    one = lung_mask_2d(hu, keep=1)
    assert ndimage.label(one)[1] == 1
    larger = lungs.copy()
    larger[:, : SIZE // 2] = False
    assert dice(one, larger) > 0.98


def test_a_stack_is_its_slices() -> None:
    stack = np.stack([chest(128, seed=n)[0] for n in range(6)]).reshape(2, 3, 128, 128)
    found = lung_mask_2d(stack)
    np.testing.assert_array_equal(found[1, 2], lung_mask_2d(stack[1, 2]))
    assert lung_mask_2d(stack[:0]).shape == (0, 3, 128, 128)


@pytest.mark.parametrize("margin", [(20, 20, 20, 20), (0, 30, 0, 0), (7, 0, 0, 40)])
def test_white_margins_of_a_figure_are_outside(margin: tuple[int, int, int, int]) -> None:
    hu, lungs = chest(256)
    top, bottom, left, right = margin
    widths = ((top, bottom), (left, right))
    figure = np.pad(as_picture(hu), widths, constant_values=255)
    figure[figure.shape[0] - 2, 3:8] = 0  # a letter of the caption
    assert dice(lung_mask_2d(figure), np.pad(lungs, widths)) > 0.98


def test_tissue_as_white_as_the_margin() -> None:
    """A narrow window: body and margin are one, and the lungs lie at the edge of what is left."""
    _, lungs = chest(256)
    picture = np.where(lungs, np.uint8(90), np.uint8(255))
    assert dice(lung_mask_2d(picture), lungs) > 0.98


def test_slices_without_lungs_have_an_empty_mask() -> None:
    body = np.where(ellipse((0.5, 0.5), (0.33, 0.44)), 40, -1000).astype(np.int16)
    bowel = body.copy()
    bowel[ellipse((0.4, 0.6), (0.06, 0.1))] = -1000  # mere gas
    trachea = body.copy()
    trachea[ellipse((0.4, 0.5), (0.02, 0.02))] = -900
    nothing = np.full_like(body, -1000)
    for hu in (body, bowel, trachea, nothing):
        assert not lung_mask_2d(hu).any()
    assert not lung_mask_2d(np.full((64, 64), 255, np.uint8)).any()
    assert not lung_mask_2d(np.zeros((64, 64), np.uint8)).any()
    assert not lung_mask_2d(as_picture(body)).any()


def test_a_threshold_in_the_unit_of_the_image() -> None:
    hu, lungs = chest()
    assert dice(lung_mask_2d(hu, threshold=-400), lungs) > 0.98
    assert not lung_mask_2d(hu, threshold=-1100).any()
    picture = as_picture(hu)
    assert dice(lung_mask_2d(picture, threshold=110.0), lungs) > 0.98
    assert dice(lung_mask_2d(picture / np.float32(255), threshold=110 / 255), lungs) > 0.98


def test_radii_are_those_of_a_slice_of_512() -> None:
    """A notch of 12 pixels is closed by a disc of 10, not by one of 3; scaled by half on half the pixels."""
    for size in (512, 256):
        hu, lungs = chest(size)
        notch = ellipse((0.48, 0.205), (0.012, 0.03), size)
        hu[notch & lungs] = 40
        wide = lung_mask_2d(hu)[notch & lungs].mean()
        narrow = lung_mask_2d(hu, closing_radius=3.0)[notch & lungs].mean()
        assert wide > 0.6 > 0.3 > narrow


def test_the_mediastinum_between_lungs_that_touch_stays_out() -> None:
    hu, lungs = chest()
    for row in (0.29, 0.69):  # thin bridges of air in front of it and behind it
        bridge = ellipse((row, 0.5), (0.012, 0.2))
        hu[bridge] = -850
    heart = ellipse((0.5, 0.5), (0.1, 0.05))
    found = lung_mask_2d(hu)
    assert found[heart].mean() < 0.01  # what the closing adds beside the trachea
    assert found[lungs].mean() > 0.98


def test_remove_background_fills_with_black_or_air() -> None:
    hu, lungs = chest(128)
    clean = remove_background(hu, lungs)
    assert clean.dtype == np.int16
    np.testing.assert_array_equal(clean[lungs], hu[lungs])
    assert (clean[~lungs] == -1024).all()
    picture = as_picture(hu)
    for image in (picture, picture / np.float32(255)):
        clean = remove_background(image, lungs.astype(np.uint8))
        assert clean.dtype == image.dtype
        assert not clean[~lungs].any()
    assert (remove_background(hu, lungs, fill=7)[~lungs] == 7).all()
    with pytest.raises(UsageError, match="mask has the shape"):
        remove_background(hu, lungs[1:])


def test_what_display_values_are() -> None:
    assert is_display(np.zeros((2, 2), np.uint8))
    assert is_display(np.zeros((2, 2), np.float32))
    assert not is_display(np.zeros((2, 2), np.int16))
    assert not is_display(np.full((2, 2), -3.0))
    assert not is_display(np.zeros((0, 2)))
    assert not is_display(np.full((2, 2), 40.0), intensity="hu")
    assert not is_display(np.zeros((2, 2)), intensity="hu")
    assert is_display(np.zeros((2, 2)), intensity="unit")


def test_values_that_may_be_either_are_refused_unless_it_is_said() -> None:
    hu, lungs = chest(128)
    mask = lungs.astype(np.uint8)
    stored = (hu.astype(int) + 1024).clip(0).astype(np.uint16)
    unit = as_picture(hu) / np.float32(255)
    above, hole, ends = unit.copy(), unit.copy(), hu.astype(np.float32)
    above[5, 5], hole[5, 5], ends[5, 5] = 1.0001, np.nan, np.inf
    for image, words in (
        (stored, "uint16, which holds neither"),
        (mask.astype(bool), "bool, which holds neither"),
        (above, "to 1.0001, which may be"),
        (255 * unit, "may be HU or display"),
        (hole, "not finite"),
        (ends, "not finite"),
    ):
        for call in (lung_mask_2d, lambda image: remove_background(image, mask)):
            with pytest.raises(InputError, match=words):
                call(image)
    inside = np.full((8, 8), 40.0)  # a patch of the heart
    with pytest.raises(InputError, match="may be"):
        remove_background(inside, np.zeros((8, 8)))
    assert (remove_background(inside, np.zeros((8, 8)), intensity="hu") == -1024).all()
    assert not lung_mask_2d(inside, intensity="hu").any()
    black = np.zeros((8, 8))  # water in HU, black in a picture
    assert (remove_background(black, black, intensity="hu") == -1024).all()
    assert (remove_background(black, black) == 0).all()
    wrong: list[tuple[NDArray[Any], Any]] = [(above, "unit"), (hu, "unit"), (as_picture(hu), "hu"), (unit, "HU")]
    for image, intensity in wrong:
        with pytest.raises(UsageError, match="intensity="):
            lung_mask_2d(image, intensity=intensity)
    np.testing.assert_array_equal(lung_mask_2d(unit, intensity="unit"), lung_mask_2d(unit))


@pytest.mark.parametrize(
    ("dtype", "fill"), [(np.uint8, -1024), (np.uint8, 256), (np.uint8, 0.5), (np.int16, 40_000), (np.float16, 1e6)]
)
def test_a_fill_that_the_dtype_cannot_hold_is_refused(dtype: Any, fill: float) -> None:  # noqa: ANN401
    image = np.zeros((4, 4), dtype)
    with pytest.raises(UsageError, match="does not fit"):
        remove_background(image, image, fill=fill)
    assert (remove_background(image, image, fill=7) == 7).all()


def test_largest_parts() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[1:21, 1:21], mask[25:35, 25:35], mask[25:30, 2:10], mask[38, 38] = 1, 1, 1, 1
    sizes = [400, 100, 40]
    for keep in (1, 2, 3, 9):
        assert keep_parts(mask, keep).sum() == sum(sizes[:keep])  # the single pixel is too small
    assert keep_parts(mask, 2, least=500).any()
    assert not keep_parts(mask, 2, least=501).any()
    assert not keep_parts(np.zeros_like(mask), 2).any()


@pytest.mark.parametrize(
    ("options", "error"),
    [({"keep": 0}, UsageError), ({"keep": 1.5}, UsageError), ({"closing_radius": -1.0}, UsageError)],
)
def test_wrong_options_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="must"):
        lung_mask_2d(chest(64)[0], **options)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(InputError, match="no image"):
        lung_mask_2d(np.zeros(5))


@pytest.mark.real
def test_real_scans_with_masks(real_data: Path) -> None:
    found = []
    for name in ("id001", "id002", "id003", "ct-64"):
        hu, _, lungs = real_scan(real_data, name)
        assert lungs is not None
        found.append(dice(lung_mask_2d(hu), lungs))
        assert dice(lung_mask_2d(as_picture(hu)), lungs) > 0.93
    assert min(found) > 0.95
    assert np.mean(found) > 0.97


@pytest.mark.real
def test_real_picture_with_mask(real_data: Path) -> None:
    folder = real_data / "ct_covid_slice_lesion"
    image, lungs = (
        cv2.imread(str(folder / f"015_axial0079{part}.png"), cv2.IMREAD_GRAYSCALE) for part in ("", "_lung")
    )
    assert image is not None
    assert lungs is not None
    assert dice(lung_mask_2d(np.asarray(image, np.uint8)), lungs) > 0.96
