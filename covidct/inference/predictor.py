"""``Predictor``: a checkpoint applied to single scans and X-rays, by the path it was trained with."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from covidct.errors import CheckpointError, UsageError
from covidct.inference.batch_results import results_with_maps
from covidct.inference.device import find_device
from covidct.inference.lesion_network import find_lesion_network
from covidct.inference.lesions import with_lesions
from covidct.inference.lung_network import find_lung_network
from covidct.inference.preview import finer_preview, make_montage
from covidct.inference.result_files import NO_CT, FoundMasks, placed_file, result_files
from covidct.inference.segment import LungSegmentation, lungs_if_any, segment_scan
from covidct.inference.slice_classifier import result_of_slices
from covidct.inference.viewer import make_viewer
from covidct.inference.xrays import require_lungs, result_of_xray
from covidct.io.dicom_terms import Algorithm, require_highdicom
from covidct.models import LungSegmenter, XRayLungSegmenter
from covidct.models.lesion_map import assumed_window
from covidct.sample import collate
from covidct.tasks import ClassificationTask, load_task
from covidct.transforms import prepare_volume, to_sample
from covidct.transforms.lung_source import lungs_of_volume
from covidct.weights import sha256_file

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from covidct.inference.network_maps import NetworkMaps
    from covidct.io.discover import ScanInput
    from covidct.preprocessing import Preprocessing
    from covidct.result import ScanResult
    from covidct.tasks import BaseTask
    from covidct.volume import Finding, Image, Volume

__all__ = ("Predictor",)


class Predictor:
    """A trained classifier, of CT volumes, their slices or chest X-rays, ready to be applied.

    A classifier of slices sees every slice that shows lung, where the lungs can be found, else every slice; the scan's
    probabilities follow from the slices' by :data:`covidct.inference.slices.SLICE_RULE`.

    Attributes:
        task: in evaluation mode, on the device.
        preprocessing: the checkpoint's record; it alone says what happens to a scan.
        sha256: of the checkpoint file.
        by_images: whether it takes X-rays, a file each.
        segmenter: the lung network of CT, None where there is none.
        xray_segmenter: the lung network of X-rays, None where there is none.
        lesion_segmenter: the lesion network, None where there is none.
        mask_source: where lung masks come from, see :class:`covidct.result.ScanResult`; that of the training, unless a
            lung network was given.
        on_fault: what is done with wrong geometry.
        explain: whether the pictures have Grad-CAM.
        display_values: whether scans in display values are taken for the window of the training.
        masks: whether results carry masks.
        dicom: whether results carry DICOM objects.

    Args:
        checkpoint: a ``.ckpt`` file of a task on CT volumes, CT slices or chest X-rays.
        lung_checkpoint: a ``.ckpt`` file of a lung network: needed where the task was trained with its masks, and then
            it must be that very file; another task gets its masks from it instead of those it was trained with.
        device: ``"auto"`` (CUDA when there is one, else the CPU) or a torch device such as ``"cuda:1"``.
        on_fault: ``"error"``, ``"repair"`` or ``"warn"``, see :func:`covidct.io.read_scan`.
        explain: put Grad-CAM into the pictures; it costs little beside the network itself.
        lesion_checkpoint: a ``.ckpt`` file of a lesion network (``LesionMaskRCNNTask``): results then have its lesions.
        lesion_thresholds: ``score_threshold``, ``mask_threshold``, ``nms_threshold`` and ``rpn_nms_threshold`` of
            :meth:`covidct.models.LesionSegmenter.from_checkpoint`, as far as they are not the checkpoint's.
        display_values: take scans in display values (folders of pictures) for the window that slice and lesion networks
            were trained with, which pictures do not say; results get a finding.
        viewer: put every slice into the results, compressed (some megabytes each), for a page to scroll through.
        masks: put the masks of CT scans that are read from files into the results, as NIfTI on the files' own grid.
        dicom: put DICOM objects (segmentations, report, captures) of CT scans that are read from DICOM series into the
            results; they name the patient. Other inputs get a finding.

    Raises:
        CheckpointError: when a file is damaged, pickled, or of a task of another kind.
        UsageError: when there is no such device, the lung network is missing, another one, or of no use to the task, a
            lesion network is given for X-rays, a threshold is out of range or given without a lesion network, or DICOM
            objects are asked for without highdicom.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str],
        *,
        lung_checkpoint: str | os.PathLike[str] | None = None,
        device: str = "auto",
        on_fault: Literal["error", "repair", "warn"] = "error",
        explain: bool = True,
        lesion_checkpoint: str | os.PathLike[str] | None = None,
        lesion_thresholds: Mapping[str, float] | None = None,
        display_values: bool = False,
        viewer: bool = False,
        masks: bool = False,
        dicom: bool = False,
    ) -> None:
        """Load the checkpoints."""
        if dicom:
            require_highdicom()
        task = load_task(checkpoint)
        if not isinstance(task, ClassificationTask):
            raise CheckpointError(
                f"The checkpoint belongs to {type(task).__name__}, which does not classify scans: give one of a "
                "classifier, such as MaskedGAPResNetTask; a lung network is given as the lung checkpoint."
            )
        if task.preprocessing is None:
            raise CheckpointError(
                f"The checkpoint belongs to {type(task).__name__} with no recorded pre-processing, so what it has to "
                "see is unknown: give a checkpoint of a task that was trained with a data module of covidct."
            )
        self.device = find_device(device)
        self.task: BaseTask = task.to(self.device).eval()
        self.preprocessing = task.preprocessing
        self.sha256 = sha256_file(checkpoint)
        self.by_slices = self.preprocessing.kind == "ct_slice"
        self.by_images = self.preprocessing.kind == "cxr"
        self.segmenter: LungSegmenter | None = None
        self.xray_segmenter: XRayLungSegmenter | None = None
        trained_with = self.preprocessing.mask_source
        if self.by_images:
            if lesion_checkpoint is not None:
                raise UsageError("A lesion network finds lesions in CT, the task is one of X-rays: leave it out.")
            bound = "none" if self.preprocessing.masking == "original" else trained_with  # the network sees no mask
            self.xray_segmenter = find_lung_network(
                XRayLungSegmenter, lung_checkpoint, trained_with=bound, device=self.device, of_use=True
            )
            require_lungs(self.preprocessing, self.xray_segmenter)
        else:
            self.segmenter = find_lung_network(
                LungSegmenter,
                lung_checkpoint,
                trained_with=trained_with,
                device=self.device,
                of_use=self.by_slices or lesion_checkpoint is not None,
            )
        self.lesion_segmenter = find_lesion_network(
            lesion_checkpoint, thresholds=lesion_thresholds, device=self.device, assume_window=display_values
        )
        self.display_values = display_values
        given = self.segmenter or self.xray_segmenter
        self.mask_source = given.mask_source if given else "none" if self.by_images else trained_with
        self.on_fault = on_fault
        self.explain = explain
        self.viewer = viewer
        self.masks = masks
        self.dicom = dicom

    def read(self, scan: ScanInput) -> Volume:
        """Read a ``scan``; see :func:`covidct.io.read_scan`."""
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
        if self.by_images:
            from covidct.io import read_image

            with _timed(seconds, "read"):
                image = read_image(scan.path)
            result = self.apply_xray(image, id=id, seconds=seconds)
            return replace(result, findings=(*result.findings, NO_CT)) if self.dicom else result
        with _timed(seconds, "read"):
            volume = self.read(scan)
        result, found = self._applied(volume, id, seconds)
        return self._with_files(result, found, scan) if self.masks or self.dicom else result

    def apply(self, volume: Volume, *, id: str, seconds: dict[str, float] | None = None) -> ScanResult:
        """Prepare and classify a volume.

        Args:
            volume: a chest CT in Hounsfield units.
            id: goes into the result.
            seconds: time of steps before this one.

        Returns:
            The result, with the pictures that the predictor makes; masks and DICOM objects as files come only from
            calling it.

        Raises:
            InputError: when the volume has no lungs, no Hounsfield units or no geometry.
        """
        return self._applied(volume, id, dict(seconds or {}))[0]

    def apply_xray(self, image: Image, *, id: str, seconds: dict[str, float] | None = None) -> ScanResult:
        """Prepare and classify a chest X-ray.

        Args:
            image: grey or colour, of any size.
            id: goes into the result.
            seconds: time of steps before this one.

        Returns:
            The result, with the pictures that the predictor makes; the spacing in its geometry is in mm.

        Raises:
            InputError: for what cannot be an X-ray, or one without lungs where the task sees masked ones.
        """
        seconds = dict(seconds or {})
        with _timed(seconds, "network"):
            result = result_of_xray(
                self.task,
                image,
                self.preprocessing,
                id=id,
                segmenter=self.xray_segmenter,
                explain=self.explain,
                viewer=self.viewer,
            )
        geometry = {
            "format": "dicom" if image.modality else "raster",
            "modality": image.modality,
            "shape": list(image.array.shape[:2]),
            "spacing": [round(step, 6) for step in image.spacing],
        }
        return replace(result, findings=(*image.findings, *result.findings), geometry=geometry, seconds=seconds)

    def _applied(self, volume: Volume, id: str, seconds: dict[str, float]) -> tuple[ScanResult, FoundMasks]:
        """What is known of a volume, and its masks; ``seconds`` goes on."""
        diagnose = self._by_slices if self.by_slices else self._by_volume
        result, lungs, maps = diagnose(volume, id, seconds)
        found, lesions = result.findings, None
        if self.lesion_segmenter is not None:
            # a lung field has no sides, and more than the lungs in it
            sided = lungs if lungs and lungs.mask_source != "lung_field" else self.segmenter
            with _timed(seconds, "lesions"):
                result, lesions = with_lesions(result, volume, segmenter=self.lesion_segmenter, lungs=sided)
            found = (*found, *lesions.findings)
        if self.viewer:
            with _timed(seconds, "viewer"):
                masks = (lungs.mask if lungs else None, lesions.mask if lesions else None)
                viewer = make_viewer(volume, result, lung_mask=masks[0], lesion_mask=masks[1], maps=maps)
            result = replace(result, viewer=viewer)
        done = replace(
            result,
            findings=(*volume.findings, *found),
            geometry=_geometry(volume),
            lungs_ml=dict(lungs.lungs_ml) if lungs else {},
            seconds=seconds,
        )
        return done, FoundMasks(volume, lungs, lesions)

    def _with_files(self, result: ScanResult, found: FoundMasks, scan: ScanInput) -> ScanResult:
        """The result with its masks and DICOM objects as files."""
        seconds = dict(result.seconds)
        with _timed(seconds, "files"):
            files, told = result_files(
                found,
                scan,
                masks=self.masks,
                dicom=self.dicom,
                on_fault=self.on_fault,
                probabilities=result.probabilities,
                classifier=Algorithm(f"covidct {type(self.task).__name__}", f"checkpoint:{self.sha256}"),
                best=result.viewer.start if result.viewer else None,
            )
        contents = {placed_file(result.id, name): data for name, data in files.items()}
        findings = (*result.findings, *told)
        return replace(result, findings=findings, files=tuple(contents), contents=contents, seconds=seconds)

    def _by_volume(
        self, volume: Volume, id: str, seconds: dict[str, float]
    ) -> tuple[ScanResult, LungSegmentation | None, NetworkMaps | None]:
        """What a network of volumes says of a scan, its lungs, and its maps on the slices that it saw."""
        with _timed(seconds, "prepare"):
            record, lungs = self._lungs(volume)
            mask = lungs.mask if lungs else None
            nobody = torch.tensor(0)
            prepared = prepare_volume(volume, record, lung_mask=mask)
            batch = collate([to_sample(prepared, id=id, subject=nobody, scan=nobody)])
        with _timed(seconds, "network"):
            ((result, maps),) = results_with_maps(self.task, batch, explain=self.explain)
        with _timed(seconds, "pictures"):
            preview = result.preview and finer_preview(result.preview, volume, record, lung_mask=mask)
            montage = None
            if result.attention:
                montage = make_montage(result.attention, batch, volume, record, lung_mask=mask)
        return replace(result, mask_source=self.mask_source, preview=preview, montage=montage), lungs, maps

    def _by_slices(
        self, volume: Volume, id: str, seconds: dict[str, float]
    ) -> tuple[ScanResult, LungSegmentation | None, NetworkMaps | None]:
        """What a network of slices says of a scan, and its lungs; its maps are those of the preview."""
        record = self.preprocessing
        told: tuple[Finding, ...] = ()
        if volume.intensity == "unit" and record.window is not None and self.display_values:
            told = (assumed_window(record.window),)
            record = replace(record, window=None)
        with _timed(seconds, "prepare"):
            if record.masking == "original":
                lungs = lungs_if_any(volume, segmenter=self.segmenter)
                record = replace(record, mask_source="file" if lungs else "none")
            else:
                record, lungs = self._lungs(volume)
        with _timed(seconds, "network"):
            mask = lungs.mask if lungs else None
            result = result_of_slices(self.task, volume, record, id=id, lung_mask=mask, explain=self.explain)
        source = lungs.mask_source if lungs else "none"
        return replace(result, findings=(*told, *result.findings), mask_source=source), lungs, None

    def _lungs(self, volume: Volume) -> tuple[Preprocessing, LungSegmentation | None]:
        """The record to apply and the lung mask it needs."""
        record = self.preprocessing
        if self.segmenter is None and record.mask_source == "lung_field":
            # found once, for the network and the pictures; it has no sides, and more than the lungs in it
            mask = lungs_of_volume(volume, record, None)
            return replace(record, mask_source="file"), mask if mask is None else LungSegmentation(
                mask, {}, "lung_field"
            )
        if self.segmenter is None and record.mask_source != "threshold":
            return record, None
        # by threshold, the same mask that prepare_volume would find: computed once and measured here
        return replace(record, mask_source="file"), segment_scan(volume, segmenter=self.segmenter)


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
