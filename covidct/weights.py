"""Weights on disk: safetensors with metadata and sha256, training checkpoints, ImageNet backbones.

The only ``torch.load`` of the library stands here, always with ``weights_only=True`` and without a fallback: a file
that holds pickled objects could run code, so it is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import sys
import zipfile
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from covidct.atomic import atomic_path
from covidct.errors import CheckpointError, UsageError, WeightsError
from covidct.legacy_torch import without_class_sources

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from torch import Tensor, nn

__all__ = (
    "RECORD_KEY",
    "batch_counters",
    "imagenet_weights",
    "load_checkpoint",
    "load_foreign",
    "load_state",
    "load_weights",
    "save_weights",
    "sha256_file",
)

RECORD_KEY = "covidct"
"""Key of the record (task, classes, pre-processing, version) in checkpoints and in the metadata of weights files."""

_LOGGER = logging.getLogger(__name__)
_LISTED_KEYS = 5
_BLOCK = 1 << 20
_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hex sha256 of a file's bytes.

    Raises:
        WeightsError: when the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise WeightsError(f"{Path(path).name} cannot be read ({error.strerror or error}): check the path.") from error
    return digest.hexdigest()


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
    _require_file(path, WeightsError)
    if sha256 is not None:
        _require_sha256(path, sha256)
    if path.suffix != ".safetensors":
        return _require_tensors(_torch_load(path, WeightsError), path), {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get(RECORD_KEY, "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path.name} is not a whole safetensors file ({error}): fetch it again.") from error


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a training checkpoint that a covidct task wrote.

    Args:
        path: a ``.ckpt`` file.

    Returns:
        The checkpoint with CPU tensors, mapped from disk where the file allows it: copy what outlives the file.

    Raises:
        CheckpointError: when the file is missing, damaged, holds pickled objects, or no covidct task wrote it.
    """
    path = Path(path)
    _require_file(path, CheckpointError)
    try:
        return _require_record(_torch_load(path, CheckpointError), path)
    except CheckpointError as error:
        if path.suffix.lower() != ".pth":
            raise
        raise CheckpointError(
            f"{path.name} is no checkpoint of a covidct task: give a .ckpt file; a .pth file of COVID-CT-Mask-Net's "
            "author becomes one by `covidct convert`."
        ) from error


def load_foreign(path: str | os.PathLike[str], *, stand_ins: Mapping[str, type]) -> Any:  # noqa: ANN401
    """Read a file of another project that holds, beside tensors and plain data, objects of a few known classes.

    The unpickler still runs nothing: each class on the list is replaced by a stand-in of ours, which takes the object's
    attributes and has no behaviour, and any other class is refused.

    Args:
        path: a ``.pth`` file.
        stand_ins: full name of each class that the file may name (``"module.Class"``) to the class used instead.

    Returns:
        What the file holds, tensors on the CPU.

    Raises:
        WeightsError: when the file is missing or damaged, or names another class.
    """
    path = Path(path)
    _require_file(path, WeightsError)
    with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in stand_ins.items()]):
        if zipfile.is_zipfile(path):
            return _torch_load(path, WeightsError)
        return _torch_load(path, WeightsError, io.BytesIO(without_class_sources(path.read_bytes())))


def load_state(
    module: nn.Module, state: Mapping[str, Tensor], *, source: str, error: type[WeightsError] = WeightsError
) -> None:
    """Copy ``state`` into ``module``; every name and shape must agree.

    Args:
        module: the network or task.
        state: names to tensors.
        source: where the tensors come from, for the message (a file name).
        error: class of the error to raise.

    Raises:
        WeightsError: lists the first five missing, unexpected and unlike entries; nothing has been copied then.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    unlike = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    faults = [
        f"{len(names)} {what}: {', '.join(names[:_LISTED_KEYS])}{', ...' if len(names) > _LISTED_KEYS else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", unlike))
        if names
    ]
    if faults:
        raise error(
            f"The weights of {source} do not fit {type(module).__name__} ({'; '.join(faults)}): "
            "they belong to another network or to other hyper-parameters."
        )
    module.load_state_dict(dict(state), strict=True)


def imagenet_weights(backbone: str, source: str) -> dict[str, Tensor]:
    """Weights of a torchvision classification network, by name or from a file; never random ones.

    A file that torchvision fetched before is used from the folder of ``torch.hub``; else it is downloaded there. Its
    sha256 must begin with the hash in its name, on disk too.

    Args:
        backbone: name of the torchvision network, such as ``"resnet50"``.
        source: a name of its weights enum (``"IMAGENET1K_V2"`` or ``"ResNet50_Weights.IMAGENET1K_V2"``), or the path of
            a ``.pth``, ``.pt`` or ``.safetensors`` file.

    Returns:
        Names to CPU tensors, as torchvision names them (with the classifier ``fc``), and :func:`batch_counters` where
        the file has none.

    Raises:
        UsageError: when the network has no weights of that name.
        WeightsError: when the file can neither be read nor downloaded, or is damaged.
    """
    if Path(source).suffix in _SUFFIXES:
        return _with_counters(load_weights(source)[0])
    url = _weights_url(backbone, source)
    name = Path(urlparse(url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    found = re.search(r"-([0-9a-f]{8,})\.", name)
    if not path.is_file():
        _download(url, path, found.group(1) if found else None)
    return _with_counters(load_weights(path, sha256=found.group(1) if found else None)[0])


def batch_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Numbers of batches that batch normalisation has seen, for states of before PyTorch 0.4.1, which have none.

    torchvision publishes such files to this day. ``torch.nn.BatchNorm2d`` fills the counters up with 0 in the same way,
    and none of ours reads them.

    Args:
        state: names to tensors.

    Returns:
        Name of the counter to () int64, for each running mean of ``state``.
    """
    means = [name for name in state if name.endswith(".running_mean")]
    return {name.removesuffix("running_mean") + "num_batches_tracked": torch.tensor(0) for name in means}


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


def _download(url: str, path: Path, sha256: str | None) -> None:
    """Fetch ``url`` to ``path``, once however many processes ask for it."""
    from filelock import FileLock

    _LOGGER.info("Downloading %s", url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.is_file():
                torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256, progress=sys.stderr.isatty())
    except (OSError, HTTPException, RuntimeError) as error:
        raise WeightsError(
            f"The weights {path.name} are not in {path.parent} and cannot be downloaded from {url} ({error}): fetch "
            "the file on another machine and put it there, give its path as weights=, or train from random weights "
            "with weights=null."
        ) from error


def _require_file(path: Path, error: type[WeightsError]) -> None:
    """Refuse what is not a readable file."""
    if not path.is_file():
        raise error(f"{path} is not a file: check the path.")


def _require_sha256(path: Path, sha256: str) -> None:
    """Refuse a file of another digest."""
    found = sha256_file(path)
    if not found.startswith(sha256.lower()):
        raise WeightsError(
            f"{path.name} has the sha256 {found[: max(16, len(sha256))]}, expected {sha256}: it is damaged or another "
            f"file; delete it and fetch it again."
        )


def _require_record(checkpoint: Any, path: Path) -> dict[str, Any]:  # noqa: ANN401
    """Refuse what no covidct task wrote."""
    parts = ("state_dict", "hyper_parameters", RECORD_KEY)
    if not isinstance(checkpoint, dict) or not all(isinstance(checkpoint.get(part), dict) for part in parts):
        raise CheckpointError(
            f"{path.name} is no checkpoint of a covidct task (it lacks one of {', '.join(parts)}): "
            "give a .ckpt file that `covidct fit` or `covidct demo` wrote."
        )
    return checkpoint


def _require_tensors(state: object, path: Path) -> dict[str, Tensor]:
    """Refuse what is not a dict of names to tensors."""
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path.name} holds no plain state dict: give a file of names and tensors.")
    return state


def _torch_load(path: Path, error: type[WeightsError], content: io.BytesIO | None = None) -> Any:  # noqa: ANN401
    """The library's one ``torch.load``: tensors and plain data only, checksums verified, on the CPU.

    ``content`` stands for the bytes of the file where they were changed on the way.
    """
    try:
        zipped = content is None and zipfile.is_zipfile(path)
        if zipped:
            _require_checksums(path, error)
        return torch.load(content or path, map_location="cpu", weights_only=True, mmap=zipped)
    except WeightsError:
        raise
    except Exception as reason:  # a damaged file makes the reader fail in any way
        blocked = re.search(r"GLOBAL ([\w.]+)|global (\S+?) was not an allowed", str(reason))
        if blocked:
            name = blocked.group(1) or blocked.group(2)
            raise error(
                f"{path.name} holds a pickled object ({name}), which could run code when it is read, so it is refused "
                "and there is no fallback: train again with covidct, or ask its author for a file of plain tensors "
                "(safetensors)."
            ) from reason
        raise error(f"{path.name} is damaged or not a PyTorch file: copy or train it again.") from reason


def _require_checksums(path: Path, error: type[WeightsError]) -> None:
    """Compare the CRC of each entry, which ``torch.load`` does not."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise error(f"{path.name} is damaged (wrong checksum of {damaged!r}): copy or train it again.")
