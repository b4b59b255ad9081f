"""``covidct demo``: the whole way once, on phantoms: lungs, cube, training, test, report."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct.cli.command import run_function
from covidct.cli.console import make_table, note, research_use, results
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytorch_lightning import Trainer

    from covidct.datamodules import CTVolumeDataModule
    from covidct.metrics import TriageReport
    from covidct.tasks import MaskedGAPResNetTask

__all__ = ("demo", "run")

_SHAPE = (48, 64, 64)  # voxels of a phantom: lesions of 2 cm are four voxels wide, and one takes a quarter second
_SIZE = 48  # voxels per side of the cube that the network sees
_SLICE_SIZE = 64  # pixels of a slice in the trunk: a feature map of 2 x 2
_EPOCHS = 12
_BATCH = 4
_LEARNING_RATE = 1e-3  # random weights: the published 1e-5 is for weights from ImageNet
_FEWEST = 18  # scans: below, a part of the split has no scan of some class
_SCORES = (("auroc", "covid"), ("sensitivity", "covid"), ("specificity", "covid"), ("accuracy", "overall"))
_FILES = ("report.html", "metrics.json", "predictions.csv", "model.ckpt")


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(demo, argv, verb=verb)


def demo(*, out: Path = Path("covidct-demo"), seed: int = 0, scans: int = 90) -> int:
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
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder with --out.")
    import pytorch_lightning as pl
    from pytorch_lightning.utilities.seed import isolate_rng

    from covidct.cli.quiet import quiet_lightning

    quiet_lightning()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="covidct-demo-") as cache, isolate_rng():
        pl.seed_everything(seed, workers=True, verbose=False)
        data = _cohort(scans, seed, cache)
        with _told(f"{scans} phantoms, their lungs and cubes"):
            data.prepare_data()
        with _told("training"):
            task, trainer = _train(data)
        with _told("test and report"):
            report = _leave(task, trainer, data, out=out, seed=seed)
    _summary(report, out, seconds=time.perf_counter() - start)
    return 0


def _cohort(scans: int, seed: int, cache: str) -> CTVolumeDataModule:
    """The phantoms, split by subject: 60 % training, 10 % validation, 30 % test."""
    from covidct.datamodules import CTVolumeDataModule
    from covidct.datasets import PhantomCTVolumes

    return CTVolumeDataModule(
        PhantomCTVolumes(scans, shape=_SHAPE, seed=seed),
        size=_SIZE,
        batch_size=_BATCH,
        val_fraction=0.1,
        test_fraction=0.3,
        seed=seed,
        prepare_workers=2,
        cache_dir=cache,
    )


def _train(data: CTVolumeDataModule) -> tuple[MaskedGAPResNetTask, Trainer]:
    """A small form of the mask-weighted pooling network, from random weights."""
    import pytorch_lightning as pl

    from covidct.tasks import MaskedGAPResNetTask

    task = MaskedGAPResNetTask(
        num_classes=len(data.class_names), backbone="resnet18", slice_size=_SLICE_SIZE, learning_rate=_LEARNING_RATE
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
    run = {
        **_run_record(task, seed),
        "checkpoint_sha256": sha256_file(checkpoint),
    }
    report, cohort = evaluate(task, data.test_dataloader(), run=run)
    write_evaluation(report, cohort, out, title="covidct demo: phantoms", phantoms=True)
    return report


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
    for metric, scope in (
        ("auroc", "covid"),
        ("sensitivity", "covid"),
        ("specificity", "covid"),
        ("accuracy", "overall"),
    ):
        estimate = report.scores[metric][scope]
        table.add_row(f"{metric} {scope}", f"{estimate.value:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}")
    console = results()
    console.print(table)
    console.print(f"{seconds:.0f} s; {', '.join(str(out / name) for name in _FILES)}", markup=False, soft_wrap=True)
    console.print("Phantoms are test objects: the figures say nothing about patients.", markup=False)
    research_use()


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say what begins and how long it took."""
    note(f"{what} ...")
    start = time.perf_counter()
    yield
    note(f"{what}: {time.perf_counter() - start:.0f} s")
