"""Distances between the classes of data sets: squared 2-Wasserstein, of Gaussians or of the samples themselves.

Gaussian (Bures-Wasserstein): ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2)``, the label distance of D.
Alvarez-Melis and N. Fusi, "Geometric dataset distances via optimal transport", NeurIPS 2020. No d x d matrix is formed:
with ``S = F^T F`` the last trace is the nuclear norm of ``F1 F2^T``, and the centred samples over ``sqrt(n - 1)`` are
such an F. The singular values of ``F1 F2^T`` are the square roots of the eigenvalues of ``F2 S1 F2^T``, which are those
of ``S1^1/2 S2 S1^1/2``. It holds for classes with fewer samples than dimensions, the normal case, where formulas that
invert or take roots of covariances lose their digits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from covidct.curation.transport import exact_transport, squared_distances
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # a dependency of scikit-learn
    from torch import Tensor

__all__ = ("ClassGaussian", "LabelDistance", "LabelDistances", "digest_of")

LabelDistance = Literal["gaussian", "exact"]


@dataclass(frozen=True, slots=True, eq=False)
class ClassGaussian:
    """Mean and covariance of a class, the covariance as a factor.

    Attributes:
        mean: (d,) float64.
        factor: (r, d) float64 with ``factor.T @ factor`` the covariance (1 / (n - 1)); r is the smaller of n and d.
    """

    mean: Tensor
    factor: Tensor

    @classmethod
    def fit(cls, samples: Tensor) -> ClassGaussian:
        """Fit to samples (n, d); a single one has covariance 0."""
        factor = samples.to(torch.float64, copy=True)  # float32 products may silently run in TF32 or bfloat16
        mean = factor.mean(0)
        factor.sub_(mean).div_(max(len(factor) - 1, 1) ** 0.5)
        if len(factor) > factor.shape[1]:  # R of QR has the same R^T R, and the products shrink to d x d
            factor = torch.linalg.qr(factor, mode="r").R
        return cls(mean, factor)

    def squared_distance(self, other: ClassGaussian) -> float:
        """Squared 2-Wasserstein distance of the two Gaussians, at least 0."""
        product = self.factor @ other.factor.T
        with _openmp().limit(
            limits=1, user_api="openmp"
        ):  # two threads take three times as long, and stall beside others
            cross = torch.linalg.svdvals(product).sum()
        means = (self.mean - other.mean).square().sum()
        traces = self.factor.square().sum() + other.factor.square().sum()
        return max(float(means + traces - 2 * cross), 0.0)


class LabelDistances:
    """Squared 2-Wasserstein distances between classes, each pair computed once.

    Pairs are known again by the content of their samples (SHA-256), so that one object serves several calls of
    :func:`covidct.curation.otdd`: a target against many sources, one data set under several solvers. It holds numbers
    only, no samples.
    """

    def __init__(self, kind: LabelDistance = "gaussian") -> None:
        """Begin with no pair known.

        Args:
            kind: ``"gaussian"``, of the Gaussians with the classes' means and covariances (1 / (n - 1)); or
                ``"exact"``, the optimal transport between the samples themselves by POT, with weights 1 / n.

        Raises:
            UsageError: for an unknown kind.
        """
        if kind not in get_args(LabelDistance):
            raise UsageError(f"label_distance={kind!r} is unknown: use 'gaussian' or 'exact'.")
        self.kind = kind
        self._known: dict[frozenset[bytes], float] = {}

    def __len__(self) -> int:
        """Number of pairs computed so far."""
        return len(self._known)

    def between(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> NDArray[np.float64]:
        """Distances of every class of one list to every class of another.

        Args:
            first: samples (n, d) of each class.
            second: samples (n, d) of each class of the other list, of equal d.

        Returns:
            (C1, C2) float64, squared distances in squared units of the samples, at least 0; exactly 0 between a class
            and itself.
        """
        keys, other_keys = [digest_of(samples) for samples in first], [digest_of(samples) for samples in second]
        classes = dict(zip([*keys, *other_keys], [*first, *second], strict=True))
        gaussians: dict[bytes, ClassGaussian] = {}

        def gaussian(key: bytes) -> ClassGaussian:
            if key not in gaussians:
                gaussians[key] = ClassGaussian.fit(classes[key])
            return gaussians[key]

        def distance(key: bytes, other: bytes) -> float:
            if key == other:
                return 0.0
            pair = frozenset((key, other))
            if pair not in self._known:
                self._known[pair] = (
                    gaussian(key).squared_distance(gaussian(other))
                    if self.kind == "gaussian"
                    else exact_transport(squared_distances(classes[key], classes[other]))[0]
                )
            return self._known[pair]

        return np.array([[distance(key, other) for other in other_keys] for key in keys])


@cache
def _openmp() -> ThreadpoolController:
    """The thread pools of this process; looked up once, as it takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def digest_of(samples: Tensor) -> bytes:
    """What tells the content of samples."""
    values = samples.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{values.dtype} {tuple(values.shape)}".encode())
    digest.update(values.numpy().data.cast("B"))
    return digest.digest()
