"""COVID-CT-Mask-Net: a batch against its slices one by one, and against torchvision's Mask R-CNN; prints ratios.

    python tests/benchmarks/bench_mask_net.py [pixels] [rounds] [backbone]

Three measures: the classifier's training step with 8 slices in one pass and one after another, as the reference does;
slices per second in evaluation beside torchvision's ``maskrcnn_resnet50_fpn`` of the same size with random weights; and
slices per second that a data module of two workers prepares from files, with augmentation and objects, beside the
detector's training. Interleaved rounds in one process, medians; asserts nothing.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch.nn import functional as F
from torchvision.models.detection import maskrcnn_resnet50_fpn

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import CNCBLesions, PhantomLesions
from covidct.functional import lesion_instances
from covidct.models import CovidCTMaskNet, LesionMaskRCNN

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

BATCH = 8


def measure(variants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each variant; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def main(size: int, rounds: int, backbone: Any) -> None:  # noqa: ANN401
    """Measure and print."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    raw = PhantomLesions(3, slices_per_scan=BATCH).load(2)
    grey = torch.from_numpy(raw.scan.array).float()[:, None].add(1250).div(1500).clamp(0, 1)
    image = F.interpolate(grey, (size, size)).to(device)
    assert raw.lesion_mask is not None
    masks = F.interpolate(torch.from_numpy(raw.lesion_mask)[:, None].float(), (size, size)).to(torch.uint8)[:, 0]
    classifier = CovidCTMaskNet(backbone=backbone).to(device).train()
    label = torch.eye(3, device=device)[torch.arange(BATCH) % 3]

    def train(parts: int) -> None:
        logits = torch.cat([classifier(part)["logits"] for part in image.chunk(parts)])
        torch.autograd.backward(F.binary_cross_entropy_with_logits(logits, label))

    found = measure({"one pass": lambda: train(1), "one by one": lambda: train(BATCH)}, rounds)
    print(f"training step, {BATCH} slices of {size}x{size}, {backbone}, {device}: {found['one pass']:.2f} s")
    print(f"  {found['one by one'] / found['one pass']:.2f} times the rate of slices one by one")

    published = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=size, max_size=size)
    published = published.to(device).eval()
    classifier.eval()
    with torch.inference_mode():
        colour = list(image[:4].expand(-1, 3, -1, -1))
        found = measure({"ours": lambda: classifier(image[:4]), "theirs": lambda: published(colour)}, rounds)
    print(f"evaluation: {4 / found['ours']:.2f} slices/s, {found['theirs'] / found['ours']:.2f} times torchvision's")

    detector = LesionMaskRCNN(backbone=backbone).to(device).train()
    targets = [{k: v.to(device) for k, v in lesion_instances(mask).items()} for mask in masks]

    def step() -> None:
        torch.autograd.backward(torch.stack(list(detector(image[:1], targets[:1]).values())).sum())

    with TemporaryDirectory() as folder:
        files = write_files(Path(folder), grey[:, 0], raw.lesion_mask)
        options: dict[str, Any] = {"size": size, "augment": True, "val_fraction": 0.0, "test_fraction": 0.0}
        data = CTSliceDataModule(files, batch_size=1, num_workers=2, cache_dir=f"{folder}/cache", **options)
        data.prepare_data()
        data.setup("fit")
        loader = data.train_dataloader()
        found = measure({"load": lambda: sum(1 for _ in loader), "step": step}, rounds)
    rate = found["step"] * len(files) / found["load"]
    print(f"loading: {len(files) / found['load']:.0f} slices/s by two workers, {rate:.0f} times the detector's steps")


def write_files(folder: Path, grey: Tensor, lesions: NDArray[np.uint8]) -> CNCBLesions:
    """The slices as the data set's files of 512 x 512, 32 copies of each."""
    for part in ("imgs", "masks"):
        (folder / part).mkdir()
    for index, (plane, mask) in enumerate(zip(grey.numpy(), lesions, strict=True)):
        picture = cv2.resize((plane * 255).astype(np.uint8), (512, 512))
        codes = cv2.resize(
            np.where(mask > 0, mask + 1, 0).astype(np.uint8), (512, 512), interpolation=cv2.INTER_NEAREST
        )
        for copy in range(32):
            cv2.imwrite(str(folder / "imgs" / f"{copy}_{index}.png"), picture)
            cv2.imwrite(str(folder / "masks" / f"{copy}_{index}.png"), codes)
    return CNCBLesions(folder)


if __name__ == "__main__":
    size, rounds = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 512), (2, 3)))
    main(size, rounds, sys.argv[3] if len(sys.argv) > 3 else "resnet50")
