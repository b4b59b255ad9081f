"""One case, one probability: training's validation, test, predict, triage and both exported files agree on 20 scans."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from covidct import tasks
from covidct.datamodules import CTSliceDataModule, CTVolumeDataModule, CXRDataModule
from covidct.datasets import PhantomCTSlices, PhantomCTVolumes, PhantomCXR
from covidct.inference import export_checkpoint, triage
from tests.fakes.checkpoint import SHAPE, SIZE, write_nifti
from tests.fakes.small_tasks import SMALL
from tests.inference.test_export import run_onnx, run_pt2

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from covidct.sample import Batch
    from covidct.tasks import ClassificationTask

CASES = 20
SLICES = 12  # of other scans
DEPTH = 4  # of scans whose slices are all classified one by one
CHEST = 256  # pixels of an X-ray, for which DarkCovidNet is made
LIMITS = {"fit-validate": 1e-5, "test": 1e-5, "triage": 1e-5, "pt2": 1e-5, "onnx": 1e-4}


class AllSlices(PhantomCTSlices):
    """Every slice of 20 phantoms."""

    def _indices(self) -> list[int]:
        return list(range(self.shape[0]))


def cubes(**options: Any) -> CTVolumeDataModule:  # noqa: ANN401
    """Of 32 slices, some of them beside the scan."""
    return CTVolumeDataModule(PhantomCTVolumes(CASES, shape=SHAPE), size=SIZE, batch_size=3, **options)


def stacks(**options: Any) -> CTVolumeDataModule:  # noqa: ANN401
    """With the slices that the scan has: a file for one number of them takes all."""
    dataset = PhantomCTVolumes(CASES, shape=(SLICES, *SHAPE[1:]))
    return CTVolumeDataModule(dataset, size=SIZE, grid="slices", batch_size=3, **options)


def with_contrast(**options: Any) -> CTVolumeDataModule:  # noqa: ANN401
    return stacks(contrast="rms", **options)


def slices(**options: Any) -> CTSliceDataModule:  # noqa: ANN401
    dataset = AllSlices(CASES, slices_per_scan=1, shape=(DEPTH, 64, 64))
    return CTSliceDataModule(dataset, size=64, batch_size=3, augment=False, **options)


def chests(**options: Any) -> CXRDataModule:  # noqa: ANN401
    return CXRDataModule(PhantomCXR(CASES, shape=(CHEST, CHEST)), size=CHEST, batch_size=3, **options)


PARTS = {
    "fit": {"val_fraction": 0.34, "test_fraction": 0.34},
    "validate": {"val_fraction": 1.0, "test_fraction": 0.0},
    "test": {"val_fraction": 0.0, "test_fraction": 1.0},
}
"""Splits of the same cohort: one to train on, and all cases in the part that is looked at."""


@dataclass(frozen=True)
class Way:
    """How an architecture is trained and exported.

    Attributes:
        data: of 20 scans or X-rays.
        depth: slices of a ``.pt2`` file that takes no other number.
        exports: False: the number of its boxes is no function of the input's size.
        arguments: of the task, beside those that make it small.
    """

    data: Callable[..., Any] = stacks
    depth: int | None = None
    exports: bool = True
    arguments: dict[str, Any] = field(default_factory=dict)


WAYS = {
    "COVNetTask": Way(arguments={"num_classes": 3}),
    "CovidCTMaskNetTask": Way(slices, exports=False),
    "DarkCovidNetTask": Way(chests, arguments={"num_classes": 3}),
    "GatedEnsembleTask": Way(with_contrast, arguments={"num_classes": 3, "threshold": None}),
    "MaskedGAPResNetTask": Way(cubes, arguments={"num_classes": 3}),
    "ResNeXtPlusTask": Way(depth=SLICES, arguments={"num_classes": 3}),
    "SliceClassifierTask": Way(slices, arguments={"num_classes": 3}),
    "TwoLevelTask": Way(arguments={"level1_epochs": 1, "level1_slices": 3}),
}
"""One line for each task that gives probabilities of classes."""


def test_every_classifier_has_a_line() -> None:
    classifiers = {name for name in SMALL if issubclass(getattr(tasks, name), tasks.ClassificationTask)}
    assert set(WAYS) == classifiers


@pytest.fixture(scope="module", params=sorted(WAYS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def found(name: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Probabilities (N, C) by each path, N the 20 scans or X-rays, or all slices of the scans; scores of slices."""
    way, folder = WAYS[name], tmp_path_factory.mktemp("paths")
    torch.manual_seed(0)
    task = getattr(tasks, name)(**{**SMALL[name], **way.arguments})
    for part in task.modules():
        if isinstance(part, _BatchNorm):
            part.momentum = 1.0  # one step makes estimates that fit
    data, validated, tested = (way.data(cache_dir=str(folder / "cache"), **part) for part in PARTS.values())
    data.prepare_data()
    for one, stage in ((data, "predict"), (data, "fit"), (validated, "fit"), (tested, "test")):
        one.setup(stage)
    everyone = data.predict_dataloader()
    data.val_dataloader, data.test_dataloader = validated.val_dataloader, tested.test_dataloader
    by = by_trainer(task, data, everyone, folder)
    by["triage"], by["slice_scores"] = by_triage(data, folder)
    if way.exports:
        inputs = [one for batch in everyone for one in alone(batch, task.inputs)]
        export_checkpoint(folder / "t.ckpt", folder / "t.pt2", format="pt2", depth=way.depth)
        export_checkpoint(folder / "t.ckpt", folder / "t.onnx", format="onnx")
        for kind, run in (("pt2", run_pt2(folder / "t.pt2")), ("onnx", run_onnx(folder / "t.onnx"))):
            by[kind] = torch.cat([run(one)["prob"] for one in inputs])
    return by


def by_trainer(task: ClassificationTask, data: Any, everyone: Any, folder: Path) -> dict[str, Tensor]:  # noqa: ANN401
    """One step, then all cases by validation within the training, test and predict; writes the checkpoint.

    Each is in the order of ``everyone``, whatever the order it came in.
    """
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
    judged: dict[str, Tensor] = {}

    def keep(_: object, batches: tuple[Batch], output: Any) -> None:  # noqa: ANN401
        if not task.training:
            logits = output["logits"] if isinstance(output, dict) else output
            judged.update(zip(batches[0]["id"], task.probabilities(logits).detach(), strict=True))

    def taken() -> Tensor:
        found = torch.stack([judged[name] for batch in everyone for name in batch["id"]])
        judged.clear()
        return found

    hook = task.register_forward_hook(keep)
    by: dict[str, Tensor] = {}
    trainer.fit(task, datamodule=data)
    by["fit-validate"] = taken()
    trainer.test(task, datamodule=data, verbose=False)
    by["test"] = taken()
    hook.remove()
    rows: Any = trainer.predict(task, everyone)
    by["predict"] = torch.cat([row["prob"] for row in rows])
    trainer.save_checkpoint(folder / "t.ckpt", weights_only=True)
    return by


def by_triage(data: Any, folder: Path) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Probabilities (20, C) of the same cases from files, and scores (20, D) of their slices, NaN without a lung."""
    from tifffile import imwrite

    place = folder / "scans"
    place.mkdir()
    for index in range(CASES):
        scan = data.dataset.load(index).scan
        if data.dataset.kind == "cxr":
            imwrite(place / f"{index:02}.tif", scan.array.astype(np.float32))
        else:
            write_nifti(place / f"{index:02}.nii.gz", SimpleNamespace(volume=scan))  # type: ignore[arg-type]
    cohort = triage([place], checkpoint=folder / "t.ckpt", device="cpu", explain=False)
    assert [scan.error for scan in cohort.scans] == [""] * CASES
    prob = torch.tensor([list(scan.probabilities.values()) for scan in cohort.scans])
    return prob, torch.tensor(
        [[torch.nan if one is None else one for one in scan.slice_scores] for scan in cohort.scans]
    )


def alone(batch: Batch, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Each case as an exported file takes it, without padding."""
    singles = []
    for at in range(len(batch["id"])):
        real = batch["slice_mask"][at] if "slice_mask" in batch else slice(None)
        one: dict[str, Any] = {key: batch[key][at][:, real][None] for key in ("image", "lung_mask") if key in names}
        singles.append(one | ({"contrast": batch["contrast"][at][None]} if "contrast" in names else {}))
    return singles


def of_scans(prob: Tensor, looked_at: Tensor) -> Tensor:
    """Of all slices (80, C) to scans (20, C): the mean over the three least normal of those that were looked at."""
    scans = [scan[seen] for scan, seen in zip(prob.view(CASES, DEPTH, -1), looked_at, strict=True)]
    return torch.stack([scan[scan[:, 0].argsort()[:3]].mean(0) for scan in scans])


@pytest.mark.slow
@pytest.mark.parametrize("path", list(LIMITS))
def test_every_path_gives_the_probabilities_of_predict(path: str, name: str, found: dict[str, Tensor]) -> None:
    if path not in found:
        pytest.skip("torch.export cannot hold detectors")
    expected = found["predict"]
    assert len(expected) == (CASES * DEPTH if WAYS[name].data is slices else CASES)
    if path == "triage" and WAYS[name].data is slices:
        expected = of_scans(expected, found["slice_scores"].isfinite())
    assert expected.std(0).max() > 1e-3  # the scans are told apart
    torch.testing.assert_close(found[path], expected, rtol=0, atol=LIMITS[path], check_dtype=False)
