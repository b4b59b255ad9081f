"""``covidct segment`` with a lung network of X-rays: masks of all images, and a manifest of them."""

from __future__ import annotations

import csv
import io
import logging
import os
from typing import TYPE_CHECKING

import cv2
import numpy as np

from covidct.atomic import atomic_path
from covidct.cli.console import error, note, placed, progress, results
from covidct.cli.inspect import exit_code
from covidct.cli.out_folder import check_out_folder
from covidct.cli.png import write_png
from covidct.cli.xray_inputs import FILE_COLUMNS, find_xray_inputs
from covidct.errors import CovidctError, InputError, UsageError
from covidct.functional import lung_area_share
from covidct.inference.device import find_device
from covidct.models import XRayLungSegmenter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.cli.xray_inputs import XRayInput

__all__ = ("segment_xrays",)

MANIFEST = "manifest.csv"
"""Name of the new manifest."""

_MASKS = "masks"
_PICTURE = ".png"
_DIGITS = 16  # hex digits of an image's digest: 64 bits
_NETWORK_DIGITS = 8
_SMALL = 0.15  # share of the image below which the chest X-ray system leaves images out (paper)
_MADE = ("mask", "lung_area")
_LOGGER = logging.getLogger(__name__)


def segment_xrays(paths: Sequence[Path], out: Path, *, checkpoint: Path, device: str) -> int:
    """Find the lungs of X-rays; one bad image does not stop the rest.

    A folder ``out`` gets ``masks/<image>-<network>.png``, named by the digests of the image file and the checkpoint, so
    that no name tells a patient and a mask that is there is not made again, and ``manifest.csv``: the rows of the given
    manifest with the columns ``mask`` and ``lung_area``, a share of the image; of files and folders one row each,
    whose subjects are the digests. What failed is left out of it.

    Args:
        paths: files, folders, or one manifest.
        out: a folder; of a single file a ``.png`` for its mask (0 outside, 255 inside) too.
        checkpoint: of ``FPNDenseNetTask``.
        device: ``"auto"`` or a torch device.

    Returns:
        0, 1 when some images failed, 3 when all did.

    Raises:
        CheckpointError: when the checkpoint cannot be used.
        UsageError: when the paths or the output do not suit.
        ManifestError: when the manifest cannot be read.
    """
    inputs = find_xray_inputs(paths, out=out)
    if out.suffix.lower() == _PICTURE and not out.is_dir():
        return _one(inputs, out, checkpoint=checkpoint, device=device)
    check_out_folder(out)
    manifest = out / MANIFEST
    if any(manifest.resolve() == path.resolve() for path in paths):
        raise UsageError(f"{manifest} is the manifest itself: name another folder for the results.")
    segmenter = XRayLungSegmenter.from_checkpoint(checkpoint, device=find_device(device))
    rows: list[dict[str, str]] = []
    with progress(len(inputs), "segment") as step:
        for one in inputs:
            try:
                rows.append(_row(one, segmenter, out))
                step(one.path.name)
            except CovidctError as problem:
                error(placed(str(problem), one.path))
                step(f"{one.path.name} failed")
            except Exception as problem:  # a fault of the library must not stop the rest
                _LOGGER.debug("an image failed", exc_info=True)
                error(placed(f"covidct itself failed with {type(problem).__name__}: {problem}", one.path))
                step(f"{one.path.name} failed")
    if rows:
        _write_manifest(rows, manifest)
        _report([float(row["lung_area"]) for row in rows], manifest, segmenter)
    return exit_code(failed=len(inputs) - len(rows), total=len(inputs))


def _one(inputs: Sequence[XRayInput], out: Path, *, checkpoint: Path, device: str) -> int:
    """The mask of a single image as one file."""
    if len(inputs) > 1:
        raise UsageError(f"{out} is one file for the masks of {len(inputs)} X-rays: name a folder.")
    (one,) = inputs
    if out.exists() and out.resolve() == one.path.resolve():
        raise UsageError(f"{out} is the X-ray itself: name another file for the mask.")
    segmenter = XRayLungSegmenter.from_checkpoint(checkpoint, device=find_device(device))
    try:
        mask = _find(one, segmenter)
    except CovidctError as problem:
        raise type(problem)(placed(str(problem), one.path)) from problem
    write_png(mask * np.uint8(255), out)
    share = f"lungs cover {100 * lung_area_share(mask):.1f} % of the image"
    results().print(f"{out}: {share} (network {segmenter.sha256[:12]}).", markup=False, soft_wrap=True)
    return 0


def _row(one: XRayInput, segmenter: XRayLungSegmenter, out: Path) -> dict[str, str]:
    """The row of an X-ray in the new manifest, its mask written unless it is there."""
    from covidct.io import content_digest

    try:
        digest = content_digest(one.path)[:_DIGITS]
    except OSError as problem:
        raise InputError(f"The file cannot be read ({problem.strerror or problem}): check the path.") from problem
    target = out / _MASKS / f"{digest}-{segmenter.sha256[:_NETWORK_DIGITS]}{_PICTURE}"
    there = cv2.imread(str(target), cv2.IMREAD_UNCHANGED) if target.is_file() and not one.fault else None
    if there is None:
        there = _find(one, segmenter)
        write_png(there * np.uint8(255), target)
    share = lung_area_share(there)
    if not share:
        note(f"covidct: {one.path}: no lungs were found, the mask is empty.")
    fresh = {"label": "", "subject": digest} if set(one.cells) == {"path"} else {}
    return {**one.cells, **fresh, "mask": str(target.absolute()), "lung_area": f"{share:.6f}"}


def _find(one: XRayInput, segmenter: XRayLungSegmenter) -> NDArray[np.uint8]:
    """The mask of an X-ray."""
    from covidct.io import read_image

    if one.fault:
        raise InputError(one.fault)
    return segmenter(read_image(one.path))


def _write_manifest(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Write the rows, files relative to the folder, whole or not at all."""
    folder = path.parent.absolute()
    columns = [name for name in rows[0] if name not in _MADE]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*columns, *_MADE])
    for row in rows:
        cells = {
            name: os.path.relpath(value, folder) if value and name in (*FILE_COLUMNS, "mask") else value
            for name, value in row.items()
        }
        table.writerow([cells[name] for name in (*columns, *_MADE)])
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


def _report(shares: Sequence[float], manifest: Path, segmenter: XRayLungSegmenter) -> None:
    """Say what was found."""
    low, middle, high = (100 * float(np.quantile(shares, place)) for place in (0, 0.5, 1))
    small = sum(share < _SMALL for share in shares)
    results().print(
        f"{manifest}: {len(shares)} masks (network {segmenter.sha256[:12]}). Lungs cover {low:.1f} to {high:.1f} % of "
        f"the image, median {middle:.1f} %; {small} under {100 * _SMALL:.0f} %.",
        markup=False,
        soft_wrap=True,
    )
