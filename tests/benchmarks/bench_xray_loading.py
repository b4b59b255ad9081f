"""Share of a training step that waits for data, DenseNet-121 on chest X-rays; prints, asserts nothing.

    python tests/benchmarks/bench_xray_loading.py [folder of DarkCovid, or -] [steps] [batch] [workers]

Without a folder, 64 phantoms of 256 x 256 pixels stand in for it. First the cache is filled, then the same is done
again, which must not read an image; then whole steps of AdamW with the augmentation of the data module are timed from
the second on: how long the loop waits for a batch, and how long the network takes for it. An epoch of nothing but
loading stands beside, without and with augmentation, in this process. The machine must be idle but for this, and
pinned (``taskset -c 0,1``) to compare.
"""

from __future__ import annotations

import sys
import tempfile
import time

import torch
from torch import nn

from covidct.datamodules import CXRDataModule
from covidct.datasets import BaseDataset, DarkCovid, PhantomCXR
from covidct.models import SliceClassifier

SIZE = 224


def module_of(dataset: BaseDataset, cache: str, *, batch: int, workers: int, augment: bool = True) -> CXRDataModule:
    """A data module whose cache is full."""
    module = CXRDataModule(
        dataset, size=SIZE, batch_size=batch, num_workers=workers, augment=augment, cache_dir=cache, val_fraction=0.1
    )
    module.prepare_data()
    module.setup("fit")
    return module


def main(folder: str, steps: int, batch: int, workers: int) -> None:
    """Measure and print."""
    threads = torch.get_num_threads()
    dataset: BaseDataset = PhantomCXR(64) if folder == "-" else DarkCovid(folder)
    with tempfile.TemporaryDirectory() as cache:
        for name in ("prepare", "prepare again"):
            start = time.perf_counter()
            module = module_of(dataset, cache, batch=batch, workers=workers)
            print(f"{name:28s} {time.perf_counter() - start:8.2f} s")
        for augment in (False, True):
            plain = module_of(dataset, cache, batch=batch, workers=0, augment=augment)
            start, used = time.perf_counter(), time.process_time()
            torch.set_num_threads(1)  # as in a worker
            count = sum(len(found["id"]) for found in plain.train_dataloader())
            took, used = time.perf_counter() - start, time.process_time() - used
            torch.set_num_threads(threads)
            name = "loading alone" + (", augmented" if augment else "")
            print(f"{name:28s} {took:8.2f} s, {used:.2f} s of a core, {count} images")
        used = time.process_time()
        wait, work = steps_of(module, steps)
        used = (time.process_time() - used) / (steps + 1)
    print(f"{'wait for data':28s} {wait:8.3f} s a step of {batch}")
    print(f"{'network':28s} {work:8.3f} s a step of {batch}, {used:.2f} s of a core")
    print(f"{'share of waiting':28s} {100 * wait / (wait + work):8.2f} %")


def steps_of(module: CXRDataModule, steps: int) -> tuple[float, float]:
    """Mean seconds of waiting and of work, of ``steps`` steps after the first."""
    torch.manual_seed(0)
    network = SliceClassifier(num_classes=3, backbone="densenet121").train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    wait = work = 0.0
    done = -1
    while done < steps:
        batches = iter(module.train_dataloader())
        while done < steps:
            start = time.perf_counter()
            found = next(batches, None)
            if found is None:
                break
            there = time.perf_counter()
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(network(found["image"]), found["label"]))
            optimizer.step()
            end = time.perf_counter()
            done += 1
            if done:  # the first step starts workers and warms up
                wait, work = wait + there - start, work + end - there
    return wait / steps, work / steps


if __name__ == "__main__":
    numbers = [int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((2, 6), (3, 32), (4, 2))]
    main(sys.argv[1] if len(sys.argv) > 1 else "-", *numbers)
