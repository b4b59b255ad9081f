"""Files as the training of AlexTS1980/COVID-CT-Mask-Net writes them, of our networks' weights."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from torch import Tensor

ANCHORS = {"sizes": ((4, 8, 16, 32, 64),) * 5, "aspect_ratios": ((0.1, 0.25, 0.5, 1, 1.5, 2),) * 5}
"""Five tuples, as the reference passes them whatever the number of levels; not the sizes that are the default."""


def anchor_class(module: str, monkeypatch: pytest.MonkeyPatch) -> type[torch.nn.Module]:
    """A class of that module's name, as far as pickles of it go: a network part with the anchors as attributes."""

    class AnchorGenerator(torch.nn.Module):
        def __init__(self, sizes: object, aspect_ratios: object) -> None:
            super().__init__()
            self.sizes, self.aspect_ratios = sizes, aspect_ratios
            self.cell_anchors, self._cache = None, {}  # type: ignore[var-annotated]

    AnchorGenerator.__module__ = module
    AnchorGenerator.__qualname__ = "AnchorGenerator"
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules[module], "AnchorGenerator", AnchorGenerator, raising=False)
    return AnchorGenerator


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state of ours by the names of torchvision in 2020 and of the reference's module S."""
    renamed = {}
    for name, tensor in state.items():
        old = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for index in range(4):
            old = old.replace(f"fpn.inner_blocks.{index}.0.", f"fpn.inner_blocks.{index}.")
            old = old.replace(f"fpn.layer_blocks.{index}.0.", f"fpn.layer_blocks.{index}.")
            old = old.replace(f"mask_head.{index}.0.", f"mask_head.mask_fcn{index + 1}.")
        for ours, theirs in (("0", "fc_scores"), ("2", "fc_scores_2"), ("4", "fc_scores_img")):
            old = old.replace(f"classifier.{ours}.", f"s2new.{theirs}.")
        if old not in ("mean", "std"):
            renamed[old] = tensor
    return renamed


def write_reference(
    path: Path,
    network: torch.nn.Module,
    anchors: object,
    *,
    zipped: bool = True,
    state: dict[str, Tensor] | None = None,
) -> Path:
    """A file as the reference's training saves it; ``state`` instead of the network's own."""
    content = {
        "epoch": "100",
        "model_name": None,
        "model_weights": old_names(network.state_dict() if state is None else state),
        "optimizer_state": torch.optim.Adam(network.parameters()).state_dict(),
        "lrate": 1e-5,
        "anchor_generator": anchors,
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path
