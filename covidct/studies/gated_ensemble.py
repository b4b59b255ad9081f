"""``gated_ensemble_study``: does a gate with an expert on either side beat one model trained on everything?

"DIP Covid-19 Course Practicum" (Tongji University), section 3.2.4: the same class looks unlike in scans of high and of
low contrast, and one model for both "will not work well". Put to the test on phantoms, where that can be switched on.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import covidct
from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomTwoContrasts
from covidct.errors import UsageError
from covidct.metrics import compare_cohorts, score_difference
from covidct.report import ScoreBoard, ScoreDifference, ScoreRow, ScoreSection
from covidct.studies.gated_system import Expert, train_gated_system
from covidct.studies.runs import RunStore, TestPredictions, describe_cohort, describe_options, digest_of_weights
from covidct.studies.training import TRAINER, own_random_state, predict_cases, train_task
from covidct.tasks import MaskedGAPResNetTask
from covidct.transforms import Augment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from covidct.datasets.phantom_two_contrasts import LowLook
    from covidct.tasks import GatedEnsembleTask

__all__ = ("GATED_PHANTOMS", "gated_ensemble_study")

GATED_PHANTOMS: Mapping[str, Any] = {"num_subjects": 240, "shape": (16, 64, 64)}
"""Arguments of :class:`covidct.datasets.PhantomTwoContrasts`: small scans, so that a CPU needs minutes a training."""

_DATA: Mapping[str, Any] = {
    "batch_size": 4,
    "size": 64,
    "grid": "slices",
    "mask_source": "file",
    "masking": "lungs",
    "contrast": "spread",  # parts the phantoms without an error; the RMS contrast of some lies on the other side
    "val_fraction": 0.0,  # the last epoch is tested: nothing is chosen on a validation part
    "test_fraction": 0.25,
    "balanced_sampling": True,
    "max_slices": 8,
}
_NETWORK: Mapping[str, Any] = {"num_classes": 3, "backbone": "resnet18", "slice_size": None}
_RATE = 1e-3  # higher than published, since the weights are random
_DECAY = 1e-2
_SYSTEMS = {"gated": "Gated ensemble", "single": "One model"}
_LOOKS: Mapping[LowLook, tuple[str, str]] = {
    "same": ("A class looks alike on both sides", "Scans of low contrast differ in image quality alone."),
    "swapped": (
        "A class looks unlike on the two sides",
        "In scans of low contrast, community-acquired pneumonia has the lesions of COVID-19 and the other way round.",
    ),
}
Found = dict[str, dict[int, TestPredictions]]


def gated_ensemble_study(
    phantoms: Mapping[str, Any] | None = None,
    *,
    out: Path,
    looks: Sequence[LowLook] = ("same", "swapped"),
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 12,
    network: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    learning_rate: float = _RATE,
    trainer_options: Mapping[str, Any] | None = None,
    resamples: int = 1000,
    on_run: Callable[[str], None] | None = None,
) -> ScoreBoard:
    """Train the gated ensemble and one model of the same form on the same subjects, and test both on the same others.

    Each seed has phantoms, a split and weights of its own. The one model is trained on all training subjects; the
    ensemble has an expert of the same form on either side of the gate, trained on the subjects of its side for as many
    epochs, so that both take as many steps on as many scans in all. The gate's line comes from the training subjects.
    The weights after the last epoch are tested.

    Args:
        phantoms: arguments of :class:`covidct.datasets.PhantomTwoContrasts` without ``seed`` and ``low_look``, over
            :data:`GATED_PHANTOMS`.
        out: folder of the study; finished runs in it are taken over.
        looks: of the classes in scans of low contrast: ``"same"`` as in the others, ``"swapped"``.
        seeds: at least one, all different.
        epochs: of each training.
        network: arguments of :class:`covidct.tasks.MaskedGAPResNetTask` over a ResNet-18 trained by AdamW.
        data_options: arguments of :class:`covidct.datamodules.CTVolumeDataModule` over the study's own.
        learning_rate: of AdamW at first; it falls to zero as a cosine.
        trainer_options: further arguments of the trainers.
        resamples: of the bootstraps over subjects.
        on_run: called with the name of each run, ``<look>-seed<k>-<system>``, when it is done.

    Returns:
        A section per look, for :func:`write_score_board`.

    Raises:
        UsageError: for arguments that make no study.
    """
    settings = {**GATED_PHANTOMS, **(phantoms or {})}
    _check(settings, looks, seeds, epochs)
    task = {
        **_NETWORK,
        "optimizer": partial(torch.optim.AdamW, lr=learning_rate, weight_decay=_DECAY, fused=True),
        "lr_scheduler": partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs),
        **(network or {}),
    }
    trainer = {**TRAINER, "max_epochs": epochs, **(trainer_options or {})}
    sections = []
    for look in looks:
        found: Found = {system: {} for system in _SYSTEMS}
        for seed in seeds:
            dataset = PhantomTwoContrasts(**settings, low_look=look, seed=seed)
            data = CTVolumeDataModule(
                dataset, **{**_DATA, "train_transform": _mirror(), **(data_options or {}), "seed": seed}
            )
            for system in _SYSTEMS:
                name = f"{look}-seed{seed}-{system}"
                found[system][seed] = _run(name, data, out, task=task, trainer=trainer, seed=seed)
                if on_run is not None:
                    on_run(name)
        sections.append(_section(look, found, resamples))
    return ScoreBoard(
        title="Gated ensemble against one model for both contrasts",
        text=(
            "Does it help to part scans by contrast and train an expert for each side? Half of the subjects have scans "
            "of low contrast, over the three classes alike."
        ),
        protocol=_protocol(epochs),
        sections=tuple(sections),
        auroc_text="AUROC is the mean over the seeds, with the lowest and the highest.",
        run={
            "covidct": covidct.__version__,
            "phantoms": describe_options(settings),
            "preprocessing": data.preprocessing.to_dict(),
            "task": describe_options(task),
            "seeds": list(seeds),
            "epochs": epochs,
        },
        phantoms=True,
    )


def _check(phantoms: Mapping[str, Any], looks: Sequence[str], seeds: Sequence[int], epochs: int) -> None:
    """Refuse what is no study."""
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"seeds={list(seeds)} must be different whole numbers of at least 0, at least one.")
    if not looks or len(set(looks)) < len(looks) or set(looks) - set(_LOOKS):
        raise UsageError(f"looks={list(looks)} make no study: give one or both of {', '.join(_LOOKS)}.")
    own = sorted({"seed", "low_look"} & set(phantoms))
    if own:
        raise UsageError(f"The study sets {' and '.join(own)} itself: leave them out of the phantoms' arguments.")
    if epochs < 1:
        raise UsageError(f"epochs={epochs} must be at least 1.")


def _mirror() -> Augment:
    """Mirrors training scans at random, left and right."""
    from monai.transforms import RandFlipd

    return Augment(RandFlipd(("image", "lung_mask"), prob=0.5, spatial_axis=2))


def _run(
    name: str, data: CTVolumeDataModule, out: Path, *, task: Mapping[str, Any], trainer: Mapping[str, Any], seed: int
) -> TestPredictions:
    """What one system, trained unless that is done, predicts for the test part."""
    store = RunStore(out / "runs")
    system = name.rpartition("-")[2]
    configuration = {
        "study": "gated_ensemble",
        "system": system,
        "task": describe_options(MaskedGAPResNetTask),
        "options": describe_options(task),
        "weights": digest_of_weights(task),
        "trainer": describe_options(trainer),
        "train": describe_cohort(data),
        "seed": seed,
    }
    kept = store.take(name, configuration)
    if kept is not None:
        return kept["test"]
    start = time.perf_counter()
    with own_random_state():
        data.prepare_data()
        data.setup("fit")
        if system == "single":
            _, trained = train_task(MaskedGAPResNetTask, task, data, seed=seed, trainer_options=trainer)
        else:
            trained = _gated(data, out / "systems" / name, task=task, trainer=trainer, seed=seed)
        predictions = predict_cases(trained, data.test_dataloader(), data.class_names, trainer)
    store.keep(name, {"test": predictions}, seconds=time.perf_counter() - start)
    return predictions


def _gated(
    data: CTVolumeDataModule, folder: Path, *, task: Mapping[str, Any], trainer: Mapping[str, Any], seed: int
) -> GatedEnsembleTask:
    """The ensemble of one expert a side; trained experts stay in the folder."""
    expert = Expert(MaskedGAPResNetTask(**task), epochs=trainer["max_epochs"])
    return train_gated_system(data, low=[expert], high=[expert], out=folder, seed=seed, trainer_options=trainer).task


def _section(look: LowLook, found: Found, resamples: int) -> ScoreSection:
    """Both systems on the test parts of all seeds, and what is between them."""
    prob = {system: {seed: np.array(cases.prob) for seed, cases in runs.items()} for system, runs in found.items()}
    first = next(iter(found.values()))
    label = {seed: np.array(cases.label) for seed, cases in first.items()}
    group = {seed: np.array(cases.group) for seed, cases in first.items()}
    names = next(iter(first.values())).class_names
    compared = compare_cohorts(prob, label, group, names, resamples=resamples)
    called = {system: {seed: values.argmax(1) for seed, values in runs.items()} for system, runs in prob.items()}
    a, b = _SYSTEMS
    single = {
        seed: score_difference(called[a][seed], called[b][seed], label[seed], group[seed], names, resamples=resamples)
        for seed in first
    }
    f1 = score_difference(
        np.concatenate(list(called[a].values())),
        np.concatenate(list(called[b].values())),
        np.concatenate(list(label.values())),
        np.concatenate([[f"{seed}:{number}" for number in numbers] for seed, numbers in group.items()]),
        names,
        resamples=resamples,
    )
    rows = tuple(
        ScoreRow(system, title, compared.reports[system], seeds=compared.seed_reports[system])
        for system, title in _SYSTEMS.items()
    )
    title, text = _LOOKS[look]
    return ScoreSection(look, title, text, rows, (ScoreDifference(a, b, f1, compared.tests[0].mcnemar, single),))


def _protocol(epochs: int) -> tuple[str, ...]:
    """What the page says of the protocol."""
    return (
        "Each seed has phantoms, a split by subject and weights of its own; no test subject is trained on, and the "
        "counts of all seeds add up.",
        f"One model: trained for {epochs} epochs on all training subjects.",
        f"Gated ensemble: two experts of the same form, each trained for {epochs} epochs on the training subjects of "
        "its side, so that both systems take as many steps in all and each scan is seen as often.",
        "The gate's line is Otsu's threshold of the training subjects' contrast; test scans go to a side by their "
        "measured contrast, not by how they were drawn.",
        "The weights after the last epoch are tested: nothing is chosen.",
    )
