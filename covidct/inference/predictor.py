"""``Predictor``: a checkpoint applied to single scans, by the path it was trained with."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from covidct.errors import CheckpointError
from covidct.inference.attention import positive_slices, reason_without_attention
from covidct.inference.device import find_device
from covidct.inference.explained import predict, slice_heat, with_cam
from covidct.inference.lung_network import find_lung_network
from covidct.inference.preview import finer_preview, make_montage, make_preview
from covidct.inference.segment import segment_scan
from covidct.result import ScanResult
from covidct.sample import collate
from covidct.tasks import ClassificationTask, load_task
from covidct.transforms import prepare_volume, to_sample
from covidct.transforms.lung_source import lungs_of_volume
from covidct.weights import sha256_file

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from covidct.inference.discover import ScanInput
    from covidct.preprocessing import Preprocessing
    from covidct.sample import Batch
    from covidct.tasks import BaseTask
    from covidct.volume import Volume

__all__ = ("Predictor", "results_of_batch")

_IDENTITY = ("subject", "scan", "label")


class Predictor:
    """A trained volume classifier, ready to be applied.

    Attributes:
        task: in evaluation mode, on the device.
        preprocessing: the checkpoint's record; it alone says what happens to a scan.
        sha256: of the checkpoint file.
        segmenter: the lung network, None where there is none.
        mask_source: where lung masks come from, see :class:`covidct.result.ScanResult`; that of the training, unless a
            lung network was given.
        on_fault: what is done with wrong geometry.
        explain: whether the pictures have Grad-CAM.

    Args:
        checkpoint: a ``.ckpt`` file of a task on CT volumes.
        lung_checkpoint: a ``.ckpt`` file of a lung network: needed where the task was trained with its masks, and then
            it must be that very file; another task gets its masks from it instead of those it was trained with.
        device: ``"auto"`` (CUDA when there is one, else the CPU) or a torch device such as ``"cuda:1"``.
        on_fault: ``"error"``, ``"repair"`` or ``"warn"``, see :func:`covidct.io.read_scan`.
        explain: put Grad-CAM into the pictures; it costs little beside the network itself.

    Raises:
        CheckpointError: when a file is damaged, pickled, or of a task of another kind.
        UsageError: when there is no such device, or the lung network is missing, another one, or of no use to the task.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str],
        *,
        lung_checkpoint: str | os.PathLike[str] | None = None,
        device: str = "auto",
        on_fault: Literal["error", "repair", "warn"] = "error",
        explain: bool = True,
    ) -> None:
        """Load the checkpoints."""
        task = load_task(checkpoint)
        if not isinstance(task, ClassificationTask):
            raise CheckpointError(
                f"The checkpoint belongs to {type(task).__name__}, which does not classify scans: give one of a "
                "classifier, such as MaskedGAPResNetTask; a lung network is given as the lung checkpoint."
            )
        if task.preprocessing is None or task.preprocessing.kind != "ct_volume":
            kind = "no recorded pre-processing" if task.preprocessing is None else f"{task.preprocessing.kind} data"
            raise CheckpointError(
                f"The checkpoint belongs to {type(task).__name__} on {kind}, but whole CT volumes are asked for: "
                "give a checkpoint of a task on CT volumes, such as MaskedGAPResNetTask."
            )
        self.device = find_device(device)
        self.task: BaseTask = task.to(self.device).eval()
        self.preprocessing = task.preprocessing
        self.sha256 = sha256_file(checkpoint)
        self.segmenter = find_lung_network(
            lung_checkpoint, trained_with=self.preprocessing.mask_source, device=self.device
        )
        self.mask_source = self.segmenter.mask_source if self.segmenter else self.preprocessing.mask_source
        self.on_fault = on_fault
        self.explain = explain

    def read(self, scan: ScanInput) -> Volume:
        """Read a scan; see :func:`covidct.io.read_scan`."""
        from covidct.io import read_scan

        return read_scan(scan.path, series=scan.series, on_fault=self.on_fault)

    def __call__(self, scan: ScanInput, *, id: str) -> ScanResult:
        """Read, prepare, classify.

        Args:
            scan: what to read.
            id: pseudonym, goes into the result.

        Returns:
            The result, with pictures.

        Raises:
            CovidctError: when the scan cannot be used.
        """
        seconds: dict[str, float] = {}
        with _timed(seconds, "read"):
            volume = self.read(scan)
        return self.apply(volume, id=id, seconds=seconds)

    def apply(self, volume: Volume, *, id: str, seconds: dict[str, float] | None = None) -> ScanResult:
        """Prepare and classify a volume.

        Args:
            volume: a chest CT in Hounsfield units.
            id: goes into the result.
            seconds: time of steps before this one.

        Raises:
            InputError: when the volume has no lungs, no Hounsfield units or no geometry.
        """
        seconds = dict(seconds or {})
        with _timed(seconds, "prepare"):
            record, mask, lungs_ml = self._lungs(volume)
            nobody = torch.tensor(0)
            prepared = prepare_volume(volume, record, lung_mask=mask)
            batch = collate([to_sample(prepared, id=id, subject=nobody, scan=nobody)])
        with _timed(seconds, "network"):
            (result,) = results_of_batch(self.task, batch, explain=self.explain)
        with _timed(seconds, "pictures"):
            preview = result.preview and finer_preview(result.preview, volume, record, lung_mask=mask)
            montage = None
            if result.attention:
                montage = make_montage(result.attention, batch, volume, record, lung_mask=mask)
        return replace(
            result,
            findings=volume.findings,
            geometry=_geometry(volume),
            lungs_ml=lungs_ml,
            mask_source=self.mask_source,
            seconds=seconds,
            preview=preview,
            montage=montage,
        )

    def _lungs(self, volume: Volume) -> tuple[Preprocessing, NDArray[np.uint8] | None, dict[str, float]]:
        """The record to apply, the lung mask it needs, and the volume of the lungs."""
        record = self.preprocessing
        if self.segmenter is None and record.mask_source == "lung_field":
            # found once, for the network and the pictures; it has no sides, and more than the lungs in it
            return replace(record, mask_source="file"), lungs_of_volume(volume, record, None), {}
        if self.segmenter is None and record.mask_source != "threshold":
            return record, None, {}
        lungs = segment_scan(volume, segmenter=self.segmenter)
        # by threshold, the same mask that prepare_volume would find: computed once and measured here
        return replace(record, mask_source="file"), lungs.mask, dict(lungs.lungs_ml)


def results_of_batch(task: BaseTask, batch: Batch, *, explain: bool = True) -> list[ScanResult]:
    """Apply a task to a batch of CT volumes.

    Args:
        task: a volume classifier in evaluation mode; the batch is moved to its device.
        batch: as :func:`covidct.sample.collate` makes it, with ``lung_mask`` where the task has pooling weights.
        explain: put Grad-CAM into the pictures, in the fixed scale of the task.

    Returns:
        One result per scan with probabilities, slice scores or attention, and pictures; ``label`` where the batch has
        one.
    """
    on_device = {
        key: value.to(task.device) if isinstance(value, torch.Tensor) and key in (*task.inputs, *_IDENTITY) else value
        for key, value in batch.items()
    }
    found, explained = predict(task, on_device, explain=explain)
    with torch.inference_mode():
        weights = _pooling_weights(task, on_device)
    names, without = task.class_names, reason_without_attention(task)
    source = task.preprocessing.mask_source if task.preprocessing else ""
    results = []
    for index, name in enumerate(batch["id"]):
        probabilities = dict(zip(names, found["prob"][index].tolist(), strict=True))
        predicted = names[int(found["pred"][index])]
        scores = _slice_scores(found, index, names.index(predicted))
        attention = tuple(found["attention"][index].tolist()) if "attention" in found else ()
        positive = positive_slices(attention, diagnosed=predicted == names[-1]) if attention else ()
        label = int(batch["label"][index]) if "label" in batch else -1
        shown = slice_heat(explained, index) or scores or attention
        preview = make_preview(batch, index, scores=shown, weights=weights)
        results.append(
            ScanResult(
                id=name,
                status="done",
                probabilities=probabilities,
                predicted=predicted,
                slice_scores=scores,
                attention=attention,
                positive_slices=positive,
                slice_note=without,
                label=names[label] if label >= 0 else "",
                mask_source=source,
                preview=with_cam(preview, explained, index),
            )
        )
    return results


def _slice_scores(found: dict[str, Any], index: int, label: int) -> tuple[float, ...]:
    """Scores of the predicted class, slice by slice; empty when the network has none."""
    scores = found.get("slice_scores")
    return () if scores is None else tuple(scores[index, :, label].tolist())


def _pooling_weights(task: BaseTask, batch: Batch) -> torch.Tensor | None:
    """Pooling weights of the network; None when it has none."""
    make = getattr(task.model, "pooling_weights", None)
    return None if make is None or "lung_mask" not in batch else make(batch["lung_mask"])


def _geometry(volume: Volume) -> dict[str, Any]:
    """The grid of the source, as plain data."""
    return {
        "format": volume.source.format if volume.source else "array",
        "modality": volume.modality,
        "shape": list(volume.shape),
        "spacing": [round(step, 6) for step in volume.spacing],
    }


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Add the duration of the block to ``seconds``."""
    start = time.perf_counter()
    yield
    seconds[step] = round(time.perf_counter() - start, 3)
