"""One case, one probability: training's validation, test, predict, triage and both exported files agree on 20 scans."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch

from covidct.inference import export_checkpoint, triage
from covidct.tasks import MaskedGAPResNetTask
from tests.fakes.checkpoint import SHAPE, SIZE, write_nifti
from tests.inference.test_export import run_onnx, run_pt2

if TYPE_CHECKING:
    from torch import Tensor

    from covidct.datamodules import CTVolumeDataModule

CASES = 20


class Recorder(MaskedGAPResNetTask):
    """Keeps the probabilities that its steps judge."""

    def probabilities(self, logits: Tensor) -> Tensor:
        found = super().probabilities(logits)
        self.__dict__.setdefault("seen", []).extend(found.detach().clone())
        return found

    def taken(self) -> Tensor:
        """(N, C) since the last call."""
        return torch.stack(self.__dict__.pop("seen"))


def data_of(cache: Path) -> CTVolumeDataModule:
    """20 phantoms."""
    from covidct.datamodules import CTVolumeDataModule
    from covidct.datasets import PhantomCTVolumes

    return CTVolumeDataModule(
        PhantomCTVolumes(CASES, shape=SHAPE),
        size=SIZE,
        cache_dir=str(cache),
        val_fraction=0.34,
        test_fraction=0.34,
        batch_size=3,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Probabilities (20, C) by each path."""
    folder = tmp_path_factory.mktemp("paths")
    data = data_of(folder / "cache")
    data.prepare_data()
    data.setup("predict")
    everyone = data.predict_dataloader()
    trainer = pl.Trainer(
        max_epochs=1,
        limit_train_batches=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    torch.manual_seed(0)
    task = Recorder(num_classes=3, backbone="resnet18", slice_size=40, learning_rate=1e-3)
    by: dict[str, Any] = {}
    data.setup("fit")
    trainer.fit(task, train_dataloaders=data.train_dataloader(), val_dataloaders=everyone)
    by["fit-validate"] = task.taken()[-CASES:]
    task.preprocessing = data.preprocessing
    trainer.test(task, everyone, verbose=False)
    by["test"] = task.taken()
    rows = trainer.predict(task, everyone)
    assert rows is not None
    by["predict"] = torch.cat([row["prob"] for row in rows])  # type: ignore[call-overload]
    trainer.save_checkpoint(folder / "t.ckpt", weights_only=True)
    scans = [data.dataset.load(index).scan for index in range(CASES)]
    for index, scan in enumerate(scans):
        write_nifti(folder / "scans" / f"{index:02}.nii.gz", SimpleNamespace(volume=scan))  # type: ignore[arg-type]
    cohort = triage([folder / "scans"], checkpoint=folder / "t.ckpt", device="cpu", explain=False)
    by["triage"] = torch.tensor([list(scan.probabilities.values()) for scan in cohort.scans])
    inputs = [
        {name: batch[name][at][:, batch["slice_mask"][at]][None] for name in ("image", "lung_mask")}
        for batch in everyone
        for at in range(len(batch["id"]))
    ]
    export_checkpoint(folder / "t.ckpt", folder / "t.pt2", format="pt2")
    export_checkpoint(folder / "t.ckpt", folder / "t.onnx", format="onnx")
    for name, run in (("pt2", run_pt2(folder / "t.pt2")), ("onnx", run_onnx(folder / "t.onnx"))):
        by[name] = torch.cat([run(one)["prob"] for one in inputs])
    return by


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "limit"), [("fit-validate", 1e-5), ("test", 1e-5), ("triage", 1e-5), ("pt2", 1e-5), ("onnx", 1e-4)]
)
def test_every_path_gives_the_probabilities_of_predict(path: str, limit: float, found: dict[str, Tensor]) -> None:
    assert found[path].shape == (CASES, 3)
    assert found["predict"].std(0).max() > 100 * limit  # the scans are told apart
    torch.testing.assert_close(found[path], found["predict"], rtol=0, atol=limit)
