"""``ComboLoss``: Dice, cross-entropy and focal loss of one structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from covidct.errors import UsageError
from covidct.losses.dice import require_one_structure
from covidct.losses.focal import check_gamma, focal_terms

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("ComboLoss",)


class ComboLoss(nn.Module):
    """Sum of the soft Dice loss, the binary cross-entropy and the focal loss of one structure, in float32.

    The chest X-ray system ("Classification of COVID-19 from chest X-ray images using Deep Neural Networks", 2022) names
    the three parts and gives no weights; all values are a recommendation. With sigmoid probabilities p and targets g,
    the Dice loss is ``1 - (2 sum(p g) + s) / (sum(p) + sum(g) + s)``, its sums taken over the batch, in a
    training by several processes over those of all, so that an image without the structure has no Dice of its own (why
    not MONAI's ``DiceLoss``: it pools the batch of one process); cross-entropy and focal loss (:class:`FocalLoss`,
    without class weights) are means over the pixels. The loss of the same name by Taghanaki et al.
    (2019), a weighted difference of cross-entropy and Dice, is another.

    Args:
        dice_weight: factor of the Dice loss, at least 0.
        bce_weight: factor of the cross-entropy, at least 0.
        focal_weight: factor of the focal loss, at least 0.
        gamma: of the focal loss, at least 0; 2 is the best of Lin et al. (2017).
        smooth: s in pixels, above 0: a batch without the structure has a Dice loss of 0 where none is found.

    Raises:
        UsageError: for a value out of range.
    """

    def __init__(
        self,
        *,
        dice_weight: float = 1.0,
        bce_weight: float = 1.0,
        focal_weight: float = 1.0,
        gamma: float = 2.0,
        smooth: float = 1.0,
    ) -> None:
        """Keep the factors."""
        super().__init__()
        if min(dice_weight, bce_weight, focal_weight) < 0 or smooth <= 0:
            raise UsageError(
                f"dice_weight={dice_weight}, bce_weight={bce_weight} and focal_weight={focal_weight} must not be "
                f"negative, and smooth={smooth} must be above 0."
            )
        check_gamma(gamma)
        self.dice_weight, self.bce_weight, self.focal_weight = dice_weight, bce_weight, focal_weight
        self.gamma, self.smooth = gamma, smooth

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
        require_one_structure(logits, target, loss="ComboLoss")
        with torch.autocast(logits.device.type, enabled=False):
            found, wanted = logits.float(), (target != 0).float()
            cross = F.binary_cross_entropy_with_logits(found, wanted, reduction="none")
            pixels = self.bce_weight * cross + self.focal_weight * focal_terms(cross, gamma=self.gamma)
            p = found.sigmoid()
            both, found_sum, wanted_sum = _over_processes(torch.stack([(p * wanted).sum(), p.sum(), wanted.sum()]))
            dice = 1 - (2 * both + self.smooth) / (found_sum + wanted_sum + self.smooth)
            loss: Tensor = self.dice_weight * dice + pixels.mean()
        return loss


def _over_processes(sums: Tensor) -> Tensor:
    """Sums over the batches of all processes in a training, whose mean gradient is then that of the whole batch."""
    if not (torch.is_grad_enabled() and dist.is_available() and dist.is_initialized()):
        return sums  # a validation may have batches that others have not
    from torch.distributed.nn.functional import all_reduce  # loads much

    total: Tensor = all_reduce(sums)  # type: ignore[no-untyped-call]
    return total
