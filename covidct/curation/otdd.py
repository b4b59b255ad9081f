"""``otdd``: the optimal transport distance of two labelled data sets.

D. Alvarez-Melis and N. Fusi, "Geometric dataset distances via optimal transport", NeurIPS 2020 (arXiv:2002.02923). The
cost of moving a sample onto another is ``1/2 |x - x'|^2 + 1/2 W^2(class of x, class of x')``: samples are far apart
when they look different, or when their classes do. Both terms have their half in the authors' code
(github.com/microsoft/otdd), whose cost, debiasing and value, no root taken, are followed here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from covidct.curation import transport
from covidct.curation.label_distance import LabelDistance, LabelDistances, digest_of
from covidct.curation.labelled import LabelledSet, prepare
from covidct.curation.transport import entropic_transport, exact_transport, squared_distances
from covidct.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.curation.labelled import Features, LabelledPoints

__all__ = ("DatasetDistance", "OwnCosts", "Outer", "check_options", "measure", "otdd")

Outer = Literal["auto", "exact", "entropic"]


@dataclass(frozen=True, slots=True, eq=False)
class DatasetDistance:
    """Distance of two labelled data sets.

    Attributes:
        distance: transport cost, in squared units of the features; about half of a squared distance, no root is taken.
        label_distance: (C1, C2) float64, squared 2-Wasserstein distance of every class of the first set to every class
            of the second.
        coupling: (n1, n2) how much of each sample goes to each other, in sum 1; an array, or a tensor on the device of
            ``x`` when that was a tensor.
        classes: labels of the first set's classes, the rows of ``label_distance``.
        other_classes: labels of the second set's classes, its columns.
        rows: (n1,) int64, samples of ``x`` that the coupling's rows are.
        columns: (n2,) int64, samples of ``x2`` that its columns are.
        class_coupling: (C1, C2) float64, how much of each class goes to each other, in sum 1.
        dropped: classes of the first set that were left out for too few samples.
        other_dropped: those of the second.
        solver: of the outer problem, ``"exact"`` or ``"entropic"``.
        epsilon: of the entropic problem, in units of ``distance``; 0 for the exact one.
    """

    distance: float
    label_distance: NDArray[np.float64]
    coupling: Any
    classes: tuple[Any, ...]
    other_classes: tuple[Any, ...]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    class_coupling: NDArray[np.float64]
    dropped: tuple[Any, ...]
    other_dropped: tuple[Any, ...]
    solver: Literal["exact", "entropic"]
    epsilon: float


def otdd(
    x: NDArray[Any] | Tensor,
    y: Any,  # noqa: ANN401  a list, an array or a tensor of labels
    x2: NDArray[Any] | Tensor,
    y2: Any,  # noqa: ANN401
    *,
    features: Features | None = None,
    label_distance: LabelDistance = "gaussian",
    debiased: bool = True,
    outer: Outer = "auto",
    epsilon: float = 0.01,
    max_samples: int | None = 10_000,
    min_class_size: int = 2,
    seed: int = 0,
    cache: LabelDistances | None = None,
) -> DatasetDistance:
    """Distance of two labelled data sets, whose labels need have nothing in common.

    Everything is computed in float64. With tensors on a GPU it is computed there, but for the exact solver.

    Args:
        x: (N, d) features, taken as they are, or (N, ...) images, which are flattened or go through ``features``.
        y: N labels, integers or words.
        x2: the other set, (M, d) or (M, ...).
        y2: M labels.
        features: takes images of a set and gives (N, d): :func:`covidct.curation.pixel_features`, a network of
            :func:`covidct.curation.network_features`, or any function.
        label_distance: distance of two classes: ``"gaussian"``, of the Gaussians with their means and covariances, or
            ``"exact"``, the optimal transport between their samples.
        debiased: subtract half of the distance of each set to itself: ``OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2``, 0 for
            equal sets. The exact OT(a, a) is 0, so that it matters to the entropic problem only.
        outer: ``"exact"`` (network simplex), ``"entropic"`` (Sinkhorn), or ``"auto"``: exact up to 2,000 samples.
        epsilon: weight of the entropy, relative to the mean cost between the two sets, so that one value suits features
            of any unit and length; 0.01 (recommendation). The authors' code has 0.1 in absolute units: next to nothing
            for many pixels, and most of the cost for a few normalised features.
        max_samples: of each set, drawn in proportion to its classes; 10,000 (the authors' code). None: all.
        min_class_size: classes with fewer samples are left out, with a warning, of all samples and of those that are
            drawn; 2 (the authors' code), as one sample has no covariance. With 1 it counts as 0.
        seed: of the drawing, the same for both sets.
        cache: label distances that are known already; pass the same object to several calls that share classes. None:
            known within this call only.

    Returns:
        Distance, label distances and coupling.

    Raises:
        UsageError: for labels of another number, features that are no (N, d) or of different lengths d, an unknown word
            or a number out of range.
        InputError: for an empty set, one without a class that is large enough, or values that are not finite.
    """
    known = check_options(label_distance, outer, epsilon, max_samples, min_class_size, cache)
    common: dict[str, Any] = {
        "features": features,
        "max_samples": max_samples,
        "min_class_size": min_class_size,
        "seed": seed,
    }
    first = prepare(LabelledSet(x, y), name="The first set", **common)
    second = prepare(LabelledSet(x2, y2), name="The second set", **common)
    result = measure(first, second, known=known, debiased=debiased, outer=outer, epsilon=epsilon)
    return result if isinstance(x, torch.Tensor) else replace(result, coupling=result.coupling.numpy())


def measure(
    first: LabelledPoints,
    second: LabelledPoints,
    *,
    known: LabelDistances,
    debiased: bool = True,
    outer: Outer = "auto",
    epsilon: float = 0.01,
    absolute: float | None = None,
    own: OwnCosts | None = None,
) -> DatasetDistance:
    """:func:`otdd` of features; the coupling is a tensor.

    Args:
        first: a set.
        second: another.
        known: label distances.
        debiased: as there.
        outer: as there.
        epsilon: as there.
        absolute: weight of the entropy in units of the cost, in place of ``epsilon``; None: by that.
        own: costs of sets onto themselves; None: known within this call only.

    Raises:
        UsageError: for features of different lengths.
    """
    if first.points.shape[1] != second.points.shape[1]:
        raise UsageError(
            f"The first set has {first.points.shape[1]} features per sample and the second {second.points.shape[1]}: "
            "take the same features of both."
        )
    if second.points.device != first.points.device:
        raise UsageError(
            f"The first set is on {first.points.device} and the second on {second.points.device}: move one of them."
        )
    cost, labels = _cost(first, second, known)
    exact = outer == "exact" or (outer == "auto" and max(cost.shape) <= transport.EXACT_UP_TO)
    weight = 0.0 if exact else epsilon * float(cost.mean()) if absolute is None else absolute
    if exact or weight == 0:  # all samples are one point
        value, plan = exact_transport(cost)
    else:
        value, plan = entropic_transport(cost, weight)
        if debiased:
            own = OwnCosts(known) if own is None else own
            value -= sum(own.entropic(one, weight) for one in (first, second)) / 2
    return DatasetDistance(
        value,
        labels,
        plan,
        first.classes,
        second.classes,
        first.rows,
        second.rows,
        _by_class(plan, first, second),
        first.dropped,
        second.dropped,
        "exact" if exact else "entropic",
        weight,
    )


class OwnCosts:
    """What it costs to move sets onto themselves, each set computed once: known again by its content (SHA-256)."""

    def __init__(self, known: LabelDistances) -> None:
        """Begin with no set known."""
        self._labels = known
        self._known: dict[tuple[bytes, bytes, float], float] = {}

    def entropic(self, points: LabelledPoints, weight: float) -> float:
        """Value of the entropic problem of a set and itself, the weight in units of the cost."""
        key = digest_of(points.points), digest_of(torch.from_numpy(points.labels)), weight
        if key not in self._known:
            self._known[key] = entropic_transport(_cost(points, points, self._labels)[0], weight)[0]
        return self._known[key]

    def mean(self, points: LabelledPoints) -> float:
        """Mean cost of a set and itself."""
        return float(_cost(points, points, self._labels)[0].mean())


def check_options(
    label_distance: LabelDistance,
    outer: Outer,
    epsilon: float,
    max_samples: int | None,
    min_class_size: int,
    cache: LabelDistances | None = None,
) -> LabelDistances:
    """Refuse options that do not fit; the cache, or a new one.

    Raises:
        UsageError: for an unknown word or a number out of range.
    """
    known = LabelDistances(label_distance) if cache is None else cache
    if known.kind != label_distance:
        raise UsageError(f"The cache holds {known.kind} label distances, not {label_distance}: give another one.")
    if outer not in get_args(Outer):
        raise UsageError(f"outer={outer!r} is unknown: use 'auto', 'exact' or 'entropic'.")
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise UsageError(f"epsilon={epsilon} must be a positive share of the mean cost.")
    if min_class_size < 1 or (max_samples is not None and max_samples < 2):
        raise UsageError(
            f"min_class_size={min_class_size} must be at least 1 and max_samples={max_samples} at least 2."
        )
    return known


def _cost(first: LabelledPoints, second: LabelledPoints, known: LabelDistances) -> tuple[Tensor, NDArray[np.float64]]:
    """Cost (n1, n2) of moving a sample onto another, and the label distances (C1, C2)."""
    labels = known.between(first.groups(), second.groups())
    cost = squared_distances(first.points, second.points)
    if first is second:
        cost.fill_diagonal_(0)
    cost += torch.from_numpy(labels[np.ix_(first.labels, second.labels)]).to(cost.device)
    return cost.div_(2), labels


def _by_class(plan: Tensor, first: LabelledPoints, second: LabelledPoints) -> NDArray[np.float64]:
    """Coupling summed over the samples of each class."""
    one_hot = [
        torch.nn.functional.one_hot(torch.from_numpy(each.labels), len(each.classes)).to(plan)
        for each in (first, second)
    ]
    return np.asarray((one_hot[0].T @ plan @ one_hot[1]).cpu().numpy(), np.float64)
