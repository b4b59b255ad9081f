"""What the study of slice classifiers shows: figures out of fold, the members' choice, their fusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from covidct.functional import fuse_probabilities
from covidct.metrics import mcnemar, score_difference, triage_report
from covidct.report import ScoreDifference, ScoreRow, ScoreSection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.functional.fusion import FusionRule
    from covidct.studies.runs import TestPredictions
    from covidct.studies.slice_combinations import SliceCombination

    Floats = NDArray[np.float64]

__all__ = (
    "Cases",
    "Judged",
    "choose_members",
    "cross_validation_section",
    "join_folds",
    "protocol",
    "test_section",
)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a combination says: (N, C) of the cases out of fold, (T, C) of the test part by the mean of its folds."""

    held_out: Floats
    test: Floats


@dataclass(frozen=True, slots=True)
class Cases:
    """Truth and subject of cases."""

    label: NDArray[np.int64]
    subject: NDArray[np.int64]
    class_names: tuple[str, ...]


def join_folds(
    runs: Mapping[SliceCombination, Sequence[Mapping[str, TestPredictions]]],
) -> tuple[Cases, Cases, dict[SliceCombination, Judged]]:
    """Truth out of fold and of the test part, and what every combination says, in one order of cases."""
    first = next(iter(runs.values()))
    parts = [of["held_out"] for of in first]
    tested = first[0]["test"]
    starts = np.cumsum([0, *(max(part.group) + 1 for part in parts)])  # no subject is in two folds
    held_out = Cases(
        np.concatenate([part.label for part in parts]),
        np.concatenate([np.array(part.group) + start for part, start in zip(parts, starts[:-1], strict=True)]),
        tested.class_names,
    )
    judged = {}
    for one, of_fold in runs.items():
        inside = [
            of["held_out"].ordered(part, what=f"{one.name} in fold {fold}")
            for fold, (of, part) in enumerate(zip(of_fold, parts, strict=True))
        ]
        outside = [of["test"].ordered(tested, what=f"{one.name} on the test part") for of in of_fold]
        judged[one] = Judged(np.concatenate(inside), np.mean(outside, axis=0))
    return held_out, Cases(np.array(tested.label), np.array(tested.group), tested.class_names), judged


def choose_members(
    judged: Mapping[SliceCombination, Judged], cases: Cases, members: int
) -> tuple[SliceCombination, ...]:
    """The combinations with the greatest macro F1 out of fold; between equals the lower log loss decides."""

    def rank(one: SliceCombination) -> tuple[float, float]:
        prob = judged[one].held_out
        f1 = triage_report(prob, cases.label, cases.subject, cases.class_names, resamples=0).scores["f1"]["macro"]
        of_truth = prob[np.arange(len(prob)), cases.label]
        return -f1.value, -float(np.log(np.maximum(of_truth, np.finfo(np.float64).tiny)).mean())

    return tuple(sorted(judged, key=rank)[:members])


def cross_validation_section(
    judged: Mapping[SliceCombination, Judged],
    cases: Cases,
    chosen: Sequence[SliceCombination],
    weights: Floats,
    resamples: int,
) -> ScoreSection:
    """Every combination out of fold."""
    weight_of = dict(zip(chosen, weights.tolist(), strict=True))
    rows = tuple(
        ScoreRow(
            one.name,
            one.title,
            triage_report(values.held_out, cases.label, cases.subject, cases.class_names, resamples=resamples),
            note=f"member, weight {weight_of[one]:.2f}" if one in weight_of else "",
            marked=one in weight_of,
        )
        for one, values in judged.items()
    )
    text = (
        "Out-of-fold predictions of all subjects outside the test part. The members were chosen on these figures, so "
        "those of the members are too good to be true: theirs on new subjects stand in the next table."
    )
    return ScoreSection("cross_validation", "Cross-validation", text, rows)


def test_section(
    judged: Mapping[SliceCombination, Judged],
    cases: Cases,
    chosen: Sequence[SliceCombination],
    weights: Floats,
    fusion: FusionRule,
    resamples: int,
) -> ScoreSection:
    """The fusion beside every combination alone, on the test part."""
    stack = torch.from_numpy(np.stack([judged[one].test for one in chosen]))
    fused = fuse_probabilities(stack, torch.from_numpy(weights), rule=fusion).double().numpy()
    fused /= fused.sum(1, keepdims=True)  # float32 sums are not one to the last digit of float64
    prob = {"fusion": fused, **{one.name: values.test for one, values in judged.items()}}
    titles = {"fusion": f"Fusion of the {len(chosen)} members", **{one.name: one.title for one in judged}}
    members = {one.name for one in chosen}
    rows = tuple(
        ScoreRow(
            name,
            titles[name],
            triage_report(values, cases.label, cases.subject, cases.class_names, resamples=resamples),
            note="member" if name in members else "",
            marked=name == "fusion",
        )
        for name, values in prob.items()
    )
    called = {name: values.argmax(1) for name, values in prob.items()}
    differences = tuple(
        ScoreDifference(
            "fusion",
            one.name,
            score_difference(
                called["fusion"], called[one.name], cases.label, cases.subject, cases.class_names, resamples=resamples
            ),
            mcnemar(called["fusion"] == cases.label, called[one.name] == cases.label),
        )
        for one in chosen
    )
    text = (
        "Subjects that no network was trained on and that chose nothing. A single combination is the mean of the "
        "probabilities of its fold networks; the fusion joins those of the members. Differences are to each member, "
        "the best one of the cross-validation first."
    )
    return ScoreSection("test", "Test part", text, rows, differences)


def protocol(folds: int, members: int, fusion: FusionRule, epochs: int) -> tuple[str, ...]:
    """What the page says of the protocol."""
    how = (
        "weighted mean of the probabilities" if fusion == "mean" else "weighted vote, between equals the weighted mean"
    )
    return (
        "The test part is set aside first, by subject: nobody in it is trained on, and it chooses nothing.",
        f"The other subjects make {folds} folds, the same for every combination. Each combination is trained anew "
        f"without each fold, for {epochs} epochs, and predicts it; the last epoch counts, none is chosen.",
        f"The {members} member{'s are the combinations' if members > 1 else ' is the combination'} with the greatest "
        "macro F1 of these out-of-fold predictions. Fusion weights make the out-of-fold labels most probable, each "
        "subject counting once.",
        f"Fusion: {how}. The members and every single combination are scored on the test part once, each by the mean "
        "of its fold networks, while the weights come from single ones.",
        "Cases are slices; intervals resample whole subjects, with all their slices.",
    )
