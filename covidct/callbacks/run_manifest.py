"""``RunManifest``: what made a run, as one file beside its results."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from covidct import RESEARCH_USE, __version__
from covidct.atomic import atomic_write_text
from covidct.callbacks.checkpoints import is_trial
from covidct.weights import sha256_file

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("RunManifest", "without_folders")

_PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "torchmetrics",
    "monai",
    "numpy",
    "SimpleITK",
    "pydicom",
    "nibabel",
    "opencv-python-headless",
    "segmentation-models-pytorch",
)
_GIT_SECONDS = 10


class RunManifest(pl.Callback):
    """Writes ``run.json`` into the run's folder when a training begins, and again when it ends.

    Versions of Python, covidct and the packages that numbers depend on; device, processes and precision; the arguments
    of task and data module, the pre-processing and the seed; the state of the git repository that the run was started
    in (commit, and whether files differ from it), where there is one; a digest of the records and contents of the data;
    and at the end the sha256 of every checkpoint. No paths, no host, no user, no names of files but those of
    checkpoints and weights.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what is known at the start."""
        self._write(trainer, pl_module, status="running")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write it again, with the checkpoints."""
        self._write(trainer, pl_module, status="interrupted" if trainer.interrupted else "done")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say that the run failed, and by what kind of error."""
        self._write(trainer, pl_module, status=f"failed: {type(exception).__name__}")

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *, status: str) -> None:
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asks all processes
        if not trainer.is_global_zero or is_trial(trainer):
            return
        data: Any = getattr(trainer, "datamodule", None)
        preprocessing = getattr(data, "preprocessing", None)
        record = {
            "kind": "covidct.run",
            "research_use": RESEARCH_USE,
            "status": status,
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": {"python": platform.python_version(), "covidct": __version__, **_versions()},
            "machine": _machine(trainer, pl_module),
            "seed": _seed(),
            "task": {"name": type(pl_module).__name__, **without_folders(pl_module.hparams)},
            "data": {"name": type(data).__name__, **without_folders(getattr(data, "hparams", {}))}
            if data is not None
            else None,
            "dataset": type(data.dataset).__name__ if hasattr(data, "dataset") else None,
            "data_fingerprint": data.fingerprint() if hasattr(data, "fingerprint") else None,
            "preprocessing": None if preprocessing is None else preprocessing.to_dict(),
            "trainer": {
                "max_epochs": trainer.max_epochs,
                "max_steps": trainer.max_steps,
                "epoch": trainer.current_epoch,
            },
            "git": _git(),
            "checkpoints": _checkpoints(trainer) if status != "running" else {},
        }
        atomic_write_text(folder / "run.json", json.dumps(record, indent=1, default=str) + "\n")


def _versions() -> dict[str, str | None]:
    """Package to version; None for those that are not there."""
    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _machine(trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
    """The kind of machine, without its name."""
    device = pl_module.device
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cuda": torch.version.cuda,
        "processes": trainer.world_size,
        "precision": str(trainer.precision),
    }


def _seed() -> int | None:
    """The seed that Lightning was given."""
    seed = os.environ.get("PL_GLOBAL_SEED", "")
    return int(seed) if seed.isdigit() else None


def without_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in which paths, nested ones too, have lost their folders.

    Args:
        values: arguments by name.

    Returns:
        A copy; of a path its last part.
    """
    return {str(name): _without_folder(value) for name, value in values.items()}


def _without_folder(value: Any) -> Any:  # noqa: ANN401  (any argument)
    if hasattr(value, "items"):
        return without_folders(value)
    if isinstance(value, list | tuple):
        return [_without_folder(one) for one in value]
    return Path(value).name if _is_path(value) else value


def _is_path(value: object) -> bool:
    """Whether an argument names a file by its place."""
    return isinstance(value, os.PathLike) or (isinstance(value, str) and (os.sep in value or "/" in value))


def _git() -> dict[str, Any] | None:
    """Commit of the folder that the run was started in, and whether tracked files differ; None outside a repository."""
    try:
        commit = _ask_git("rev-parse", "HEAD")
        changed = bool(_ask_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": changed}


def _ask_git(*arguments: str) -> str:
    """What git says."""
    done = subprocess.run(  # noqa: S603  (fixed words)
        ["git", *arguments],  # noqa: S607  (the user's own git)
        check=True,
        capture_output=True,
        text=True,
        timeout=_GIT_SECONDS,
    )
    return done.stdout.strip()


def _checkpoints(trainer: pl.Trainer) -> dict[str, str]:
    """Name to sha256 of the files beside the last checkpoint."""
    kept = trainer.checkpoint_callback
    last = getattr(kept, "last_model_path", "") or getattr(kept, "best_model_path", "")
    files = sorted(Path(last).parent.glob("*.ckpt")) if last else []
    return {file.name: sha256_file(file) for file in files}
