"""``covidct segment``: the lung mask of a scan, on the scan's own grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from covidct.cli.command import run_function
from covidct.cli.console import placed, research_use, results
from covidct.cli.inspect import report_findings
from covidct.errors import CovidctError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covidct.models import LungSegmenter

__all__ = ("run", "segment")

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")  # what covidct.io.write_mask writes


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(segment, argv, verb=verb)


def segment(
    scan: Path,
    out: Path,
    *,
    checkpoint: Path | None = None,
    device: str = "auto",
    on_fault: Literal["error", "repair", "warn"] = "error",
    series: str | None = None,
) -> int:
    """Find the lungs of a CT scan and write them as a label map (1 right lung, 2 left lung) on the scan's own grid.

    Without a checkpoint by an air threshold and anatomy, with one by its network.

    Args:
        scan: DICOM folder, file or zip, NIfTI, NRRD or MetaImage.
        out: file to write; its suffix (.nii.gz, .nii, .nrrd, .mha, .mhd) chooses the format.
        checkpoint: a .ckpt file of a lung network (UNet3dTask).
        device: of the network: auto (CUDA when there is one), cpu, or a torch device such as cuda:1.
        on_fault: what to do with wrong geometry: refuse it, repair what can be repaired, or go on as it is.
        series: SeriesInstanceUID to take where the input holds several.

    Returns:
        0.
    """
    _check_target(scan, out)
    from covidct.inference import segment_scan
    from covidct.io import read_scan, write_mask

    segmenter = _segmenter(checkpoint, device)
    try:
        volume = read_scan(scan, series=series, on_fault=on_fault)
        lungs = segment_scan(volume, segmenter=segmenter)
    except CovidctError as error:
        raise type(error)(placed(str(error), scan)) from error
    report_findings(volume.findings)
    write_mask(lungs.mask, like=volume, path=out)
    right, left = lungs.lungs_ml["right"], lungs.lungs_ml["left"]
    way = "threshold" if segmenter is None else f"network {segmenter.sha256[:12]}"
    results().print(
        f"{out}: right lung {right:.0f} ml, left lung {left:.0f} ml, together {right + left:.0f} ml (by {way}).",
        markup=False,
        soft_wrap=True,
    )
    research_use()
    return 0


def _segmenter(checkpoint: Path | None, device: str) -> LungSegmenter | None:
    """The lung network, if one is asked for."""
    if checkpoint is None:
        if device not in ("auto", "cpu"):
            raise UsageError(f"The device {device!r} is for a network: give its --checkpoint, or leave --device out.")
        return None
    from covidct.inference.device import find_device
    from covidct.models import LungSegmenter

    return LungSegmenter.from_checkpoint(checkpoint, device=find_device(device))


def _check_target(scan: Path, out: Path) -> None:
    """Refuse an output that cannot be, before any work is done."""
    if not out.name.lower().endswith(_SUFFIXES):
        raise UsageError(f"{out} has no suffix of a volume: name the output *{', *'.join(_SUFFIXES)}.")
    if out.is_dir():
        raise UsageError(f"{out} is a folder: name the file to write.")
    if out.exists() and scan.exists() and out.resolve() == scan.resolve():
        raise UsageError(f"{out} is the scan itself: name another file for the mask.")
