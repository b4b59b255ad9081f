"""Statistics of the training images in the buffers of a network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from covidct.errors import UsageError
from covidct.tasks.normalisation import check_normalisation, fill_statistics

if TYPE_CHECKING:
    import pytorch_lightning as pl


@pytest.mark.parametrize(
    ("normalisation", "given", "words"),
    [
        ("dataset", {"mean": [0.5], "std": None}, "leave both out"),
        ("dataset", {"mean": None, "std": [0.5]}, "leave both out"),
        ("batch", {"mean": None, "std": None}, "normalisation='batch' is unknown"),
    ],
)
def test_contradictions_are_refused(normalisation: Any, given: dict[str, Any], words: str) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match=words):
        check_normalisation(normalisation, **given)
    check_normalisation("dataset", mean=None, std=None)
    check_normalisation("imagenet", mean=[0.5], std=None)


@pytest.mark.parametrize("channels", [1, 3])
def test_all_channels_get_one_value(channels: int) -> None:
    data = SimpleNamespace(image_statistics=lambda: (0.375, 0.125))
    trainer: pl.Trainer = SimpleNamespace(datamodule=data)  # type: ignore[assignment]
    mean, std = (torch.rand(1, channels, 1, 1) for _ in range(2))
    fill_statistics(mean, std, trainer)
    assert mean.flatten().tolist() == [0.375] * channels
    assert std.flatten().tolist() == [0.125] * channels
