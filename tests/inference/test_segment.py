"""Lungs of one scan, with volumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covidct.errors import InputError
from covidct.inference import segment_scan
from covidct.volume import unknown_affine
from tests.fakes.checkpoint import phantom


def test_volumes_are_counted_voxels() -> None:
    scan = phantom().volume
    lungs = segment_scan(scan)
    voxel = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    assert lungs.lungs_ml["right"] == pytest.approx(np.sum(lungs.mask == 1) * voxel, abs=0.06)
    assert lungs.lungs_ml["left"] == pytest.approx(np.sum(lungs.mask == 2) * voxel, abs=0.06)
    assert lungs.mask.shape == scan.shape


def test_refusals() -> None:
    scan = phantom().volume
    with pytest.raises(InputError, match="No lungs"):
        segment_scan(replace(scan, array=np.zeros_like(scan.array)))
    with pytest.raises(InputError, match="Hounsfield"):
        segment_scan(replace(scan, intensity="unit"))
    with pytest.raises(InputError, match="spacing"):
        segment_scan(replace(scan, affine=unknown_affine()))
