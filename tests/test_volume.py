from __future__ import annotations

import numpy as np
import pytest

from covidct.errors import InputError
from covidct.volume import Finding, Volume, unknown_affine


def test_spacing_is_read_from_the_affine_in_array_order() -> None:
    volume = Volume(np.zeros((2, 3, 4), np.int16), np.diag([0.5, 0.6, 3.0, 1.0]))
    assert volume.shape == (2, 3, 4)
    assert volume.spacing == pytest.approx((3.0, 0.6, 0.5))


def test_spacing_of_an_oblique_volume() -> None:
    angle = np.deg2rad(20)
    rotation = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([0.5, 0.6, 3.0])
    assert Volume(np.zeros((2, 3, 4), np.int16), affine).spacing == pytest.approx((3.0, 0.6, 0.5))


def test_refusals_say_what_needs_what() -> None:
    display = Volume(np.zeros((2, 3, 4), np.float32), unknown_affine(), intensity="unit")
    assert np.isnan(display.spacing).all()
    with pytest.raises(InputError, match="Lung segmentation needs Hounsfield units"):
        display.require_hu("Lung segmentation")
    with pytest.raises(InputError, match="spacing of this volume is unknown"):
        display.require_spacing("Resampling")
    known = Volume(np.zeros((2, 3, 4), np.int16), np.eye(4))
    known.require_hu("x")
    known.require_spacing("x")


@pytest.mark.parametrize(("shape", "affine"), [((3, 4), np.eye(4)), ((0, 3, 4), np.eye(4)), ((2, 3, 4), np.eye(3))])
def test_malformed_volumes_are_refused(shape: tuple[int, ...], affine: np.ndarray) -> None:
    with pytest.raises(InputError, match="A volume needs"):
        Volume(np.zeros(shape, np.int16), affine)


def test_findings_are_added_to_a_copy() -> None:
    volume = Volume(np.zeros((2, 3, 4), np.int16), np.eye(4))
    marked = volume.with_findings(Finding("missing_slices", "2 slices are missing.", "repaired"))
    assert [finding.code for finding in marked.findings] == ["missing_slices"]
    assert volume.findings == ()
