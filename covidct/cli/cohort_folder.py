"""``CohortFolder``: the output of ``covidct triage`` on disk, and what of it can be kept when a run goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from covidct.atomic import atomic_path
from covidct.cli.out_folder import check_out_folder
from covidct.errors import UsageError
from covidct.inference import Pseudonyms
from covidct.report import (
    write_cohort_csv,
    write_cohort_page,
    write_cohort_parquet,
    write_scan_json,
    write_scan_page,
    write_slices_csv,
)
from covidct.report.plain import plain
from covidct.result import CohortResult, Preview, ScanResult
from covidct.volume import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.io import ScanInput

__all__ = ("CohortFolder",)

_BINDING = (
    "checkpoint_sha256",
    "preprocessing",
    "mask_source",
    "lesion_source",
    "lesion_thresholds",
    "display_values",
    "on_fault",
    "masks",
    "dicom",
    "tested",
    "covidct",
)
_THUMBNAIL = 96  # pixels across: what :func:`covidct.report.pictures.thumbnail` makes
_RUN_KEYS = ("kind", "version", "research_use", "run")


class CohortFolder:
    """``index.html``, ``cohort.csv|parquet``, ``run.json``, ``inputs.csv`` and ``scans/<id>.json|html|npz``.

    The files of results (masks, DICOM objects) stand where their names say.
    Where the network has slice attention, ``slices.csv`` too.
    Nothing is written before the first scan succeeds, so that a run whose inputs are all refused leaves nothing behind.

    Args:
        out: the folder; made when the first scan succeeds.
        run: what makes the results, see :func:`covidct.inference.triage`.
        scans: all inputs of the run.
        resume: keep finished scans of an earlier run.

    Raises:
        UsageError: when the folder cannot be written, holds results and ``resume`` is not asked for, or holds those of
            another checkpoint, release or option.
    """

    def __init__(self, out: Path, *, run: dict[str, Any], scans: Sequence[ScanInput], resume: bool) -> None:
        """Check the folder; write nothing."""
        self.out = out
        self.run = run
        self.scans = tuple(scans)
        check_out_folder(out)
        _check_run(out / "run.json", run, resume=resume)
        self.pseudonyms = Pseudonyms(out / "inputs.csv")
        self._results: dict[str, ScanResult] = {}
        self._open = False

    def id_of(self, scan: ScanInput) -> str:
        """Pseudonym of an input."""
        return self.pseudonyms.id_of(scan)

    def take_finished(self) -> set[ScanInput]:
        """Take over what an earlier run has finished.

        Returns:
            The inputs that need not be done again; results whose input has changed since are removed.
        """
        finished = set()
        for scan in self.scans:
            record = self._file(self.id_of(scan), "json")
            if not record.exists():
                continue
            result = _read_result(record) if self.pseudonyms.is_unchanged(scan) else None
            if result is None:
                self._forget(record)
                continue
            self._results[result.id] = result
            finished.add(scan)
        return finished

    def keep(self, result: ScanResult) -> None:
        """Write one result; failures wait for the first success."""
        self._results[result.id] = _light(result)
        if result.status == "done":
            self._start()
            self._write(result)

    def close(self) -> CohortResult:
        """Write the table and the page of the cohort, if any scan is done.

        Returns:
            The results in the order of the inputs.
        """
        order = [self.id_of(scan) for scan in self.scans]
        cohort = CohortResult(tuple(self._results[name] for name in order if name in self._results), self.run)
        if any(scan.status == "done" for scan in cohort.scans):
            self._start()
            for result in cohort.scans:
                if result.status == "failed":
                    write_scan_json(result, self._file(result.id, "json"), run=self.run)
            names = self.run["preprocessing"]["classes"]
            write_cohort_csv(cohort, self.out / "cohort.csv", class_names=names)
            write_cohort_parquet(cohort, self.out / "cohort.parquet", class_names=names)
            if any(scan.attention for scan in cohort.scans):
                write_slices_csv(cohort, self.out / "slices.csv")
            links = {scan.id: f"scans/{scan.id}.html" for scan in cohort.scans if scan.status == "done"}
            write_cohort_page(cohort, self.out / "index.html", links=links)
        return cohort

    def _start(self) -> None:
        """Write what the results need beside them, once."""
        if self._open:
            return
        self._open = True
        self.pseudonyms.write(self.scans)
        with atomic_path(self.out / "run.json") as temporary:
            temporary.write_text(json.dumps(plain(self.run), indent=2) + "\n", encoding="utf-8")

    def _write(self, result: ScanResult) -> None:
        """Write files, page, pictures and, last, the record: where the record is, the rest is too."""
        for name, content in result.contents.items():
            with atomic_path(self.out / name) as temporary:
                temporary.write_bytes(content)
        write_scan_page(result, self.run, self._file(result.id, "html"), back="../index.html")
        if result.preview is not None:
            _write_preview(_lightest(result.preview), self._file(result.id, "npz"))
        write_scan_json(result, self._file(result.id, "json"), run=self.run)

    def _forget(self, record: Path) -> None:
        """Remove a record and the files that stand beside it, since nobody knows whether the next one has as many."""
        for name in _files_of(record):
            (self.out / name).unlink(missing_ok=True)
        record.unlink()

    def _file(self, name: str, suffix: str) -> Path:
        return self.out / "scans" / f"{name}.{suffix}"


def _check_run(path: Path, run: dict[str, Any], *, resume: bool) -> None:
    """Refuse to mix results of unlike runs."""
    if not path.exists():
        return
    if not resume:
        raise UsageError(f"{path.parent} holds results already: add --resume to go on, or name another --out.")
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}): name another --out.") from error
    now = plain(run)
    unlike = [key for key in _BINDING if before.get(key) != now.get(key)]
    if unlike:
        raise UsageError(
            f"{path.parent} holds results that differ in {', '.join(unlike)}: name another --out, since one table must "
            "not mix them."
        )


def _light(result: ScanResult) -> ScanResult:
    """A result with as few pictures as the cohort's page shows, so that a long run does not fill the memory."""
    preview = None if result.preview is None else _lightest(result.preview)
    return replace(
        result,
        preview=preview,
        montage=None,
        lesion_preview=None,
        region_preview=None,
        viewer=None,
        regions=(),
        contents={},
    )


def _lightest(preview: Preview) -> Preview:
    """A thumbnail of the middle slice alone, which is what the cohort's page shows: 10 kB instead of megabytes."""
    middle = len(preview.slices) // 2
    plane = preview.slices[middle]
    height = max(1, round(_THUMBNAIL * plane.shape[0] / plane.shape[1]))
    small = np.asarray(cv2.resize(plane, (_THUMBNAIL, height), interpolation=cv2.INTER_AREA), np.uint8)[None]
    return _thumbnail(small, preview.indices[middle : middle + 1])


def _thumbnail(small: NDArray[np.uint8], indices: tuple[int, ...]) -> Preview:
    """A preview without mask, weights and Grad-CAM."""
    return Preview(small, np.zeros_like(small), None, indices)


def _write_preview(preview: Preview, path: Path) -> None:
    """Keep the picture that the cohort's page needs when a later run takes the result over."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, slices=preview.slices, indices=np.asarray(preview.indices))


def _read_preview(path: Path) -> Preview | None:
    """What :func:`_write_preview` wrote; None when there is none."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return _thumbnail(arrays["slices"], tuple(int(number) for number in arrays["indices"]))


def _read_result(path: Path) -> ScanResult | None:
    """A finished result; None when it failed or cannot be read, so that it is done again."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["status"] != "done":
            return None
        values = {key: value for key, value in record.items() if key not in _RUN_KEYS}
        values["findings"] = tuple(Finding(**finding) for finding in values["findings"])
        for key in ("slice_scores", "attention"):
            values[key] = tuple(float("nan") if score is None else score for score in values[key])
        values["positive_slices"] = tuple(values["positive_slices"])
        values["files"] = tuple(values["files"])
        values["regions"] = ()  # they stay in the file, as after the run that wrote it
        values["lesions"] = tuple(_lesion_row(row) for row in values["lesions"])
        return ScanResult(**values, preview=_read_preview(path.with_suffix(".npz")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _files_of(record: Path) -> list[str]:
    """Names of the files of a record, as far as they can be its own; none when it cannot be read."""
    try:
        names = json.loads(record.read_text(encoding="utf-8")).get("files", [])
        return [name for name in names if name.startswith(("dicom/", "masks/")) and ".." not in name]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def _lesion_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the lesion table as it was: NaN where JSON has null, but for the side, which is a word."""
    known = {key: float("nan") if value is None and key != "side" else value for key, value in row.items()}
    return known | {"unknown": tuple(row["unknown"])}
