"""``TwoLevelClassifier``: a probability vector for each slice, then one for the case.

The classifier of low-contrast cases in the gated dual-contrast ensemble (the practicum's report, "document", section
3.3.2). The document gives neither network; the second one is a recommendation here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from covidct.errors import UsageError
from covidct.functional import case_features
from covidct.models.slice_classifier import SliceClassifier
from covidct.models.volume_inputs import (
    check_real,
    check_size,
    check_volumes,
    in_chunks,
    in_volumes,
    resized,
    slice_pixels,
    slices_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from covidct.layers import Attention

__all__ = ("TwoLevelClassifier",)


class TwoLevelClassifier(nn.Module):
    """Classify a CT volume from the class probabilities of its slices.

    Level 1 is a :class:`covidct.models.SliceClassifier` on each slice. Level 2 is a perceptron with one hidden layer on
    :func:`covidct.functional.case_features` of the slices' probabilities, in float32 under autocast too. Padded slices
    are dropped before level 1, so they cost nothing and change nothing.

    In evaluation mode the slices go through level 1 in chunks of ``slices_per_chunk``, which bounds the memory and does
    not change the result.

    Attributes:
        level1: the slice classifier.
        level2: the case classifier; C (P + 3) inputs, 13,123 parameters as by default.
        level1_folds: further slice classifiers of the same form, which training alone uses: each has not seen the
            subjects of one fold, so that level 2 can learn from probabilities as they are of unseen subjects; see
            :class:`covidct.tasks.TwoLevelTask`.

    Args:
        num_classes: C, at least 2 (softmax, binary too); 3 in the document.
        backbone: of level 1, any torchvision network that :class:`covidct.models.Trunk` takes.
        attention: ``"se"``, ``"eca"`` or ``"cbam"`` blocks in level 1, or None.
        positions: P, points of each class's profile along the body axis.
        top_slices: how many of a class's largest probabilities the top mean is taken of.
        hidden: width of level 2.
        dropout: share of the hidden units that is dropped in training, in [0, 1).
        folds: number of ``level1_folds``: 0, or at least 2 for training. Each takes the memory of level 1 once more.
        slice_size: pixels of the longer side that slices are resized to (bilinear, aspect kept) before level 1; 224
            (recommendation); None keeps the size.
        slices_per_chunk: slices per pass in evaluation mode.
        mean: of one or three channels, in [0, 1]; None is ImageNet's.
        std: of one or three channels, above 0; None is ImageNet's.
        weights: weights of the trunks of level 1 that :meth:`load_backbone` takes, loaded at once; None is random
            initialisation.

    Raises:
        UsageError: for a value out of range, an unknown backbone, or attention that does not suit it.
        WeightsError: when ``weights`` cannot be had.
    """

    cam_layer: str

    def __init__(
        self,
        *,
        num_classes: int = 3,
        backbone: str = "resnet50",
        attention: Attention | None = None,
        positions: int = 64,
        top_slices: int = 5,
        hidden: int = 64,
        dropout: float = 0.3,
        folds: int = 0,
        slice_size: int | None = 224,
        slices_per_chunk: int = 16,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        weights: str | None = None,
    ) -> None:
        """Build both levels."""
        super().__init__()
        check_size("slice_size", slice_size)
        numbers = {"positions": positions, "top_slices": top_slices, "hidden": hidden}
        for name, value in (numbers | {"slices_per_chunk": slices_per_chunk}).items():
            check_size(name, value, optional=False)
        if type(folds) is not int or folds < 0 or folds == 1:
            raise UsageError(f"folds={folds!r} is not usable: give 0, or a whole number of at least 2.")
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout={dropout} is not usable: give a share of at least 0 and below 1.")
        self.num_classes, self.positions, self.top_slices = num_classes, positions, top_slices
        self.slice_size, self.slices_per_chunk = slice_size, slices_per_chunk
        networks = [
            SliceClassifier(num_classes=num_classes, backbone=backbone, attention=attention, mean=mean, std=std)
            for _ in range(1 + folds)
        ]
        self.level1 = networks[0]
        self.level1_folds = nn.ModuleList(networks[1:])
        self.level2 = nn.Sequential(
            nn.Linear(num_classes * (positions + 3), hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        if hasattr(self.level1, "cam_layer"):
            self.cam_layer = f"level1.{self.level1.cam_layer}"
        if weights is not None:
            self.load_backbone(weights)

    def load_backbone(self, weights: str) -> None:
        """Load the same weights into the trunks of level 1; what follows them stays as it is.

        Args:
            weights: as :meth:`covidct.models.Trunk.load_published` takes them.

        Raises:
            UsageError: when the backbone has no weights of that name.
            WeightsError: when they cannot be had or do not fit.
        """
        for network in self.slice_classifiers():
            network.load_backbone(weights)

    def slice_classifiers(self) -> list[SliceClassifier]:
        """Level 1 and the networks of its folds, in that order."""
        return [self.level1, *self.level1_folds]

    def forward(self, image: Tensor, slice_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Logits of each volume, and what level 1 says of its slices.

        Args:
            image: (B, C, D, H, W) float32 in [0, 1], C = 1 or 3, slices in the order of the body axis.
            slice_mask: (B, D) bool, True = real slice. None: all are, and in evaluation mode a path without
                data-dependent shapes, which can be exported.

        Returns:
            ``"logits"`` (B, num_classes), and ``"slice_prob"`` (B, D, num_classes) float32, which sums to one over the
            classes and is 0 on padding.

        Raises:
            BatchError: when the shapes do not fit, a volume has no real slice, or in training when batch normalisation
                would see one value per channel.
        """
        prob = self.slice_probabilities(image, slice_mask)
        return {"logits": self.case_logits(prob, slice_mask), "slice_prob": prob}

    def slice_probabilities(
        self, image: Tensor, slice_mask: Tensor | None = None, *, fold: Tensor | None = None
    ) -> Tensor:
        """Class probabilities of each slice.

        Args:
            image: as in :meth:`forward`.
            slice_mask: as in :meth:`forward`.
            fold: (B,) int64, which of ``level1_folds`` each volume passes; None: all pass ``level1``.

        Returns:
            (B, D, num_classes) float32, 0 on padding.

        Raises:
            BatchError: as :meth:`forward`.
        """
        check_volumes(image, None, slice_mask)
        if slice_mask is not None:
            check_real(slice_mask)
        if fold is not None:
            return self._of_folds(image, self.cam_slices(image, slice_mask), fold)
        prob = self.classify_slices(self.level1, slices_of(image, slice_mask))
        if slice_mask is None:
            return prob.reshape(image.shape[0], image.shape[2], -1)
        return in_volumes(prob, slice_mask)

    def case_logits(self, prob: Tensor, slice_mask: Tensor | None = None) -> Tensor:
        """Level 2 alone.

        Args:
            prob: (B, D, num_classes) probabilities of slices.
            slice_mask: (B, D) bool, True = real slice; None: all are.

        Returns:
            (B, num_classes) float32 logits.
        """
        with torch.autocast(prob.device.type, enabled=False):
            features = case_features(prob, slice_mask, positions=self.positions, top=self.top_slices)
            logits: Tensor = self.level2(features)
        return logits

    def slice_logits(self, network: SliceClassifier, slices: Tensor) -> Tensor:
        """Logits of single slices, resized to the size of level 1.

        Args:
            network: one of :meth:`slice_classifiers`.
            slices: (N, C, H, W) float32 in [0, 1], C = 1 or 3.

        Returns:
            (N, num_classes).

        Raises:
            BatchError: in training when batch normalisation would see one value per channel.
        """
        size = slice_pixels(slices.shape[-2], slices.shape[-1], self.slice_size)
        logits: Tensor = network(resized(slices, size))
        return logits

    def classify_slices(self, network: SliceClassifier, slices: Tensor) -> Tensor:
        """Class probabilities of single slices, in chunks unless the network is in training mode.

        Args:
            network: as in :meth:`slice_logits`.
            slices: as in :meth:`slice_logits`.

        Returns:
            (N, num_classes) float32.

        Raises:
            BatchError: as :meth:`slice_logits`.
        """

        def classify(part: Tensor) -> Tensor:
            return self.slice_logits(network, part).float().softmax(1)

        if network.training or torch.compiler.is_compiling():
            return classify(slices)
        return in_chunks(classify, slices, step=self.slices_per_chunk)

    def cam_slices(self, image: Tensor, slice_mask: Tensor | None = None) -> Tensor:
        """Which slices pass level 1, for :class:`covidct.explain.GradCAM`.

        Args:
            image: as in :meth:`forward`.
            slice_mask: as in :meth:`forward`.

        Returns:
            (B, D) bool; all of them without ``slice_mask``.
        """
        return torch.ones_like(image[:, 0, :, 0, 0], dtype=torch.bool) if slice_mask is None else slice_mask

    def _of_folds(self, image: Tensor, real: Tensor, fold: Tensor) -> Tensor:
        """(B, D, num_classes) probabilities, each volume's by the network of its fold."""
        volume = real.nonzero(as_tuple=True)[0]
        slices = slices_of(image, real)
        prob = torch.zeros(len(slices), self.num_classes, device=image.device)
        for number, network in enumerate(self.slice_classifiers()[1:]):
            (rows,) = (fold[volume] == number).nonzero(as_tuple=True)
            if len(rows):
                prob = prob.index_put((rows,), self.classify_slices(network, slices[rows]))
        return in_volumes(prob, real)
