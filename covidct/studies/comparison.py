"""``run_comparison``: variants of a classifier trained on the same subjects with the same seeds, tested on the same."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from covidct.datamodules import BaseDataModule, CTVolumeDataModule
from covidct.errors import ManifestError, UsageError
from covidct.metrics import PairedComparison, compare_predictions
from covidct.studies.runs import RunStore, TestPredictions, describe_cohort, describe_options, digest_of_weights
from covidct.studies.training import TRAINER, own_random_state, predict_cases, train_task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from covidct.datasets import BaseDataset
    from covidct.tasks.classification import ClassificationTask

__all__ = ("StudyData", "Variant", "compare_runs", "run_comparison", "run_variants")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StudyData:
    """A data set and how it is prepared and split.

    Attributes:
        dataset: the scans.
        module: the data module for their shape.
        options: arguments of the data module beside the data set. Its ``seed`` makes the split, which is the same for
            all variants and seeds of a study.
    """

    dataset: BaseDataset
    module: type[BaseDataModule] = CTVolumeDataModule
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, **more: Any) -> BaseDataModule:  # noqa: ANN401  (any argument of a data module)
        """The data module, with ``more`` arguments over the cohort's own."""
        return self.module(self.dataset, **{**self.options, **more})


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the compared ways.

    Attributes:
        name: a short word, part of file names; letters, digits, ``_`` and ``-``.
        task: class of the classifier.
        options: its arguments.
        data_options: arguments of the data modules in training and in the tests, over the cohorts' own (an
            enhancement, a masking variant).
        test_options: arguments of the data modules in the tests alone, over these: train on one, test on another.
        train: another cohort to train on; None is that of the study.
    """

    name: str
    task: type[ClassificationTask]
    options: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)
    test_options: Mapping[str, Any] = field(default_factory=dict)
    train: StudyData | None = None


def run_comparison(
    variants: Sequence[Variant],
    *,
    train: StudyData,
    out: Path,
    tests: Mapping[str, StudyData] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 50,
    trainer_options: Mapping[str, Any] | None = None,
    keep_checkpoints: bool = False,
    resamples: int = 1000,
    on_run: Callable[[str], None] | None = None,
) -> dict[str, PairedComparison]:
    """Train every variant with every seed, test all on the same cases, and compare.

    A seed decides the initial weights; the split and the order of the samples belong to the cohort's own ``seed``, so
    that variants of one seed see the same scans in the same order. The weights after the last epoch are tested: no
    choice is made on validation or test. Each finished run is kept in ``out/runs`` under the digest of everything that
    determines it (release, task, data, options, seed); a study that is started again takes over the runs that are
    there, and other runs in the folder stay as they are.

    Args:
        variants: at least one, of different names.
        train: what to train on: the training part of its split, by subject.
        out: folder of the study.
        tests: name to cohort whose test part is predicted; None: the test part of ``train``, as ``"test"``.
        seeds: of the trainings, all different.
        epochs: of each training.
        trainer_options: further arguments of ``pytorch_lightning.Trainer`` (``accelerator``, ``precision``).
        keep_checkpoints: leave ``<run>.ckpt`` beside each run that is trained, for :func:`covidct.tasks.load_task`.
        resamples: of the bootstrap over subjects.
        on_run: called with the name of each run when it is done.

    Returns:
        Name of the test to the comparison of the variants on it.

    Raises:
        UsageError: for bad names, seeds or epochs, or when variants were tested on unlike cases.
        ManifestError: when a subject of a test is trained on.
    """
    found = run_variants(
        variants,
        train=train,
        out=out,
        tests=tests,
        seeds=seeds,
        epochs=epochs,
        trainer_options=trainer_options,
        keep_checkpoints=keep_checkpoints,
        on_run=on_run,
    )
    return {name: compare_runs(runs, what=f"the test {name!r}", resamples=resamples) for name, runs in found.items()}


def run_variants(
    variants: Sequence[Variant],
    *,
    train: StudyData,
    out: Path,
    tests: Mapping[str, StudyData] | None = None,
    part: Literal["test", "val"] = "test",
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 50,
    trainer_options: Mapping[str, Any] | None = None,
    keep_checkpoints: bool = False,
    on_run: Callable[[str], None] | None = None,
) -> dict[str, dict[str, dict[int, TestPredictions]]]:
    """What :func:`run_comparison` trains and tests, not yet compared.

    Args:
        variants: as there; so are the others.
        train: as there.
        out: as there.
        tests: as there.
        part: of the split that is predicted; ``"val"`` for data sets without a test part, since nothing is chosen on
            it.
        seeds: as there.
        epochs: as there.
        trainer_options: as there.
        keep_checkpoints: as there.
        on_run: as there.

    Returns:
        Test to variant to seed to predictions.

    Raises:
        UsageError: for bad names, seeds or epochs.
        ManifestError: when a subject of a test is trained on.
    """
    _check(variants, seeds, epochs)
    options = {**TRAINER, "max_epochs": epochs, **(trainer_options or {})}
    store = RunStore(out / "runs")
    found: dict[str, dict[str, dict[int, TestPredictions]]] = {}
    for variant in variants:
        cohort = variant.train or train
        data = cohort.build(**variant.data_options)
        test_data = {
            name: other.build(**{**variant.data_options, **variant.test_options})
            for name, other in (tests or {"test": cohort}).items()
        }
        configuration = {
            "task": describe_options(variant.task),
            "options": describe_options(variant.options),
            "trainer": describe_options(options),
            "train": describe_cohort(data),
            "tests": {name: describe_cohort(module) for name, module in test_data.items()},
            **({} if part == "test" else {"part": part}),
            **({} if (weights := digest_of_weights(variant.options)) is None else {"weights": weights}),
        }
        for seed in seeds:
            run = f"{variant.name}-seed{seed}"
            predictions = store.take(run, {**configuration, "seed": seed})
            if predictions is None:
                start = time.perf_counter()
                with own_random_state():
                    _prepare(data, test_data, part)  # its loader draws a seed too
                    trainer, task = train_task(variant.task, variant.options, data, seed=seed, trainer_options=options)
                    predictions = {
                        name: predict_cases(task, _loader(module, part), module.class_names, options)
                        for name, module in test_data.items()
                    }
                if keep_checkpoints:
                    store.keep_checkpoint(run, trainer)
                store.keep(run, predictions, seconds=time.perf_counter() - start)
            for name, cases in predictions.items():
                found.setdefault(name, {}).setdefault(variant.name, {})[seed] = cases
            _log.info("%s is done", run)
            if on_run is not None:
                on_run(run)
    return found


def _prepare(data: BaseDataModule, tests: Mapping[str, BaseDataModule], part: Literal["test", "val"]) -> None:
    """Prepare all scans and refuse, before anything is trained, tests of other classes or of subjects trained on."""
    data.prepare_data()
    data.setup("fit")
    seen = data.records("train") + (data.records("val") if part == "test" else [])
    trained = {data.dataset.subject_hash(record) for record in seen}
    for name, module in tests.items():
        module.prepare_data()
        module.setup("test")
        if not module.records(part):
            raise UsageError(
                f"The test {name!r} has no {part} part: give split='subject' with a {part}_fraction, or a data set "
                "whose own split has one."
            )
        both = trained & {module.dataset.subject_hash(record) for record in module.records(part)}
        if both:
            raise ManifestError(
                f"{len(both)} subject(s) of the test {name!r} were trained on: give both cohorts one split by subject."
            )
        if module.class_names != data.class_names:
            raise UsageError(
                f"The test {name!r} has the classes {', '.join(module.class_names)}, the training "
                f"{', '.join(data.class_names)}: they must be the same."
            )


def _loader(data: BaseDataModule, part: Literal["test", "val"]) -> Any:  # noqa: ANN401  (a loader of torch)
    """Batches of the part that is predicted."""
    return data.test_dataloader() if part == "test" else data.val_dataloader()


def compare_runs(
    runs: Mapping[str, Mapping[int, TestPredictions]], *, what: str, resamples: int = 1000
) -> PairedComparison:
    """Bring all runs to the order of the first, and compare.

    Args:
        runs: variant to seed to predictions.
        what: the test, for messages.
        resamples: of the bootstrap over subjects.

    Raises:
        UsageError: when variants were tested on unlike cases.
    """
    first = next(iter(next(iter(runs.values())).values()))
    prob: dict[str, dict[int, np.ndarray[Any, Any]]] = {}
    for variant, of_seed in runs.items():
        for seed, cases in of_seed.items():
            prob.setdefault(variant, {})[seed] = cases.ordered(first, what=f"{variant} on {what}")
    return compare_predictions(
        prob, np.array(first.label), np.array(first.group), first.class_names, resamples=resamples
    )


def _check(variants: Sequence[Variant], seeds: Sequence[int], epochs: int) -> None:
    """Refuse what cannot be a study."""
    names = [variant.name for variant in variants]
    proper = all(name and name.replace("_", "").replace("-", "").isalnum() for name in names)
    if not names or len(set(names)) < len(names) or not proper:
        raise UsageError(f"The variants are named {names}: give each another name of letters, digits, '_' and '-'.")
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"seeds={list(seeds)} must be different whole numbers of at least 0, at least one.")
    if epochs < 1:
        raise UsageError(f"epochs={epochs} must be at least 1.")
