"""``PrivateWandbLogger``: Weights & Biases without what it gathers on its own about the user and the machine."""

from __future__ import annotations

import atexit
from html import escape
from typing import TYPE_CHECKING, Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import WandbLogger

from covidct.callbacks.run_manifest import without_folders

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

__all__ = ("PrivateWandbLogger",)


class PrivateWandbLogger(WandbLogger):
    """Lightning's logger with what may name a patient, a person or a place left out.

    On its own wandb records the command line, the working folder, host, user, the git repository and what is printed to
    the terminal: paths are often named by patients or hospitals. Here none of that is gathered, and arguments that are
    paths lose their folders. Metrics, figures and plain arguments are logged as usual; tables as pages of HTML, since
    wandb's own tables leave the path of the user's home in the files of the run.

    A run is closed at the latest when its process ends (:meth:`close`, which ``covidct fit`` calls): wandb alone is cut
    off there, and writes a traceback with the paths of its files into the log of the run.

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
        self._failed = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:  # noqa: ANN401  (wandb's run)
        """The run of wandb, which begins here."""
        begins = self._experiment is None
        run = super().experiment
        if begins:
            atexit.register(self.close)
        return run

    def log_table(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[Any]] | None = None,
        dataframe: Any = None,  # noqa: ANN401  (Lightning's, of pandas)
        step: int | None = None,
    ) -> None:
        """Log a table as HTML.

        Args:
            key: name of the table.
            columns: names of the columns.
            data: rows, a cell for each column.
            dataframe: of pandas, in place of both.
            step: of the training.
        """
        import wandb

        if dataframe is not None:
            columns, data = list(dataframe.columns), dataframe.to_numpy().tolist()
        rows = [_row("th", columns or []), *(_row("td", row) for row in data or [])]
        self.log_metrics({key: wandb.Html(f"<table>{''.join(rows)}</table>", inject=False)}, step=step)  # type: ignore[dict-item]

    def finalize(self, status: str) -> None:
        """Know how a command of the trainer ended; the next one may log into the same run."""
        super().finalize(status)
        self._failed = status == "failed"

    def close(self) -> None:
        """End the run, as failed where the trainer's last command did; what is logged later begins another one."""
        run, self._experiment = self._experiment, None
        if run is not None:
            atexit.unregister(self.close)
            run.finish(exit_code=int(self._failed))

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log arguments, paths without their folders."""
        super().log_hyperparams(without_folders(params if isinstance(params, dict) else vars(params)))


def _row(kind: str, cells: Sequence[Any]) -> str:
    """A row of an HTML table; an absent value is an empty cell."""
    shown = ["" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells]
    return f"<tr>{''.join(f'<{kind}>{escape(text)}</{kind}>' for text in shown)}</tr>"
