"""A network with known weights on slices: masks in closed form, values it does not know, files that are none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from covidct.errors import CheckpointError, InputError, UsageError
from covidct.models import SliceLungSegmenter, UNet2d
from covidct.preprocessing import Preprocessing
from tests.functional.test_background import as_picture, chest, dice

if TYPE_CHECKING:
    from pathlib import Path

RECORD = Preprocessing(kind="ct_slice", classes=("background", "lung"), size=128, mask_source="file")
PARAMETERS: dict[str, Any] = {"in_channels": 1, "channels": [2, 2], "upsample": "transpose", "pad": False}


def dark_network(threshold: float = 0.35) -> UNet2d:
    """Hand-set weights: the image goes through to the head, which says how much darker than the threshold it is.

    In the window -1250 to 250 HU lungs have 0.27 and tissue 0.86.
    """
    network = UNet2d(channels=(2, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for block in (network.down[0], network.merge[-1]):
            for layer in block.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.weight[0, 0, 1, 1] = 1
                elif isinstance(layer, nn.BatchNorm2d):
                    layer.weight.fill_(1)
        network.head.weight[0, 0] = -1
        assert network.head.bias is not None
        network.head.bias[0] = threshold
    return network


def write(path: Path, *, record: Preprocessing = RECORD, task: str = "UNet2dTask", **parameters: Any) -> Path:  # noqa: ANN401
    checkpoint = {
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"model.{name}": value for name, value in dark_network().state_dict().items()},
        "hyper_parameters": {**PARAMETERS, "learning_rate": 1e-3, **parameters},
        "covidct": {
            "version": "0",
            "task": task,
            "class_names": list(record.classes),
            "preprocessing": record.to_dict(),
        },
    }
    torch.save(checkpoint, path)
    return path


def filled(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    """The chest without the air around it, so that dark is lung."""
    body = np.where(hu > -920, hu, 40)
    return np.asarray(body, np.int16)


@pytest.mark.parametrize("size", [128, 100, 256])
def test_masks_of_slices_of_any_size(size: int) -> None:
    hu, lungs = chest(256)
    segmenter = SliceLungSegmenter(dark_network(), replace(RECORD, size=size))
    found = segmenter(filled(hu))
    assert found.dtype == np.uint8
    assert found.shape == hu.shape
    assert dice(found, lungs) > 0.93
    one = SliceLungSegmenter(dark_network(), replace(RECORD, size=size), keep=1)(filled(hu))
    assert dice(one, lungs) < 0.75


def test_native_size_and_stacks() -> None:
    slices = np.stack([filled(chest(101, seed=n)[0]) for n in range(6)]).reshape(2, 3, 101, 101)
    segmenter = SliceLungSegmenter(dark_network(), replace(RECORD, size=None), slices=4)
    found = segmenter(slices)
    assert found.shape == slices.shape
    np.testing.assert_array_equal(found[1, 1], segmenter(slices[1, 1]))
    assert not segmenter(np.full((40, 40), 40, np.int16)).any()


def test_display_values() -> None:
    hu, lungs = chest(128)
    picture = as_picture(filled(hu))
    with pytest.raises(InputError, match=r"\[-1250, 250\]"):
        SliceLungSegmenter(dark_network(), RECORD)(picture)
    assumed = SliceLungSegmenter(dark_network(), RECORD, assume_window=True)
    unit = SliceLungSegmenter(dark_network(), replace(RECORD, window=None))
    for segmenter in (assumed, unit):
        for image in (picture, picture / np.float32(255)):
            assert dice(segmenter(image), lungs) > 0.9
    with pytest.raises(InputError, match="display values"):
        unit(hu)


def test_reads_a_checkpoint(tmp_path: Path) -> None:
    hu, _ = chest(128)
    segmenter = SliceLungSegmenter.from_checkpoint(write(tmp_path / "lungs.ckpt"), keep=1)
    given = SliceLungSegmenter(dark_network(), RECORD, keep=1)
    np.testing.assert_array_equal(segmenter(filled(hu)), given(filled(hu)))
    assert len(segmenter.sha256) == 64


def test_what_is_no_lung_network_of_slices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="UNet3dTask"):
        SliceLungSegmenter.from_checkpoint(write(tmp_path / "a.ckpt", task="UNet3dTask"))
    with pytest.raises(CheckpointError, match="hyper-parameters"):
        SliceLungSegmenter.from_checkpoint(write(tmp_path / "b.ckpt", channels=[2]))
    masked = replace(RECORD, masking="lungs")
    with pytest.raises(CheckpointError, match="whole slices"):
        SliceLungSegmenter.from_checkpoint(write(tmp_path / "c.ckpt", record=masked))
    with pytest.raises(UsageError, match="keep"):
        SliceLungSegmenter(dark_network(), RECORD, keep=0)
    with pytest.raises(InputError, match="no image"):
        SliceLungSegmenter(dark_network(), RECORD)(np.zeros(4, np.int16))
