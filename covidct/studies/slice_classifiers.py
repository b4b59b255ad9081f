"""``slice_classifier_study``: backbone x attention x loss x optimiser on the same folds of subjects, and their fusion.

"DIP Covid-19 Course Practicum" (Tongji University), sections 3.3.1 to 3.3.5 and appendix A.1, compares slice networks,
attention blocks, losses and optimisers, and fuses decisions, on one split and without intervals. Here every combination
meets the same folds, and what is chosen is scored on subjects that chose nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

import covidct
from covidct.errors import UsageError
from covidct.functional import fit_fusion_weights
from covidct.report import ScoreBoard
from covidct.studies.runs import RunStore, TestPredictions, describe_cohort, describe_options, digest_of_weights
from covidct.studies.slice_classifier_figures import (
    choose_members,
    cross_validation_section,
    join_folds,
    protocol,
    test_section,
)
from covidct.studies.slice_combinations import OPTIMIZERS, SliceCombination
from covidct.studies.training import TRAINER, own_random_state, predict_cases, train_task
from covidct.tasks import SliceClassifierTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from covidct.datamodules import BaseDataModule
    from covidct.functional.fusion import FusionRule
    from covidct.studies.comparison import StudyData

__all__ = ("slice_classifier_study",)


def slice_classifier_study(
    train: StudyData,
    *,
    out: Path,
    combinations: Sequence[SliceCombination],
    folds: int = 5,
    members: int = 3,
    fusion: FusionRule = "mean",
    seed: int = 0,
    epochs: int = 30,
    task_options: Mapping[str, Any] | None = None,
    trainer_options: Mapping[str, Any] | None = None,
    resamples: int = 1000,
    on_run: Callable[[str], None] | None = None,
) -> ScoreBoard:
    """Compare slice classifiers in a cross-validation, choose members on it, and score their fusion on the test part.

    The test part (the data set's own, or ``test_fraction`` of the slices, by subject) is set aside first. The other
    subjects make ``folds`` folds, the same for every combination. Each combination is trained anew without each fold,
    to the last epoch, and predicts it: so each of these slices has one prediction of a network that has not seen its
    subject. On these out-of-fold predictions the table of the cross-validation is made, the ``members`` combinations
    with the greatest macro F1 are chosen (between equals the lower log loss decides), and their weights are fitted
    (:func:`covidct.functional.fit_fusion_weights`). The test part takes no part in that; it is scored once: every
    combination alone, by the mean of the probabilities of its fold networks, and the fusion of the members.

    Args:
        train: a cohort of slices; its options have no ``num_folds`` and ``fold``.
        out: folder of the study; finished runs in it are taken over.
        combinations: all different, from :func:`combine`.
        folds: at least 2.
        members: how many combinations decide together, at least 1 and at most all.
        fusion: ``"mean"`` of probabilities by weight, or ``"vote"``, see
            :func:`covidct.functional.fuse_probabilities`.
        seed: of the weights. The folds belong to the ``seed`` of the cohort's options.
        epochs: of each training.
        task_options: further arguments of :class:`covidct.tasks.SliceClassifierTask`, the same for all.
        trainer_options: further arguments of the trainers.
        resamples: of the bootstraps over subjects.
        on_run: called with the name of each run, ``<combination>-fold<k>``, when it is done.

    Returns:
        Two sections, ``cross_validation`` and ``test``, for :func:`covidct.studies.write_score_board`.

    Raises:
        UsageError: for arguments that make no study, or a cohort without a test part.
    """
    _check(train, combinations, folds, members, epochs)
    options = {**TRAINER, "max_epochs": epochs, "limit_val_batches": 0, **(trainer_options or {})}
    store = RunStore(out / "runs")
    runs: dict[SliceCombination, list[dict[str, TestPredictions]]] = {one: [] for one in combinations}
    modules = [train.build(num_folds=folds, fold=fold) for fold in range(folds)]
    described = [describe_cohort(data) for data in modules]
    start = digest_of_weights(task_options or {})
    for fold, data in enumerate(modules):
        for one in combinations:
            arguments = {**one.options(len(data.class_names)), **(task_options or {})}
            configuration = {
                "task": describe_options(SliceClassifierTask),
                "options": describe_options(arguments),
                "weights": start,
                "trainer": describe_options(options),
                "train": described[fold],
                "seed": seed,
            }
            runs[one].append(_run(f"{one.name}-fold{fold}", store, configuration, data, arguments, options, seed))
            if on_run is not None:
                on_run(f"{one.name}-fold{fold}")
    held_out, test, judged = join_folds(runs)
    chosen = choose_members(judged, held_out, members)
    weights = fit_fusion_weights(
        np.stack([judged[one].held_out for one in chosen]), held_out.label, subject=held_out.subject
    )
    return ScoreBoard(
        title="Slice classifiers: backbone, attention, loss, optimiser",
        text=(
            "Which slice classifier is the best one on subjects that it has not seen, and do the best decide better "
            "together?"
        ),
        protocol=protocol(folds, len(chosen), fusion, epochs),
        sections=(
            cross_validation_section(judged, held_out, chosen, weights, resamples),
            test_section(judged, test, chosen, weights, fusion, resamples),
        ),
        run={
            "covidct": covidct.__version__,
            "data": type(train.dataset).__name__,
            "preprocessing": modules[0].preprocessing.to_dict(),
            "folds": folds,
            "members": {one.name: weight for one, weight in zip(chosen, weights.tolist(), strict=True)},
            "fusion": fusion,
            "task": describe_options(dict(task_options or {})),
            "optimizers": {
                name: describe_options(OPTIMIZERS[name]) for name in sorted({one.optimizer for one in combinations})
            },
            "seed": seed,
            "split_seed": modules[0].hparams["seed"],
            "epochs": epochs,
        },
        phantoms=type(train.dataset).__name__.startswith("Phantom"),
    )


def _check(train: StudyData, combinations: Sequence[SliceCombination], folds: int, members: int, epochs: int) -> None:
    """Refuse what is no study."""
    own = sorted({"num_folds", "fold"} & set(train.options))
    if own:
        raise UsageError(f"The study sets {' and '.join(own)} itself: leave them out of the cohort's options.")
    if not combinations or len(set(combinations)) < len(combinations):
        raise UsageError("Give each combination once, at least one.")
    if folds < 2 or epochs < 1:
        raise UsageError(f"folds={folds} must be at least 2 and epochs={epochs} at least 1.")
    if not 1 <= members <= len(combinations):
        raise UsageError(f"members={members} must lie between 1 and the number of combinations, {len(combinations)}.")


def _run(
    name: str,
    store: RunStore,
    configuration: Mapping[str, Any],
    data: BaseDataModule,
    arguments: Mapping[str, Any],
    trainer: Mapping[str, Any],
    seed: int,
) -> dict[str, TestPredictions]:
    """What one combination, trained without one fold unless that is done, predicts for the fold and the test part."""
    kept = store.take(name, configuration)
    if kept is not None:
        return kept
    start = time.perf_counter()
    with own_random_state():
        data.prepare_data()
        data.setup("fit")
        if not data.records("test"):
            raise UsageError(
                "There is no test part to score the chosen members on: give split='subject' with a test_fraction, or a "
                "data set whose own split has one."
            )
        _, task = train_task(SliceClassifierTask, arguments, data, seed=seed, trainer_options=trainer)
        loaders = {"held_out": data.val_dataloader(), "test": data.test_dataloader()}
        found = {part: predict_cases(task, loader, data.class_names, trainer) for part, loader in loaders.items()}
    store.keep(name, found, seconds=time.perf_counter() - start)
    return found
