"""Tasks as folders of ``config.json`` and ``model.safetensors``, on disk or on the Hugging Face hub."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct.atomic import atomic_write_text
from covidct.errors import WeightsError
from covidct.tasks.load import build_task
from covidct.weights import RECORD_KEY, load_state, load_weights, save_weights
from covidct.weights.download import OFFLINE, is_offline

if TYPE_CHECKING:
    import os

    from covidct.tasks.base import BaseTask

__all__ = ("CONFIG", "WEIGHTS", "load_pretrained", "plain_hyper_parameters", "save_pretrained")

CONFIG = "config.json"
"""Name of the file of task, hyper-parameters, classes and pre-processing."""
WEIGHTS = "model.safetensors"
"""Name of the file of weights."""

_HUB_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_SOURCES = ("weights",)  # hyper-parameters that say where a training started from: a path, of no use elsewhere


def save_pretrained(task: BaseTask, folder: str | os.PathLike[str]) -> None:
    """Write a task as ``config.json`` and ``model.safetensors``; files of these names are replaced.

    The folder holds what a checkpoint holds for use, without the state of the training: no path, no subject.

    Args:
        task: with the pre-processing that shall travel with it.
        folder: made when absent.
    """
    folder = Path(folder)
    record: dict[str, Any] = {}
    task.on_save_checkpoint(record)
    config = record[RECORD_KEY]
    digest = save_weights(task.state_dict(), folder / WEIGHTS, {"task": config["task"]})
    config |= {"library": "covidct", "hyper_parameters": plain_hyper_parameters(task), "weights_sha256": digest}
    atomic_write_text(folder / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def load_pretrained(source: str | os.PathLike[str], *, revision: str | None = None) -> BaseTask:
    """Read what :func:`save_pretrained` wrote.

    Args:
        source: a folder, or a name on the Hugging Face hub (``"owner/name"``), which needs the package
            ``huggingface_hub`` and, unless its cache has the files, a connection.
        revision: branch, tag or commit on the hub; None: its main branch.

    Returns:
        The task in evaluation mode, on the CPU.

    Raises:
        WeightsError: when there is nothing of that name, or files are missing, damaged or do not fit.
        CheckpointError: when it belongs to no known task, or its hyper-parameters or record are damaged.
    """
    config_path, weights_path = _files(source, revision)
    name = str(source)
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"The {CONFIG} of {name} cannot be read ({error}): fetch it again.") from error
    if not isinstance(config, dict) or config.get("library") != "covidct":
        raise WeightsError(f"The {CONFIG} of {name} is not one of covidct: give what save_pretrained wrote.")
    parameters = config.get("hyper_parameters")
    task = build_task(config, parameters if isinstance(parameters, dict) else {}, source=name)
    state, _ = load_weights(weights_path, sha256=str(config.get("weights_sha256")))
    load_state(task, state, source=name)
    return task.eval()


def plain_hyper_parameters(task: BaseTask) -> dict[str, Any]:
    """Hyper-parameters as JSON has them, without where the training started from."""
    found = {name: None if name in _SOURCES else value for name, value in task.hparams.items()}
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _files(source: str | os.PathLike[str], revision: str | None) -> tuple[Path, Path]:
    """Where configuration and weights are on this machine."""
    folder = Path(source)
    if folder.is_dir():
        missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
        if missing:
            raise WeightsError(f"The folder {folder} has no {missing[0]}: give what save_pretrained wrote.")
        return folder / CONFIG, folder / WEIGHTS
    if not isinstance(source, str) or not _HUB_NAME.fullmatch(source) or folder.exists():
        raise WeightsError(f"{source} is no folder, nor a name on the hub (owner/name): check the path.")
    return _from_hub(source, CONFIG, revision), _from_hub(source, WEIGHTS, revision)


def _from_hub(name: str, file: str, revision: str | None) -> Path:
    """A file of the Hugging Face hub, fetched unless the client's cache has it."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise WeightsError(
            f"{name} is no folder here, and names on the hub need huggingface_hub: pip install huggingface_hub, or "
            "give a folder."
        ) from error
    try:
        return Path(hf_hub_download(name, file, revision=revision, local_files_only=is_offline()))
    except Exception as error:  # the client raises what its own libraries raise
        reason = " ".join(str(error).split())
        way = f"unset {OFFLINE}" if is_offline() else "check name and connection"
        raise WeightsError(
            f"{file} of {name} cannot be had from the hub ({reason}): {way}, or copy the repository and give its "
            "folder."
        ) from error
