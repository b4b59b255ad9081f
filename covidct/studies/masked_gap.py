"""The comparison of the mask-weighted pooling paper: plain against mask-weighted global average pooling.

G. Li, C. Sun, Z. Sun, "A Deep Learning Based Method For COVID-19 Classification Using Chest CT Images", section III.B.
The paper splits by scan, trains each network once and gives no test of the difference; here the split is by subject,
several seeds are trained, and the predictions are paired (recommendations).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import covidct
from covidct.datasets import PhantomConfounded
from covidct.errors import UsageError
from covidct.labels import BINARY_CLASSES
from covidct.metrics import report_from_confusion
from covidct.report import Study, StudySection, write_study_csv, write_study_json, write_study_page
from covidct.result import Preview
from covidct.studies.comparison import Cohort, Variant, run_comparison
from covidct.studies.fixed_trunk import adam_of_head
from covidct.studies.runs import describe_options
from covidct.tasks import MaskedGAPResNetTask
from covidct.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from covidct.metrics import PairedComparison, TriageReport

__all__ = (
    "CONFOUNDER_DATA",
    "CONFOUNDER_EPOCHS",
    "CONFOUNDER_PHANTOMS",
    "CONFOUNDER_TASK",
    "POOLING_TITLES",
    "PUBLISHED_CONFUSION",
    "confounder_study",
    "masked_gap_study",
    "pooling_variants",
    "published_reports",
    "write_study",
)

PUBLISHED_CONFUSION = {"mean": ((554, 43), (69, 1396)), "mask": ((557, 40), (52, 1413))}
"""The paper's Figure 8: rows truth, columns prediction; other pneumonia or normal first, COVID-19 second."""

POOLING_TITLES = {"mean": "GAP", "mask": "Mask-weighted GAP"}
"""Pooling to the paper's word for it."""

CONFOUNDER_PHANTOMS: Mapping[str, Any] = {
    "num_subjects": 100,
    "test_fraction": 0.5,
    "shape": (2, 112, 112),
    "spacing": (20.0, 3.7, 3.7),
    "haze_hu": 40.0,
    "marker_mm": (150.0, -180.0),
    "marker_radius_mm": 14.0,
}
"""Arguments of :class:`covidct.datasets.PhantomConfounded`, small enough for a CPU."""

CONFOUNDER_DATA: Mapping[str, Any] = {
    "size": None,
    "window": (-1000.0, 0.0),
    "mask_source": "file",
    "batch_size": 6,
    "augment": False,
}
"""Arguments of the data module for them; a lung window, in which haze stands out."""

CONFOUNDER_TASK: Mapping[str, Any] = {"backbone": "resnet18", "optimizer": adam_of_head}
"""Arguments of the task for them: 7 x 7 cells at 224 pixels as in the paper, random features, the head alone trained.

Where the whole network is trained, its receptive field, wider than the slice, can carry the marker to the cells of the
lungs, and both poolings lean on it: pooling weights guard features, not what features see.
"""

CONFOUNDER_EPOCHS = 4
"""Epochs for them."""

_SOURCE = (
    'G. Li, C. Sun, Z. Sun, "A Deep Learning Based Method For COVID-19 Classification Using Chest CT Images", Figure 8 '
    "and Table II: ResNet-50, 2062 scans. Its table prints a sensitivity of 96.4 %, which is 96.45 % cut off."
)


def published_reports(*, resamples: int = 1000) -> dict[str, TriageReport]:
    """Scores of the paper's two networks, from its confusion matrices.

    Args:
        resamples: of the bootstrap over cases.

    Returns:
        ``"mean"`` and ``"mask"`` to a report without AUROC, which a matrix does not tell.
    """
    return {
        name: report_from_confusion(matrix, BINARY_CLASSES, resamples=resamples)
        for name, matrix in PUBLISHED_CONFUSION.items()
    }


def pooling_variants(options: Mapping[str, Any] | None = None) -> tuple[Variant, Variant]:
    """The two networks of the paper: alike in everything but the pooling.

    Args:
        options: arguments of :class:`covidct.tasks.MaskedGAPResNetTask` for both, without ``pooling``.
    """
    first, second = (
        Variant(pooling, MaskedGAPResNetTask, {**(options or {}), "pooling": pooling}) for pooling in ("mean", "mask")
    )
    return first, second


def masked_gap_study(
    train: Cohort,
    *,
    out: Path,
    task_options: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 50,
    trainer_options: Mapping[str, Any] | None = None,
    keep_checkpoints: bool = False,
    resamples: int = 1000,
    on_run: Callable[[str], None] | None = None,
) -> Study:
    """Compare the poolings on the test part of a cohort.

    Args:
        train: a cohort of CT volumes with a training and a test part.
        out: folder of the study; finished runs in it are taken over.
        task_options: arguments of the task, without ``pooling``.
        seeds: of the trainings.
        epochs: of each training; 50 (recommendation, COVNet; the paper is silent).
        trainer_options: further arguments of the trainer.
        keep_checkpoints: leave the trained tasks in ``out/runs``.
        resamples: of the bootstraps.
        on_run: called with the name of each run when it is done.

    Returns:
        The study, for :func:`write_study`.

    Raises:
        UsageError: for arguments that make no study.
    """
    comparison = run_comparison(
        pooling_variants({"num_classes": len(train.dataset.class_names), **(task_options or {})}),
        train=train,
        out=out,
        seeds=seeds,
        epochs=epochs,
        trainer_options=trainer_options,
        keep_checkpoints=keep_checkpoints,
        resamples=resamples,
        on_run=on_run,
    )["test"]
    text = f"Trained for {epochs} epochs, tested on subjects that no network was trained on."
    section = StudySection("test", "Test part", text, comparison)
    return _study((section,), train, resamples, {"seeds": list(seeds), "epochs": epochs})


def confounder_study(
    cohort: Mapping[str, Any],
    data_options: Mapping[str, Any],
    *,
    out: Path,
    task_options: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 6,
    trainer_options: Mapping[str, Any] | None = None,
    keep_checkpoints: bool = False,
    resamples: int = 1000,
    on_run: Callable[[str], None] | None = None,
) -> Study:
    """Compare the poolings on phantoms with a marker beside the body that tells the class in training alone.

    Two trainings of each network, on the same scans: with a marker that says nothing (``"plain"``), and with one that
    goes with the class (``"confounded"``). Both are tested on the same scans, whose markers say nothing.

    Args:
        cohort: arguments of :class:`covidct.datasets.PhantomConfounded`; its ``train_correlation`` is that of the
            second training, the first has 0.
        data_options: arguments of :class:`covidct.datamodules.CTVolumeDataModule`.
        out: as in :func:`masked_gap_study`.
        task_options: as in :func:`masked_gap_study`.
        seeds: as in :func:`masked_gap_study`.
        epochs: of each training.
        trainer_options: as in :func:`masked_gap_study`.
        keep_checkpoints: as in :func:`masked_gap_study`.
        resamples: as in :func:`masked_gap_study`.
        on_run: as in :func:`masked_gap_study`.

    Returns:
        The study with two sections, for :func:`write_study`.

    Raises:
        UsageError: for arguments that make no study.
    """
    trained = PhantomConfounded(**cohort)
    if trained.train_correlation == 0:
        raise UsageError("train_correlation=0 is no confounder: give the correlation of marker and class in training.")
    cohorts = {
        "plain": Cohort(PhantomConfounded(**{**cohort, "train_correlation": 0.0}), options=data_options),
        "confounded": Cohort(trained, options=data_options),
    }
    options = {"num_classes": len(trained.class_names), **(task_options or {})}
    found: dict[str, PairedComparison] = {}
    for name, train in cohorts.items():
        found[name] = run_comparison(
            pooling_variants(options),
            train=train,
            out=out / name,
            seeds=seeds,
            epochs=epochs,
            trainer_options=trainer_options,
            keep_checkpoints=keep_checkpoints,
            resamples=resamples,
            on_run=on_run,
        )["test"]
    r, s = trained.train_correlation, trained.test_correlation
    sections = (
        StudySection(
            "plain",
            "Marker says nothing in training",
            "The reference: a fair training on the same scans.",
            found["plain"],
        ),
        StudySection(
            "confounded",
            "Marker goes with the class in training",
            f"Correlation of marker and class {r:g} in training, {s:g} in the test: what leans on the marker loses.",
            found["confounded"],
        ),
    )
    run = {"seeds": list(seeds), "epochs": epochs, "cohort": dict(cohort), "task": describe_options(options)}
    return _study(sections, cohorts["confounded"], resamples, run)


def write_study(study: Study, out: Path) -> tuple[Path, ...]:
    """Write ``study.html``, ``study.json`` and ``study.csv``.

    Args:
        study: from :func:`masked_gap_study` or :func:`confounder_study`.
        out: the folder.

    Returns:
        The three files.
    """
    paths = tuple(out / f"study.{suffix}" for suffix in ("html", "json", "csv"))
    write_study_page(study, paths[0])
    write_study_json(study, paths[1])
    write_study_csv(study, paths[2])
    return paths


def _study(sections: tuple[StudySection, ...], train: Cohort, resamples: int, run: Mapping[str, Any]) -> Study:
    """Everything the files show."""
    phantom = train.dataset if isinstance(train.dataset, PhantomConfounded) else None
    return Study(
        title="GAP against mask-weighted GAP",
        text=(
            "Does it help a network to average its last feature map over the lungs alone? Two networks, alike but for "
            "the pooling, trained on the same subjects with the same seeds, judge the same scans."
        ),
        sections=sections,
        titles=POOLING_TITLES,
        published=published_reports(resamples=resamples),
        source=_SOURCE,
        preview=None if phantom is None else _preview(phantom),
        preview_text=(
            ""
            if phantom is None
            else "Two scans of the training part, outlines of the lungs: the marker lies on the bed beside the second."
        ),
        run={
            "covidct": covidct.__version__,
            "data": type(train.dataset).__name__,
            "preprocessing": train.build().preprocessing.to_dict(),
            **run,
        },
        phantoms=type(train.dataset).__name__.startswith("Phantom"),
    )


def _preview(dataset: PhantomConfounded) -> Preview:
    """The middle slice of a scan without and of one with the marker."""
    training = [record.source for record in dataset.records if record.split == "train"]
    plain = next((source for source in training if not dataset.has_marker(source)), training[0])
    marked = next((source for source in training if dataset.has_marker(source)), training[-1])
    slices, masks = [], []
    for source in (plain, marked):
        raw = dataset.load(source)
        if not isinstance(raw.scan, Volume) or raw.lung_mask is None:  # phantoms are volumes with masks
            continue
        middle = raw.scan.shape[0] // 2
        grey = np.clip((raw.scan.array[middle] + 1250.0) / 1500.0, 0, 1)  # the published window
        slices.append(np.rint(255 * grey).astype(np.uint8))
        masks.append(raw.lung_mask[middle])
    return Preview(np.stack(slices), np.stack(masks), None, (plain, marked))
