"""Parts of covidct in a project of your own: a network, a loss and a data module, in plain PyTorch.

    python examples/01_parts.py
    python examples/01_parts.py --fast  # a trial of seconds

Each part works alone, with plain tensors and without a trainer. Prints what goes in and what comes out.
"""

from __future__ import annotations

import argparse
import tempfile

import torch

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomCTVolumes
from covidct.losses import FocalLoss
from covidct.models import MaskedGAPResNet


def main() -> None:
    """Use each part alone, then all three for one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="a trial: fewer and smaller scans")
    options = parser.parse_args()
    subjects, size = (6, 32) if options.fast else (24, 64)
    torch.manual_seed(0)

    # A network is an nn.Module: tensors in, logits out. Ones with several outputs give a dict with the key "logits".
    network = MaskedGAPResNet(num_classes=3, backbone="resnet18", slice_size=None)
    image = torch.rand(2, 1, 8, size, size)  # (batch, channel, slices feet to head, height, width) in [0, 1]
    lung_mask = torch.ones(2, 1, 8, size, size, dtype=torch.uint8)  # 0 outside the lungs
    logits = network(image, lung_mask)
    print(f"network: image {tuple(image.shape)} -> logits {tuple(logits.shape)}")

    # A loss takes logits and labels.
    loss = FocalLoss(gamma=2.0)
    print(f"loss: {loss(logits, torch.tensor([0, 2])).item():.3f}")

    # A data module reads a data set, prepares each scan once, splits by subject and gives plain loaders.
    with tempfile.TemporaryDirectory() as cache_dir:
        data = CTVolumeDataModule(
            PhantomCTVolumes(subjects, shape=(24, 64, 64)),  # or ManifestVolumes("cohort.csv"), see 03_manifest.py
            batch_size=2,
            size=size,
            mask_source="file",
            val_fraction=0.0,
            test_fraction=0.5,
            cache_dir=cache_dir,
        )
        data.prepare_data()
        data.setup("fit")
        batch = next(iter(data.train_dataloader()))
        for key, value in batch.items():
            print("batch:", key, *((tuple(value.shape), value.dtype) if torch.is_tensor(value) else value))

        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
        found = loss(network(batch["image"], batch["lung_mask"], batch["slice_mask"]), batch["label"])
        found.backward()
        optimizer.step()
        print(f"a step on the batch: loss {found.item():.3f}")


if __name__ == "__main__":
    main()
