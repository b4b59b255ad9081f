"""Which lesion network is used, and with which thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from covidct.errors import UsageError
from covidct.inference.lesion_network import find_lesion_network, given_thresholds
from tests.fakes.lesion_network import write_lesion_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def test_options_that_are_not_given_are_the_checkpoints(tmp_path: Path) -> None:
    path = write_lesion_checkpoint(tmp_path / "x.ckpt")
    given = given_thresholds(roi_nms=0.0, rpn_nms=0.25)
    assert given == {"nms_threshold": 0.0, "rpn_nms_threshold": 0.25}
    network = find_lesion_network(path, thresholds=given, device=CPU, assume_window=True)
    assert network is not None
    assert network.thresholds == {"score": 0.5, "mask": 0.5, "nms": 0.0, "rpn_nms": 0.25}
    assert network.assume_window


def test_thresholds_without_a_network_are_refused() -> None:
    assert find_lesion_network(None, thresholds=given_thresholds(), device=CPU) is None
    with pytest.raises(UsageError, match="mask_threshold belong"):
        find_lesion_network(None, thresholds=given_thresholds(mask_threshold=0.0), device=CPU)
