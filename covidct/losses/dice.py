"""``DiceCELoss`` and ``DiceBCELoss``: soft Dice and cross-entropy for segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from covidct.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("DiceBCELoss", "DiceCELoss")


class DiceCELoss(nn.Module):
    """Sum of the soft Dice loss of the foreground classes and of the cross-entropy of all classes, in float32.

    MONAI's ``DiceCELoss`` on softmax probabilities p and one-hot targets g, with its default smoothing s = 1e-5: for
    each sample and foreground class ``1 - (2 sum(p g) + s) / (sum(p) + sum(g) + s)``, averaged over classes and samples
    (not pooled over the batch, so that processes of one sample each average to one process with all of them);
    cross-entropy averaged over voxels. Background counts in the cross-entropy alone: it is most of a scan and its Dice
    is near one whatever happens (nnU-Net, Isensee et al. 2021, leaves it out of the Dice too).

    Args:
        dice_weight: factor of the Dice loss, at least 0 (MONAI's and nnU-Net's default).
        ce_weight: factor of the cross-entropy, at least 0 (as above).

    Raises:
        UsageError: for a negative weight.
    """

    def __init__(self, *, dice_weight: float = 1.0, ce_weight: float = 1.0) -> None:
        """Set up MONAI's loss."""
        super().__init__()
        if min(dice_weight, ce_weight) < 0:
            raise UsageError(f"dice_weight={dice_weight} and ce_weight={ce_weight} must not be negative.")
        from monai.losses import DiceCELoss as MonaiDiceCELoss  # heavy

        self.loss = MonaiDiceCELoss(
            include_background=False, to_onehot_y=True, softmax=True, lambda_dice=dice_weight, lambda_ce=ce_weight
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits: (B, C, ...) with C >= 2, any floating dtype.
            target: (B, 1, ...) integer class of each voxel, 0 is background.

        Returns:
            () float32.

        Raises:
            UsageError: when the shapes do not belong together.
        """
        if logits.shape[1] < 2 or target.shape != (len(logits), 1, *logits.shape[2:]):
            raise UsageError(
                f"DiceCELoss needs logits (B, C, ...) of at least two classes and a target (B, 1, ...), not "
                f"{tuple(logits.shape)} and {tuple(target.shape)}."
            )
        with torch.autocast(logits.device.type, enabled=False):
            loss: Tensor = self.loss(logits.float(), target)
        return loss


class DiceBCELoss(nn.Module):
    """Sum of the soft Dice loss and of the binary cross-entropy of one structure, in float32.

    MONAI's ``DiceLoss`` on sigmoid probabilities p and targets g, with its default smoothing s = 1e-5: for each sample
    ``1 - (2 sum(p g) + s) / (sum(p) + sum(g) + s)``, averaged over the batch (recommendation; D000 is silent). Samples
    without the structure have no Dice term, 0 in the average: theirs is 1 whatever is predicted, up to s, and moves
    nothing. The cross-entropy is averaged over all pixels.

    Args:
        dice_weight: factor of the Dice loss, at least 0.
        bce_weight: factor of the cross-entropy, at least 0.

    Raises:
        UsageError: for a negative weight.
    """

    def __init__(self, *, dice_weight: float = 1.0, bce_weight: float = 1.0) -> None:
        """Set up MONAI's loss."""
        super().__init__()
        if min(dice_weight, bce_weight) < 0:
            raise UsageError(f"dice_weight={dice_weight} and bce_weight={bce_weight} must not be negative.")
        from monai.losses import DiceLoss  # heavy

        self.dice = DiceLoss(sigmoid=True, reduction="none")
        self.dice_weight, self.bce_weight = dice_weight, bce_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits: (B, 1, ...), any floating dtype.
            target: (B, 1, ...) of the same shape, non-zero inside the structure.

        Returns:
            () float32.

        Raises:
            UsageError: when the shapes do not belong together.
        """
        require_one_structure(logits, target, loss="DiceBCELoss")
        with torch.autocast(logits.device.type, enabled=False):
            found, wanted = logits.float(), (target != 0).float()
            dice: Tensor = self.dice(found, wanted).flatten()
            shown = wanted.flatten(1).any(1)
            cross = nn.functional.binary_cross_entropy_with_logits(found, wanted)
            loss: Tensor = self.dice_weight * (dice * shown).mean() + self.bce_weight * cross
        return loss


def require_one_structure(logits: Tensor, target: Tensor, *, loss: str) -> None:
    """Refuse shapes that are not one logit and one truth of each pixel.

    Args:
        logits: (B, 1, ...).
        target: of the same shape.
        loss: its name, for the message.

    Raises:
        UsageError: says which shapes are given.
    """
    if logits.shape[1] != 1 or target.shape != logits.shape:
        raise UsageError(
            f"{loss} needs logits and a target (B, 1, ...) of one shape, not {tuple(logits.shape)} and "
            f"{tuple(target.shape)}."
        )
