"""``covidct study slice-classifiers``: networks, attention blocks, losses and optimisers on the same folds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from covidct.cli.console import progress, research_use, results
from covidct.cli.out_folder import check_out_folder
from covidct.cli.score_board import print_score_board
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from covidct.datasets import BaseDataset

__all__ = ("slice_classifiers",)

_PHANTOMS: Mapping[str, Any] = {"num_subjects": 90, "slices_per_scan": 4, "shape": (32, 64, 64)}
_PHANTOM_DATA: Mapping[str, Any] = {"size": 64, "mask_source": "file", "masking": "lungs"}
_EPOCHS, _PHANTOM_EPOCHS = 30, 8


def slice_classifiers(
    *,
    out: Path,
    manifest: Path | None = None,
    covid_ct: Path | None = None,
    phantoms: bool = False,
    backbones: tuple[str, ...] = ("resnet18", "resnet50", "densenet121"),
    attentions: tuple[str, ...] = ("none", "se", "eca", "cbam"),
    losses: tuple[str, ...] = ("cross_entropy", "focal"),
    optimizers: tuple[str, ...] = ("adamw", "sgd", "adam"),
    folds: int = 5,
    members: int = 3,
    fusion: Literal["mean", "vote"] = "mean",
    epochs: int | None = None,
    seed: int = 0,
    split: Literal["auto", "manifest", "subject"] = "auto",
    test_fraction: float = 0.2,
    split_seed: int = 0,
    intensity: Literal["unit", "hu"] = "unit",
    classes: Literal["three", "covid_vs_rest"] | None = None,
    num_subjects: int | None = None,
    weights: str | None = None,
    class_weights: Literal["balanced"] | None = None,
    size: int | None = None,
    batch_size: int = 32,
    accelerator: str = "auto",
    precision: str = "32-true",
    prepare_workers: int = 0,
    cache_dir: str | None = None,
    resamples: int = 1000,
) -> int:
    """Compare slice classifiers on the same folds of subjects, choose the best, and fuse them.

    Every combination of the lists is trained once per fold. The test part (the data set's own, or --test-fraction of
    the slices, by subject) is set aside first. On out-of-fold predictions of the other subjects the table with
    intervals is made, the members are chosen (greatest macro F1) and weighted; the test part scores them once, fused
    and alone. Writes study.html, study.json, study.csv and one file a run; a study that is started again with the same
    options takes over the runs that are done.

    Args:
        out: folder of the study.
        manifest: table of slices with the columns path, label, subject (and split, slice_labels).
        covid_ct: folder of COVID-CT; without the publishers' test images give --split subject.
        phantoms: simulate the slices.
        backbones: networks of torchvision.
        attentions: blocks: none, se, eca, cbam.
        losses: cross_entropy, focal.
        optimizers: adamw (rate 1e-4, decay 0.01), sgd (0.01, momentum 0.9, decay 1e-4), adam (1e-4); the rates fall as
            a cosine.
        folds: of all subjects outside the test part, by subject.
        members: how many combinations decide together.
        fusion: mean (weighted) of probabilities, or vote.
        epochs: of each training; 30 (recommendation), 8 with phantoms.
        seed: of the weights.
        split: the test part is the data set's own (manifest), drawn by subject (subject), or its own where it has one.
        test_fraction: share of the slices that is set aside where the data set has no split of its own.
        split_seed: of test part and folds, and of the phantoms.
        intensity: unit for pictures, hu for volumes with slice labels. With a manifest alone.
        classes: three or covid_vs_rest; three with a manifest and phantoms. COVID-CT has two.
        num_subjects: of the phantoms; 90.
        weights: of the backbone by name or path (IMAGENET1K_V1 needs a network connection); none unless told.
        class_weights: balanced, or none unless told.
        size: pixels per side; 224 (recommendation), 64 with phantoms.
        batch_size: slices per step.
        accelerator: of the trainer: auto, cpu, gpu.
        precision: of the trainer: 32-true, bf16-mixed.
        prepare_workers: processes that prepare scans.
        cache_dir: folder of prepared scans; $COVIDCT_CACHE or ~/.cache/covidct unless told.
        resamples: of the bootstrap over subjects.

    Returns:
        0.
    """
    check_out_folder(out)
    from covidct.cli.quiet import quiet_lightning
    from covidct.datamodules import CTSliceDataModule
    from covidct.studies import StudyData, combine, slice_classifier_study, write_score_board

    combinations = combine(backbones=backbones, attentions=attentions, losses=losses, optimizers=optimizers)
    dataset = _dataset(
        manifest,
        covid_ct,
        phantoms=phantoms,
        intensity=intensity,
        classes=classes,
        num_subjects=num_subjects,
        seed=split_seed,
    )
    data: dict[str, Any] = {
        "split": split,
        "test_fraction": test_fraction,
        "seed": split_seed,
        "batch_size": batch_size,
        "prepare_workers": prepare_workers,
        "cache_dir": cache_dir,
        **({"window": None} if dataset.intensity == "unit" else {}),
        **(_PHANTOM_DATA if phantoms else {}),
        **({} if size is None else {"size": size}),
    }
    quiet_lightning()
    with progress(len(combinations) * folds, "runs") as step:
        board = slice_classifier_study(
            StudyData(dataset, CTSliceDataModule, data),
            out=out,
            combinations=combinations,
            folds=folds,
            members=members,
            fusion=fusion,
            seed=seed,
            epochs=epochs or (_PHANTOM_EPOCHS if phantoms else _EPOCHS),
            task_options={"weights": weights, "class_weights": class_weights},
            trainer_options={"accelerator": accelerator, "precision": precision},
            resamples=resamples,
            on_run=step,
        )
    paths = write_score_board(board, out)
    print_score_board(board)
    results().print(", ".join(map(str, paths)), markup=False, soft_wrap=True)
    research_use()
    return 0


def _dataset(
    manifest: Path | None,
    covid_ct: Path | None,
    *,
    phantoms: bool,
    intensity: Literal["unit", "hu"],
    classes: str | None,
    num_subjects: int | None,
    seed: int,
) -> BaseDataset:
    """The one cohort that is named."""
    from covidct.datasets import COVIDCT, ManifestSlices, PhantomCTSlices

    if (manifest is not None) + (covid_ct is not None) + phantoms != 1:
        raise UsageError("Give one of --manifest FILE, --covid-ct FOLDER and --phantoms.")
    if num_subjects is not None and not phantoms:
        raise UsageError("Leave out --num-subjects: it is the number of phantoms.")
    if manifest is not None:
        return ManifestSlices(str(manifest), classes=classes or "three", intensity=intensity)
    if covid_ct is not None:
        return COVIDCT(covid_ct, classes=classes or "covid_vs_rest")
    own = {} if num_subjects is None else {"num_subjects": num_subjects}
    return PhantomCTSlices(**{**_PHANTOMS, **own}, classes=classes or "three", seed=seed)
