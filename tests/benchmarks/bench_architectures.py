"""Training steps of every architecture: time, memory, FLOP/s and their share of the device's own; prints a table.

    python tests/benchmarks/bench_architectures.py [--small] [--steps 5] [--only NAME ...] [--precisions 32-true ...]

At the published sizes with a GPU, or with ``--small`` on a CPU: small pictures, the same networks. Batches are random
and stay the same, so that nothing waits for data. ``tf32`` is ``32-true`` with TF32 matrix products. The machine must
be idle but for this; the first two steps are left out. Figures belong into ``docs/explanation/performance.md``, with
the machine.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from covidct import tasks
from covidct.callbacks import ThroughputMonitor
from covidct.sample import Batch

WARM_UP = 2


@dataclass(frozen=True)
class Architecture:
    """One row: a task, its arguments, and the shape of a batch at the published and at the small size.

    Attributes:
        task: name in ``covidct.tasks``.
        published: (B, D, side) of volumes, (B, side) of pictures.
        small: as ``published``.
        arguments: of the task.
        extra: keys of the batch beside image, lung mask and label.
    """

    task: str
    published: tuple[int, ...]
    small: tuple[int, ...]
    arguments: dict[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()


_EXPERT = {"name": "MaskedGAPResNet", "arguments": {"backbone": "resnet50", "slice_size": None}}
ARCHITECTURES = (
    Architecture("UNet3dTask", (2, 128, 128), (1, 32, 64)),
    Architecture("MaskedGAPResNetTask", (1, 128, 224), (1, 8, 64), {"slice_size": None}),
    Architecture("ResNeXtPlusTask", (1, 50, 256), (1, 8, 64), {"slice_size": None}),
    Architecture("COVNetTask", (1, 64, 224), (1, 8, 64), {"slice_size": None}),
    Architecture("TwoLevelTask", (2, 64, 224), (2, 8, 64), {"slice_size": None}, ("slice_label",)),
    Architecture(
        "GatedEnsembleTask",
        (2, 64, 224),
        (2, 8, 64),
        {"low": [_EXPERT], "high": [_EXPERT], "threshold": 0.5},
        ("contrast",),
    ),
    Architecture("SliceClassifierTask", (32, 224), (8, 64)),
    Architecture("SelfTransTask", (32, 224), (8, 64), {"queue_size": 64}, ("views",)),
    Architecture("LesionMaskRCNNTask", (1, 512), (1, 128), {}, ("instances",)),
    Architecture("CovidCTMaskNetTask", (1, 512), (1, 128)),
    Architecture("UNet2dTask", (16, 256), (4, 64)),
    Architecture("FPNDenseNetTask", (16, 256), (4, 64), {"normalisation": "imagenet"}),
    Architecture("DarkCovidNetTask", (32, 256), (8, 256), {"normalisation": "imagenet"}),
)


def batch_of(one: Architecture, shape: tuple[int, ...]) -> Batch:
    """Random pictures of the contract."""
    count, *depth, side = shape
    place = (*depth, side, side)
    generator = torch.Generator().manual_seed(0)
    numbers = torch.arange(count)
    batch: Batch = {
        "image": torch.rand((count, 1, *place), generator=generator),
        "lung_mask": torch.ones((count, 1, *place), dtype=torch.uint8),
        "label": numbers % 2,
        "scan": numbers,
        "subject": numbers,
        "id": [str(number) for number in numbers.tolist()],
    }
    batch["lung_mask"][..., : side // 4] = 0
    if depth:
        batch["slice_mask"] = torch.ones((count, *depth), dtype=torch.bool)
    if "slice_label" in one.extra:
        batch["slice_label"] = (numbers % 2)[:, None].repeat(1, *depth)
    if "contrast" in one.extra:
        batch["contrast"] = numbers / count
    if "views" in one.extra:
        batch["views"] = torch.rand((count, 2, 1, side, side), generator=generator)
    if "instances" in one.extra:
        mask = torch.zeros((1, side, side), dtype=torch.uint8)
        mask[:, side // 4 : side // 2, side // 4 : side // 2] = 1
        box = torch.tensor([[side // 4, side // 4, side // 2, side // 2]], dtype=torch.float32)
        batch["instances"] = [{"boxes": box, "labels": torch.tensor([1]), "masks": mask} for _ in range(count)]
    return batch


def measure(one: Architecture, precision: str, *, small: bool, steps: int, folder: str) -> dict[str, float]:
    """What ThroughputMonitor finds."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.manual_seed(0)
    task = getattr(tasks, one.task)(**one.arguments)
    monitor = ThroughputMonitor(warm_up=WARM_UP)
    batch = batch_of(one, one.small if small else one.published)
    trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=1,
        precision="32-true" if precision == "tf32" else precision,  # type: ignore[arg-type]
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[monitor],
    )
    trainer.fit(task, DataLoader([batch] * (steps + WARM_UP), batch_size=None))  # type: ignore[arg-type]
    return monitor._epochs[-1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--precisions", nargs="*", default=["32-true", "bf16-mixed"])
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} thread(s)"
    print(f"{name}, torch {torch.__version__}\n")
    print("| task | batch | precision | ms a step | GPU memory, GiB | GFLOP/s | share of a matrix product |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for one in ARCHITECTURES:
            if options.only and one.task not in options.only:
                continue
            shape = one.small if options.small else one.published
            for precision in options.precisions:
                found = measure(one, precision, small=options.small, steps=options.steps, folder=folder)
                print(
                    f"| `{one.task}` | {' x '.join(map(str, shape))} | {precision} | "
                    f"{1e3 * shape[0] / found['samples_per_s']:.0f} | {found['gpu_memory_gib']:.1f} | "
                    f"{1e3 * found['model_tflops']:.1f} | {found['flops_share']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
