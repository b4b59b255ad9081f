"""``LungSegmenter``: a trained lung network from a scan to a lung mask on the scan's own grid."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from covidct.errors import CheckpointError, UsageError
from covidct.functional import keep_lungs, labels_from_logits, sliding_window_labels
from covidct.models.stored_network import stored_network, stored_preprocessing
from covidct.models.unet3d import UNet3d
from covidct.models.unet3d_inference import inference_copy
from covidct.transforms import prepare_volume
from covidct.transforms.prepare import to_unit
from covidct.weights import load_checkpoint, sha256_file

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.preprocessing import Preprocessing
    from covidct.volume import Volume

__all__ = ("LungSegmenter",)

_TASK = "UNet3dTask"
_CLASSES = ("background", "right_lung", "left_lung")
_LEAST_LUNGS_MM3 = 0.68e6  # both lungs together; Liao et al.'s reference code (DSB2017, step1.py), as segment_lungs


class LungSegmenter:
    """A trained lung network, applied to scans by the path it was trained with.

    The scan is prepared as in the training (isotropic cube, window), the network's logits are interpolated linearly to
    the scan's own grid, and of the labels there the largest part of each lung is kept and its holes are filled
    (:func:`covidct.functional.keep_lungs`). A network that was trained on the native grid goes over the scan in windows
    instead. Of all this the document of the network (:class:`covidct.models.UNet3d`) sets the isotropic cube; the rest
    is a recommendation.

    Attributes:
        preprocessing: of the training.
        sha256: of the checkpoint file; empty for a network that was given.
        device: where the network runs.

    Args:
        network: image (B, 1, D, H, W) in [0, 1] to logits (B, 3, D, H, W): background, right lung, left lung. It is
            copied (:func:`covidct.models.inference_copy`), so later training of it changes nothing here.
        preprocessing: of the training.
        sha256: of the file that the network is from.
        device: a torch device.
        dtype: the network computes in; None: bfloat16 where the device multiplies it natively, else float32.
        window_size: volumes with more voxels along an axis are seen window by window of this many voxels, as by
            ``UNet3dTask``; 128 is the size of its training.
        overlap: of the windows, see :func:`covidct.functional.sliding_window_labels`.

    Raises:
        UsageError: when the pre-processing is not that of a lung network, or the windows are impossible.
    """

    def __init__(
        self,
        network: UNet3d,
        preprocessing: Preprocessing,
        *,
        sha256: str = "",
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        window_size: int = 128,
        overlap: float = 0.25,
    ) -> None:
        """Copy the network to the device."""
        if preprocessing.kind != "ct_volume" or preprocessing.window is None or preprocessing.masking != "original":
            raise UsageError(
                "A lung network sees whole CT volumes in Hounsfield units, but this one was trained with "
                f"kind={preprocessing.kind!r}, window={preprocessing.window}, masking={preprocessing.masking!r}: give "
                "kind='ct_volume', a window and masking='original'."
            )
        if type(window_size) is not int or window_size < 1 or not 0 <= overlap < 1:
            raise UsageError(
                f"window_size={window_size!r} must be a whole number above 0 and overlap={overlap!r} lie in [0, 1)."
            )
        self.preprocessing = preprocessing
        self.sha256 = sha256
        self.device = torch.device(device)
        self._network = inference_copy(copy.deepcopy(network).to(self.device), dtype=dtype)
        self.window_size, self.overlap = window_size, overlap
        self._record = replace(preprocessing, mask_source="none")

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike[str], *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
    ) -> Self:
        """Read a lung network from the checkpoint of its training.

        Args:
            path: a ``.ckpt`` file of ``UNet3dTask``.
            device: where the network shall run.
            dtype: the network computes in; None: as in the class.

        Returns:
            A segmenter with the network, the pre-processing record and the sha256 of the file, on ``device``.

        Raises:
            CheckpointError: when the file is damaged, holds pickled objects, or belongs to another task.
        """
        name = Path(path).name
        checkpoint = load_checkpoint(path)
        preprocessing = stored_preprocessing(checkpoint, task=_TASK, what="a lung network", file=name)
        parameters = checkpoint["hyper_parameters"]
        network = stored_network(UNet3d, checkpoint, file=name)
        if network.num_classes != len(_CLASSES):
            raise CheckpointError(
                f"The network in {name} has {network.num_classes} classes, a lung network has {', '.join(_CLASSES)}: "
                "give a checkpoint of one."
            )
        windows = {key: parameters[key] for key in ("window_size", "overlap") if parameters.get(key) is not None}
        if preprocessing.size is not None:  # a task without a window of its own takes the cubes of its training
            windows.setdefault("window_size", preprocessing.size)
        try:
            return cls(network, preprocessing, sha256=sha256_file(path), device=device, dtype=dtype, **windows)
        except UsageError as error:
            raise CheckpointError(f"{name} cannot find lungs: {error}") from error

    @property
    def mask_source(self) -> str:
        """What :class:`covidct.preprocessing.Preprocessing` calls masks of this network."""
        return f"checkpoint:{self.sha256}"

    def __call__(self, volume: Volume) -> NDArray[np.uint8]:
        """Segment the lungs of a scan.

        Args:
            volume: in Hounsfield units, with known spacing.

        Returns:
            (D, H, W) uint8 on the volume's own grid: 0 background, 1 right lung, 2 left lung. All 0 when there are no
            lungs, or less than 0.68 l: as with :func:`covidct.functional.segment_lungs`, that is no error.

        Raises:
            InputError: when the volume has no Hounsfield units or its spacing is unknown.
        """
        volume.require_hu("Lung segmentation")
        volume.require_spacing("Lung segmentation")
        prepared = prepare_volume(volume, self._record)
        image = torch.from_numpy(to_unit(prepared["image"]))[None]
        if self.preprocessing.size is None:
            mask = self._labels(image)
        else:
            logits = self._logits(image)
            mask = labels_from_logits(
                logits, affine=prepared["affine"], target_affine=volume.affine, shape=volume.shape
            )
        box = _box_with_rim(mask)
        mask[box] = keep_lungs(mask[box])
        if np.count_nonzero(mask) * float(np.prod(volume.spacing)) < _LEAST_LUNGS_MM3:
            mask[:] = 0
        return mask

    def _labels(self, image: Tensor) -> NDArray[np.uint8]:
        """Labels (D, H, W) of an image (1, 1, D, H, W), window by window; never its whole logits."""
        labels = sliding_window_labels(self._run, image, window=self.window_size, overlap=self.overlap)
        return np.asarray(labels[0, 0].numpy())

    def _logits(self, image: Tensor) -> NDArray[np.float32]:
        """Logits (3, D, H, W) of an image (1, 1, D, H, W); of one that is seen in windows, its labels as 0 and 1."""
        if max(image.shape[2:]) <= self.window_size:
            return np.asarray(self._run(image)[0].numpy())
        labels = self._labels(image)
        classes = np.arange(len(_CLASSES), dtype=np.uint8)
        return np.asarray(labels == classes[:, None, None, None], dtype=np.float32)

    def _run(self, image: Tensor) -> Tensor:
        """Logits of the network in float32 on the CPU."""
        return self._network(image.to(self.device)).cpu()


def _box_with_rim(mask: NDArray[np.uint8]) -> tuple[slice, ...]:
    """The box around a mask and one voxel more, so that what is open to the outside stays so; empty for no mask."""
    plane = np.asarray(mask.any(0))
    filled = [np.flatnonzero(lines) for lines in ([one.any() for one in mask], plane.any(1), plane.any(0))]
    return tuple(slice(max(int(f[0]) - 1, 0), int(f[-1]) + 2) if len(f) else slice(0) for f in filled)
