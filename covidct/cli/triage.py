"""``covidct triage``: a checkpoint applied to scans; pages, JSON and one table."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from covidct.cli.command import run_function
from covidct.cli.console import error, make_table, note, placed, progress, research_use, results
from covidct.cli.inspect import exit_code
from covidct.errors import UsageError
from covidct.io.names import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from covidct.cli.cohort_folder import CohortFolder
    from covidct.inference import Predictor, PredictorSettings
    from covidct.io import ScanInput
    from covidct.result import CohortResult, ScanResult

__all__ = ("run", "triage_inputs")

_SHOWN = 20  # rows on the terminal; all of them stand in cohort.csv


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(triage_inputs, argv, verb=verb, variadic={"inputs": Path})


def triage_inputs(
    inputs: list[Path],
    *,
    checkpoint: Path,
    out: Path,
    lung_checkpoint: Path | None = None,
    resume: bool = False,
    on_fault: Literal["error", "repair", "warn"] = "error",
    device: str = "auto",
    explain: bool = True,
    lesions: Path | None = None,
    score_threshold: float | None = None,
    mask_threshold: float | None = None,
    roi_nms: float | None = None,
    rpn_nms: float | None = None,
    display_values: bool = False,
    viewer: bool = True,
    masks: bool = True,
    dicom: bool = False,
    tested: Path | None = None,
    processes: int = 1,
    dask: str | None = None,
) -> int:
    """Apply a checkpoint to CT scans or X-rays: probabilities, slice scores, lung volumes as pages, JSON, one table.

    A classifier of slices is applied to every slice that shows lung; the scan's probabilities are the mean over the
    tenth of the slices that it finds most suspicious. With a lesion network the lesions are found and measured too.
    A classifier of chest X-rays takes each picture and each DICOM file as one X-ray.

    The pre-processing is the one the checkpoint was trained with. One bad input does not stop the rest. Results are
    named by pseudonyms; which input is behind one stands in OUT/inputs.csv alone, which is not to be shared. Nothing
    else names a patient, but the DICOM objects in OUT/dicom where --dicom asks for them.

    Args:
        inputs: files, DICOM folders, zips, or folders with any of them.
        checkpoint: a .ckpt file that covidct wrote, of a classifier of CT volumes, CT slices or X-rays.
        out: folder for index.html, cohort.csv, cohort.parquet, scans/ and masks/.
        lung_checkpoint: a .ckpt file of a lung network, whose masks are then used; needed where the task was trained
            with them.
        resume: keep what an earlier run into the same folder has finished.
        on_fault: what to do with wrong geometry: refuse it, repair what can be repaired, or go on as it is.
        device: auto (CUDA when there is one), cpu, or a torch device such as cuda:1.
        explain: draw Grad-CAM on the slices, in the scale that the checkpoint keeps; --no-explain saves a little time.
        lesions: a .ckpt file of a lesion network (LesionMaskRCNNTask).
        score_threshold: least score of a lesion, in [0, 1]; here and below the default is the lesion checkpoint's.
        mask_threshold: of the soft masks of lesions, in [0, 1).
        roi_nms: overlap of lesions of one type above which the weaker is dropped, in [0, 1].
        rpn_nms: the same of the proposals.
        display_values: take folders of pictures for the window that slice and lesion networks were trained with; they
            do not say it.
        viewer: put every slice of a scan into its page, to scroll through; --no-viewer makes pages of a tenth of the
            size.
        masks: write the masks of lungs and lesions of CT scans as NIfTI on the scans' own grid; --no-masks leaves them
            out.
        dicom: write DICOM objects too, for CT scans that are DICOM series: segmentations, a structured report,
            pictures; they carry the patient and study of their source. Needs pip install 'covidct[dicom]'.
        tested: the metrics.json that `covidct test --out` wrote for this checkpoint; pages then say how often a
            probability like theirs was right there.
        processes: examine so many scans at once, each in a process with networks of its own.
        dask: address of a Dask scheduler (tcp://host:8786), whose workers do the work; all must see the same paths.

    Returns:
        0, 1 when some inputs failed, 3 when all did.
    """
    from covidct.cli.cohort_folder import CohortFolder
    from covidct.cli.tested import calibration_record
    from covidct.inference import PredictorSettings
    from covidct.inference.lesion_network import given_thresholds
    from covidct.inference.triage import run_record
    from covidct.io import discover

    if processes != 1 and dask is not None:
        raise UsageError("--processes and --dask both say where the work is done: give one of them.")
    thresholds = given_thresholds(
        score_threshold=score_threshold, mask_threshold=mask_threshold, roi_nms=roi_nms, rpn_nms=rpn_nms
    )
    settings = PredictorSettings(
        str(checkpoint),
        lung_checkpoint=None if lung_checkpoint is None else str(lung_checkpoint),
        device=device,
        on_fault=on_fault,
        explain=explain,
        lesion_checkpoint=None if lesions is None else str(lesions),
        lesion_thresholds=tuple(sorted(thresholds.items())),
        display_values=display_values,
        viewer=viewer,
        masks=masks,
        dicom=dicom,
    )
    predictor = settings.predictor()  # here too: what is wrong with the checkpoints is said before any scan is read
    scans = discover(inputs, single_pictures=predictor.by_images)
    run = run_record(predictor) | calibration_record(tested, predictor.sha256, by_slices=predictor.by_slices)
    folder = CohortFolder(out, run=run, scans=scans, resume=resume)
    finished = folder.take_finished()
    if finished:
        note(f"covidct: {len(finished)} of {len(scans)} scans are finished already.")
    try:
        todo = [scan for scan in scans if scan not in finished]
        if dask is None and processes == 1:
            _examine_all(predictor, folder, todo)
        else:
            _examine_elsewhere(settings, folder, todo, processes=processes, dask=dask)
    finally:
        cohort = folder.close()
    failed = sum(scan.status == "failed" for scan in cohort.scans)
    if failed < len(scans):
        _summary(cohort, folder, scans)
    if dicom:
        _tell_objects(cohort, folder)
    research_use()
    return exit_code(failed=failed, total=len(scans))


def _examine_all(predictor: Predictor, folder: CohortFolder, scans: Sequence[ScanInput]) -> None:
    """Examine scan after scan; each result is on disk before the next begins."""
    from covidct.inference.triage import examine

    with progress(len(scans), "triage") as step:
        for scan in scans:
            result = examine(predictor, scan, id=folder.id_of(scan), tell=partial(_tell, scan))
            _keep(result, folder, step)


def _examine_elsewhere(
    settings: PredictorSettings, folder: CohortFolder, scans: Sequence[ScanInput], *, processes: int, dask: str | None
) -> None:
    """Examine scans in several processes or on a cluster; each result is on disk as soon as it is there."""
    from covidct.inference import examine_many, local_processes, on_dask

    work = [(scan, folder.id_of(scan)) for scan in scans]
    with ExitStack() as stack:
        if dask is None:
            executor: Executor = stack.enter_context(local_processes(processes))
            workers = processes
        else:
            executor, workers = stack.enter_context(on_dask(dask))
        step = stack.enter_context(progress(len(scans), "triage"))
        for result in examine_many(settings, work, executor, workers=workers, tell=_tell):
            _keep(result, folder, step)


def _keep(result: ScanResult, folder: CohortFolder, step: Callable[[str], None]) -> None:
    """Write a result and say that it is there."""
    folder.keep(result)
    step(result.id if result.status == "done" else f"{result.id} failed")


def _tell(scan: ScanInput, sentence: str) -> None:
    """Say what is wrong with a scan, for the person at the terminal."""
    series = f" (series {scan.series})" if scan.series else ""
    error(f"{placed(sentence, scan.path)}{series}")


def _tell_objects(cohort: CohortResult, folder: CohortFolder) -> None:
    """Say how many scans have DICOM objects, and why the others have none."""
    from covidct.inference.result_files import NO_SOURCE

    done = [scan for scan in cohort.scans if scan.status == "done"]
    why = Counter(finding.message for scan in done for finding in scan.findings if finding.code == NO_SOURCE.code)
    for message, count in why.items():
        note(f"covidct: no DICOM objects of {counted(count, 'scan', 'scans')}: {message}")
    if made := len(done) - why.total():
        objects = f"{folder.out / 'dicom'}: DICOM objects of {counted(made, 'scan', 'scans')}, which name the patients."
        results().print(objects, markup=False, soft_wrap=True)


def _summary(cohort: CohortResult, folder: CohortFolder, scans: Sequence[ScanInput]) -> None:
    """Print the first results and where the rest is."""
    paths = {folder.id_of(scan): scan.path for scan in scans}
    table = make_table("triage", "input", "id", "predicted", "probability", "lungs (ml)")
    for scan in cohort.scans[:_SHOWN]:
        if scan.status == "failed":
            table.add_row(paths[scan.id].name, scan.id, "failed", "", "")
            continue
        table.add_row(
            paths[scan.id].name,
            scan.id,
            scan.predicted,
            f"{scan.probabilities[scan.predicted]:.3f}",
            f"{sum(scan.lungs_ml.values()):.0f}" if scan.lungs_ml else "",
        )
    console = results()
    console.print(table)
    done = sum(scan.status == "done" for scan in cohort.scans)
    more = f" ({len(cohort.scans) - _SHOWN} more rows in cohort.csv)" if len(cohort.scans) > _SHOWN else ""
    console.print(
        f"{done} of {len(cohort.scans)} scans done{more}: {folder.out / 'index.html'}", markup=False, soft_wrap=True
    )
