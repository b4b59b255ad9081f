"""CT phantoms: truth, ranges, determinism, and that classes differ inside the lungs alone."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import ndimage

from covidct.errors import UsageError
from covidct.functional import segment_lungs
from covidct.labels import CLASSES
from covidct.phantom import TEST_OBJECT, PhantomCT, simulate_ct

from .conftest import SEEDS, SMALL, phantom

if TYPE_CHECKING:
    from covidct.phantom.ct import Contrast, Diagnosis

DIAGNOSES: tuple[Diagnosis, ...] = ("normal", "cap", "covid")


def litres(count: float, made: PhantomCT) -> float:
    """Volume of ``count`` voxels."""
    return float(count * np.prod(made.volume.spacing) / 1e6)


@pytest.mark.parametrize("diagnosis", DIAGNOSES)
def test_form(diagnosis: Diagnosis) -> None:
    made = phantom(0, diagnosis)
    assert made.volume.array.dtype == np.int16
    assert made.volume.shape == SMALL == made.lung_mask.shape == made.lesion_mask.shape
    assert made.volume.modality == "CT"
    assert made.volume.intensity == "hu"
    assert made.lung_mask.dtype == made.lesion_mask.dtype == np.uint8
    assert made.slice_label.dtype == np.int64
    assert made.slice_label.shape == SMALL[:1]
    assert made.label == CLASSES.index(diagnosis)
    np.testing.assert_allclose(made.volume.spacing, np.array([307.2, 371.2, 371.2]) / SMALL)
    centre = made.volume.affine @ [(SMALL[2] - 1) / 2, (SMALL[1] - 1) / 2, (SMALL[0] - 1) / 2, 1]
    np.testing.assert_allclose(centre[:3], 0, atol=1e-3)
    assert (np.diag(made.volume.affine)[:3] > 0).all()


def test_same_seed_same_bytes_in_another_process() -> None:
    made = simulate_ct(7, diagnosis="covid", shape=(20, 40, 40))
    digest = hashlib.sha256(made.volume.array.tobytes() + made.lesion_mask.tobytes()).hexdigest()
    again = simulate_ct(7, diagnosis="covid", shape=(20, 40, 40))
    np.testing.assert_array_equal(again.volume.array, made.volume.array)
    code = (
        "import hashlib; from covidct.phantom import simulate_ct;"
        "p = simulate_ct(7, diagnosis='covid', shape=(20, 40, 40));"
        "print(hashlib.sha256(p.volume.array.tobytes() + p.lesion_mask.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest
    assert (simulate_ct(8, diagnosis="covid", shape=(20, 40, 40)).volume.array != made.volume.array).any()


def test_the_global_generator_is_left_alone() -> None:
    before: Any = np.random.get_state()  # noqa: NPY002
    simulate_ct(1, shape=(8, 16, 16))
    after: Any = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(after[1], before[1])


def test_the_patient_is_the_same_whatever_the_diagnosis() -> None:
    """No shortcut: outside the lungs (and an effusion) nothing tells the class."""
    normal = phantom(2, "normal")
    around = ndimage.binary_dilation(normal.lung_mask > 0, iterations=2)
    for diagnosis in DIAGNOSES[1:]:
        other = phantom(2, diagnosis)
        unlike = other.volume.array[~around] != normal.volume.array[~around]
        assert unlike.mean() < 3e-4, "but for slivers of lung too thin for the mask"


@pytest.mark.parametrize("seed", SEEDS)
def test_tissues_lie_in_their_ranges(seed: int) -> None:
    made = phantom(seed)
    hu, lung = made.volume.array, made.lung_mask > 0
    assert hu.min() >= -1024
    assert -900 < np.median(hu[ndimage.binary_erosion(lung, iterations=2)]) < -780
    assert (hu[:, 0] <= -990).mean() > 0.9
    body = ndimage.binary_fill_holes(hu > -300) & ~ndimage.binary_dilation(lung, iterations=2)
    assert ((hu > -120) & (hu < -80) & body).sum() > 0.05 * body.sum(), "fat"
    assert ((hu > 20) & (hu < 80) & body).sum() > 0.25 * body.sum(), "muscle, blood, liver"
    assert 0.005 < ((hu > 200) & body).sum() / body.sum() < 0.15, "bone"
    assert 150 < np.percentile(hu[hu > 150], 95) < 1200


@pytest.mark.parametrize("seed", SEEDS)
def test_lungs_are_of_plausible_size_and_on_their_sides(seed: int) -> None:
    made = phantom(seed)
    right, left = made.lung_mask == 1, made.lung_mask == 2
    assert 2.0 < litres((right | left).sum(), made) < 7.5
    assert 0.7 < left.sum() / right.sum() < 1.0, "the heart takes room from the left lung"
    assert ndimage.center_of_mass(right)[2] < SMALL[2] / 2 < ndimage.center_of_mass(left)[2]
    assert not (ndimage.binary_dilation(right) & left).any(), "parted by the mediastinum"
    trachea = made.volume.array[-6:, :, SMALL[2] // 2 - 6 : SMALL[2] // 2 + 6] < -600
    assert trachea[:, 20:60].any()
    assert not made.lung_mask[-6:].any()


def test_the_back_of_the_lung_is_denser() -> None:
    made = phantom(1)
    inner = ndimage.binary_erosion(made.lung_mask > 0, iterations=2)
    rows = np.flatnonzero(inner.any(axis=(0, 2)))
    third = len(rows) // 3
    front = made.volume.array[:, rows[:third]][inner[:, rows[:third]]]
    back = made.volume.array[:, rows[-third:]][inner[:, rows[-third:]]]
    assert 15 < np.median(back) - np.median(front) < 110


def test_heart_lies_left_and_liver_right() -> None:
    made = phantom(3)
    right, left = made.lung_mask == 1, made.lung_mask == 2
    lowest = [np.flatnonzero(side.any(axis=(1, 2)))[0] for side in (right, left)]
    middle = made.lung_mask[sum(lowest) // 2 + 18]
    columns = np.flatnonzero((middle == 0).all(axis=0))
    assert columns.size, "the mediastinum spans the chest from front to back"
    dome = [np.argmax(side[:, 30:40, 16:64].sum(axis=(1, 2)) > 40) for side in (right, left)]
    assert dome[0] >= dome[1] - 1, "the right dome stands higher"


def test_normal_has_no_lesion() -> None:
    for seed in SEEDS:
        made = phantom(seed)
        assert not made.lesion_mask.any()
        assert not made.slice_label.any()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("diagnosis", ["cap", "covid"])
def test_lesions_lie_in_the_lungs_and_label_their_slices(diagnosis: Diagnosis, seed: int) -> None:
    made = phantom(seed, diagnosis)
    lesion = made.lesion_mask
    assert lesion.any()
    assert (made.lung_mask[lesion > 0] > 0).all()
    area = (lesion > 0).sum(axis=(1, 2)) * made.volume.spacing[1] * made.volume.spacing[2]
    np.testing.assert_array_equal(made.slice_label, np.where(area >= 60, made.label, 0))
    assert 0 < (made.slice_label > 0).mean() < 0.9
    core = ndimage.binary_erosion(lesion == 1)
    if core.sum() > 50:
        assert -720 < np.median(made.volume.array[core]) < -380
    solid = ndimage.binary_erosion(lesion == 2)
    if solid.sum() > 50:
        assert -60 < np.median(made.volume.array[solid]) < 60


def test_covid_is_bilateral_peripheral_and_low() -> None:
    peripheral, height, behind = [], [], []
    for seed in range(6):
        made = phantom(seed, "covid")
        lung, lesion = made.lung_mask > 0, made.lesion_mask > 0
        for side in (1, 2):
            assert (lesion & (made.lung_mask == side)).any()
        hull = np.stack([ndimage.binary_fill_holes(plane) for plane in lung])
        depth = ndimage.distance_transform_edt(hull, sampling=made.volume.spacing)
        peripheral.append(np.median(depth[lesion]) / np.median(depth[lung]))
        height.append(ndimage.center_of_mass(lesion)[0] - ndimage.center_of_mass(lung)[0])
        behind.append(ndimage.center_of_mass(lesion)[1] - ndimage.center_of_mass(lung)[1])
        assert (made.lesion_mask == 1).sum() > (made.lesion_mask == 2).sum()
    assert np.mean(peripheral) < 0.95
    assert np.mean(height) < -3
    assert np.mean(behind) > 2


def test_cap_is_one_sided_with_air_in_its_bronchi() -> None:
    sides, airy = set(), 0
    for seed in range(8):
        made = phantom(seed, "cap")
        found = set(made.lung_mask[made.lesion_mask > 0].tolist())
        assert len(found) == 1
        sides |= found
        solid = made.lesion_mask == 2
        assert 0.02 < litres(solid.sum(), made) < 0.3
        airy += int((made.volume.array[ndimage.binary_erosion(solid)] < -60).any())
    assert sides == {1, 2}
    assert airy >= 5


def test_an_effusion_is_fluid_outside_the_lung_mask() -> None:
    wet = 0
    for seed in range(12):
        normal, cap = phantom(seed, "normal"), phantom(seed, "cap")
        lost = (normal.lung_mask > 0) & (cap.lung_mask == 0)
        if lost.sum() > 30:
            wet += 1
            assert -20 < np.percentile(cap.volume.array[lost], 75) < 60
            assert len(set(normal.lung_mask[lost].tolist())) == 1
    assert 1 <= wet <= 9


@pytest.mark.parametrize("diagnosis", DIAGNOSES)
def test_classical_lung_mask_agrees(diagnosis: Diagnosis) -> None:
    for seed in (0, 4):
        made = simulate_ct(seed, diagnosis=diagnosis, shape=(80, 108, 108))
        found = segment_lungs(made.volume.array, made.volume.spacing)
        for side in (1, 2):
            a, b = found == side, made.lung_mask == side
            assert 2 * (a & b).sum() / (a.sum() + b.sum()) >= 0.94
        a, b = found > 0, made.lung_mask > 0
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("contrast", "least"), [("high", 0.95), ("low", 0.93)])
def test_classical_lung_mask_agrees_over_patients(contrast: Contrast, least: float) -> None:
    """Low contrast moves the lungs towards the threshold, so that single scans with much disease fall below 0.95."""
    dice = []
    for seed in range(100, 112):
        made = simulate_ct(seed, diagnosis=DIAGNOSES[1 + seed % 2], contrast=contrast)
        a, b = segment_lungs(made.volume.array, made.volume.spacing) > 0, made.lung_mask > 0
        dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert np.mean(dice) >= 0.95
    assert min(dice) >= least


def test_edges_are_shared_between_tissues() -> None:
    """Without noise, voxels on the skin take values between air and skin: partial volume, not a staircase."""
    hu = phantom(0).volume.array
    row = hu[SMALL[0] // 2, SMALL[1] // 2]
    assert ((hu > -900) & (hu < -150)).sum() > 2000
    assert len(np.unique(row)) > 30


def test_the_body_does_not_depend_on_the_grid() -> None:
    coarse, fine = phantom(1), simulate_ct(1, shape=(96, 120, 120), noise_hu=0)
    assert litres((fine.lung_mask > 0).sum(), fine) == pytest.approx(
        litres((coarse.lung_mask > 0).sum(), coarse), rel=0.03
    )
    thin = simulate_ct(1, shape=(31, 77, 45), spacing=(8.0, 4.1, 7.0), noise_hu=0)
    assert thin.volume.spacing == pytest.approx((8.0, 4.1, 7.0))
    assert litres((thin.lung_mask > 0).sum(), thin) == pytest.approx(
        litres((coarse.lung_mask > 0).sum(), coarse), rel=0.05
    )


def test_low_contrast_narrows_the_range_and_roughens() -> None:
    high, low = (simulate_ct(3, shape=SMALL, contrast=c) for c in ("high", "low"))
    body = np.stack([ndimage.binary_fill_holes(plane) for plane in high.volume.array > -300])

    def spread(made: PhantomCT) -> float:
        """RMS contrast in the body, as the gate of the two-contrast ensemble measures it."""
        return float(np.std(np.clip((made.volume.array[body] + 1250) / 1500, 0, 1)))

    assert spread(low) < 0.95 * spread(high)
    np.testing.assert_array_equal(low.lung_mask, high.lung_mask)


def test_full_size_grid_in_a_corner() -> None:
    """A grid that shows a corner of the chest alone is a crop, not an error."""
    made = simulate_ct(0, diagnosis="covid", shape=(6, 20, 20), spacing=(1.0, 0.7, 0.7))
    assert made.volume.shape == (6, 20, 20)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"diagnosis": "flu"}, "diagnosis"),
        ({"shape": (10, 10)}, "shape"),
        ({"shape": (1, 10, 10)}, "shape"),
        ({"shape": (10, 10, 10.5)}, "shape"),
        ({"spacing": (1, 0, 1)}, "spacing"),
        ({"spacing": (1, 1)}, "spacing"),
        ({"spacing": (1, float("nan"), 1)}, "spacing"),
        ({"contrast": "middle"}, "contrast"),
        ({"noise_hu": -1}, "noise_hu"),
        ({"noise_hu": float("nan")}, "noise_hu"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=rf"^{word}=.*[.]$"):
        simulate_ct(**{"seed": 0, "shape": (8, 8, 8), **arguments})


def test_it_says_what_it_is() -> None:
    assert TEST_OBJECT == "A test object, not a disease model."
