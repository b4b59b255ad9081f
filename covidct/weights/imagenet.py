"""torchvision's published weights, and files in their form."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import torch

from covidct.errors import UsageError
from covidct.weights.download import download
from covidct.weights.fetch import weights_path
from covidct.weights.state import batch_counters
from covidct.weights.tensors import load_weights

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("imagenet_weights",)

_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
_OTHERWISE = "give its path as weights=, or train from random weights with weights=null"


def imagenet_weights(backbone: str, source: str) -> dict[str, Tensor]:
    """Weights of a torchvision classification network, by name or from a file; never random ones.

    A file that torchvision fetched before is used from the folder of ``torch.hub``; else it is downloaded there. Its
    sha256 must begin with the hash in its name, on disk too.

    Args:
        backbone: name of the torchvision network, such as ``"resnet50"``.
        source: a name of its weights enum (``"IMAGENET1K_V2"`` or ``"ResNet50_Weights.IMAGENET1K_V2"``), a name of
            :func:`covidct.weights.published_weights`, or the path of a ``.pth``, ``.pt`` or ``.safetensors`` file.

    Returns:
        Names to tensors on the CPU, as torchvision names them (with the classifier ``fc``), and
        :func:`batch_counters` where the file has none.

    Raises:
        UsageError: when the network has no weights of that name.
        WeightsError: when the file can neither be read nor downloaded, or is damaged.
    """
    source = weights_path(source)
    if Path(source).suffix in _SUFFIXES:
        return _with_counters(load_weights(source)[0])
    url = _weights_url(backbone, source)
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    sha256 = found.group(1) if found else None
    if not path.is_file():
        download([url], path, sha256=sha256, otherwise=_OTHERWISE)
    return _with_counters(load_weights(path, sha256=sha256)[0])


def _with_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state, with the counters that it lacks."""
    return batch_counters(state) | state


def _weights_url(backbone: str, name: str) -> str:
    """Address of the weights ``name`` of ``backbone`` in torchvision's enums."""
    from torchvision.models import get_model_weights

    try:
        enum = get_model_weights(backbone)
    except ValueError as error:
        raise UsageError(f"backbone={backbone!r} is no torchvision network: use one such as 'resnet50'.") from error
    prefix, _, short = name.rpartition(".")
    if prefix not in ("", enum.__name__) or short not in enum.__members__:
        known = ", ".join(enum.__members__)
        raise UsageError(f"weights={name!r} is unknown for {backbone}: use one of {known}, a path to a file, or null.")
    return str(enum[short].url)
