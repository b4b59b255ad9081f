"""``SliceLungSegmenter``: a trained 2-D lung network from slices, in HU or display values, to masks of their size."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch.nn import functional as F

from covidct.errors import CheckpointError, InputError, UsageError
from covidct.functional.background import is_display, mend
from covidct.models.stored_network import stored_network, stored_preprocessing
from covidct.models.unet2d import UNet2d
from covidct.transforms import prepare_slices
from covidct.transforms.prepare import to_unit
from covidct.volume import Volume, unknown_affine
from covidct.weights import load_checkpoint, sha256_file

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from covidct.preprocessing import Preprocessing

__all__ = ("SliceLungSegmenter",)

_TASK = "UNet2dTask"


class SliceLungSegmenter:
    """A trained 2-D lung network, applied to slices by the path it was trained with.

    Slices are windowed and resized as in the training, the logits are interpolated bilinearly to the slices' own size
    and cut at 0; of the result the largest parts are kept and their holes filled. It does for a network what
    :func:`covidct.functional.lung_mask_2d` does by morphology, and takes its place in
    :class:`covidct.transforms.RemoveBackgroundd`. The document of the gated ensemble (D000, section 3.2.2) removes the
    background by a U-Net too, and gives no details: they are a recommendation.

    Attributes:
        preprocessing: of the training.
        sha256: of the checkpoint file; empty for a network that was given.
        device: where the network runs.

    Args:
        network: the U-Net. It is copied, so later training of it changes nothing here.
        preprocessing: of the training.
        sha256: of the file that the network is from.
        device: a torch device.
        keep: how many parts of a slice are kept; 2: the lungs.
        assume_window: take display values for the HU window of the training. A picture does not say which window it
            shows, so this must be known from elsewhere.
        slices: of a batch, at least 1.

    Raises:
        UsageError: when the pre-processing is not that of a slice network that sees whole slices, or a number is below
            1.
    """

    def __init__(
        self,
        network: UNet2d,
        preprocessing: Preprocessing,
        *,
        sha256: str = "",
        device: str | torch.device = "cpu",
        keep: int = 2,
        assume_window: bool = False,
        slices: int = 16,
    ) -> None:
        """Copy the network to the device."""
        if preprocessing.kind != "ct_slice" or preprocessing.masking != "original":
            raise UsageError(
                "A lung network of slices sees whole slices, but this one was trained with "
                f"kind={preprocessing.kind!r} and masking={preprocessing.masking!r}: give kind='ct_slice' and "
                "masking='original'."
            )
        if keep < 1 or slices < 1:
            raise UsageError(f"keep={keep} and slices={slices} must be at least 1.")
        self.preprocessing = preprocessing
        self.sha256 = sha256
        self.device = torch.device(device)
        self.keep, self.assume_window, self.slices = keep, assume_window, slices
        self._network = copy.deepcopy(network).to(self.device).eval()
        self._network.pad = True  # slices of the native size may have any

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str | torch.device = "cpu",
        keep: int = 2,
        assume_window: bool = False,
    ) -> Self:
        """Read a lung network of slices from the checkpoint of its training.

        Args:
            path: a ``.ckpt`` file of ``UNet2dTask``.
            device: where the network shall run.
            keep: as in the class.
            assume_window: as in the class.

        Returns:
            A segmenter with the network, the pre-processing record and the sha256 of the file, on ``device``.

        Raises:
            CheckpointError: when the file is damaged, holds pickled objects, or belongs to another task.
        """
        name = Path(path).name
        checkpoint = load_checkpoint(path)
        preprocessing = stored_preprocessing(checkpoint, task=_TASK, what="a lung network of slices", file=name)
        network = stored_network(UNet2d, checkpoint, file=name)
        options: dict[str, Any] = {"device": device, "keep": keep, "assume_window": assume_window}
        try:
            return cls(network, preprocessing, sha256=sha256_file(path), **options)
        except UsageError as error:
            raise CheckpointError(f"{name} cannot find lungs: {error}") from error

    def __call__(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Find the lungs of each slice.

        Args:
            image: (..., H, W) in HU; display values (uint8, or float in [0, 1]) for a network that was trained on such,
                or with ``assume_window``.

        Returns:
            (..., H, W) uint8, 1 inside; all 0 in a slice without lungs.

        Raises:
            InputError: when the array is no stack of slices, or its values are not those that the network knows.
        """
        if image.ndim < 2 or 0 in image.shape[-2:]:
            raise InputError(f"An array of shape {image.shape} is no image: give (H, W) or a stack (..., H, W).")
        stack = image.reshape(-1, *image.shape[-2:])
        mask = np.zeros(stack.shape, np.uint8)
        prepare = self._preparation(image)
        for first in range(0, len(stack), self.slices):
            part = slice(first, first + self.slices)
            logits = self._logits(prepare(stack[part]), stack.shape[1:])
            for one, target in zip(logits > 0, mask[part], strict=True):
                target[:] = mend(one.view(np.uint8), self.keep)
        return mask.reshape(image.shape)

    def _preparation(self, image: NDArray[Any]) -> Any:  # noqa: ANN401
        """What makes fixed-point images (N, 1, S, S) of slices (N, H, W)."""
        record = replace(self.preprocessing, mask_source="none")
        display = is_display(image)
        if not display and record.window is None:
            raise InputError("This lung network was trained on display values: window the slices to [0, 1] first.")
        if display and record.window is not None:
            if not self.assume_window:
                low, high = record.window
                raise InputError(
                    f"This lung network was trained on HU in the window [{low:g}, {high:g}], and the slices hold "
                    "display values: give HU, or assume_window=True where they are known to show that window."
                )
            record = replace(record, window=None)

        def prepare(stack: NDArray[Any]) -> NDArray[np.uint16]:
            values = stack / np.float32(255) if stack.dtype == np.uint8 else stack.astype(np.float32)
            volume = Volume(values, unknown_affine(), intensity="unit" if display else "hu")
            return np.asarray(prepare_slices(volume, record)["image"])

        return prepare

    def _logits(self, fixed: NDArray[np.uint16], size: tuple[int, ...]) -> NDArray[np.float32]:
        """Logits (N, H, W) of prepared slices, at the slices' own size."""
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(to_unit(fixed)).to(self.device))
            if logits.shape[2:] != size:
                logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return np.asarray(logits[:, 0].cpu().numpy())
