"""The configuration of a command, beside what it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_lightning.cli import SaveConfigCallback

from covidct.callbacks.run_folder import own_run_folder

if TYPE_CHECKING:
    import pytorch_lightning as pl

__all__ = ("RunConfig",)


class RunConfig(SaveConfigCallback):
    """Writes the configuration into the folder of the run; Lightning's goes into the one that all runs share."""

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write the file; only process 0 calls this."""
        folder = own_run_folder(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        self.parser.save(
            self.config, folder / self.config_filename, skip_none=False, overwrite=True, multifile=self.multifile
        )
