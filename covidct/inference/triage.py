"""``triage``: a checkpoint applied to a cohort; one bad input does not stop the rest."""

from __future__ import annotations

import logging
import platform
import secrets
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import covidct
from covidct import RESEARCH_USE
from covidct.errors import CovidctError
from covidct.inference.predictor import Predictor
from covidct.inference.slices import SLICE_RULE
from covidct.io.anonymous import anonymous
from covidct.io.discover import discover
from covidct.result import CohortResult, ScanResult

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from covidct.io.discover import ScanInput

__all__ = ("examine", "run_record", "triage")

_LOGGER = logging.getLogger(__name__)
_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "monai", "SimpleITK", "pydicom", "numpy")


def triage(
    paths: Iterable[Path],
    *,
    checkpoint: str | os.PathLike[str],
    lung_checkpoint: str | os.PathLike[str] | None = None,
    device: str = "auto",
    on_fault: Literal["error", "repair", "warn"] = "error",
    explain: bool = True,
    lesion_checkpoint: str | os.PathLike[str] | None = None,
    lesion_thresholds: Mapping[str, float] | None = None,
    display_values: bool = False,
) -> CohortResult:
    """Apply a checkpoint to all scans among files, folders and zips.

    Args:
        paths: what to look through, see :func:`covidct.io.discover`.
        checkpoint: a ``.ckpt`` file of a task on CT volumes, CT slices or chest X-rays; of X-rays each picture and
            each DICOM file is one scan.
        lung_checkpoint: a ``.ckpt`` file of a lung network, see :class:`Predictor`.
        device: ``"auto"`` or a torch device.
        on_fault: what to do with wrong geometry, see :func:`covidct.io.read_scan`.
        explain: put Grad-CAM into the pictures.
        lesion_checkpoint: a ``.ckpt`` file of a lesion network, see :class:`Predictor`.
        lesion_thresholds: of the lesion network, see :class:`Predictor`.
        display_values: take pictures for the window of the training, see :class:`Predictor`.

    Returns:
        One result per scan in the order found. Ids are random and lead nowhere; a scan that could not be used has the
        status ``"failed"`` and says why, without file names.

    Raises:
        UsageError: when a path does not exist, or there is no scan in any of them.
        CheckpointError: when a checkpoint cannot be used.
    """
    predictor = Predictor(
        checkpoint,
        lung_checkpoint=lung_checkpoint,
        device=device,
        on_fault=on_fault,
        explain=explain,
        lesion_checkpoint=lesion_checkpoint,
        lesion_thresholds=lesion_thresholds,
        display_values=display_values,
    )
    scans = discover(paths, single_pictures=predictor.by_images)
    results = tuple(examine(predictor, scan, id=f"scan-{secrets.token_hex(6)}") for scan in scans)
    return CohortResult(results, run_record(predictor))


def examine(predictor: Predictor, scan: ScanInput, *, id: str, tell: Callable[[str], None] | None = None) -> ScanResult:
    """Apply a predictor to one scan; never raises on account of the scan.

    Args:
        predictor: the checkpoint.
        scan: what to read.
        id: pseudonym.
        tell: called with the sentence of a failure in full, file names included, for the person at the terminal.

    Returns:
        The result; a failed one holds the sentence without anything that leads to the input.
    """
    try:
        return _without_names(predictor(scan, id=id), scan)
    except CovidctError as error:
        sentence = str(error)
        reason = anonymous(sentence, scan.path)
    except MemoryError:
        sentence = reason = "There is not enough memory for this scan: use a machine with more."
    except Exception as error:
        # a fault of the library must not stop a cohort; the text of an unknown error may hold anything, so only its
        # kind goes into files
        _LOGGER.debug("a scan failed", exc_info=True)
        sentence = f"covidct itself failed with {type(error).__name__}: {error}"
        reason = f"covidct itself failed with {type(error).__name__}; please report it."
    if tell is not None:
        tell(sentence)
    return ScanResult(id=id, status="failed", error=reason)


def _without_names(result: ScanResult, scan: ScanInput) -> ScanResult:
    """The result with findings that name no file."""
    from dataclasses import replace

    clean = tuple(replace(finding, message=anonymous(finding.message, scan.path)) for finding in result.findings)
    return replace(result, findings=clean)


def run_record(predictor: Predictor) -> dict[str, Any]:
    """What made a cohort's results: versions, checkpoint, pre-processing, options, start; no path, no user name."""
    lesions = predictor.lesion_segmenter
    record = {
        "research_use": RESEARCH_USE,
        "covidct": covidct.__version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "task": type(predictor.task).__name__,
        "checkpoint_sha256": predictor.sha256,
        "preprocessing": predictor.preprocessing.to_dict(),
        "mask_source": predictor.mask_source,
        "on_fault": predictor.on_fault,
        "grad_cam": predictor.explain,
        "masks": predictor.masks,
        "dicom": predictor.dicom,
        "device": str(predictor.device),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if predictor.by_slices:
        record["slice_rule"] = SLICE_RULE
    if lesions is not None:
        record |= {"lesion_source": lesions.mask_source, "lesion_thresholds": lesions.thresholds}
    if predictor.display_values:
        record["display_values"] = "taken for the window of the training"
    return record
