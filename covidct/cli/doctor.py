"""``covidct doctor``: does this installation work, and what can it do."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

from covidct import __version__
from covidct.cli.command import run_function
from covidct.cli.console import make_table, print_json, results

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ("Check", "checks", "doctor", "run")

_PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "torchmetrics",
    "monai",
    "SimpleITK",
    "pydicom",
    "nibabel",
    "numpy",
    "opencv-python-headless",
    "jsonargparse",
)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the examination.

    Attributes:
        name: what was looked at.
        status: ``"ok"``, ``"note"`` (works, but could be better) or ``"fault"``.
        text: what was found, and for a fault what to do.
    """

    name: str
    status: Literal["ok", "note", "fault"]
    text: str


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(doctor, argv, verb=verb)


def doctor(*, json: bool = False) -> int:
    """Check versions, devices, image decoders, the cache folder, threads and the speed of a convolution.

    Args:
        json: print JSON instead of a table.

    Returns:
        0 when everything works, 1 when there is a fault.
    """
    found = list(checks())
    if json:
        print_json({"checks": found})
    else:
        table = make_table("covidct doctor", "check", "", "found")
        colour = {"ok": "green", "note": "yellow", "fault": "red"}
        for check in found:
            table.add_row(check.name, f"[{colour[check.status]}]{check.status}[/]", check.text)
        results().print(table)
    return int(any(check.status == "fault" for check in found))


def checks() -> Iterator[Check]:
    """Run all checks; one that raises is a fault, and the others still run."""
    yield Check("covidct", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield from (_version(name) for name in _PACKAGES)
    for name, probe in (
        ("torch and torchvision", _operators),
        ("devices", _devices),
        ("DICOM decoders", _decoders),
        ("cache folder", _cache),
        ("threads", _threads),
        ("speed", _speed),
    ):
        try:
            yield probe(name)
        except Exception as error:  # an examination reports every fault
            yield Check(name, "fault", f"{type(error).__name__}: {' '.join(str(error).split())}")


def _version(name: str) -> Check:
    """Version of an installed distribution."""
    try:
        return Check(name, "ok", version(name))
    except PackageNotFoundError:
        return Check(name, "fault", f"is not installed: pip install {name}")


def _operators(name: str) -> Check:
    """Do torch and torchvision fit together: a mixed pair loses torchvision's compiled operators."""
    import torch
    from torchvision.ops import nms

    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.1], [5.0, 5.0, 6.0, 6.0]])
    kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), iou_threshold=0.5).tolist()
    if kept != [0, 2]:
        return Check(name, "fault", f"torchvision.ops.nms gives {kept} instead of [0, 2]: reinstall both together")
    return Check(name, "ok", "compiled operators (nms) work")


def _devices(name: str) -> Check:
    """Accelerators that torch sees."""
    import torch

    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Check(name, "ok", f"CUDA {torch.version.cuda}: {', '.join(cards)}")
    if torch.backends.mps.is_available():
        return Check(name, "ok", "Apple MPS")
    return Check(name, "note", "CPU only; training a published system in full wants a GPU")


def _decoders(name: str) -> Check:
    """Which compressed DICOM transfer syntaxes can be read."""
    from covidct.io.codecs import decoders

    available = decoders()
    missing = [syntax for syntax, plugins in available.items() if not plugins]
    if missing:
        return Check(name, "fault", f"nothing decodes {', '.join(missing)}: reinstall covidct with its dependencies")
    return Check(name, "ok", "; ".join(f"{syntax}: {', '.join(plugins)}" for syntax, plugins in available.items()))


def _cache(name: str) -> Check:
    """Can the cache folder be written, and is there room."""
    import shutil
    import tempfile

    from covidct.cache_folder import default_cache_dir

    folder = default_cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"covidct")
    free = shutil.disk_usage(folder).free / 2**30
    return Check(name, "ok" if free >= 1 else "note", f"{folder} is writable, {free:.0f} GiB free")


def _threads(name: str) -> Check:
    """Threads that torch uses against cores that the process may use."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    text = f"torch uses {threads} of {cores} cores"
    if threads > cores:
        return Check(name, "note", f"{text}: set OMP_NUM_THREADS={cores}, more threads than cores slow each other down")
    return Check(name, "ok", text)


def _speed(name: str) -> Check:
    """Time of a convolution as the networks here use it, median of five."""
    import torch

    layer = torch.nn.Conv2d(64, 64, 3, padding=1)
    image = torch.rand(8, 64, 56, 56)
    seconds = []
    with torch.inference_mode():
        layer(image)
        for _ in range(5):
            start = time.perf_counter()
            layer(image)
            seconds.append(time.perf_counter() - start)
    median = sorted(seconds)[2]
    work = 2 * 8 * 56 * 56 * 64 * 64 * 9  # floating-point operations of one call
    return Check(name, "ok", f"3x3 convolution of 64 channels: {work / median / 1e9:.0f} GFLOP/s on the CPU")
