"""``covidct segment``: the lungs or the lesions of a scan, the lungs of X-rays, as masks on their own grids."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from covidct.cli.command import run_function
from covidct.cli.console import placed, research_use, results
from covidct.cli.inspect import report_findings
from covidct.cli.lesion_inputs import VOLUME_SUFFIXES, find_lesion_inputs, name_targets
from covidct.errors import CheckpointError, CovidctError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covidct.models import LungSegmenter

__all__ = ("run", "segment")

_LUNGS, _LESIONS, _XRAYS = "UNet3dTask", "LesionMaskRCNNTask", "FPNDenseNetTask"


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(segment, argv, verb=verb, variadic={"scans": Path})


def segment(
    scans: list[Path],
    out: Path,
    *,
    checkpoint: Path | None = None,
    lung_checkpoint: Path | None = None,
    device: str = "auto",
    on_fault: Literal["error", "repair", "warn"] = "error",
    series: str | None = None,
    score_threshold: float | None = None,
    mask_threshold: float | None = None,
    roi_nms: float | None = None,
    rpn_nms: float | None = None,
    display_values: bool = False,
    overlays: bool = False,
    dicom: bool = False,
) -> int:
    """Find the lungs or the lesions of a CT scan, or the lungs of X-rays, as labels on the image's own grid.

    Without a checkpoint the lungs (1 right, 2 left) by an air threshold and anatomy; with that of a lung network by it;
    with that of a lesion network the lesions (1 ground-glass opacity, 2 consolidation; 1 any lesion where it does not
    tell types apart). Lesions are found in scans, single DICOM slices and pictures (PNG, JPEG, TIFF), one or many: with
    several, or a folder of pictures, OUT is a folder with one mask each; failures are listed and the rest is done.

    With the checkpoint of an X-ray lung network, of one X-ray (PNG, JPEG, TIFF, DICOM), many, folders of them, or a
    manifest: OUT is a folder with a PNG mask (0, 255) of each in masks/, named by digests, and manifest.csv with the
    columns mask and lung_area (share of the image). Masks that are there are kept, so a broken run goes on.

    Args:
        scans: DICOM folder, file or zip, NIfTI, NRRD or MetaImage; for lesions also single slices and pictures, folders
            of them, and several of all these; for X-rays see above.
        out: file to write; its suffix (.nii.gz, .nii, .nrrd, .mha, .mhd; .png for a slice or picture) chooses the
            format. A folder for several masks.
        checkpoint: a .ckpt file of a lung network (UNet3dTask), a lesion network (LesionMaskRCNNTask) or a lung network
            of X-rays (FPNDenseNetTask).
        lung_checkpoint: of a lung network, for the lungs that lesions are measured by; else the threshold's.
        device: of the network: auto (CUDA when there is one), cpu, or a torch device such as cuda:1.
        on_fault: what to do with wrong geometry: refuse it, repair what can be repaired, or go on as it is.
        series: SeriesInstanceUID to take where the input holds several.
        score_threshold: least score of a lesion, in [0, 1]; here and below the default is the checkpoint's.
        mask_threshold: of the soft masks of lesions, in [0, 1).
        roi_nms: overlap of lesions of one type above which the weaker is dropped, in [0, 1].
        rpn_nms: the same of the proposals.
        display_values: take pictures for the window that the lesion network was trained with; they do not say it.
        overlays: write a picture with lesions in colour, boxes and scores beside each mask of lesions.
        dicom: write DICOM objects too, into a folder OUT_dicom beside each mask: segmentations of lungs and lesions, a
            structured report of their volumes, pictures. Of CT scans that are DICOM series; the objects carry the
            patient and study of their source. Needs pip install 'covidct[dicom]'.

    Returns:
        0; of lesions and X-rays 1 when some inputs failed, 3 when all did.
    """
    from covidct.inference.lesion_network import given_thresholds

    if dicom:
        from covidct.io.dicom_terms import require_highdicom

        require_highdicom()
    thresholds = given_thresholds(
        score_threshold=score_threshold, mask_threshold=mask_threshold, roi_nms=roi_nms, rpn_nms=rpn_nms
    )
    task = _LUNGS if checkpoint is None else _task_of(checkpoint)
    if checkpoint is not None and task == _LESIONS:
        from covidct.cli.segment_lesions import load_networks, segment_all_lesions

        inputs = name_targets(find_lesion_inputs(scans, series=series), out)
        segmenter, lungs = load_networks(
            checkpoint, lung_checkpoint, thresholds=thresholds, device=device, display_values=display_values
        )
        code = segment_all_lesions(
            inputs, segmenter=segmenter, lungs=lungs, on_fault=on_fault, overlays=overlays, dicom=dicom
        )
        research_use()
        return code
    if thresholds or display_values or overlays or lung_checkpoint:
        raise UsageError(
            "Thresholds, --display-values, --overlays and --lung-checkpoint are for lesions: give the checkpoint of a "
            "lesion network with --checkpoint, or leave them out."
        )
    if checkpoint is not None and task == _XRAYS:
        from covidct.cli.segment_xrays import segment_xrays

        if series is not None:
            raise UsageError("--series is for CT scans, an X-ray is one image: leave it out.")
        if dicom:
            raise UsageError("--dicom is for CT series, not for X-rays: leave it out.")
        code = segment_xrays(scans, out, checkpoint=checkpoint, device=device)
        research_use()
        return code
    if len(scans) > 1:
        raise UsageError(
            f"{len(scans)} scans are given, but lungs are found in one at a time: name one and its output."
        )
    _check_target(scans[0], out)
    network = _segmenter(checkpoint, device)
    return _segment_lungs(scans[0], out, segmenter=network, on_fault=on_fault, series=series, dicom=dicom)


def _task_of(checkpoint: Path) -> str:
    """The task that a checkpoint is of, when it makes masks."""
    from covidct.weights import RECORD_KEY, load_checkpoint

    task = str(load_checkpoint(checkpoint)[RECORD_KEY].get("task"))
    if task not in (_LUNGS, _LESIONS, _XRAYS):
        raise CheckpointError(
            f"{checkpoint.name} belongs to {task}, which makes no masks: give a checkpoint of {_LUNGS} for lungs, of "
            f"{_LESIONS} for lesions, or of {_XRAYS} for lungs in X-rays."
        )
    return task


def _segment_lungs(
    scan: Path,
    out: Path,
    *,
    segmenter: LungSegmenter | None,
    on_fault: Literal["error", "repair", "warn"],
    series: str | None,
    dicom: bool,
) -> int:
    """Write the lung mask of one scan."""
    from covidct.cli.dicom_folder import make_objects, require_series, write_objects
    from covidct.inference import segment_scan
    from covidct.inference.result_files import FoundMasks
    from covidct.io import read_scan, write_mask

    try:
        volume = read_scan(scan, series=series, on_fault=on_fault)
        if dicom:
            require_series(volume)
        lungs = segment_scan(volume, segmenter=segmenter)
        found = FoundMasks(volume, lungs)
        objects = make_objects(found, scan, series=series, on_fault=on_fault) if dicom else {}
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
    if objects:
        folder = write_objects(objects, out)
        results().print(f"{folder}: DICOM objects, which name the patient.", markup=False, soft_wrap=True)
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
    if not out.name.lower().endswith(VOLUME_SUFFIXES):
        raise UsageError(f"{out} has no suffix of a volume: name the output *{', *'.join(VOLUME_SUFFIXES)}.")
    if out.is_dir():
        raise UsageError(f"{out} is a folder: name the file to write.")
    if out.exists() and scan.exists() and out.resolve() == scan.resolve():
        raise UsageError(f"{out} is the scan itself: name another file for the mask.")
