"""Tensors by name on disk: safetensors with metadata and sha256, and plain states in PyTorch's own format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from covidct.atomic import atomic_path
from covidct.errors import WeightsError
from covidct.weights.digest import require_file, require_sha256, sha256_file
from covidct.weights.torch_files import torch_load

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ("RECORD_KEY", "load_weights", "save_weights")

RECORD_KEY = "covidct"
"""Key of the record (task, classes, pre-processing, version) in checkpoints and in the metadata of weights files."""


def save_weights(state: Mapping[str, Tensor], path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> str:
    """Write tensors and plain metadata to a safetensors file, whole or not at all.

    Args:
        state: names to tensors of any shape and dtype, as ``module.state_dict()`` gives them.
        path: file to write; its folder is made when absent.
        metadata: plain data (str, int, float, bool, list, dict, None); stored as JSON.

    Returns:
        Hex sha256 of the file, to be published beside it.
    """
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={RECORD_KEY: json.dumps(dict(metadata), sort_keys=True)})
    return sha256_file(path)


def load_weights(
    path: str | os.PathLike[str], *, sha256: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and metadata from a ``.safetensors`` file, or tensors from a ``.pth`` or ``.pt`` file.

    Args:
        path: the file.
        sha256: hex digest, or the start of one, that the file must have; None takes the file as it is.

    Returns:
        (names to CPU tensors, metadata); the metadata is empty for files that :func:`save_weights` did not write.

    Raises:
        WeightsError: when the file is missing, damaged, not a weights file, or has another sha256.
    """
    path = Path(path)
    require_file(path, WeightsError)
    if sha256 is not None:
        require_sha256(path, sha256)
    if path.suffix != ".safetensors":
        return _require_tensors(torch_load(path, WeightsError), path), {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get(RECORD_KEY, "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path.name} is not a whole safetensors file ({error}): fetch it again.") from error


def _require_tensors(state: object, path: Path) -> dict[str, Tensor]:
    """Refuse what is not a dict of names to tensors."""
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path.name} holds no plain state dict: give a file of names and tensors.")
    return state
