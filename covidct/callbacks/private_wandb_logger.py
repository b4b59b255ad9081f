"""``PrivateWandbLogger``: Weights & Biases without what it gathers on its own about the user and the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import WandbLogger

from covidct.callbacks.run_manifest import without_folders

if TYPE_CHECKING:
    from argparse import Namespace

__all__ = ("PrivateWandbLogger",)


class PrivateWandbLogger(WandbLogger):
    """Lightning's logger with what may name a patient, a person or a place left out.

    On its own wandb records the command line, the working folder, host, user, the git repository and what is printed to
    the terminal: paths are often named by patients or hospitals. Here none of that is gathered, and arguments that are
    paths lose their folders. Metrics, tables, figures and plain arguments are logged as usual.

    Args:
        project: name of the project.
        name: of the run; None lets wandb choose.
        save_dir: folder of the run's files.
        offline: write files alone, nothing is sent; ``wandb sync`` sends them later. The default is safe: whether
            figures of scans may leave the house is for the user to say.
        version: id of a run to go on with.

    Raises:
        ModuleNotFoundError: when wandb is not installed.
    """

    def __init__(
        self,
        *,
        project: str = "covidct",
        name: str | None = None,
        save_dir: str = ".",
        offline: bool = True,
        version: str | None = None,
    ) -> None:
        """Prepare the run; it begins when something is logged."""
        import wandb

        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
        )
        super().__init__(
            project=project, name=name, save_dir=save_dir, offline=offline, version=version, settings=settings
        )

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log arguments, paths without their folders."""
        super().log_hyperparams(without_folders(params if isinstance(params, dict) else vars(params)))
