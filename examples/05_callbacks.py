"""All callbacks in one training, and what each leaves in the folder of the run.

    python examples/05_callbacks.py --out callbacks_run
    python examples/05_callbacks.py --fast  # a trial of seconds

Each works alone too. A run that is killed goes on from its last state when it is started again. TensorBoard, MLflow and
Weights & Biases (``covidct.callbacks.PrivateWandbLogger``) get pictures and tables where they are given as ``logger``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from covidct.callbacks import (
    Checkpoints,
    EpochVote,
    FigureLogger,
    GradCAMScale,
    MetricsReport,
    NonFiniteGuard,
    PrecisionMonitor,
    PredictionWriter,
    RunManifest,
    ThroughputMonitor,
    find_checkpoint,
)
from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomCTVolumes
from covidct.tasks import MaskedGAPResNetTask


def main() -> None:
    """Train, test and predict, then list what was left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("callbacks_run"), help="folder of the run")
    parser.add_argument("--fast", action="store_true", help="a trial: few small scans, one epoch")
    options = parser.parse_args()
    subjects, size, epochs = (9, 24, 1) if options.fast else (60, 40, 6)
    pl.seed_everything(0, verbose=False)
    keep = Checkpoints(save_every=50)  # last.ckpt, within an epoch too, and best.ckpt
    callbacks: list[pl.Callback] = [
        keep,
        GradCAMScale(scans_per_class=1 if options.fast else 8),  # the fixed scale of Grad-CAM goes into checkpoints
        FigureLogger(every_n_epochs=1 if options.fast else 4),  # pictures of the same cases, validation by validation
        MetricsReport(resamples=20 if options.fast else 1000, val_resamples=0),  # scores with intervals over subjects
        EpochVote(epochs=3),  # val_vote_<score>: what the last epochs would call together
        PredictionWriter(),  # one table of predictions, subjects numbered
        NonFiniteGuard(action="skip"),  # a step with NaN is left out, its batch is kept
        PrecisionMonitor(),  # loss scale, skipped steps, share of low precision
        ThroughputMonitor(warm_up=1),  # samples per second, wait for data, FLOP/s
        RunManifest(),  # versions, arguments, seed, digest of the data
    ]
    run: dict[str, Any] = {"precision": "bf16-mixed", "logger": False, "enable_progress_bar": not options.fast}
    trainer = pl.Trainer(max_epochs=epochs, callbacks=callbacks, default_root_dir=options.out, **run)
    data = CTVolumeDataModule(
        PhantomCTVolumes(subjects, shape=(48, 64, 64)),
        batch_size=2 if options.fast else 4,
        size=size,
        masking="lungs",
        augment=False,
        val_fraction=0.2,
        test_fraction=0.3,
        cache_dir=str(options.out / "cache"),
    )
    task = MaskedGAPResNetTask(num_classes=3, backbone="resnet18", slice_size=None, learning_rate=1e-3)
    trainer.fit(task, datamodule=data, ckpt_path=find_checkpoint(options.out))  # of a run that was killed
    print({name: round(float(value), 3) for name, value in trainer.callback_metrics.items() if "_vote_auroc" in name})
    trainer.test(task, datamodule=data, ckpt_path=keep.best_model_path or None, verbose=False)
    trainer.predict(task, datamodule=data, return_predictions=False)
    left = sorted(path.relative_to(options.out) for path in options.out.rglob("*") if path.is_file())
    print(*(name for name in left if name.parts[0] != "cache"), sep="\n")


if __name__ == "__main__":
    main()
