"""The table of the X-ray study, and the warning that goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from covidct.metrics import mcnemar, score_difference, triage_report
from covidct.report import ScoreDifference, ScoreRow, ScoreSection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from covidct.metrics import Estimate, TriageReport
    from covidct.studies.runs import TestPredictions
    from covidct.studies.xray_trainings import XRayTraining

    Floats = NDArray[np.float64]
    Runs = Mapping[XRayTraining, Mapping[int, TestPredictions]]

__all__ = ("source_warning", "xray_section")


def xray_section(found: Runs, *, kept: NDArray[np.bool_] | None = None, resamples: int = 1000) -> ScoreSection:
    """Every training on the same cases, the image variants of each reader compared, and what they say of the source.

    Args:
        found: training to seed to predictions.
        kept: (N,) which cases of the first training's first seed to score; None is all.
        resamples: of the bootstraps over subjects.
    """
    first = next(iter(next(iter(found.values())).values()))
    kept = np.ones(len(first.id), dtype=np.bool_) if kept is None else kept
    label, subject, names = np.array(first.label)[kept], np.array(first.group)[kept], first.class_names
    prob = {
        one: {seed: run.ordered(first, what=f"{one.name}, seed {seed}")[kept] for seed, run in runs.items()}
        for one, runs in found.items()
    }
    mean: dict[XRayTraining, Floats] = {one: np.mean(list(of.values()), axis=0) for one, of in prob.items()}

    def report(values: Floats) -> TriageReport:
        return triage_report(values, label, subject, names, resamples=resamples)

    rows = {
        one: ScoreRow(
            one.name,
            one.title,
            report(values),
            marked=one.image == "no_lungs",
            seeds={seed: report(single) for seed, single in prob[one].items()} if len(prob[one]) > 1 else {},
        )
        for one, values in mean.items()
    }
    called = {one: values.argmax(1) for one, values in mean.items()}
    differences, warnings = [], []
    for whole in [one for one in found if one.image == "original"]:
        for one in [other for other in found if other.reader == whole.reader and other.image != "original"]:
            f1 = score_difference(called[one], called[whole], label, subject, names, resamples=resamples)
            test = mcnemar(called[one] == label, called[whole] == label)
            differences.append(ScoreDifference(one.name, whole.name, f1, test))
            if one.image == "no_lungs":
                warnings.append(source_warning(whole.reader_title, rows[one].report, f1))
    small = int((~kept).sum())
    return ScoreSection(
        "large_lungs" if small else "all",
        "Without images of small lung masks" if small else "All images",
        f"The same predictions without the {small} image(s) whose lung mask is too small to be trusted."
        if small
        else "Every image of the scored part, those with a small lung mask too.",
        tuple(rows.values()),
        tuple(differences),
        tuple(warning for warning in warnings if warning),
    )


def source_warning(reader: str, without_lungs: TriageReport, difference: Estimate) -> str:
    """What a classifier that never saw a lung gives away; empty where it tells the classes no better than chance.

    Args:
        reader: what people call the classifier.
        without_lungs: its report on images without lungs.
        difference: macro F1 of images without lungs minus that of whole ones, with its paired interval. From 0 on they
            are as good, below it where the interval reaches 0 they are not shown to be worse.

    Returns:
        One or two sentences, or an empty string.
    """
    auroc = without_lungs.scores["auroc"]["macro"]
    if not auroc.low > 0.5:  # NaN too
        return ""
    apart = f"AUROC {auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f})"
    change = f"macro F1 {difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}) against whole images"
    if difference.high < 0:
        return (
            f"{reader}: part of what tells the classes lies outside the lungs ({apart} without them; {change}). The "
            "scores on whole images are too good by an unknown share."
        )
    if difference.value < 0:
        return (
            f"{reader}: without lungs not shown to be worse than with them ({apart}; {change}). It may well read the "
            "source of an image and not the disease: more test subjects, or images from elsewhere, would tell."
        )
    return (
        f"{reader}: without lungs as good as with them ({apart}; {change}). It reads the source of an image, not the "
        "disease: its scores on whole images say nothing of patients from elsewhere."
    )
