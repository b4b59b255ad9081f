"""``shortcut_probes``: how well label or source can be told without the lungs.

Many COVID data sets give the class away by where their images come from: frames, letters, size, compression. A network
that learns this scores high and knows nothing of lungs (DeGrave et al., Nat Mach Intell 2021;3:610). Here linear
classifiers see such things alone.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from covidct.curation.listing import Unreadable, iterate_scans
from covidct.curation.shortcut_features import FEATURES, features_of
from covidct.errors import UsageError
from covidct.metrics.estimates import Estimate
from covidct.metrics.resampling import draw_subjects
from covidct.metrics.scores import area_under_roc, cumulative_counts
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.curation.listing import Entry

__all__ = ("WARN_ABOVE", "ShortcutProbe", "check_resamples", "shortcut_probes")

Target = Literal["label", "site"]

WARN_ABOVE = 0.6
"""A probe warns when the lower end of its 95 % interval, over all classes or of one class, lies above this AUROC.

The limit is ours: 0.5 is chance, and from 0.7 on discrimination is called acceptable (Hosmer and Lemeshow, Applied
Logistic Regression, 2000, section 5.2.4); what lies between for sure, on anything but lungs, deserves a look. Taking
the lower end keeps small cohorts, whose intervals are wide, from false alarms."""

_LEAST = 5  # subjects of a class, below which neither folds nor intervals mean anything
_BLOCK = 400_000  # rows x resamples weighed at once: 3 MB
_TAILS = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class ShortcutProbe:
    """One linear classifier on one group of features.

    Attributes:
        target: what it tells, ``"label"`` or ``"site"``.
        features: what it sees: a group of :data:`~covidct.curation.shortcut_features.FEATURES`, or ``"all together"``.
        auroc: of the held-out predictions, each class against the rest, mean over the classes, with its 95 % bootstrap
            interval over subjects; 0.5 is chance.
        by_class: class to its own AUROC against the rest: of three classes, one that stands out can hide in the mean.
        n: images or scans.
        groups: subjects, each of which lies in one fold.
        left_out: classes with fewer than five subjects, which are not told apart.
        by_subject: False when no subject is known, so that every image is a group of its own and the AUROC too high
            where patients have several images.
        warning: one sentence, empty below the limit.
    """

    target: Target
    features: str
    auroc: Estimate
    by_class: Mapping[str, Estimate]
    n: int
    groups: int
    left_out: int = 0
    by_subject: bool = True
    warning: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """Plain rows with the columns target, features, class (``"all"`` for the mean), auroc, low, high, n, groups."""
        head = {"target": self.target, "features": self.features}
        return [
            {**head, "class": name, "auroc": found.value, "low": found.low, "high": found.high, "n": self.n,
             "groups": self.groups, "warning": self.warning if name == "all" else ""}
            for name, found in (("all", self.auroc), *self.by_class.items())
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def shortcut_probes(
    entries: Sequence[Entry],
    features: Sequence[Mapping[str, NDArray[np.float64]]] | None = None,
    *,
    targets: Sequence[Target] = ("label", "site"),
    folds: int = 5,
    resamples: int = 1000,
    seed: int = 0,
    window: tuple[float, float] = LUNG_WINDOW,
    unreadable: list[Unreadable] | None = None,
) -> tuple[ShortcutProbe, ...]:
    """Tell label and site from each group of features alone, and from all together.

    Logistic regression on standardised features, classes weighted alike, with scikit-learn's defaults else; held-out
    predictions by ``StratifiedGroupKFold``, all images of a subject in one fold. An image of unknown subject is a group
    of its own.

    Args:
        entries: of a cohort. Those without the target are left out of its probes.
        features: of each entry, as :func:`~covidct.curation.shortcut_features.features_of` gives them; None reads the
            cohort.
        targets: what to tell.
        folds: of the cross-validation, 2 to 5.
        resamples: of the bootstrap over subjects; 0 gives no intervals and so no warnings.
        seed: of folds and bootstrap.
        window: (low, high) in HU that becomes [0, 1], when the cohort is read here.
        unreadable: where entries go that cannot be read; None raises.

    Returns:
        A probe per target and group of features; none for a target with fewer than two classes of five subjects.

    Raises:
        UsageError: for unknown targets, folds or resamples out of range, or not as many features as entries.
        CovidctError: for an entry that cannot be read, without ``unreadable``.
    """
    if unknown := set(targets) - {"label", "site"}:
        raise UsageError(f"The target {min(unknown)!r} is unknown: probe 'label' or 'site'.")
    check_resamples(resamples)
    if not 2 <= folds <= _LEAST:
        raise UsageError(f"folds={folds} must lie between 2 and {_LEAST}.")
    if features is None:
        pairs = [(s.entry, features_of(s)) for s in iterate_scans(entries, window=window, unreadable=unreadable)]
        entries, features = [entry for entry, _ in pairs], [values for _, values in pairs]
    if len(features) != len(entries):
        raise UsageError(f"There are {len(entries)} entries and {len(features)} rows of features: give one per entry.")
    return tuple(probe for target in targets for probe in _probe(entries, features, target, folds, resamples, seed))


def check_resamples(resamples: int) -> None:
    """Refuse fewer than no resamples.

    Raises:
        UsageError: when the number is negative.
    """
    if resamples < 0:
        raise UsageError(f"resamples={resamples} must be at least 0; 0 gives no intervals.")


def _probe(
    entries: Sequence[Entry],
    features: Sequence[Mapping[str, NDArray[np.float64]]],
    target: Target,
    folds: int,
    resamples: int,
    seed: int,
) -> list[ShortcutProbe]:
    """The probes of one target."""
    words = np.array([getattr(entry, target) for entry in entries])
    group = np.unique([entry.subject_key for entry in entries], return_inverse=True)[1]
    kinds = [str(word) for word in np.unique(words) if word]
    enough = [word for word in kinds if len(np.unique(group[words == word])) >= _LEAST]
    if len(enough) < 2:
        return []
    rows = np.flatnonzero(np.isin(words, enough)).tolist()
    target_of = np.searchsorted(enough, words[rows])
    group_of = np.unique(group[rows], return_inverse=True)[1]
    by_subject = any(entries[row].subject for row in rows)
    tables = {name: np.stack([features[row][name] for row in rows]) for name in FEATURES}
    tables["all together"] = np.concatenate(list(tables.values()), axis=1)
    probes = []
    for name, table in tables.items():
        prob = held_out(table, target_of, group_of, folds=folds, seed=seed)
        mean, each = macro_auroc(prob, target_of, group_of, resamples=resamples, seed=seed)
        by_class = dict(zip(enough, each, strict=True))
        warning = _warning(target, name, mean, by_class)
        left_out = len(kinds) - len(enough)
        groups = int(group_of.max()) + 1
        probes.append(ShortcutProbe(target, name, mean, by_class, len(rows), groups, left_out, by_subject, warning))
    return probes


def _warning(target: Target, features: str, mean: Estimate, by_class: Mapping[str, Estimate]) -> str:
    """The sentence about a probe that tells too much, of its surest class; empty below the limit."""
    worst, found = max(by_class.items(), key=lambda item: (item[1].low > WARN_ABOVE, item[1].low))
    if not max(mean.low, found.low) > WARN_ABOVE:
        return ""
    told = "The label" if target == "label" else "The source"
    if len(by_class) > 2 and found.low > mean.low:
        told += f" {worst}"
    else:
        found = mean
    what = "all of these" if features == "all together" else features
    return (
        f"{told} can be told from {what} alone (AUROC {found.value:.2f}, {found.low:.2f} to {found.high:.2f}): "
        "a network can learn this instead of the lungs."
    )


def held_out(
    table: NDArray[np.float64], target: NDArray[np.int64], group: NDArray[np.int64], *, folds: int, seed: int
) -> NDArray[np.float64]:
    """Probabilities (N, C) of each row by a classifier that has seen no row of its group.

    Args:
        table: (N, F) features.
        target: (N,) class indices, each below C occurs.
        group: (N,) number of each row's subject.
        folds: of the cross-validation.
        seed: of the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # a dependency of scikit-learn

    prob = np.zeros((len(table), int(target.max()) + 1))
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    # the solver's vectors are so short that threads of BLAS wait for each other ten to a hundred times as long
    with threadpool_limits(limits=1, user_api="blas"):
        for train, test in parts.split(table, target, group):
            # classes weighted alike: folds with other shares of classes would shift probabilities, which are pooled
            model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000))
            model.fit(table[train], target[train])
            prob[np.ix_(test, model.classes_)] = model.predict_proba(table[test])
    return prob


def _resampled(group: NDArray[np.int64], resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Weights (b, N) of the rows in resamples of whole groups, in blocks of one size however large the cohort is."""
    groups = int(group.max()) + 1
    step = max(1, _BLOCK // len(group))
    starts = range(0, resamples, step)
    for start, state in zip(starts, np.random.SeedSequence(seed).generate_state(len(starts)).tolist(), strict=True):
        yield draw_subjects(groups, min(step, resamples - start), state)[:, group].astype(np.float64)


def macro_auroc(
    prob: NDArray[np.float64], target: NDArray[np.int64], group: NDArray[np.int64], *, resamples: int, seed: int
) -> tuple[Estimate, list[Estimate]]:
    """AUROC of each class against the rest and their mean, with 95 % percentile intervals over subjects.

    Args:
        prob: (N, C).
        target: (N,) class indices.
        group: (N,) number of each row's subject, from 0.
        resamples: of the bootstrap; 0 gives NaN for the ends.
        seed: of the bootstrap.

    Returns:
        The mean, and each class.
    """
    classes = prob.shape[1]

    def areas(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([area_under_roc(*cumulative_counts(prob[:, k], target == k, weights)) for k in range(classes)])

    value = areas(np.ones((1, len(target))))[:, 0]
    blocks = [areas(weights) for weights in _resampled(group, resamples, seed)]
    drawn = np.concatenate([np.empty((classes, 0)), *blocks], axis=1)

    def estimate(at: float, of: NDArray[np.float64]) -> Estimate:
        known = of[np.isfinite(of)]  # NaN where a class is missing in a resample
        low, high = np.quantile(known, _TAILS).tolist() if known.size else (math.nan, math.nan)
        return Estimate(at, low, high)

    each = [estimate(float(at), of) for at, of in zip(value, drawn, strict=True)]
    return estimate(float(value.mean()), drawn.mean(0)), each
