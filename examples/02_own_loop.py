"""A training loop of your own: a network of covidct, your optimizer, your epochs, and a checkpoint that triage takes.

    python examples/02_own_loop.py --out own_loop
    python examples/02_own_loop.py --fast  # a trial of seconds

Trains mask-weighted GAP on phantoms; the weights of the best validation are kept. 03_manifest.py has scans of your own.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomCTVolumes
from covidct.metrics import CaseMetrics
from covidct.tasks import MaskedGAPResNetTask, save_task

INPUTS = MaskedGAPResNetTask.inputs  # keys of a batch that the network takes: image, lung_mask, slice_mask


def validate(network: torch.nn.Module, data: CTVolumeDataModule, device: str) -> float:
    """AUROC of the validation part, the mean over the classes."""
    metrics = CaseMetrics(data.class_names)
    network.eval()
    with torch.inference_mode():
        for batch in data.val_dataloader():
            logits = network(*(batch[key].to(device) for key in INPUTS))
            metrics.update(logits.softmax(1).cpu(), batch["label"], scan=batch["scan"], subject=batch["subject"])
    return float(metrics.compute()["auroc"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("own_loop"), help="folder of checkpoint and cache")
    parser.add_argument("--fast", action="store_true", help="a trial: few small scans, one epoch")
    options = parser.parse_args()
    subjects, size, epochs = (9, 24, 1) if options.fast else (150, 40, 8)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = CTVolumeDataModule(
        PhantomCTVolumes(subjects, shape=(48, 64, 64)),
        size=size,
        batch_size=4,
        masking="lungs",  # a short training of random weights learns nothing from whole slices
        val_fraction=0.3,
        augment=False,  # likewise
        cache_dir=str(options.out / "cache"),
    )
    data.prepare_data()
    data.setup("fit")
    task = MaskedGAPResNetTask(num_classes=3, backbone="resnet18", slice_size=None)
    task.preprocessing = data.preprocessing  # the checkpoint tells what was done to the scans
    network = task.model.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    loss, loader = torch.nn.CrossEntropyLoss(), data.train_dataloader()
    best, kept = -1.0, network.state_dict()
    for epoch in range(epochs):
        network.train()
        loader.load_state_dict({"epoch": epoch, "batches": 0})  # each epoch has an order and an augmentation of its own
        for batch in loader:
            optimizer.zero_grad()
            loss(network(*(batch[key].to(device) for key in INPUTS)), batch["label"].to(device)).backward()
            optimizer.step()
        schedule.step()
        auroc = validate(network, data, device)
        print(f"epoch {epoch}: validation AUROC {auroc:.3f}", flush=True)
        if auroc > best:
            best, kept = auroc, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    save_task(task, options.out / "best.ckpt")


if __name__ == "__main__":
    main()
