"""A lung network of X-rays with known weights: inside is what is darker than the mean of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from covidct.models import FPNDenseNet
from covidct.preprocessing import Preprocessing
from covidct.volume import Image

if TYPE_CHECKING:
    from pathlib import Path

RECORD = Preprocessing(kind="cxr", classes=("background", "lung"), window=None, size=128, mask_source="file")
PARAMETERS: dict[str, Any] = {
    "backbone": "densenet121",
    "pyramid_channels": 1,
    "segmentation_channels": 64,
    "dropout": 0.0,
}


def dark_network() -> FPNDenseNet:
    """The image goes through the encoder to the level of a quarter, is normalised there and turned over."""
    network = FPNDenseNet(pyramid_channels=1, segmentation_channels=64, mean=[0.0] * 3, std=[1.0] * 3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        features, decoder = network.network.encoder.features, network.network.decoder
        features.conv0.weight[0, 0, 3, 3] = 1
        features.norm0.weight.fill_(1)
        features.transition1.norm.weight.fill_(1)
        decoder.p2.skip_conv.weight[0, 0] = 1
        convolution, norm, _ = decoder.seg_blocks[3].block[0].block
        convolution.weight[:2, 0, 1, 1] = 1
        norm.weight[:2] = -1
        network.network.segmentation_head[0].weight[0, :2] = 1
        network.network.segmentation_head[0].bias[0] = -0.2
    return network.eval()


def write_xray_lung_checkpoint(
    path: Path, *, record: Preprocessing = RECORD, task: str = "FPNDenseNetTask", **parameters: object
) -> Path:
    """A checkpoint of that network, as the task writes it."""
    checkpoint = {
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"model.{name}": value for name, value in dark_network().state_dict().items()},
        "hyper_parameters": {**PARAMETERS, "learning_rate": 1e-4, **parameters},
        "covidct": {
            "version": "0",
            "task": task,
            "class_names": list(record.classes),
            "preprocessing": record.to_dict(),
        },
    }
    torch.save(checkpoint, path)
    return path


def two_boxes(height: int = 120, width: int = 160) -> tuple[Image, NDArray[np.uint8]]:
    """A bright chest of two dark boxes, with a speck and a hole, and the boxes alone."""
    lungs = np.zeros((height, width), np.uint8)
    top, low = height // 5, 4 * height // 5
    lungs[top:low, width // 8 : 3 * width // 8] = lungs[top:low, 5 * width // 8 : 7 * width // 8] = 1
    grey = np.where(lungs, np.float32(0.2), np.float32(0.8))
    grey[2 : 2 + height // 15, 2 : 2 + height // 15] = 0.2
    grey[height // 2 : height // 2 + 4, width // 4 : width // 4 + 4] = 0.8
    return Image(grey), lungs
