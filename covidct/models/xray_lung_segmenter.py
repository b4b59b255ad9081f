"""``XRayLungSegmenter``: a trained lung network from chest X-rays of any size to masks on their own grid."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch.nn import functional as F

from covidct.errors import CheckpointError, UsageError
from covidct.functional import clean_lung_mask
from covidct.models.fpn_densenet import FPNDenseNet
from covidct.models.stored_network import stored_network, stored_preprocessing
from covidct.transforms import prepare_image
from covidct.transforms.prepare import to_unit
from covidct.weights import load_checkpoint, sha256_file

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from covidct.preprocessing import Preprocessing
    from covidct.volume import Image

__all__ = ("XRayLungSegmenter",)

_TASK = "FPNDenseNetTask"
_STRIDE = 32  # the network's sizes


class XRayLungSegmenter:
    """A trained lung network of chest X-rays, applied by the path it was trained with.

    The X-ray becomes grey and is resized as in the training, the logits are interpolated bilinearly to its own grid and
    cut at 0; of the result small parts are removed and small holes filled
    (:func:`covidct.functional.clean_lung_mask`), as in the paper of the chest X-ray system ("Classification of COVID-19
    from chest X-ray images using Deep Neural Networks", 2022). A network that was trained on the native size sees it
    with a rim of 0 below and at the right.

    Attributes:
        preprocessing: of the training.
        sha256: of the checkpoint file; empty for a network that was given.
        device: where the network runs.

    Args:
        network: it is copied, so later training of it changes nothing here.
        preprocessing: of the training.
        sha256: of the file that the network is from.
        device: a torch device.

    Raises:
        UsageError: when the pre-processing is not that of a network that sees whole X-rays.
    """

    def __init__(
        self,
        network: FPNDenseNet,
        preprocessing: Preprocessing,
        *,
        sha256: str = "",
        device: str | torch.device = "cpu",
    ) -> None:
        """Copy the network to the device."""
        if preprocessing.kind != "cxr" or preprocessing.masking != "original":
            raise UsageError(
                "A lung network of X-rays sees whole X-rays, but this one was trained with "
                f"kind={preprocessing.kind!r} and masking={preprocessing.masking!r}: give kind='cxr' and "
                "masking='original'."
            )
        self.preprocessing = preprocessing
        self.sha256 = sha256
        self.device = torch.device(device)
        self._network = copy.deepcopy(network).to(self.device).eval()
        self._record = replace(preprocessing, mask_source="none")

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Self:
        """Read a lung network of X-rays from the checkpoint of its training.

        Args:
            path: a ``.ckpt`` file of ``FPNDenseNetTask``.
            device: where the network shall run.

        Returns:
            A segmenter with the network, the pre-processing record and the sha256 of the file, on ``device``.

        Raises:
            CheckpointError: when the file is damaged, holds pickled objects, or belongs to another task.
        """
        name = Path(path).name
        checkpoint = load_checkpoint(path)
        preprocessing = stored_preprocessing(checkpoint, task=_TASK, what="a lung network of X-rays", file=name)
        network = stored_network(FPNDenseNet, checkpoint, file=name)
        try:
            return cls(network, preprocessing, sha256=sha256_file(path), device=device)
        except UsageError as error:
            raise CheckpointError(f"{name} cannot find lungs: {error}") from error

    @property
    def mask_source(self) -> str:
        """What :class:`covidct.preprocessing.Preprocessing` calls masks of this network."""
        return f"checkpoint:{self.sha256}"

    def __call__(self, image: Image) -> NDArray[np.uint8]:
        """Find the lungs of a chest X-ray.

        Args:
            image: grey or colour, in [0, 1], of any size.

        Returns:
            (H, W) uint8 on the image's own grid, 1 inside; all 0 where no lungs are found.

        Raises:
            InputError: for what cannot be an X-ray: of another modality, under 64 px, of a single value.
        """
        size = image.array.shape[:2]
        prepared = prepare_image(image, self._record)["image"]
        logits = self._logits(torch.from_numpy(to_unit(prepared)))
        if logits.shape[2:] != size:
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return clean_lung_mask((logits[0, 0] > 0).numpy())

    def _logits(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (1, 1, S, S) of a prepared X-ray of that size, on the CPU."""
        height, width = image.shape[2:]
        rim = (0, -width % _STRIDE, 0, -height % _STRIDE)
        with torch.inference_mode():
            logits: torch.Tensor = self._network(F.pad(image, rim).to(self.device))
            return logits[..., :height, :width].float().cpu()
