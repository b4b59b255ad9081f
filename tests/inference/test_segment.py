"""Lungs of one scan, with volumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covidct.errors import InputError
from covidct.inference import segment_scan
from covidct.models import LungSegmenter
from covidct.volume import unknown_affine
from tests.fakes.checkpoint import phantom
from tests.fakes.lung_network import two_tone, write_lung_checkpoint


def test_volumes_are_counted_voxels() -> None:
    scan = phantom().volume
    lungs = segment_scan(scan)
    voxel = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    assert lungs.lungs_ml["right"] == pytest.approx(np.sum(lungs.mask == 1) * voxel, abs=0.06)
    assert lungs.lungs_ml["left"] == pytest.approx(np.sum(lungs.mask == 2) * voxel, abs=0.06)
    assert lungs.mask.shape == scan.shape


def test_a_network_finds_what_the_threshold_does_not(tmp_path: Path) -> None:
    scan, wanted = two_tone()
    with pytest.raises(InputError, match="No lungs"):
        segment_scan(scan)
    segmenter = LungSegmenter.from_checkpoint(write_lung_checkpoint(tmp_path / "x.ckpt"))
    lungs = segment_scan(scan, segmenter=segmenter)
    np.testing.assert_array_equal(lungs.mask, segmenter(scan))
    assert lungs.lungs_ml["right"] == pytest.approx(np.sum(wanted == 1), rel=0.1)  # a voxel is one millilitre
    assert lungs.lungs_ml["left"] == pytest.approx(np.sum(wanted == 2), rel=0.1)
    assert lungs.mask_source == segmenter.mask_source
    assert segment_scan(phantom().volume).mask_source == "threshold"


@pytest.mark.parametrize("network", [False, True])
def test_refusals(tmp_path: Path, network: bool) -> None:
    segmenter = LungSegmenter.from_checkpoint(write_lung_checkpoint(tmp_path / "x.ckpt")) if network else None
    scan = phantom().volume
    with pytest.raises(InputError, match="No lungs"):
        segment_scan(replace(scan, array=np.full_like(scan.array, -500)), segmenter=segmenter)
    with pytest.raises(InputError, match="Hounsfield"):
        segment_scan(replace(scan, intensity="unit"), segmenter=segmenter)
    with pytest.raises(InputError, match="spacing"):
        segment_scan(replace(scan, affine=unknown_affine()), segmenter=segmenter)
