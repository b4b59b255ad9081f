from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytorch_lightning as pl

from covidct.datamodules import CXRDataModule
from covidct.errors import UsageError
from covidct.tasks.training_statistics import training_statistics
from tests.fakes.chests import FakeCXR

if TYPE_CHECKING:
    from pathlib import Path


class Run:
    """What a trainer knows of its data."""

    def __init__(self, datamodule: pl.LightningDataModule | None) -> None:
        self.datamodule = datamodule


def test_they_are_those_of_the_data_module(tmp_path: Path) -> None:
    module = CXRDataModule(FakeCXR(12), size=16, cache_dir=str(tmp_path))
    module.prepare_data()
    module.setup("fit")
    assert training_statistics(Run(module)) == module.image_statistics()  # type: ignore[arg-type]


@pytest.mark.parametrize("module", [None, pl.LightningDataModule()])
def test_other_data_modules_are_refused(module: pl.LightningDataModule | None) -> None:
    with pytest.raises(UsageError, match="normalisation='dataset' needs a data module"):
        training_statistics(Run(module))  # type: ignore[arg-type]
