"""Self-Trans: a trunk pre-trained on slices without labels, fine-tuned on few with them, beside random weights.

    python examples/15_self_trans.py --out self_trans
    python examples/15_self_trans.py --fast  # a trial of seconds

Momentum contrast on two views of each training slice, then a slice classifier that begins with the trunk. Both take the
same split by subject: whoever judges the fine-tuning must not have been in the pre-training, which is checked. The
published form is DenseNet-169 at 224 pixels, see examples/configs/self_trans.yaml and self_trans_covid_ct.yaml.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import PhantomCTSlices
from covidct.tasks import SelfTransTask, SliceClassifierTask
from covidct.transforms import moco_views, self_trans_augment

STATISTICS: dict[str, Any] = {"mean": [0.45271412], "std": [0.33165374]}  # published; the same in both trainings


def main() -> None:
    """Pre-train, fine-tune from it and from random weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("self_trans"), help="folder of checkpoints and cache")
    parser.add_argument("--fast", action="store_true", help="a trial: few small slices, one epoch, a small network")
    options = parser.parse_args()
    subjects, each, size, epochs, tuning = (12, 3, 32, 1, 1) if options.fast else (120, 8, 64, 20, 5)
    network: dict[str, Any] = {"backbone": "mobilenet_v3_small" if options.fast else "resnet18", **STATISTICS}
    slices = PhantomCTSlices(subjects, slices_per_scan=each, shape=(48, 96, 96), classes="covid_vs_rest")
    parts: dict[str, Any] = {"val_fraction": 0.25, "test_fraction": 0.25, "cache_dir": str(options.out / "cache")}
    module = partial(CTSliceDataModule, slices, size=size, **parts)
    quiet: Any = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)

    pl.seed_everything(0, verbose=False)
    pretraining = SelfTransTask(**network, queue_size=64, bn_groups=2, learning_rate=0.004)
    trainer = pl.Trainer(max_epochs=epochs, **quiet)
    trainer.fit(pretraining, datamodule=module(batch_size=16, train_transform=moco_views(size=size)))
    trainer.save_checkpoint(checkpoint := options.out / "pretrained.ckpt")
    print(f"pre-training: AUROC of the nearest neighbours {trainer.callback_metrics['val_knn_auroc']:.3f}", flush=True)

    for name, weights in (("pre-trained", str(checkpoint)), ("random", None)):
        pl.seed_everything(1, verbose=False)
        task = SliceClassifierTask(num_classes=2, weights=weights, **network)
        data = module(batch_size=8, train_transform=self_trans_augment(size=size))
        trainer = pl.Trainer(max_epochs=tuning, **quiet)
        trainer.fit(task, datamodule=data)
        (scores,) = trainer.test(task, datamodule=data, verbose=False)
        trainer.save_checkpoint(options.out / f"{name}.ckpt")
        print(f"fine-tuned from {name} weights: test AUROC {scores['test_auroc']:.3f}", flush=True)


if __name__ == "__main__":
    main()
