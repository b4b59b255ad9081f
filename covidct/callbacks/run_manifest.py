"""``RunManifest``: what made a run, as one file beside its results."""

from __future__ import annotations

import json
import logging
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
from covidct.callbacks.run_folder import run_folder
from covidct.callbacks.run_record import dataset_record, optimizer_records, trainer_record, transform_record
from covidct.datamodules import BaseDataModule
from covidct.weights import sha256_file

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("RunManifest", "without_folders")

_LOGGER = logging.getLogger(__name__)
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
    of task, trainer and data module, of the data set and of the augmentation; optimizers and schedules as they begin;
    the pre-processing and the seed; the state of the git repository that the run was started in (commit, and whether
    files differ from it), where there is one; a digest of the records and contents of the data; and at the end the
    sha256 of every checkpoint. No paths, no host, no user, no site, no names of files but those of checkpoints and
    weights: arguments of a data set that are free text are left out.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._folder: Path | None = None
        self._record: dict[str, Any] = {}
        self._begun = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gather what is known at the start."""
        self._folder, self._begun = run_folder(trainer), False  # asks all processes, so nothing later has to
        if trainer.is_global_zero and not is_trial(trainer):
            self._record = _record(trainer, pl_module)

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write it, now that no callback has refused the run."""
        self._begin(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write it, unless that is done."""
        self._begin(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write it again, with the checkpoints."""
        self._write(trainer, status="done", checkpoints=_checkpoints(trainer) if trainer.is_global_zero else {})
        self._begun = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say that the run failed, and by what kind of error; asks no process and hides no error."""
        if not self._begun:
            return
        stopped = isinstance(exception, KeyboardInterrupt)
        try:
            self._write(trainer, status="interrupted" if stopped else f"failed: {type(exception).__name__}")
        except OSError as error:
            _LOGGER.warning("run.json could not say that the run failed: %s", error.strerror or error)
        self._begun = False

    def _begin(self, trainer: pl.Trainer) -> None:
        if not self._begun:
            self._begun = True
            self._write(trainer, status="running")

    def _write(self, trainer: pl.Trainer, *, status: str, checkpoints: dict[str, str] | None = None) -> None:
        if self._folder is None or not trainer.is_global_zero or is_trial(trainer):
            return
        self._record |= {
            "status": status,
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "checkpoints": checkpoints or {},
        }
        atomic_write_text(self._folder / "run.json", json.dumps(self._record, indent=1, default=str) + "\n")


def _record(trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
    """What a run is made of."""
    data: Any = getattr(trainer, "datamodule", None)
    preprocessing = getattr(data, "preprocessing", None)
    return {
        "kind": "covidct.run",
        "research_use": RESEARCH_USE,
        "status": "",
        "written": "",
        "versions": {"python": platform.python_version(), "covidct": __version__, **_versions()},
        "machine": _machine(trainer, pl_module),
        "seed": _seed(),
        "task": {"name": type(pl_module).__name__, **without_folders(pl_module.hparams)},
        **optimizer_records(trainer),
        "data": _data(data),
        "augmentation": transform_record(getattr(data, "train_transform", None)),
        "dataset": dataset_record(data.dataset) if isinstance(data, BaseDataModule) else None,
        "data_fingerprint": data.fingerprint() if isinstance(data, BaseDataModule) else None,
        "preprocessing": None if preprocessing is None else preprocessing.to_dict(),
        "trainer": trainer_record(trainer),
        "git": _git(),
    }


def _data(data: Any) -> dict[str, Any] | None:  # noqa: ANN401  (any data module)
    """Class and arguments of the data module, and how many samples it found."""
    if data is None:
        return None
    found = {"name": type(data).__name__, **without_folders(getattr(data, "hparams", {}))}
    if isinstance(data, BaseDataModule):
        found["holds_out_site"] = data.holds_out_site
        found["samples"] = {part: len(data.records(part)) for part in ("train", "val", "test")}
    return found


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
