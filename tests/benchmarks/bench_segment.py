"""``covidct segment`` with the lung network against the lungmask package: file to mask on the grid of the file.

    pip install --no-deps --target DIR lungmask fill-voids fastremap more-itertools
    python tests/benchmarks/bench_segment.py [--lungmask DIR] [--slices 300] [--rounds 3] [--batch 20]

Each run is a process of its own; both read the same .nii.gz of 300 x 512 x 512 voxels, read their network's file, and
write the mask. Seconds are from before reading to after writing, without imports. Memory is the peak of the resident
set (VmHWM) above that after the imports. lungmask runs once in the middle of our rounds, its own batch of 20 slices
unless told; 1 is what its option --cpu takes.

Both networks have random weights (no trained ones are needed to measure) and are run in full. Since their outputs are
noise, which no post-processing is made for, they are exchanged for the labels of the classical mask on the networks'
grids before post-processing begins, in both paths alike.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from covidct.volume import Volume

OURS, THEIRS = "covidct segment", "lungmask"


def peak() -> float:
    """Peak of the resident set so far, MiB; ru_maxrss would be inherited from the parent process."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def measured(work: Callable[[], object]) -> dict[str, float]:
    """Seconds and peak memory of a call."""
    before = peak()
    start, busy = time.perf_counter(), time.process_time()
    work()
    figures = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - busy}
    return figures | {"imports_mib": before, "peak_mib": peak()}


def run_ours(folder: Path) -> dict[str, float]:
    """``covidct segment --checkpoint``, with the time of its steps."""
    import SimpleITK  # noqa: F401
    from nibabel import Nifti1Image  # noqa: F401

    from covidct.__main__ import main
    from covidct.cli import segment  # noqa: F401
    from covidct.inference import segment_scan  # noqa: F401
    from covidct.io import read_scan, write_mask  # noqa: F401
    from covidct.models import lung_segmenter
    from covidct.models.lung_segmenter import LungSegmenter

    steps: dict[str, float] = {}

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:  # noqa: ANN401
            start = time.perf_counter()
            result = work(*args, **options)
            steps[name] = time.perf_counter() - start
            return result

        return run

    def exchanged(self: LungSegmenter, image: torch.Tensor) -> NDArray[np.float32]:
        found: NDArray[np.float32] = original(self, image)
        labels = np.load(folder / "cube.npy")
        for number, one in enumerate(found):
            np.equal(labels, number, out=one, casting="unsafe")
        return found

    original = timed("network", LungSegmenter._logits)
    LungSegmenter._logits = exchanged  # type: ignore[method-assign]
    for name in ("prepare_volume", "labels_from_logits", "keep_lungs"):
        setattr(lung_segmenter, name, timed(name, getattr(lung_segmenter, name)))
    names = [str(folder / name) for name in ("scan.nii.gz", "ours.nii.gz", "ours.ckpt")]
    with redirect_stdout(StringIO()):
        figures = measured(lambda: main(["segment", names[0], names[1], "--checkpoint", names[2], "--device", "cpu"]))
    steps["read, write, rest"] = figures["seconds"] - sum(steps.values())
    return figures | {f"step: {name}": seconds for name, seconds in steps.items()}


def run_theirs(folder: Path, batch: int) -> dict[str, float]:
    """What lungmask's command does, by its own functions."""
    import SimpleITK
    from lungmask import utils  # type: ignore[import-not-found]
    from lungmask.mask import LMInferer  # type: ignore[import-not-found]

    sitk: Any = SimpleITK

    class Exchanged(torch.nn.Module):
        """Runs the network and gives the prepared labels."""

        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network, self.done = network, 0
            self.labels = torch.from_numpy(np.load(folder / "slices.npy"))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.network(image)
            part = self.labels[self.done : self.done + len(image)]
            self.done += len(image)
            for number in range(found.shape[1]):
                found[:, number] = part == number
            return found

    def work() -> None:
        image = utils.load_input_image(str(folder / "scan.nii.gz"), disable_tqdm=True)
        inferer = LMInferer(modelpath=str(folder / "theirs.pth"), force_cpu=True, batch_size=batch, tqdm_disable=True)
        inferer.model = Exchanged(inferer.model)
        result = sitk.GetImageFromArray(inferer.apply(image))
        result.CopyInformation(image)
        sitk.WriteImage(result, str(folder / "theirs.nii.gz"))

    return measured(work)


def child(which: str, folder: Path, *, lungmask: str, batch: int) -> dict[str, float]:
    """Run one of the two in a process of its own."""
    command = [sys.executable, __file__, "--child", which, "--folder", str(folder), "--batch", str(batch)]
    done = subprocess.run([*command, "--lungmask", lungmask], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{which} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def write_inputs(folder: Path, volume: Volume) -> NDArray[np.uint8]:
    """Scan, our network and the labels of its cube; returns the classical mask."""
    import nibabel

    from covidct.functional import isotropic_cube, resample_mask, segment_lungs
    from covidct.labels import LUNGS
    from covidct.models import UNet3d
    from covidct.preprocessing import Preprocessing

    nib: Any = nibabel
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    nib.save(nib.Nifti1Image(volume.array.T, affine), folder / "scan.nii.gz")
    mask = segment_lungs(volume.array, volume.spacing)
    np.save(folder / "cube.npy", resample_mask(mask, volume, isotropic_cube(volume, 128)))
    torch.manual_seed(0)
    record = Preprocessing(kind="ct_volume", classes=LUNGS, mask_source="file")
    checkpoint = {
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"model.{name}": value for name, value in UNet3d().state_dict().items()},
        "hyper_parameters": {},
        "covidct": {"task": "UNet3dTask", "preprocessing": record.to_dict()},
    }
    torch.save(checkpoint, folder / "ours.ckpt")
    return mask


def write_their_inputs(folder: Path, volume: Volume, mask: NDArray[np.uint8]) -> None:
    """Random weights of the network R231, and the classical labels in lungmask's own crops."""
    from lungmask import utils
    from lungmask.resunet import UNet  # type: ignore[import-not-found]
    from scipy import ndimage

    network = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)
    torch.save(network.state_dict(), folder / "theirs.pth")
    _, boxes = utils.preprocess(volume.array, resolution=[256, 256])
    crops = [one[b[0] : b[2], b[1] : b[3]] for one, b in zip(mask, boxes, strict=True)]
    labels = [ndimage.zoom(crop, 256 / np.asarray(crop.shape), order=0) for crop in crops]
    np.save(folder / "slices.npy", np.stack(labels).astype(np.uint8))


def dice(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Mean over both lungs."""
    return float(np.mean([2 * np.sum((a == k) & (b == k)) / (np.sum(a == k) + np.sum(b == k)) for k in (1, 2)]))


def outlines(seeds: int = 2, shape: tuple[int, int, int] = (150, 256, 256), size: int = 64) -> None:
    """What the way back from a cube costs: true shares of each lung in the cube, brought back in both ways."""
    from covidct.functional import isotropic_cube, labels_from_logits, resample_mask
    from covidct.phantom import simulate_ct
    from covidct.volume import Volume

    linear, nearest = [], []
    for seed in range(seeds):
        phantom = simulate_ct(seed, diagnosis="covid", shape=shape)
        volume, mask = phantom.volume, phantom.lung_mask
        cubes = [
            isotropic_cube(Volume((mask == side).astype(np.float32), volume.affine), size, pad_hu=0) for side in (1, 2)
        ]
        right, left = (cube.array for cube in cubes)
        shares = np.stack((1 - right - left, right, left))
        back = labels_from_logits(shares, affine=cubes[0].affine, target_affine=volume.affine, shape=volume.shape)
        linear.append(dice(back, mask))
        nearest.append(dice(resample_mask(shares.argmax(0).astype(np.uint8), cubes[0], volume), mask))
    print(
        f"{seeds} phantoms of {shape} over a cube of {size} and back, Dice of the lungs: "
        f"linear {median(linear):.4f}, nearest {median(nearest):.4f}"
    )


def tell(name: str, runs: list[dict[str, float]]) -> dict[str, float]:
    """Print the medians of a tool's runs."""
    seconds, busy = (median(run[key] for run in runs) for key in ("seconds", "cpu_seconds"))
    extra = median(run["peak_mib"] - run["imports_mib"] for run in runs)
    whole = median(run["peak_mib"] for run in runs)
    spread = ", ".join(f"{run['seconds']:.1f}" for run in runs)
    print(
        f"{name}: {seconds:.1f} s (rounds {spread}), {busy:.1f} s of all cores, "
        f"peak {extra:.0f} MiB above imports, {whole:.0f} MiB in all"
    )
    for step in [key for key in runs[0] if key.startswith("step: ")]:
        print(f"  {step.removeprefix('step: ')}: {median(run[step] for run in runs):.2f} s")
    return {"seconds": seconds, "cpu": busy, "extra": extra, "whole": whole}


def main(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    from dataclasses import replace

    from tests.benchmarks.scans import large_scan

    outlines()
    volume = large_scan()
    if arguments.slices < len(volume.array):
        middle = (len(volume.array) - arguments.slices) // 2
        volume = replace(volume, array=volume.array[middle : middle + arguments.slices])
    with TemporaryDirectory() as name:
        folder = Path(name)
        mask = write_inputs(folder, volume)
        if arguments.lungmask:
            sys.path.append(arguments.lungmask)
            write_their_inputs(folder, volume, mask)
        options = {"lungmask": arguments.lungmask, "batch": arguments.batch}
        ours, theirs = [], []
        for k in range(arguments.rounds):
            if k == arguments.rounds // 2 and arguments.lungmask:
                theirs.append(child(THEIRS, folder, **options))
            ours.append(child(OURS, folder, **options))
        print(f"{volume.shape} voxels, {torch.get_num_threads()} threads")
        mine = tell(OURS, ours)
        if theirs:
            other = tell(f"{THEIRS}, batch {arguments.batch}", theirs)
            print(
                f"{other['seconds'] / mine['seconds']:.1f} times faster ({other['cpu'] / mine['cpu']:.1f} in time of "
                f"all cores), with {mine['extra'] / other['extra']:.2f} of the memory above imports and "
                f"{mine['whole'] / other['whole']:.2f} of all memory"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lungmask", default="", help="folder that pip installed lungmask into")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--child", default="")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.child:
        sys.path.append(given.lungmask)
        run = run_ours(given.folder) if given.child == OURS else run_theirs(given.folder, given.batch)
        print(json.dumps(run))
    else:
        main(given)
