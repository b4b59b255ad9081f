"""``LesionSegmenter``: a trained lesion detector from a scan or a picture to a lesion mask on its own grid."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch.nn import functional as F

from covidct.errors import CheckpointError, InputError, UsageError
from covidct.functional import label_pixels
from covidct.models.lesion_detector import check_thresholds
from covidct.models.lesion_map import LesionMap, SliceDetections, assumed_window
from covidct.models.lesion_mask_rcnn import LesionMaskRCNN
from covidct.models.stored_network import stored_network, stored_preprocessing
from covidct.transforms import prepare_image, prepare_slices
from covidct.transforms.lung_source import lungs_of_volume
from covidct.transforms.prepare import to_unit
from covidct.volume import Image
from covidct.weights import load_checkpoint, sha256_file

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.labels import MaskType
    from covidct.preprocessing import Preprocessing
    from covidct.volume import Finding, Volume

__all__ = ("LesionSegmenter",)

_TASK = "LesionMaskRCNNTask"
_SMALLEST = 32  # pixels per side: one step of the deepest feature map, less shows no lesion
_SLICES = 4  # of a batch: 100 soft masks each of 512 x 512 pixels are 0.4 GB
_MASK_THRESHOLD = 0.5  # slides


class LesionSegmenter:
    """A trained lesion detector, applied to scans and pictures by the path it was trained with.

    Slices are prepared as in the training and seen in batches. The soft masks of the detections, made at the size that
    the network sees, are interpolated bilinearly to the scan's own in-plane grid and only then cut at the threshold;
    where several cover a pixel, the best decides (:func:`covidct.functional.label_pixels`). Nothing is interpolated
    from slice to slice. This way back to the scan's grid is of our own.

    Attributes:
        preprocessing: of the training.
        sha256: of the checkpoint file; empty for a network that was given.
        device: where the network runs.

    Args:
        network: the detector. It is copied, so later training of it changes nothing here.
        preprocessing: of the training.
        sha256: of the file that the network is from.
        device: a torch device.
        score_threshold: detections of a lower score are dropped; None: as the network has it.
        mask_threshold: of the soft masks; 0.5 (slides of COVID-CT-Mask-Net).
        nms_threshold: overlap of the detections of one class; None: as the network has it.
        rpn_nms_threshold: overlap of the proposals; None: as the network has it.
        assume_window: take the display values of a picture for the HU window of the training. A picture does not say
            which window it shows, so this must be known from elsewhere; results get a finding that says so.
        slices: of a batch, at least 1.

    Raises:
        UsageError: when the pre-processing is not that of a slice network, or a threshold is out of range.
    """

    def __init__(
        self,
        network: LesionMaskRCNN,
        preprocessing: Preprocessing,
        *,
        sha256: str = "",
        device: str | torch.device = "cpu",
        score_threshold: float | None = None,
        mask_threshold: float = _MASK_THRESHOLD,
        nms_threshold: float | None = None,
        rpn_nms_threshold: float | None = None,
        assume_window: bool = False,
        slices: int = _SLICES,
    ) -> None:
        """Copy the network to the device."""
        if preprocessing.kind != "ct_slice":
            raise UsageError(
                f"A lesion network sees slices, but this one was trained with kind={preprocessing.kind!r}: give "
                "kind='ct_slice'."
            )
        check_thresholds(mask=mask_threshold)
        self.preprocessing = preprocessing
        self.sha256 = sha256
        self.device = torch.device(device)
        self.assume_window = assume_window
        self._slices = max(1, slices)
        self._network = copy.deepcopy(network).to(self.device).eval()
        self._network.set_thresholds(score=score_threshold, nms=nms_threshold, rpn_nms=rpn_nms_threshold)
        self._mask_threshold = mask_threshold

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str | torch.device = "cpu",
        score_threshold: float | None = None,
        mask_threshold: float | None = None,
        nms_threshold: float | None = None,
        rpn_nms_threshold: float | None = None,
        assume_window: bool = False,
    ) -> Self:
        """Read a lesion detector from the checkpoint of its training.

        Args:
            path: a ``.ckpt`` file of ``LesionMaskRCNNTask``.
            device: where the network shall run.
            score_threshold: least score of a detection; None, here and below: as in the checkpoint.
            mask_threshold: of the soft masks.
            nms_threshold: overlap of the detections of one class.
            rpn_nms_threshold: overlap of the proposals.
            assume_window: as in the class.

        Returns:
            A segmenter with the network, the pre-processing record and the sha256 of the file, on ``device``.

        Raises:
            CheckpointError: when the file is damaged, holds pickled objects, or belongs to another task.
            UsageError: when a threshold that was given is out of range.
        """
        given = {"score": score_threshold, "mask": mask_threshold, "nms": nms_threshold, "rpn_nms": rpn_nms_threshold}
        check_thresholds(**{key: value for key, value in given.items() if value is not None})
        name = Path(path).name
        checkpoint = load_checkpoint(path)
        preprocessing = stored_preprocessing(checkpoint, task=_TASK, what="a lesion network", file=name)
        network = stored_network(LesionMaskRCNN, checkpoint, file=name)
        own = checkpoint["hyper_parameters"].get("mask_threshold", _MASK_THRESHOLD)
        try:
            return cls(
                network,
                preprocessing,
                sha256=sha256_file(path),
                device=device,
                score_threshold=score_threshold,
                mask_threshold=own if mask_threshold is None else mask_threshold,
                nms_threshold=nms_threshold,
                rpn_nms_threshold=rpn_nms_threshold,
                assume_window=assume_window,
            )
        except (UsageError, TypeError) as error:
            raise CheckpointError(f"{name} cannot find lesions: {error}") from error

    @property
    def mask_source(self) -> str:
        """What names masks of this network: ``"checkpoint:<sha256>"``."""
        return f"checkpoint:{self.sha256}"

    @property
    def mask_type(self) -> MaskType:
        """What the network tells apart."""
        return self._network.mask_type

    @property
    def class_names(self) -> tuple[str, ...]:
        """Background and the network's classes, index = label."""
        return self._network.class_names

    @property
    def thresholds(self) -> dict[str, float]:
        """Thresholds in use: ``score``, ``mask``, ``nms`` and ``rpn_nms``."""
        heads = self._network.roi_heads
        return {
            "score": float(heads.score_thresh),
            "mask": float(self._mask_threshold),
            "nms": float(heads.nms_thresh),
            "rpn_nms": float(self._network.rpn.nms_thresh),
        }

    def __call__(self, scan: Volume | Image, *, lung_mask: NDArray[np.uint8] | None = None) -> LesionMap:
        """Find the lesions of a scan, slice by slice, or of a picture.

        Args:
            scan: a CT volume, or a single slice in display values.
            lung_mask: on the grid of the scan, where the network was trained on masked slices and its masks come from
                a file.

        Returns:
            Mask and detections; no lesions are no error.

        Raises:
            InputError: when the values do not suit the network, a needed lung mask is missing, or the slices are
                smaller than 32 pixels.
        """
        height, width = scan.array.shape[:2] if isinstance(scan, Image) else scan.array.shape[1:]
        if min(height, width) < _SMALLEST:
            raise InputError(
                f"The slices are of {height} x {width} pixels, too small to show a lesion: give slices of at least "
                f"{_SMALLEST} x {_SMALLEST}."
            )
        record, findings = self._record_for(scan)
        if isinstance(scan, Image):
            prepared = prepare_image(scan, record, lung_mask=lung_mask)
            mask, found = self._look(prepared["image"], (height, width))
            return LesionMap(mask[0], tuple(found), self.mask_type, findings)
        if record.masking != "original":  # found once, not anew for each batch
            lung_mask, record = lungs_of_volume(scan, record, lung_mask), replace(record, mask_source="file")
        mask, found = np.empty(scan.shape, np.uint8), []
        for first in range(0, len(mask), self._slices):
            indices = range(first, min(first + self._slices, len(mask)))
            prepared = prepare_slices(scan, record, indices=indices, lung_mask=lung_mask)
            mask[first : first + len(indices)], part = self._look(prepared["image"], (height, width))
            found += part
        return LesionMap(mask, tuple(found), self.mask_type, findings)

    def _record_for(self, scan: Volume | Image) -> tuple[Preprocessing, tuple[Finding, ...]]:
        """The pre-processing to apply to a scan, and what it assumes."""
        record = self.preprocessing
        if record.masking == "original":
            record = replace(record, mask_source="none")
        in_hu = not isinstance(scan, Image) and scan.intensity == "hu"
        if in_hu and record.window is None:
            raise InputError(
                "The lesion network was trained on display values, not on Hounsfield units: give pictures of the "
                "slices in the window of its training, or a network that was trained with a window."
            )
        if in_hu or record.window is None:
            return record, ()
        if not self.assume_window:
            low, high = record.window
            raise InputError(
                f"The lesion network was trained in the window [{low:g}, {high:g}] HU, and display values do not say "
                "which window they show: give the DICOM or NIfTI scan, or, where it is known to be that window, say so "
                "(--display-values, assume_window=True)."
            )
        return replace(record, window=None), (assumed_window(record.window),)

    @torch.inference_mode()
    def _look(
        self, image: NDArray[np.uint16], size: tuple[int, int]
    ) -> tuple[NDArray[np.uint8], list[SliceDetections]]:
        """Labels (n, H, W) on the own grid and detections of prepared slices (n, 1, h, w)."""
        seen = self._network.detect(torch.from_numpy(to_unit(image)).to(self.device))
        labels, found = np.empty((len(seen), *size), np.uint8), []
        factor = np.array([size[1] / image.shape[3], size[0] / image.shape[2]] * 2, np.float32)
        for plane, one in zip(labels, seen, strict=True):
            plane[:] = self._labels(one, size)
            boxes, kinds, scores = (one[key].cpu().numpy() for key in ("boxes", "labels", "scores"))
            found.append(SliceDetections(boxes * factor, kinds, scores))
        return labels, found

    def _labels(self, detections: dict[str, Tensor], size: tuple[int, int]) -> NDArray[np.uint8]:
        """Labels (H, W) of the detections of a slice on another grid of the same edges."""
        masks = detections["masks"]
        if not len(masks):
            return np.zeros(size, np.uint8)
        if masks.shape[2:] != size:
            masks = F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
        labels = label_pixels({**detections, "masks": masks}, mask_threshold=self._mask_threshold)
        return np.asarray(labels.cpu().numpy())
