"""X-ray phantoms: Beer-Lambert in closed form, shadows of masks, orientation."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import ndimage

from covidct.errors import UsageError
from covidct.labels import CLASSES
from covidct.phantom import PhantomCXR, simulate_cxr
from covidct.phantom.cxr import BONE_FROM, BONE_GAIN, MU_WATER, line_integral, project_mask

if TYPE_CHECKING:
    from covidct.phantom.ct import Diagnosis


@cache
def picture(seed: int, diagnosis: Diagnosis = "normal") -> PhantomCXR:
    """A small X-ray."""
    return simulate_cxr(seed, diagnosis=diagnosis, shape=(128, 112))


@pytest.mark.parametrize(("hu", "mu"), [(0.0, MU_WATER), (-1000.0, 0.0), (-850.0, 0.15 * MU_WATER), (-1024.0, 0.0)])
def test_homogeneous_slab_in_closed_form(hu: float, mu: float) -> None:
    slab = np.full((3, 40, 5), hu, dtype=np.float32)
    np.testing.assert_allclose(line_integral(slab, 2.5), mu * 100, rtol=1e-5, atol=1e-7)


def test_bone_and_layers_add_up() -> None:
    column = np.array([0, 0, 700, -1000, -500], dtype=np.float32)[None, :, None]
    bone = 1 + (700 + (BONE_GAIN - 1) * (700 - BONE_FROM)) / 1000
    np.testing.assert_allclose(line_integral(column, 4.0), MU_WATER * 4 * (2 + bone + 0.5), rtol=1e-6)


def test_projected_mask_is_any_along_the_ray() -> None:
    rng = np.random.default_rng(0)
    lung = (rng.random((9, 7, 8)) > 0.85).astype(np.uint8) * rng.integers(1, 3, (9, 7, 8), dtype=np.uint8)
    shadow = project_mask(lung)
    np.testing.assert_array_equal(shadow > 0, (lung > 0).any(axis=1))
    for d, w in np.argwhere(shadow > 0):
        ray = lung[d, :, w]
        counts = [(ray == 1).sum(), (ray == 2).sum()]
        assert counts[shadow[d, w] - 1] == max(counts)


@pytest.mark.parametrize("diagnosis", ["normal", "cap", "covid"])
def test_form(diagnosis: Diagnosis) -> None:
    made = picture(0, diagnosis)
    image = made.image.array
    assert image.shape == made.lung_mask.shape == (128, 112)
    assert image.dtype == np.float32
    assert made.lung_mask.dtype == np.uint8
    assert image.min() >= 0
    assert image.max() <= 1
    assert made.image.modality == "DX"
    assert made.image.spacing == pytest.approx((350 / 128, 350 / 112))
    assert made.label == CLASSES.index(diagnosis)


def test_it_stands_upright_with_the_right_lung_on_the_left_of_the_picture() -> None:
    made = picture(1)
    right, left = made.lung_mask == 1, made.lung_mask == 2
    assert ndimage.center_of_mass(right)[1] < ndimage.center_of_mass(left)[1]
    image = made.image.array
    assert image[-12:, 40:70].mean() > 0.85, "the abdomen is bright and below"
    clear = ndimage.binary_erosion(made.lung_mask > 0, iterations=4)
    assert image[clear][image[clear] < np.median(image[clear])].mean() < 0.4, "lungs are dark"
    spine = image[40:80, 54:58]
    assert spine.mean() > 0.7
    beside = [image[60:85, 24:52].mean(), image[60:85, 60:88].mean()]
    assert beside[1] > beside[0] or image[70:85, 60:75].mean() > image[70:85, 37:52].mean(), "the heart lies left"


def test_deterministic_and_lesions_brighten() -> None:
    again = simulate_cxr(1, shape=(128, 112))
    np.testing.assert_array_equal(again.image.array, picture(1).image.array)
    clean = {
        d: simulate_cxr(5, diagnosis=d, shape=(64, 64), photons=float("inf")).image.array for d in ("normal", "cap")
    }
    assert (clean["cap"] - clean["normal"]).max() > 0.1


def test_photons_make_the_noise() -> None:
    clean, few, many = (
        simulate_cxr(2, shape=(64, 64), photons=n).image.array for n in (float("inf"), 2000.0, 200000.0)
    )
    assert np.abs(few - clean).mean() > 5 * np.abs(many - clean).mean() > 0


@pytest.mark.parametrize(
    "arguments", [{"shape": (8, 8, 8)}, {"shape": (1, 8)}, {"photons": 0}, {"diagnosis": "flu"}, {"seed": -3}]
)
def test_bad_arguments_are_refused_in_a_sentence(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"\.$"):
        simulate_cxr(**{"seed": 0, "shape": (8, 8), **arguments})
