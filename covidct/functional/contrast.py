"""Contrast of a case, and the split of subjects into high and low contrast (D000, the gate).

The paper parts its subjects by a "bright line" and says neither what it measures nor where the line lies. Here a case
has the median over its slices of the RMS contrast inside the body (E. Peli, "Contrast in complex images", J Opt Soc Am
A 1990;7:2032: the standard deviation of the intensities), and the line is Otsu's on the training subjects.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import cv2
import numpy as np

from covidct.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ("ContrastSplit", "body_mask", "check_measure", "contrast_score", "subject_scores")

Measure = Literal["rms", "spread"]
Side = Literal["low", "high"]
Subject = TypeVar("Subject", bound=Hashable)

_LEVELS = 256  # of the histogram Otsu's threshold is looked for in
_LEAST_AREA = 0.02  # of a slice: a child's neck in an adult's field of view is larger, a table is smaller
_OPENING = 0.01  # of the shorter side: parts the table and cables from the body
_TAILS = (5.0, 95.0)  # percentiles of the spread (facts 1.3)


def body_mask(stack: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find the body in each slice: hull of the largest bright component.

    Bright is above Otsu's threshold over the whole stack, so that scaling or shifting the intensities leaves the
    mask as it is. An opening by 1 % of the shorter side takes the table off. The hull takes in the lungs, also where a
    picture is cropped to them and they touch its border, at the price of some air beside a hollow outline.

    Args:
        stack: (D, H, W) float, any range.

    Returns:
        (D, H, W) bool; empty in slices whose largest component covers less than 2 % of them.

    Raises:
        InputError: when the stack is not 3-D, is empty or holds values that are not finite.
    """
    _check(stack)
    mask = np.zeros(stack.shape, np.bool_)
    low, high = float(stack.min()), float(stack.max())
    if not high > low:
        return mask
    levels = np.empty(stack.shape, np.uint8)
    scale = (_LEVELS - 1) / (high - low)
    for one, out in zip(stack, levels, strict=True):
        cv2.convertScaleAbs(one, dst=out, alpha=scale, beta=-low * scale)  # in double, rounded; nothing is below 0
    depth, height, width = stack.shape
    threshold, _ = cv2.threshold(levels.reshape(depth * height, width), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    radius = max(1, round(_OPENING * min(height, width)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    for one, out in zip(levels, mask, strict=True):
        bright = cv2.morphologyEx((one > threshold).view(np.uint8), cv2.MORPH_OPEN, disc)
        count, labels, boxes, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
        if count < 2:
            continue
        largest = 1 + int(np.argmax(boxes[1:, cv2.CC_STAT_AREA]))
        if boxes[largest, cv2.CC_STAT_AREA] < _LEAST_AREA * one.size:
            continue
        points = np.concatenate(
            cv2.findContours((labels == largest).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        )
        drawn = np.zeros(one.shape, np.uint8)
        cv2.fillConvexPoly(drawn, np.asarray(cv2.convexHull(points), np.int32), 1)
        out[:] = drawn > 0
    return mask


def contrast_score(
    stack: NDArray[np.float32], *, mask: NDArray[np.bool_] | None = None, measure: Measure = "rms"
) -> float:
    """Contrast of a case: the median over its slices of their contrast inside the body.

    Args:
        stack: (D, H, W) float in [0, 1]; D = 1 for an image.
        mask: (D, H, W), true inside the body; None: :func:`body_mask`. Slices without body are left out.
        measure: ``"rms"``, the standard deviation of the intensities, or ``"spread"``, their 95th minus their 5th
            percentile.

    Returns:
        The score, in [0, 0.5] for ``"rms"`` and [0, 1] for ``"spread"``.

    Raises:
        InputError: when the stack is not 3-D, holds values outside [0, 1], or shows no body in any slice.
        UsageError: for an unknown measure, or a mask of another shape.
    """
    check_measure(measure)
    _check(stack)
    if float(stack.min()) < 0 or float(stack.max()) > 1:
        raise InputError(
            f"The stack has values from {stack.min():.4g} to {stack.max():.4g}: contrast is measured on intensities in "
            "[0, 1]; apply a window first."
        )
    inside = body_mask(stack) if mask is None else np.asarray(mask) > 0
    if inside.shape != stack.shape:
        raise UsageError(f"The mask has the shape {inside.shape}, the stack {stack.shape}: they must be the same.")
    scores = [_slice_contrast(one, body, measure) for one, body in zip(stack, inside, strict=True) if body.any()]
    if not scores:
        raise InputError("No slice of the stack shows a body: it is empty or of one grey value; leave the case out.")
    return median(scores)


@dataclass(frozen=True, slots=True)
class ContrastSplit:
    """The line between subjects of low and of high contrast, fitted on training subjects.

    Attributes:
        threshold: scores above it are high, both in float32, as a gate on any device compares them. It lies halfway
            between the two training subjects that it parts, rounded down to a float32.
        measure: of :func:`contrast_score`, by which the scores were made.
        low: training subjects at or below the threshold.
        high: training subjects above it.
    """

    threshold: float
    measure: Measure = "rms"
    low: int = 0
    high: int = 0

    @classmethod
    def fit(cls, scores: Sequence[float], subjects: Sequence[Hashable], *, measure: Measure = "rms") -> ContrastSplit:
        """Find Otsu's threshold of the subjects' scores; give it training subjects only.

        A subject with several scans has their median. Every subject's score is a level of the histogram of its own,
        so that the threshold is the best one there is, not the best of some bins.

        Args:
            scores: of scans, from :func:`contrast_score`.
            subjects: whose scans they are.
            measure: by which the scores were made; it is kept, since a threshold has no meaning without it.

        Returns:
            The split, with the number of subjects on either side.

        Raises:
            UsageError: for an unknown measure, or not as many subjects as scores.
            InputError: for scores that are not finite, fewer than two subjects, or subjects with one and the same
                score.
        """
        from skimage import filters

        otsu: Any = filters.threshold_otsu  # has no types
        check_measure(measure)
        values = np.array(sorted(subject_scores(scores, subjects).values()), np.float32).astype(np.float64)
        if len(values) < 2:
            raise InputError(f"The contrast of {len(values)} training subject(s) cannot be split: give at least two.")
        levels, counts = np.unique(values, return_counts=True)
        if len(levels) < 2:
            raise InputError("All training subjects have the same contrast: there is nothing to split.")
        last_low = int(np.searchsorted(levels, otsu(hist=(counts.astype(float), levels))))
        threshold = _float32_below(float((levels[last_low] + levels[last_low + 1]) / 2))
        low = int(np.count_nonzero(values <= threshold))
        return cls(threshold, measure, low, len(values) - low)

    def assign(self, score: float) -> Side:
        """Low or high.

        Args:
            score: of a subject's scan, or the median of those of its scans.

        Returns:
            ``"high"`` above the threshold, ``"low"`` at or below it, both taken as float32.

        Raises:
            InputError: when the score is not finite.
        """
        if not math.isfinite(score):
            raise InputError(f"A contrast score of {score} is neither low nor high: leave the case out.")
        return "high" if np.float32(score) > np.float32(self.threshold) else "low"

    def assign_subjects(self, scores: Sequence[float], subjects: Sequence[Subject]) -> dict[Subject, Side]:
        """Low or high of each subject, by the median of its scans: all of its scans go the same way.

        Args:
            scores: of scans.
            subjects: whose scans they are, in the same order.

        Returns:
            Subject to side, in order of first appearance.

        Raises:
            InputError: for scores that are not finite.
            UsageError: for not as many subjects as scores.
        """
        return {subject: self.assign(score) for subject, score in subject_scores(scores, subjects).items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ContrastSplit:
        """The split that :meth:`to_dict` wrote.

        Args:
            record: plain data, as of JSON.

        Returns:
            An equal split: threshold, measure and both counts.

        Raises:
            InputError: when a field is missing or of the wrong kind.
        """
        try:
            threshold, measure = float(record["threshold"]), record["measure"]
            low, high = int(record["low"]), int(record["high"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"The record of a contrast split is damaged ({error}): fit the split again.") from error
        if not math.isfinite(threshold) or measure not in get_args(Measure):
            raise InputError(
                f"The record of a contrast split has the threshold {threshold} of {measure!r}: fit it again."
            )
        return cls(threshold, measure, low, high)


def subject_scores(scores: Sequence[float], subjects: Sequence[Subject]) -> dict[Subject, float]:
    """Median score of each subject, in order of first appearance.

    Args:
        scores: of scans.
        subjects: whose scans they are, in the same order.

    Returns:
        Subject to median, in the unit of ``scores``.

    Raises:
        UsageError: for not as many subjects as scores.
        InputError: for scores that are not finite.
    """
    if len(scores) != len(subjects):
        raise UsageError(f"There are {len(scores)} scores and {len(subjects)} subjects: give one subject per score.")
    grouped: dict[Subject, list[float]] = {}
    for number, (score, subject) in enumerate(zip(scores, subjects, strict=True), start=1):
        if not math.isfinite(score):
            raise InputError(f"Contrast score {number} is {score}: leave scans without a score out.")
        grouped.setdefault(subject, []).append(float(score))
    return {subject: median(of_subject) for subject, of_subject in grouped.items()}


def check_measure(measure: str) -> None:
    """Refuse an unknown measure.

    Raises:
        UsageError: with the known ones.
    """
    if measure not in get_args(Measure):
        raise UsageError(f"measure={measure!r} is unknown: use 'rms' or 'spread'.")


def _float32_below(value: float) -> float:
    """The largest float32 that is not above a value: between two float32 it stays at or above the lower one."""
    nearest = np.float32(value)
    return float(np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > value else nearest)


def _slice_contrast(one: NDArray[np.float32], body: NDArray[np.bool_], measure: Measure) -> float:
    """Contrast of the intensities of one slice inside the body."""
    if measure == "rms":
        _, deviation = cv2.meanStdDev(np.ascontiguousarray(one), mask=np.ascontiguousarray(body).view(np.uint8))
        return float(deviation[0, 0])  # sums in double, divided by the number of pixels
    low, high = np.percentile(one[body], _TAILS)
    return float(high - low)


def _check(stack: NDArray[np.float32]) -> None:
    """Refuse what is no stack."""
    if stack.ndim != 3 or not stack.size:
        raise InputError(f"An array of shape {stack.shape} is no stack of slices: give (D, H, W), D = 1 for an image.")
    if not np.isfinite(stack).all():
        raise InputError("The stack has values that are not finite: replace them first.")
