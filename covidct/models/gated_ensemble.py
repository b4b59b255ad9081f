"""``GatedEnsemble``: a contrast gate, and on each side of it one expert or several that decide together."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from covidct.errors import BatchError, UsageError
from covidct.functional.fusion import FusionRule, fuse_probabilities

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

__all__ = ("GatedEnsemble", "check_expert")

_OPTIONAL = ("slice_mask", "lung_mask")  # what experts may take beside the image, in the order of forward
_LEAST = 1e-30  # keeps the logarithm finite


class GatedEnsemble(nn.Module):
    """Route each scan by its contrast to the experts of its side, and join their probabilities.

    The practicum's report ("DIP Covid-19 Course Practicum", section 3.3.6, figure 14): scans of high contrast go to an
    end-to-end model, scans of low contrast to a two-level classifier; both are trained separately. Where the line lies
    and what is measured the report does not say; see :func:`covidct.functional.contrast_score` and
    :class:`covidct.functional.ContrastSplit`.

    A side's experts see only the scans of their side, so that a batch costs each scan one side's experts and not both.

    Attributes:
        inputs: the arguments of :meth:`forward` that the experts need, in its order.
        threshold: () float32 buffer; scans above it are of high contrast. NaN until it is known.
        low_weights: (M,) float32 buffer, weights of the experts of low contrast in the fusion.
        high_weights: (M,) float32 buffer, of those of high contrast.

    Args:
        low: experts for low contrast, at least one: each ``{"name": ..., "arguments": {...}}`` with the name of a
            classifier in :mod:`covidct.models` and plain arguments of it.
        high: experts for high contrast.
        num_classes: C, the same for all experts.
        fusion: how the experts of a side decide together, see :func:`covidct.functional.fuse_probabilities`.
        threshold: of the contrast; None: unknown, to be set before use.

    Raises:
        UsageError: for an expert that is no classifier of the library, or has other classes.
    """

    threshold: Tensor
    low_weights: Tensor
    high_weights: Tensor

    def __init__(
        self,
        *,
        low: Sequence[Mapping[str, Any]],
        high: Sequence[Mapping[str, Any]],
        num_classes: int = 3,
        fusion: FusionRule = "mean",
        threshold: float | None = None,
    ) -> None:
        """Build the experts with random weights."""
        super().__init__()
        if fusion not in ("mean", "vote"):
            raise UsageError(f"fusion={fusion!r} is unknown: use 'mean' or 'vote'.")
        if not low or not high:
            raise UsageError("The gate needs at least one expert for low and one for high contrast.")
        self.fusion: FusionRule = fusion
        self.num_classes = num_classes
        self.low = nn.ModuleList(_expert(one, num_classes) for one in low)
        self.high = nn.ModuleList(_expert(one, num_classes) for one in high)
        needed = {name for expert in (*self.low, *self.high) for name in _arguments(expert)}
        self.inputs = ("image", "contrast", *(name for name in _OPTIONAL if name in needed))
        self.register_buffer(
            "threshold", torch.tensor(math.nan if threshold is None else threshold, dtype=torch.float32)
        )
        self.register_buffer("low_weights", torch.full((len(low),), 1 / len(low)))
        self.register_buffer("high_weights", torch.full((len(high),), 1 / len(high)))

    def forward(
        self, image: Tensor, contrast: Tensor, slice_mask: Tensor | None = None, lung_mask: Tensor | None = None
    ) -> dict[str, Any]:
        """Decide on each scan.

        Args:
            image: (B, C, D, H, W) of volumes or (B, C, H, W) of slices, float32 in [0, 1].
            contrast: (B,) float32, contrast of the scan before enhancement.
            slice_mask: (B, D) bool, True = real slice, where the experts take it; None: all are.
            lung_mask: (B, 1, D, H, W) uint8, where an expert needs it.

        Returns:
            ``"logits"`` (B, num_classes) float32, logarithms of the fused probabilities; ``"high"`` (B,) bool, the
            side; ``"members"``, of each side that has scans the rows (n,) int64 and the logits (n, num_classes) of each
            of its experts.

        Raises:
            BatchError: when the shapes do not fit, a contrast is not finite, or the threshold is unknown.
            UsageError: when an expert is no classifier.
        """
        given = {"image": image, "slice_mask": slice_mask, "lung_mask": lung_mask}
        if torch.compiler.is_exporting():
            return self._without_branches(given, contrast)
        high = self.side(contrast, len(image))
        fused = image.new_zeros((len(image), self.num_classes), dtype=torch.float32)
        members = []
        for experts, weights, mine in ((self.low, self.low_weights, ~high), (self.high, self.high_weights, high)):
            rows = mine.nonzero()[:, 0]
            if not len(rows):
                continue
            own = {name: None if value is None else value[rows] for name, value in given.items()}
            logits = _all_logits(experts, own)
            if any(one.shape != (len(rows), self.num_classes) for one in logits):
                raise UsageError(
                    "An expert of the gate gives maps, not one row of logits per scan: it is no classifier."
                )
            fused = fused.index_put((rows,), self._fuse(logits, weights))
            members.append((rows, logits))
        return {"logits": fused.clamp(min=_LEAST).log(), "high": high, "members": members}

    def _without_branches(self, given: Mapping[str, Tensor | None], contrast: Tensor) -> dict[str, Any]:
        """What an exported file does, which cannot choose what it computes: both sides, of which the gate takes one.

        Nor can it refuse: the logits of a scan whose contrast is not finite are NaN.
        """
        sides = ((self.low, self.low_weights), (self.high, self.high_weights))
        low_prob, high_prob = (self._fuse(_all_logits(experts, given), weights) for experts, weights in sides)
        high = contrast.float() > self.threshold.float()
        fused = torch.where(high[:, None], high_prob, low_prob).clamp(min=_LEAST).log()
        known = contrast.float().isfinite()[:, None]
        return {"logits": torch.where(known, fused, torch.full_like(fused, torch.nan)), "high": high, "members": []}

    def _fuse(self, logits: list[Tensor], weights: Tensor) -> Tensor:
        """Probabilities of one side."""
        prob = torch.stack([one.float().softmax(-1) for one in logits])
        return fuse_probabilities(prob, weights, rule=self.fusion)

    def side(self, contrast: Tensor, count: int) -> Tensor:
        """Which scans are of high contrast.

        Args:
            contrast: (B,) float.
            count: B.

        Returns:
            (B,) bool.

        Raises:
            BatchError: as :meth:`forward`.
        """
        if contrast.shape != (count,):
            raise BatchError(f"'contrast' must have the shape ({count},), it has {tuple(contrast.shape)}.")
        if not bool(contrast.isfinite().all()):
            raise BatchError(
                "'contrast' of a scan is not finite, so the gate cannot tell its side: leave the scan out."
            )
        if not bool(self.threshold.isfinite()):
            raise BatchError(
                "The gate's threshold is unknown: train with a data module that measures contrast, load a checkpoint, "
                "or set the buffer 'threshold'."
            )
        return contrast.float() > self.threshold.float()  # under half precision, too


def check_expert(name: str) -> type[nn.Module]:
    """The class of an expert: a classifier out of ``covidct.models.__all__``; nothing else is ever imported.

    Args:
        name: of the class.

    Raises:
        UsageError: for any other name.
    """
    from covidct import models

    found = getattr(models, name) if name in models.__all__ else None
    if not (inspect.isclass(found) and issubclass(found, nn.Module)) or found is GatedEnsemble:
        raise UsageError(f"{name!r} is no classifier of covidct.models, so it cannot be an expert of the gate.")
    taken = list(inspect.signature(found.forward).parameters)[1:]
    classifies = "num_classes" in inspect.signature(found).parameters
    if not classifies or taken[:1] != ["image"] or not set(taken) <= {"image", *_OPTIONAL}:
        raise UsageError(
            f"{name} cannot be an expert of the gate: it must have num_classes and take images, slice masks and lung "
            "masks alone."
        )
    return found


def _expert(one: Mapping[str, Any], num_classes: int) -> nn.Module:
    """An expert of its description."""
    if not set(one) <= {"name", "arguments"} or not isinstance(one.get("name"), str):
        raise UsageError(f"The expert {dict(one)} must be a name and arguments.")
    arguments = dict(one.get("arguments") or {})
    if arguments.setdefault("num_classes", num_classes) != num_classes:
        raise UsageError(
            f"The expert {one['name']} has {arguments['num_classes']} classes, the ensemble {num_classes}: they must "
            "be the same."
        )
    if arguments.get("weights") is not None:
        raise UsageError(f"The expert {one['name']} must not fetch weights: leave 'weights' out of its arguments.")
    kind = check_expert(one["name"])
    unknown = arguments.keys() - inspect.signature(kind).parameters.keys()
    if unknown:
        raise UsageError(f"The expert {one['name']} has no argument {', '.join(sorted(unknown))}: mend its arguments.")
    return kind(**arguments)


def _arguments(expert: nn.Module) -> list[str]:
    """Names of what an expert takes, in its order."""
    return list(inspect.signature(type(expert).forward).parameters)[1:]


def _all_logits(experts: Iterable[nn.Module], given: Mapping[str, Tensor | None]) -> list[Tensor]:
    """Logits of each expert."""
    return [_logits(expert(*(given[name] for name in _arguments(expert)))) for expert in experts]


def _logits(output: Tensor | dict[str, Tensor]) -> Tensor:
    """The logits of a network that may know more."""
    return output["logits"] if isinstance(output, dict) else output
