"""``covidct demo``: the whole way once, on phantoms: lungs, cube, training, test, report."""

from __future__ import annotations

import logging
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from covidct.cli.command import run_function
from covidct.cli.console import make_table, note, progress, research_use, results
from covidct.cli.out_folder import check_out_folder
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytorch_lightning import Trainer

    from covidct.datamodules import CTVolumeDataModule
    from covidct.metrics import TriageReport
    from covidct.result import CohortResult
    from covidct.tasks import MaskedGAPResNetTask
    from covidct.volume import Volume

__all__ = ("demo", "run")

_SHAPE = (48, 64, 64)  # voxels of a phantom: lesions of 3 cm are five voxels wide, and one takes a quarter second
_SIZE = 40  # voxels per side of the cube that the network sees, unresized: a feature map of 2 x 2
_EPOCHS = 8
_BATCH = 4
_LEARNING_RATE = 1e-3  # random weights, falling along a cosine: the published 1e-5 is for weights from ImageNet
_SCORES = (("auroc", "covid"), ("sensitivity", "covid"), ("specificity", "covid"), ("accuracy", "overall"))
_FILES = ("report.html", "metrics.json", "predictions.csv", "model.ckpt")
_CALIBRATED = 8  # training scans of each class that the scale of Grad-CAM comes from
_PICTURED = 18  # scans with pictures in the report
_FEWEST = 18  # scans: below, a part of the split has no scan of some class


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(demo, argv, verb=verb)


def demo(*, out: Path = Path("covidct-demo"), seed: int = 0, scans: int = 150) -> int:
    """Simulate a cohort, find the lungs, train, test on held-out subjects and write a report; no download, CPU only.

    The scans are phantoms, test objects and no model of a disease: the figures show that the parts work together, and
    nothing about patients.

    Args:
        out: folder for report.html, metrics.json, predictions.csv and model.ckpt.
        seed: of the cohort, the split and the training; the same seed gives the same result on one machine.
        scans: number of scans, a third of each class.

    Returns:
        0.
    """
    if scans < _FEWEST:
        raise UsageError(
            f"scans={scans} is too few for a training and a test of three classes: use at least {_FEWEST}."
        )
    check_out_folder(out)
    import pytorch_lightning as pl
    from pytorch_lightning.utilities.seed import isolate_rng

    from covidct.cli.quiet import quiet_lightning

    quiet_lightning()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="covidct-demo-") as cache, isolate_rng():
        pl.seed_everything(seed, workers=True, verbose=False)
        data = _cohort(scans, seed, cache)
        with _told(f"{scans} phantoms, their lungs and cubes"), _counted(scans):
            data.prepare_data()
        with _told("training"):
            task, trainer = _train(data)
        with _told("the scale of Grad-CAM"):
            _calibrate(task, data)
        with _told("test and report"):
            report = _leave(task, trainer, data, out=out, seed=seed)
    _summary(report, out, seconds=time.perf_counter() - start)
    return 0


def _cohort(scans: int, seed: int, cache: str) -> CTVolumeDataModule:
    """The phantoms, split by subject: 65 % training, 5 % validation, 30 % test."""
    from covidct.datamodules import CTVolumeDataModule
    from covidct.datasets import PhantomCTVolumes

    return CTVolumeDataModule(
        PhantomCTVolumes(scans, shape=_SHAPE, seed=seed),
        size=_SIZE,
        batch_size=_BATCH,
        masking="lungs",  # a short training of random weights learns nothing from whole slices
        val_fraction=0.05,
        test_fraction=0.3,
        augment=False,
        seed=seed,
        prepare_workers=2,
        cache_dir=cache,
    )


def _train(data: CTVolumeDataModule) -> tuple[MaskedGAPResNetTask, Trainer]:
    """A small form of the mask-weighted pooling network, from random weights."""
    import pytorch_lightning as pl
    from torch.optim.lr_scheduler import CosineAnnealingLR

    from covidct.tasks import MaskedGAPResNetTask

    task = MaskedGAPResNetTask(
        num_classes=len(data.class_names),
        backbone="resnet18",
        slice_size=None,
        learning_rate=_LEARNING_RATE,
        lr_scheduler=partial(CosineAnnealingLR, T_max=_EPOCHS),
    )
    trainer = pl.Trainer(
        max_epochs=_EPOCHS,
        accelerator="cpu",
        devices=1,
        deterministic=True,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=results().is_terminal,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, datamodule=data)
    return task, trainer


def _calibrate(task: MaskedGAPResNetTask, data: CTVolumeDataModule) -> None:
    """Fix the colour scale of the pictures on some training scans of each class."""
    from covidct.explain import calibrate
    from covidct.sample import collate

    samples, taken = data.samples("train"), [0] * len(data.class_names)
    chosen = []
    for index, record in enumerate(data.records("train")):
        taken[record.label] += 1
        if taken[record.label] <= _CALIBRATED:
            chosen.append(index)
    calibrate(task, (collate([samples[index]]) for index in chosen))


def _leave(
    task: MaskedGAPResNetTask,
    trainer: Trainer,
    data: CTVolumeDataModule,
    *,
    out: Path,
    seed: int,
) -> TriageReport:
    """Test on held-out subjects and write the four files."""
    from covidct.atomic import atomic_path
    from covidct.cli.evaluation import evaluate, write_evaluation
    from covidct.weights import sha256_file

    data.setup("test")
    checkpoint = out / "model.ckpt"
    with atomic_path(checkpoint) as temporary:
        trainer.save_checkpoint(temporary, weights_only=True)  # without the state of the optimizer: a third of the size
    run = {**_run_record(task, seed), "checkpoint_sha256": sha256_file(checkpoint)}
    report, cohort = evaluate(task, data.test_dataloader(), run=run)
    write_evaluation(report, _pictured(cohort, data), out, title="covidct demo: phantoms", phantoms=True)
    return report


def _pictured(cohort: CohortResult, data: CTVolumeDataModule) -> CohortResult:
    """The cohort with readable pictures of some scans, wrong predictions first; drawing each takes a moment."""
    from covidct.inference.preview import finer_preview

    order = sorted(cohort.scans, key=lambda scan: scan.predicted == scan.label)
    chosen = {scan.id for scan in order[:_PICTURED]}
    sources = {record.id: record.source for record in data.dataset.records}
    scans = []
    for scan in cohort.scans:
        preview = None
        if scan.preview is not None and scan.id in chosen:
            volume = cast("Volume", data.dataset.load(sources[scan.id]).scan)
            preview = finer_preview(scan.preview, volume, data.preprocessing)
        scans.append(replace(scan, preview=preview))
    return replace(cohort, scans=tuple(scans))


def _run_record(task: MaskedGAPResNetTask, seed: int) -> dict[str, Any]:
    """What made the report."""
    import covidct

    preprocessing = task.preprocessing
    return {
        "covidct": covidct.__version__,
        "data": "phantoms: simulated test objects, not patients",
        "seed": seed,
        "task": type(task).__name__,
        "epochs": _EPOCHS,
        "preprocessing": None if preprocessing is None else preprocessing.to_dict(),
    }


def _summary(report: TriageReport, out: Path, *, seconds: float) -> None:
    """Print the scores that matter and where the files are."""
    table = make_table(f"test on {report.cases} held-out phantoms", "score", "value", "95 % interval")
    for metric, scope in _SCORES:
        estimate = report.scores[metric][scope]
        table.add_row(f"{metric} {scope}", f"{estimate.value:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}")
    console = results()
    console.print(table)
    console.print(f"{seconds:.0f} s; {', '.join(str(out / name) for name in _FILES)}", markup=False, soft_wrap=True)
    console.print("Phantoms are test objects: the figures say nothing about patients.", markup=False)
    research_use()


@contextmanager
def _counted(scans: int) -> Iterator[None]:
    """Show a progress bar on a terminal, moved by what the data module logs."""
    if not results().is_terminal:
        yield
        return
    with progress(scans, "phantoms") as step:
        handler = logging.Handler()
        handler.emit = lambda record: step("")  # type: ignore[method-assign]
        logger = logging.getLogger("covidct.datamodules.building")
        before = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say what begins and how long it took."""
    note(f"{what} ...")
    start = time.perf_counter()
    yield
    note(f"{what}: {time.perf_counter() - start:.0f} s")
