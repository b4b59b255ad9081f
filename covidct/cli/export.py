"""``covidct export``: the network of a checkpoint for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from covidct.cli.command import run_function
from covidct.cli.console import make_table, note, research_use, results

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("export", "run")

_MEGABYTE = 1e6


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(export, argv, verb=verb)


def export(
    checkpoint: Path,
    out: Path,
    *,
    format: Literal["pt2", "onnx", "monai-bundle", "safetensors"] = "pt2",
    depth: int | None = None,
    size: int | None = None,
) -> int:
    """Write the network of a checkpoint in another format, and check that it computes the same.

    pt2 (torch.export: runs with PyTorch alone) and onnx (ONNX Runtime and others; needs the extra export) are one file
    each. monai-bundle (read by the tools of MONAI) and safetensors (config.json and model.safetensors, read by
    from_pretrained of the tasks) are folders for programs that have covidct. Any number of scans, and of slices of a
    volume, can be given to what is written; class names and the whole pre-processing travel along. The table tells the
    largest differences from the checkpoint's network on random inputs.

    Args:
        checkpoint: a .ckpt file of any task; detectors cannot be written as pt2 or onnx.
        out: a file that ends in .pt2 or .onnx, or a new or empty folder.
        format: pt2, onnx, monai-bundle or safetensors.
        depth: slices of a scan; a pt2 file of ResNeXt+ needs it and takes this number alone, since torch.export fixes
            the length of nn.LSTM (an onnx file of it takes any); elsewhere one more number to be tried.
        size: pixels per side, for networks that were trained on images of any size.

    Returns:
        0.
    """
    from covidct.inference import export_checkpoint

    done = export_checkpoint(checkpoint, out, format=format, depth=depth, size=size)
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    table = make_table(f"{done.network} as {done.format}", "what", "value")
    for kind, tensors in (("input", done.inputs), ("output", done.outputs)):
        for name, axes in tensors.items():
            table.add_row(f"{kind} {name}", " x ".join(map(str, axes)))
    for name, difference in done.differences.items():
        table.add_row(f"largest difference of {name}", f"{difference:.1e}")
    scans = ", ".join(f"{count} of {slices} slices" if slices else str(count) for count, slices in done.tried)
    table.add_row("tried on", f"random scans: {scans}" if done.tried[0][1] else f"random images: {scans}")
    table.add_row("size", f"{sum(path.stat().st_size for path in files) / _MEGABYTE:.1f} MB")
    results().print(table)
    results().print(str(out), markup=False, soft_wrap=True)
    for sentence in done.notes:
        note(f"covidct: {sentence}")
    research_use()
    return 0
