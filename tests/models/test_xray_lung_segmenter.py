"""A network with known weights on X-rays: masks on their own grid, files that are none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from covidct.errors import CheckpointError, InputError, UsageError
from covidct.functional import clean_lung_mask
from covidct.models import FPNDenseNet, XRayLungSegmenter
from covidct.transforms import prepare_image, to_sample
from covidct.volume import Image
from covidct.weights import sha256_file
from tests.fakes.xray_lung_network import PARAMETERS, RECORD, dark_network, two_boxes, write_xray_lung_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


def dice(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(2 * np.sum((one > 0) & (other > 0)) / (np.sum(one > 0) + np.sum(other > 0)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_xray_lung_checkpoint(tmp_path_factory.mktemp("xray") / "lungs.ckpt")


@pytest.mark.parametrize("size", [128, None])
@pytest.mark.parametrize(("height", "width"), [(120, 160), (333, 250), (128, 128)])
def test_masks_lie_on_the_grid_of_the_image(size: int | None, height: int, width: int) -> None:
    image, lungs = two_boxes(height, width)
    found = XRayLungSegmenter(dark_network(), replace(RECORD, size=size))(image)
    assert found.dtype == np.uint8
    assert found.shape == lungs.shape
    assert set(np.unique(found)) == {0, 1}
    assert dice(found, lungs) > 0.85  # it sees a quarter of the size, and where it is padded the rim is dark too


def test_colour_is_grey() -> None:
    image, _ = two_boxes()
    segmenter = XRayLungSegmenter(dark_network(), RECORD)
    colour = Image(np.repeat(image.array[..., None], 3, 2))
    assert np.mean(segmenter(colour) != segmenter(image)) < 1e-3  # luminance rounds


def test_an_image_without_lungs_is_an_empty_mask() -> None:
    grey = np.full((90, 70), 0.8, np.float32)
    grey[:8, :8] = 0.2  # 1 % of it
    found = XRayLungSegmenter(dark_network(), RECORD)(Image(grey))
    assert found.shape == (90, 70)
    assert not found.any()


def test_is_the_networks_mask_cleaned() -> None:
    """A network of random weights, cut at the middle of its logits, where image and network have one size."""
    torch.manual_seed(0)
    network, image = FPNDenseNet(pyramid_channels=4, segmentation_channels=64).eval(), two_boxes(128, 128)[0]
    seen = to_sample({"image": prepare_image(image, replace(RECORD, mask_source="none"))["image"][0]})["image"][None]
    with torch.no_grad():
        middle = network(seen).median()
        network.network.segmentation_head[0].bias -= middle
        expected = clean_lung_mask((network(seen)[0, 0] > 0).numpy())
    found = XRayLungSegmenter(network, RECORD)(image)
    assert 0.05 < found.mean() < 0.95
    np.testing.assert_array_equal(found, expected)


def test_reads_the_checkpoint_of_its_task(checkpoint: Path) -> None:
    segmenter = XRayLungSegmenter.from_checkpoint(checkpoint)
    assert segmenter.preprocessing == RECORD
    assert segmenter.mask_source == f"checkpoint:{sha256_file(checkpoint)}"
    image, _ = two_boxes()
    np.testing.assert_array_equal(segmenter(image), XRayLungSegmenter(dark_network(), RECORD)(image))


def test_later_training_changes_nothing() -> None:
    network, (image, _) = dark_network(), two_boxes()
    segmenter = XRayLungSegmenter(network, RECORD)
    before = segmenter(image)
    with torch.no_grad():
        network.network.segmentation_head[0].bias.fill_(100)
    np.testing.assert_array_equal(segmenter(image), before)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"task": "UNet2dTask"}, "UNet2dTask"),
        ({"record": replace(RECORD, masking="lungs")}, "masking='lungs'"),
        ({"record": replace(RECORD, kind="ct_slice")}, "kind='ct_slice'"),
        ({"backbone": "resnet18"}, "damaged"),
        ({"pyramid_channels": 2}, "do not fit"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, options: dict[str, Any], match: str) -> None:
    path = write_xray_lung_checkpoint(tmp_path / "other.ckpt", **options)
    with pytest.raises(CheckpointError, match=match):
        XRayLungSegmenter.from_checkpoint(path)


def test_other_records_are_refused() -> None:
    assert set(PARAMETERS) <= {"backbone", "pyramid_channels", "segmentation_channels", "dropout"}
    with pytest.raises(UsageError, match="whole X-rays"):
        XRayLungSegmenter(dark_network(), replace(RECORD, masking="no_lungs"))


@pytest.mark.parametrize(
    "image",
    [
        Image(np.zeros((0, 80), np.float32)),
        Image(np.zeros((80, 80), np.float32)),
        replace(two_boxes()[0], modality="CT"),
        two_boxes(60, 60)[0],
    ],
)
def test_what_is_no_xray_is_refused(image: Image) -> None:
    with pytest.raises(InputError):
        XRayLungSegmenter(dark_network(), RECORD)(image)
