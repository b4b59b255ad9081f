"""Slice-level scores of a network that was told volume labels alone: what its slice attention finds.

Attention is the share of each slice in its volume's diagnosis. It sums to one over the N slices, so it is compared with
1/N, and volumes are compared by N times the share. The rules stand in :func:`slice_report`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import UsageError
from covidct.metrics import scores
from covidct.metrics.estimates import Estimate
from covidct.metrics.resampling import draw_subjects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.metrics.scores import Floats

__all__ = ("SliceReport", "VolumeSlices", "slice_decisions", "slice_report")

_METRICS = ("accuracy", "precision", "sensitivity", "f1", "specificity")
_BLOCK = 4_000_000  # slices x resamples weighed at once: 32 MB per float64 array
_ROUNDING = 1e-5  # relative: equal shares of a float32 softmax may fall short of 1/N by this much


@dataclass(frozen=True, slots=True)
class VolumeSlices:
    """The real slices of one volume.

    Attributes:
        attention: (N,) share of each slice, summing to one.
        label: (N,) 1 for slices with findings, 0 for others, -1 unknown (counts in N, is not scored).
        diagnosed: whether the volume was predicted positive.
        subject: key of the subject, for the intervals.
    """

    attention: NDArray[np.floating[Any]]
    label: NDArray[np.int64]
    diagnosed: bool
    subject: int


@dataclass(frozen=True, slots=True)
class SliceReport:
    """Slice-level scores of one evaluation.

    Attributes:
        positive: name of the class whose slices are looked for.
        volumes: number of volumes with scored slices.
        slices: number of scored slices.
        positives: true slices among them.
        scores: metric to scope to estimate. Scopes: ``"pooled"`` over all slices; ``"volume_mean"``, the mean of the
            volumes' own scores over the volumes that have one. AUROC also ``"pooled_positive"``, over the slices of
            volumes with a true one, and ``"pooled_diagnosed"``, over all slices with N times the share in volumes
            predicted positive and 0 in the others: the score that the decisions cut at 1.
        confusion: pooled counts ((TN, FP), (FN, TP)): rows truth, columns decision.
        confidence: of the intervals.
        resamples: bootstrap resamples behind them.
    """

    positive: str
    volumes: int
    slices: int
    positives: int
    scores: Mapping[str, Mapping[str, Estimate]]
    confusion: tuple[tuple[int, int], tuple[int, int]]
    confidence: float
    resamples: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not defined is None."""

        def plain(estimate: Estimate) -> dict[str, float | None]:
            return {k: None if math.isnan(v) else v for k, v in asdict(estimate).items()}

        return {
            "positive": self.positive,
            "rule": "attention >= 1/N in volumes predicted positive; AUROC of N x attention",
            "volumes": self.volumes,
            "slices": self.slices,
            "positives": self.positives,
            "confidence": self.confidence,
            "resamples": self.resamples,
            "scores": {m: {scope: plain(e) for scope, e in scopes.items()} for m, scopes in self.scores.items()},
            "confusion": {"rows": "truth", "columns": "decision", "counts": [list(row) for row in self.confusion]},
        }


def slice_decisions(attention: NDArray[np.floating[Any]], *, diagnosed: bool) -> NDArray[np.bool_]:
    """Which slices of a volume are called positive: those of at least the uniform share, if the volume is.

    The COVID-19 document ("Semi-supervised Network for Detection of COVID-19 in Chest CT Scans") gives no rule; this
    one is a recommendation. Slices of equal shares are alike, so all of them count as 1/N.

    Args:
        attention: (N,) shares of the real slices.
        diagnosed: whether the volume was predicted positive.

    Returns:
        (N,) bool.
    """
    return np.asarray(attention, dtype=np.float64) * len(attention) >= (1 - _ROUNDING if diagnosed else math.inf)


def slice_report(
    volumes: Sequence[VolumeSlices],
    *,
    positive: str = "positive",
    resamples: int = 0,
    confidence: float = 0.95,
    seed: int = 0,
) -> SliceReport:
    """Score slice attention against slice labels, per volume and pooled.

    Decisions are those of :func:`slice_decisions`; AUROC needs no threshold and ranks N times the share. A volume
    whose slices are all of one class has no AUROC, and one without true slices no sensitivity, precision or F1: the
    means run over the volumes that have a score, so a mean accuracy may lie below both the mean sensitivity and the
    mean specificity, as in the document's Tables 1 and 2; pooled scores cannot do that.

    Args:
        volumes: of the evaluation, each once.
        positive: name of the class whose slices are looked for.
        resamples: bootstrap resamples of whole subjects behind the intervals; 0 leaves them out.
        confidence: of the intervals, in (0, 1).
        seed: of the resampling.

    Returns:
        The scores with their intervals, NaN where one is not defined.

    Raises:
        UsageError: when no slice has a known label, or attention and labels do not fit.
    """
    for volume in volumes:
        _check(volume)
    known = [volume for volume in volumes if (volume.label >= 0).any()]
    if not known:
        raise UsageError("No slice has a known label, so slice attention cannot be scored: give slice labels.")
    subject = np.unique([volume.subject for volume in known], return_inverse=True)[1]
    tables = [_table(volume) for volume in known]
    counts = draw_subjects(int(subject.max()) + 1, resamples, seed)
    cells = resamples * sum(len(table.share) for table in tables)
    value = _scores(tables, np.ones((1, len(known))))
    blocks = np.array_split(counts, max(1, -(-cells // _BLOCK)))
    drawn = [_scores(tables, block[:, subject].astype(np.float64)) for block in blocks if len(block)]
    estimates: dict[str, dict[str, Estimate]] = {}
    for metric, scope in value:
        sample = np.concatenate([block[metric, scope] for block in drawn]) if drawn else np.empty(0)
        tail = (1 - confidence) / 2
        sample = sample[~np.isnan(sample)]
        low, high = np.quantile(sample, (tail, 1 - tail)).tolist() if len(sample) else (math.nan, math.nan)
        estimates.setdefault(metric, {})[scope] = Estimate(float(value[metric, scope][0]), low, high)
    (tn, fp), (fn, tp) = sum(table.confusion for table in tables).astype(np.int64).tolist()  # type: ignore[union-attr]
    return SliceReport(
        positive=positive,
        volumes=len(known),
        slices=tn + fp + fn + tp,
        positives=fn + tp,
        scores=estimates,
        confusion=((tn, fp), (fn, tp)),
        confidence=confidence,
        resamples=resamples,
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """What is scored of one volume: N times its shares (the same, or 0 by its diagnosis), truth, confusion."""

    share: Floats
    diagnosed_share: Floats
    truth: NDArray[np.bool_]
    confusion: Floats


def _table(volume: VolumeSlices) -> _Table:
    """Leave out the slices of unknown label."""
    scored = volume.label >= 0
    truth = volume.label[scored] == 1
    decided = slice_decisions(volume.attention, diagnosed=volume.diagnosed)[scored]
    confusion = np.bincount(2 * truth + decided, minlength=4).reshape(2, 2).astype(np.float64)
    share = np.asarray(volume.attention, dtype=np.float64)[scored] * len(volume.attention)
    return _Table(share, share * volume.diagnosed, truth, confusion)


def _scores(tables: list[_Table], weights: Floats) -> scores.Scores:
    """(metric, scope) to (R,) values, for (R, V) weights of the volumes."""
    confusions = np.stack([table.confusion for table in tables])
    present = confusions.sum((0, 2)) > 0
    names = ("negative", "positive")
    each = scores.confusion_scores(confusions, names, present)
    pooled = scores.confusion_scores((weights @ confusions.reshape(-1, 4)).reshape(-1, 2, 2), names, present)
    found: scores.Scores = {}
    for metric in _METRICS:
        key = (metric, "overall" if metric == "accuracy" else "positive")
        found[metric, "pooled"] = pooled[key]
        found[metric, "volume_mean"] = _mean(each[key], weights)
    own = np.concatenate([_auroc([table], np.ones((1, 1))) for table in tables])
    diseased = np.array([table.truth.any() for table in tables])
    found["auroc", "pooled"] = _auroc(tables, weights)
    found["auroc", "pooled_diagnosed"] = _auroc(tables, weights, score="diagnosed_share")
    found["auroc", "volume_mean"] = _mean(own, weights)
    with_findings = [table for table, true in zip(tables, diseased, strict=True) if true]
    found["auroc", "pooled_positive"] = _auroc(with_findings, weights[:, diseased])
    return found


def _auroc(tables: list[_Table], weights: Floats, *, score: str = "share") -> Floats:
    """(R,) areas over the slices of all tables."""
    if not tables:
        return np.full(len(weights), np.nan)
    volume = np.repeat(np.arange(len(tables)), [len(table.share) for table in tables])
    share, truth = (np.concatenate([getattr(table, name) for table in tables]) for name in (score, "truth"))
    hits, false = scores.cumulative_counts(share, truth, weights[:, volume])
    area = (np.diff(false, axis=1) * (hits[:, 1:] + hits[:, :-1])).sum(1) / 2
    return scores.ratio(area, hits[:, -1] * false[:, -1])


def _mean(values: Floats, weights: Floats) -> Floats:
    """(R,) weighted means of (V,) values over those that are defined."""
    defined = np.isfinite(values)
    return scores.ratio(weights[:, defined] @ values[defined], weights[:, defined].sum(1))


def _check(volume: VolumeSlices) -> None:
    """Refuse what is no attention, or does not fit its labels."""
    attention, label = volume.attention, volume.label
    if attention.ndim != 1 or attention.shape != label.shape or not len(attention):
        raise UsageError(
            f"attention {attention.shape} and labels {label.shape} do not fit: they must be (N,) with N >= 1."
        )
    if not np.isfinite(attention).all() or (attention < 0).any() or abs(float(attention.sum()) - 1) > 1e-3:
        raise UsageError(
            "attention must be finite, not negative and sum to one over the real slices of a volume: leave padding out."
        )
    if not np.isin(label, (-1, 0, 1)).all():
        raise UsageError("The slice labels must be 1 (findings), 0 (none) or -1 (unknown).")
