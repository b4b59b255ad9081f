"""Every architecture in every format: differences over 20 cases of 8 to 200 slices, sizes and times; prints a table.

    python tests/benchmarks/bench_export.py [--published] [--only NAME ...] [--formats pt2 ...]

Small networks and pictures by default; ``--published`` takes the tasks' defaults, 224 or 512 pixels a side, which needs
memory and patience. Differences are those of probabilities, of a pre-training of features in units of the largest, from
the checkpoint's network on the same case; files run by PyTorch and ONNX Runtime on the CPU. Figures belong into
``docs/how-to/export.md``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from covidct import tasks
from covidct.errors import UsageError
from covidct.inference import BundleNetwork, export_checkpoint
from covidct.inference.export_network import ExportNetwork, signature_of
from covidct.tasks import BaseTask, load_task, save_task
from covidct.weights import load_weights
from tests.fakes.small_tasks import SMALL, small_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Run = Callable[[dict[str, Tensor]], dict[str, Tensor]]

FORMATS = ("pt2", "onnx", "monai-bundle", "safetensors")
DEPTHS = (8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 24, 28, 32, 40, 57, 75, 100, 150, 200)
FIXED = 40  # slices of a .pt2 file with nn.LSTM
SLICES, DETECTION, DARK = 224, 512, 256  # pixels per side where published


def main() -> None:
    """Print one row per architecture and format."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--only", nargs="+", default=list(SMALL), choices=list(SMALL))
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    options = parser.parse_args()
    print(f"PyTorch {torch.__version__}\n")
    print("| architecture | format | depths | difference | size (MB) | export (s) |")
    print("|---|---|---|---|---|---|")
    for name in options.only:
        task = published_task(name) if options.published else small_task(name)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "task.ckpt"
            save_task(task, checkpoint)
            for form in options.formats:
                print(f"| {type(task.model).__name__} | {form} | {row(checkpoint, Path(folder), form)} |", flush=True)


def published_task(name: str) -> BaseTask:
    """A task of its own defaults, with a record of the published size."""
    small = small_task(name)
    arguments: dict[str, Any] = {"threshold": 0.2} if name == "GatedEnsembleTask" else {}
    torch.manual_seed(0)
    task: BaseTask = getattr(tasks, name)(**arguments)
    size = {"DarkCovidNetTask": DARK, "CovidCTMaskNetTask": DETECTION, "LesionMaskRCNNTask": DETECTION}.get(
        name, SLICES
    )
    assert small.preprocessing is not None
    task.preprocessing = replace(small.preprocessing, size=size, classes=task.class_names)
    return task.eval()


def row(checkpoint: Path, folder: Path, form: Any) -> str:  # noqa: ANN401  (one of FORMATS)
    """Cells of one format."""
    out = folder / (f"x.{form}" if form in ("pt2", "onnx") else form)
    task = load_task(checkpoint)
    fixed = FIXED if type(task).__name__ == "ResNeXtPlusTask" and form == "pt2" else None
    start = time.perf_counter()
    try:
        export_checkpoint(checkpoint, out, format=form, depth=fixed)
    except UsageError as error:
        return f"- | {error} | - | -"
    seconds = time.perf_counter() - start
    signature, network = signature_of(task), ExportNetwork(task)
    depths = [fixed or -(-max(depth, signature.least) // signature.step) * signature.step for depth in DEPTHS]
    run = {"pt2": run_pt2, "onnx": run_onnx, "monai-bundle": run_bundle, "safetensors": run_folder}[form](out)
    worst = 0.0
    for seed, depth in enumerate(depths):
        inputs = signature.random(1, depth, seed=100 + seed)
        with torch.no_grad():
            wanted, found = network(**inputs)[network.main], run(inputs)[network.main]
        scale = wanted.abs().max().clamp(min=1) if network.main == "features" else torch.tensor(1.0)
        worst = max(worst, float((found.double() - wanted.double()).abs().max() / scale))
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    free = "-" if not signature.volumes else str(fixed) if fixed else f"{min(depths)} to {max(depths)}"
    return f"{free} | {worst:.1e} | {size:.1f} | {seconds:.1f}"


def run_pt2(path: Path) -> Run:
    """By PyTorch."""
    module = torch.export.load(path).module()
    return lambda inputs: dict(module(**inputs))


def run_onnx(path: Path) -> Run:
    """By ONNX Runtime."""
    from onnxruntime import InferenceSession

    session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        found = session.run(names, {name: value.numpy() for name, value in inputs.items()})
        return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}

    return run


def run_bundle(path: Path) -> Run:
    """By MONAI's reader of configurations."""
    from monai.bundle import ConfigParser

    from covidct.inference.export_bundle import stacked

    parser = ConfigParser()
    parser.read_config(str(path / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def")
    assert isinstance(network, BundleNetwork)
    network.load_state_dict(load_weights(path / "models" / "model.pt")[0])
    network.eval()
    return lambda inputs: {network.exported.main: network(stacked(inputs))}


def run_folder(path: Path) -> Run:
    """By from_pretrained."""
    network = ExportNetwork(BaseTask.from_pretrained(path))
    return lambda inputs: dict(network(**inputs))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
