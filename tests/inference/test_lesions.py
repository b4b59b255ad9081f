"""Lesions of a scan: masks and table of a network of known answers, pictures, what is known without units."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct.errors import UsageError
from covidct.inference import segment_lesions
from covidct.inference.lesions import display_slices, lesion_boxes, lesion_preview
from covidct.inference.segment import LungSegmentation
from covidct.models import LesionMaskRCNN, LesionSegmenter, LungSegmenter
from covidct.volume import Image, Volume, unknown_affine
from tests.fakes.checkpoint import phantom
from tests.fakes.lesion_network import RECORD, detect_by_grey_value, lesion_network
from tests.fakes.lung_network import two_tone, write_lung_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network answers by grey value."""
    monkeypatch.setattr(LesionMaskRCNN, "detect", detect_by_grey_value)


def segmenter(**changes: object) -> LesionSegmenter:
    return LesionSegmenter(lesion_network(), replace(RECORD, **changes), sha256="abc")  # type: ignore[arg-type]


def boxed(slices: int = 12) -> tuple[Volume, NDArray[np.uint8], NDArray[np.uint8]]:
    """Two dark lungs in grey tissue that is no lesion to the network; a cuboid of ground glass in the right one."""
    hu = np.full((slices, 64, 64), -500, np.int16)  # 0.5 of the window
    lungs = np.zeros(hu.shape, np.uint8)
    lungs[:, 16:48, 8:28], lungs[:, 16:48, 36:56] = 1, 2
    hu[lungs > 0] = -900
    lesion = np.zeros(hu.shape, np.uint8)
    lesion[4:8, 20:30, 10:20] = 1
    hu[lesion > 0] = -200
    return Volume(hu, np.diag([2.0, 2.0, 5.0, 1.0])), lungs, lesion


def test_the_table_is_that_of_a_cuboid() -> None:
    volume, lungs, lesion = boxed()
    found = segment_lesions(volume, segmenter=segmenter(), lungs=lungs)
    np.testing.assert_array_equal(found.mask, lesion)
    glass, dense, every = found.rows
    assert (glass.lesion, dense.lesion, every.lesion) == ("ground_glass_opacity", "consolidation", "all")
    assert glass.objects == every.objects == 1
    assert glass.volume_ml == pytest.approx(4 * 10 * 10 * 20 / 1000)
    assert glass.right_percent == pytest.approx(100 * 400 / (12 * 32 * 20))
    assert (glass.side, glass.left_percent, glass.mean_hu) == ("right", 0, -200)
    assert (dense.objects, dense.side) == (0, "none")
    assert (found.lesion_source, found.lung_source) == ("checkpoint:abc", "file")


def test_without_a_mask_the_lungs_are_found_by_threshold() -> None:
    found = segment_lesions(phantom().volume, segmenter=segmenter())
    assert found.lung_source == "threshold"
    assert found.rows[2].volume_ml > 0, "the body of a phantom is dense"
    assert np.isfinite(found.rows[2].lungs_percent)


def test_a_lung_network_finds_the_lungs(tmp_path: Path) -> None:
    lungs = LungSegmenter.from_checkpoint(write_lung_checkpoint(tmp_path / "lungs.ckpt"))
    scan, truth = two_tone()
    found = segment_lesions(scan, segmenter=segmenter(), lungs=lungs)
    assert found.lung_source == lungs.mask_source
    assert found.rows[2].left_percent > 70, "the left lung of 0 HU is consolidation to the network, but for its rim"
    assert found.rows[2].right_percent < 5
    given = segment_lesions(scan, segmenter=segmenter(), lungs=LungSegmentation(truth, {}, "file"))
    assert given.lung_source == "file"


def test_no_lungs_no_shares() -> None:
    volume, _, lesion = boxed()
    found = segment_lesions(volume, segmenter=segmenter())  # 0.25 l of lungs are none
    assert found.lung_source == ""
    assert found.rows[0].side is None
    assert "lung_mask" in found.rows[0].unknown
    assert found.rows[0].volume_ml == pytest.approx(np.sum(lesion) * 20 / 1000)


def test_a_picture_has_pixels_and_nothing_else() -> None:
    _, _, lesion = boxed()
    image = Image(np.where(lesion[5] > 0, 0.7, 0.2).astype(np.float32))
    found = segment_lesions(image, segmenter=segmenter(window=None))
    np.testing.assert_array_equal(found.mask, lesion[5])
    assert found.rows[0].objects == 1
    assert np.isnan(found.rows[0].volume_ml)
    assert np.isnan(found.rows[0].mean_hu)
    stack = Volume(np.stack([image.array] * 3), unknown_affine(), intensity="unit")
    found = segment_lesions(stack, segmenter=segmenter(window=None))
    assert (found.rows[0].objects, found.lung_source) == (1, "")


def test_no_lesions_are_no_error() -> None:
    volume, lungs, _ = boxed()
    found = segment_lesions(replace(volume, array=np.full_like(volume.array, -900)), segmenter=segmenter(), lungs=lungs)
    assert not found.mask.any()
    assert [row.objects for row in found.rows] == [0, 0, 0]
    assert lesion_preview(volume, found) is None


@pytest.mark.parametrize(("mask_type", "rows"), [("ggo", ["ground_glass_opacity"]), ("merge", ["all"])])
def test_a_network_of_one_class_has_one_row(mask_type: str, rows: list[str]) -> None:
    volume, lungs, _ = boxed()
    network = LesionSegmenter(lesion_network(mask_type), RECORD)  # type: ignore[arg-type]
    found = segment_lesions(volume, segmenter=network, lungs=lungs)
    assert [row.lesion for row in found.rows] == rows
    assert found.rows[0].objects == 1


def test_a_lesion_network_is_bound_to_its_lung_network() -> None:
    volume, lungs, _ = boxed()
    bound = segmenter(masking="lungs", mask_source="checkpoint:c0ffee")
    with pytest.raises(UsageError, match=r"c0ffee.*--lung-checkpoint"):
        segment_lesions(volume, segmenter=bound, lungs=lungs)
    own = LungSegmentation(lungs, {}, "checkpoint:c0ffee")
    assert segment_lesions(volume, segmenter=bound, lungs=own).mask.any()


def test_pictures_show_the_slices_with_lesions() -> None:
    volume, lungs, lesion = boxed()
    found = segment_lesions(volume, segmenter=segmenter(), lungs=lungs)
    preview = lesion_preview(volume, found)
    assert preview is not None
    assert preview.indices == (4, 5, 6, 7)
    np.testing.assert_array_equal(preview.labels, lesion[4:8])
    np.testing.assert_array_equal(np.unique(preview.slices), np.rint(255 * np.array([350, 750, 1050]) / 1500))
    assert [box.box for box in preview.boxes[0]] == [(10, 20, 20, 30)]
    assert lesion_boxes(found.detections[4])[0].score == pytest.approx(0.7)


def test_pictures_of_fine_slices_are_made_smaller() -> None:
    hu = np.full((3, 600, 800), -900, np.int16)
    hu[1, 150:300, 200:400] = -200
    volume = Volume(hu, np.eye(4))
    found = segment_lesions(volume, segmenter=segmenter())
    preview = lesion_preview(volume, found)
    assert preview is not None
    assert preview.slices.shape == preview.labels.shape == (1, 288, 384)
    rows, columns = np.nonzero(preview.labels[0])
    box = preview.boxes[0][0].box
    np.testing.assert_allclose(box, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), atol=6.0)
    own = lesion_preview(volume, found, widest="own")
    assert own is not None
    assert own.slices.shape == (1, 600, 800)


def test_display_values_are_shown_as_they_are() -> None:
    colour = Image(np.repeat(np.array([[0.0, 1.0]], np.float32)[..., None], 3, 2))
    np.testing.assert_array_equal(display_slices(colour, [0]), [[[0, 255]]])
    stack = Volume(np.array([[[0.0, 0.5, 1.0]]], np.float32), unknown_affine(), intensity="unit")
    np.testing.assert_array_equal(display_slices(stack, [0]), [[[0, 128, 255]]])
