"""Cohorts as labelled features for the distance of data sets, and the two comparisons of the document.

D000, section 3.2.4 and figure 8: original against equalised images, and images of low against high contrast.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from covidct.curation.image_features import pixel_features
from covidct.curation.labelled import LabelledSet, stratified
from covidct.curation.listing import Unreadable, iterate_scans
from covidct.errors import CovidctError, InputError, UsageError
from covidct.functional import ContrastSplit, contrast_score, equalise
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.curation.labelled import Features
    from covidct.curation.listing import Entry, Scan
    from covidct.functional.contrast import Measure
    from covidct.io.faults import OnFault

    Treatment = Callable[[NDArray[np.float32]], NDArray[np.float32]]

__all__ = ("cohort_set", "contrast_sets", "equalised_sets")

logger = logging.getLogger(__name__)

_SLICES = 8  # of a volume: neighbours are nearly the same sample


def cohort_set(
    entries: Sequence[Entry],
    *,
    features: Features = pixel_features,
    slices_per_scan: int = _SLICES,
    max_scans: int | None = 2_000,
    window: tuple[float, float] = LUNG_WINDOW,
    on_fault: OnFault = "error",
    unreadable: list[Unreadable] | None = None,
    on_scan: Callable[[str], None] | None = None,
    seed: int = 0,
) -> LabelledSet:
    """Features of the slices of a cohort, in one pass that keeps the features alone.

    Args:
        entries: from :func:`covidct.curation.read_listing`; those without a label are passed over.
        features: takes (n, H, W) float32 in [0, 1], gives (n, d); of equal length d for every size of picture.
        slices_per_scan: of a volume, evenly spread over it; 8 (recommendation).
        max_scans: read at most as many, drawn by class. None: all.
        window: (low, high) in HU that becomes [0, 1].
        on_fault: what to do with faulty geometry.
        unreadable: where entries that cannot be read are put; None raises instead.
        on_scan: called with the id of each scan.
        seed: of the drawing.

    Returns:
        Features, labels as the cohort words them, and subjects (of an unknown subject the scan stands for it).

    Raises:
        InputError: when no entry has a label, or none can be read.
        UsageError: for a number below 1.
    """
    passes = _passes(entries, slices_per_scan, max_scans, window, on_fault, unreadable, on_scan, seed)
    return _collect(passes, {"": lambda stack: stack}, features, slices_per_scan, unreadable)[""]


def equalised_sets(
    entries: Sequence[Entry],
    *,
    treatment: Treatment = equalise,
    features: Features = pixel_features,
    slices_per_scan: int = _SLICES,
    max_scans: int | None = 2_000,
    window: tuple[float, float] = LUNG_WINDOW,
    on_fault: OnFault = "error",
    unreadable: list[Unreadable] | None = None,
    on_scan: Callable[[str], None] | None = None,
    seed: int = 0,
) -> tuple[LabelledSet, LabelledSet]:
    """A cohort as it is, and the same slices equalised: the first comparison of the document.

    Args:
        entries: see :func:`cohort_set`, as the further ones.
        treatment: takes and gives (n, H, W) float32 in [0, 1]: :func:`covidct.functional.equalise`, global
            equalisation and then CLAHE, or one of the two, or another.
        features: of slices.
        slices_per_scan: of a volume.
        max_scans: read at most as many.
        window: in HU.
        on_fault: what to do with faulty geometry.
        unreadable: where entries that cannot be read, or are too small for the treatment, are put.
        on_scan: called with the id of each scan.
        seed: of the drawing.

    Returns:
        The original set and the equalised one, in the same order.

    Raises:
        InputError: when no entry has a label, or none can be read.
        UsageError: for a number below 1.
    """
    passes = _passes(entries, slices_per_scan, max_scans, window, on_fault, unreadable, on_scan, seed)
    views = {"original": lambda stack: stack, "equalised": treatment}
    sets = _collect(passes, views, features, slices_per_scan, unreadable)
    return sets["original"], sets["equalised"]


def contrast_sets(
    entries: Sequence[Entry],
    *,
    measure: Measure = "rms",
    features: Features = pixel_features,
    slices_per_scan: int = _SLICES,
    max_scans: int | None = 2_000,
    window: tuple[float, float] = LUNG_WINDOW,
    on_fault: OnFault = "error",
    unreadable: list[Unreadable] | None = None,
    on_scan: Callable[[str], None] | None = None,
    seed: int = 0,
) -> tuple[LabelledSet, LabelledSet, ContrastSplit]:
    """The subjects of low and of high contrast in a cohort: the second comparison of the document.

    The line is Otsu's on the training subjects (split ``train``), or on all of them in a cohort without that split. It
    is part of what is compared: intervals of :func:`covidct.curation.compare_sets` hold it fixed.

    Args:
        entries: see :func:`cohort_set`, as the further ones.
        measure: of the contrast, see :func:`covidct.functional.contrast_score`.
        features: of slices.
        slices_per_scan: of a volume; contrast is measured on all of its slices.
        max_scans: read at most as many.
        window: in HU.
        on_fault: what to do with faulty geometry.
        unreadable: where entries that cannot be read, or show no body, are put.
        on_scan: called with the id of each scan.
        seed: of the drawing.

    Returns:
        The set of low contrast, that of high contrast, and the line between them.

    Raises:
        InputError: when no entry has a label, none can be read, or contrast cannot be split.
        UsageError: for a number below 1.
    """
    passes = _passes(entries, slices_per_scan, max_scans, window, on_fault, unreadable, on_scan, seed)
    scores: dict[str, float] = {}

    def scored(scan: Scan) -> str:
        scores[scan.entry.id] = contrast_score(scan.stack, measure=measure)
        return scan.entry.id

    sets = _collect(passes, {"": lambda stack: stack}, features, slices_per_scan, unreadable, group=scored)
    kept = [entry for entry in entries if entry.id in scores]
    train = [entry for entry in kept if entry.split == "train"] or kept
    split = ContrastSplit.fit([scores[e.id] for e in train], [e.subject_key for e in train], measure=measure)
    sides = split.assign_subjects([scores[e.id] for e in kept], [e.subject_key for e in kept])
    low, high = (_joined([sets[e.id] for e in kept if sides[e.subject_key] == side]) for side in ("low", "high"))
    return low, high, split


def _passes(
    entries: Sequence[Entry],
    slices_per_scan: int,
    max_scans: int | None,
    window: tuple[float, float],
    on_fault: OnFault,
    unreadable: list[Unreadable] | None,
    on_scan: Callable[[str], None] | None,
    seed: int,
) -> Iterable[Scan]:
    """The scans of labelled entries, at most so many."""
    if slices_per_scan < 1 or (max_scans is not None and max_scans < 1):
        raise UsageError(f"slices_per_scan={slices_per_scan} and max_scans={max_scans} must be at least 1.")
    labelled = [entry for entry in entries if entry.label]
    if not labelled:
        raise InputError("No entry of the cohort has a label: name the column of the classes.")
    if max_scans is not None and len(labelled) > max_scans:
        labels = np.array([entry.label for entry in labelled])
        chosen = stratified(labels, max_scans, np.random.default_rng(seed))
        if lost := sorted(set(labels.tolist()) - set(labels[chosen].tolist())):
            logger.warning("Of %d scans none is of the rare classes %s.", max_scans, ", ".join(lost))
        labelled = [labelled[k] for k in chosen]
    for scan in iterate_scans(labelled, window=window, on_fault=on_fault, unreadable=unreadable):
        yield scan
        if on_scan is not None:
            on_scan(scan.entry.id)


def _collect(
    scans: Iterable[Scan],
    views: Mapping[str, Treatment],
    features: Features,
    slices_per_scan: int,
    unreadable: list[Unreadable] | None,
    group: Callable[[Scan], str] | None = None,
) -> dict[str, LabelledSet]:
    """Features of each view of the scans, joined for all scans or by ``group`` (of a single view)."""
    parts: dict[str, list[LabelledSet]] = defaultdict(list)
    for scan in scans:
        depth = len(scan.stack)
        count = min(slices_per_scan, depth)
        shown = scan.stack[[(2 * k + 1) * depth // (2 * count) for k in range(count)]]  # the middles of equal parts
        try:
            key = group(scan) if group is not None else None
            taken = {name: _rows(features(treat(shown)), count) for name, treat in views.items()}
        except CovidctError as problem:
            if unreadable is None:
                raise
            unreadable.append(Unreadable(scan.entry, str(problem)))
            continue
        for name, rows in taken.items():
            one = LabelledSet(rows, [scan.entry.label] * count, [scan.entry.subject_key] * count)
            parts[name if key is None else key].append(one)
    if not parts:
        first = f" The first: {unreadable[0].public_reason}" if unreadable else ""
        raise InputError(f"No entry of the cohort can be used: there is nothing to compare.{first}")
    return {name: _joined(sets) for name, sets in parts.items()}


def _rows(features: Any, count: int) -> NDArray[np.float32]:  # noqa: ANN401
    """Features as an array (count, d)."""
    rows = features.detach().cpu().numpy() if isinstance(features, torch.Tensor) else np.asarray(features)
    if rows.ndim != 2 or len(rows) != count:
        raise UsageError(f"features gave the shape {rows.shape} for {count} images; give one row of numbers per image.")
    return rows.astype(np.float32, copy=False)


def _joined(sets: Sequence[LabelledSet]) -> LabelledSet:
    """Sets one after the other."""
    return LabelledSet(
        np.concatenate([one.x for one in sets]),
        [label for one in sets for label in one.y],
        [subject for one in sets for subject in one.subjects or ()],
    )
