"""``covidct segment`` with a lesion network: masks and overlays of scans, slices and pictures, one table."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import numpy as np

from covidct.atomic import atomic_path
from covidct.cli.console import error, make_table, note, placed, progress, results
from covidct.cli.dicom_folder import FOLDER, make_objects, mask_stem, require_series, write_objects
from covidct.cli.inspect import exit_code, finding_line
from covidct.cli.lesion_inputs import OVERLAY
from covidct.cli.png import write_png
from covidct.errors import CovidctError
from covidct.explain.lesions import lesion_figure, lesion_overlay, lesion_title
from covidct.inference.device import find_device
from covidct.inference.lesions import display_slices, lesion_boxes, segment_lesions
from covidct.inference.lung_network import find_lung_network
from covidct.inference.result_files import FoundMasks
from covidct.inference.segment import lungs_if_any
from covidct.models import LesionSegmenter, LungSegmenter
from covidct.report.words import figure
from covidct.volume import Image, Volume

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.cli.lesion_inputs import LesionInput
    from covidct.inference import LesionSegmentation
    from covidct.volume import Finding

__all__ = ("load_networks", "segment_all_lesions")

_LOGGER = logging.getLogger(__name__)
_DPI = 150  # of the figure of a scan: 480 pixels a slice
_SHOWN = 30  # rows on the terminal


def load_networks(
    checkpoint: Path,
    lung_checkpoint: Path | None,
    *,
    thresholds: Mapping[str, float],
    device: str,
    display_values: bool,
) -> tuple[LesionSegmenter, LungSegmenter | None]:
    """The lesion network, and the lung network that is asked for or that it needs.

    Args:
        checkpoint: of the lesion network.
        lung_checkpoint: of a lung network, or None.
        thresholds: see :func:`covidct.inference.lesion_network.given_thresholds`.
        device: ``"auto"`` or a torch device.
        display_values: take pictures for the window of the training.

    Raises:
        CheckpointError: when a file is another network's.
        UsageError: for a threshold out of range, or where the lung network is missing or another one.
    """
    place = find_device(device)
    segmenter = LesionSegmenter.from_checkpoint(checkpoint, device=place, assume_window=display_values, **thresholds)
    record = segmenter.preprocessing
    trained_with = "threshold" if record.masking == "original" else record.mask_source
    lungs = find_lung_network(LungSegmenter, lung_checkpoint, trained_with=trained_with, device=place)
    return segmenter, lungs


def segment_all_lesions(
    inputs: Sequence[LesionInput],
    *,
    segmenter: LesionSegmenter,
    lungs: LungSegmenter | None,
    on_fault: Literal["error", "repair", "warn"],
    overlays: bool,
    dicom: bool = False,
) -> int:
    """Find the lesions of all inputs; one bad input does not stop the rest.

    Args:
        inputs: with the files of their masks.
        segmenter: the lesion network.
        lungs: a lung network for the shares of the lungs; None: the classical mask.
        on_fault: what to do with wrong geometry.
        overlays: write a picture with the lesions in colour beside each mask.
        dicom: write DICOM objects of lungs and lesions beside each mask; an input that is no DICOM series fails.

    Returns:
        0, 1 when some inputs failed, 3 when all did.
    """
    done: list[tuple[LesionInput, LesionSegmentation]] = []
    with progress(len(inputs), "segment") as step:
        for one in inputs:
            try:
                scan = _read(one, on_fault)
                if dicom:
                    require_series(scan)
                known = lungs_if_any(scan, segmenter=lungs) if isinstance(scan, Volume) else None
                found = segment_lesions(scan, segmenter=segmenter, lungs=known or lungs)
                _report((*scan.findings, *found.findings), one, among=len(inputs))
                if dicom and isinstance(scan, Volume):
                    masks = FoundMasks(scan, known, found)
                    write_objects(make_objects(masks, one.path, series=one.series, on_fault=on_fault), one.target)
                _write(one, scan, found, overlay=overlays, window=segmenter.preprocessing.window)
                done.append((one, found))
                step(one.path.name)
            except CovidctError as problem:
                error(placed(str(problem), one.path))
                step(f"{one.path.name} failed")
            except Exception as problem:  # a fault of the library must not stop the rest
                _LOGGER.debug("an input failed", exc_info=True)
                error(placed(f"covidct itself failed with {type(problem).__name__}: {problem}", one.path))
                step(f"{one.path.name} failed")
    if done:
        _print_table(done)
        if dicom:
            note(f"covidct: DICOM objects, which name the patients, are in the folders *{FOLDER} beside the masks.")
    return exit_code(failed=len(inputs) - len(done), total=len(inputs))


def _report(findings: Iterable[Finding], one: LesionInput, *, among: int) -> None:
    """Say what was odd or assumed, and of which input where there are several."""
    place = f"{one.path.name}: " if among > 1 else ""
    for finding in findings:
        note(f"covidct: {place}{finding_line(finding)}")


def _read(one: LesionInput, on_fault: Literal["error", "repair", "warn"]) -> Volume | Image:
    """A scan, a slice in Hounsfield units, or a picture."""
    from covidct.io import read_image, read_scan
    from covidct.io.ct_slice import read_ct_slice

    if one.kind == "picture":
        return read_image(one.path)
    if one.kind == "slice":
        return read_ct_slice(one.path)
    return read_scan(one.path, series=one.series, on_fault=on_fault)


def _write(
    one: LesionInput,
    scan: Volume | Image,
    found: LesionSegmentation,
    *,
    overlay: bool,
    window: tuple[float, float] | None,
) -> None:
    """Write the mask, and its picture where asked for."""
    from covidct.io import write_mask

    if isinstance(scan, Image) or one.kind == "slice":
        mask = found.mask if found.mask.ndim == 2 else found.mask[0]
        write_png(mask, one.target)
        if overlay:
            grey = display_slices(scan, [0], window=window)[0]
            boxes = lesion_boxes(found.detections[0])
            drawn = lesion_overlay(grey, mask, boxes=boxes, names=found.class_names)
            write_png(drawn[..., ::-1], _beside(one.target))
        return
    write_mask(found.mask, like=scan, path=one.target)
    if overlay:
        slices = display_slices(scan, range(len(found.mask)), window=window)
        every = [lesion_boxes(own) for own in found.detections]
        drawing = lesion_figure(slices, found.mask, boxes=every, names=found.class_names)
        with atomic_path(_beside(one.target)) as temporary:
            drawing.savefig(temporary, dpi=_DPI)


def _beside(target: Path) -> Path:
    """The picture of a mask: ``scan_overlay.png`` beside ``scan.nii.gz``."""
    return target.with_name(f"{mask_stem(target)}{OVERLAY}.png")


def _print_table(done: Sequence[tuple[LesionInput, LesionSegmentation]]) -> None:
    """Print the lesion table, type by type."""
    columns = ("objects", "pixels", "ml", "right %", "left %", "both %", "side", "peripheral %", "mean HU")
    table = make_table("lesions", "mask", "type", *columns)
    rows = [(one, found, row) for one, found in done for row in found.rows]
    for one, found, row in rows[:_SHOWN]:
        title = "All lesions" if row.lesion == "all" else lesion_title(row.lesion)
        shares = (row.right_percent, row.left_percent, row.lungs_percent)
        table.add_row(
            str(one.target.name),
            title,
            str(row.objects),
            str(_pixels(found.mask, row.lesion)),
            figure(row.volume_ml, 1),
            *(figure(share, 1) for share in shares),
            row.side or figure(None),
            figure(row.peripheral_percent, 0),
            figure(row.mean_hu, 0),
        )
    console = results()
    console.print(table)
    more = f" ({len(rows) - _SHOWN} more rows)" if len(rows) > _SHOWN else ""
    places = str(done[0][0].target) if len(done) == 1 else f"{len(done)} masks in {done[0][0].target.parent}"
    meaning = _meaning(done[0][1].class_names)
    source = done[0][1].lesion_source.partition(":")[2][:12]
    console.print(f"{places}{more}: {meaning} (network {source}).", markup=False, soft_wrap=True)


def _pixels(mask: NDArray[np.uint8], lesion: str) -> int:
    """Pixels of a row of the table."""
    value = {"ground_glass_opacity": 1, "consolidation": 2}.get(lesion)
    return int(np.count_nonzero(mask if value is None else mask == value))


def _meaning(class_names: Sequence[str]) -> str:
    """What the values of a mask mean."""
    words = ", ".join(f"{value} {lesion_title(name).lower()}" for value, name in enumerate(class_names[1:], 1))
    return f"{words} of unknown type" if class_names[1:] == ("lesion",) else words
