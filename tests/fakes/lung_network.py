"""A lung network that reads the side from the grey value, so that its mask is known in closed form.

Lungs of -1000 HU (right) and 0 HU (left) lie in -500 HU: no average of two of them is the third, so that outlines
between the voxels are clean. It is a test object and looks like no chest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from covidct.models import UNet3d
from covidct.preprocessing import Preprocessing
from covidct.volume import Volume
from tests.fakes.chests import ellipsoid

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RIGHT_BELOW, LEFT_ABOVE = -750.0, -250.0  # HU
CLASSES = ("background", "right_lung", "left_lung")
RECORD = Preprocessing(kind="ct_volume", classes=CLASSES, size=16, mask_source="file")
PARAMETERS: dict[str, Any] = {"channels": [2, 2], "norm": None, "num_classes": 3}


def grey_value_network() -> UNet3d:
    """Hand-set weights: the image goes through to the head, which compares it with the two thresholds."""
    network = UNet3d(channels=(2, 2), norm=None)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for block in (network.down[0], network.merge[-1]):
            for layer in block.modules():
                if isinstance(layer, nn.Conv3d):
                    layer.weight[0, 0, 1, 1, 1] = 1
        low, high = ((hu + 1250) / 1500 for hu in (RIGHT_BELOW, LEFT_ABOVE))  # the window -1250 to 250 HU
        network.head.weight[1:, 0] = torch.tensor([-10.0, 10.0])[:, None, None, None]
        assert network.head.bias is not None
        network.head.bias[1:] = torch.tensor([10 * low, -10 * high])
    return network


def write_lung_checkpoint(path: Path, *, record: Preprocessing | None = RECORD, **changes: Any) -> Path:  # noqa: ANN401
    """A file as the lung network's task writes it; ``changes`` replace parts of it."""
    checkpoint = {
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"model.{name}": value for name, value in grey_value_network().state_dict().items()},
        "hyper_parameters": {**PARAMETERS, "learning_rate": 1e-3},
        "covidct": {
            "version": "0",
            "task": "UNet3dTask",
            "class_names": list(CLASSES),
            "preprocessing": record and record.to_dict(),
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint | changes, path)
    return path


def two_tone(
    shape: tuple[int, int, int] = (24, 32, 32), spacing: tuple[float, float, float] = (10.0, 10.0, 10.0)
) -> tuple[Volume, NDArray[np.uint8]]:
    """A scan for the network, and its lungs."""
    right = ellipsoid(shape, (0.5, 0.5, 0.3), (0.35, 0.25, 0.15))
    left = ellipsoid(shape, (0.5, 0.5, 0.7), (0.3, 0.2, 0.15))
    hu = np.full(shape, -500, np.int16)
    hu[right], hu[left] = -1000, 0
    return Volume(hu, np.diag([*spacing[::-1], 1.0])), right.astype(np.uint8) + 2 * left.astype(np.uint8)
