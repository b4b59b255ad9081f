"""The comparison of the mask-weighted pooling paper: plain against mask-weighted global average pooling.

G. Li, C. Sun, Z. Sun, "A Deep Learning Based Method For COVID-19 Classification Using Chest CT Images", section III.B.
The paper splits by scan, trains each network once and gives no test of the difference; here the split is by subject,
several seeds are trained, and the predictions are paired (recommendations).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import covidct
from covidct.labels import BINARY_CLASSES
from covidct.metrics import report_from_confusion
from covidct.report import Study, StudySection, write_study_csv, write_study_json, write_study_page
from covidct.studies.comparison import StudyData, Variant, run_comparison
from covidct.tasks import MaskedGAPResNetTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from covidct.metrics import TriageReport

__all__ = (
    "POOLING_TITLES",
    "PUBLISHED_CONFUSION",
    "SOURCE",
    "masked_gap_study",
    "pooling_variants",
    "published_reports",
    "write_study",
)

PUBLISHED_CONFUSION = {"mean": ((554, 43), (69, 1396)), "mask": ((557, 40), (52, 1413))}
"""The paper's Figure 8: rows truth, columns prediction; other pneumonia or normal first, COVID-19 second."""

POOLING_TITLES = {"mean": "GAP", "mask": "Mask-weighted GAP"}
"""Pooling to the paper's word for it."""

SOURCE = (
    'G. Li, C. Sun, Z. Sun, "A Deep Learning Based Method For COVID-19 Classification Using Chest CT Images", Figure 8 '
    "and Table II: ResNet-50, 2062 scans. Its table prints a sensitivity of 96.4 %, which is 96.45 % cut off."
)
"""Where the published figures stand."""


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

    Returns:
        The variants ``mean`` and ``mask``, in this order.
    """
    first, second = (
        Variant(pooling, MaskedGAPResNetTask, {**(options or {}), "pooling": pooling}) for pooling in ("mean", "mask")
    )
    return first, second


def masked_gap_study(
    train: StudyData,
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
    return Study(
        title="GAP against mask-weighted GAP",
        text=(
            "Does it help a network to average its last feature map over the lungs alone? Two networks, alike but for "
            "the pooling, trained on the same subjects with the same seeds, judge the same scans."
        ),
        sections=(section,),
        titles=POOLING_TITLES,
        published=published_reports(resamples=resamples),
        source=SOURCE,
        run={
            "covidct": covidct.__version__,
            "data": type(train.dataset).__name__,
            "preprocessing": train.build().preprocessing.to_dict(),
            "seeds": list(seeds),
            "epochs": epochs,
        },
        phantoms=type(train.dataset).__name__.startswith("Phantom"),
    )


def write_study(study: Study, out: Path) -> tuple[Path, ...]:
    """Write ``study.html``, ``study.json`` and ``study.csv``.

    Args:
        study: from :func:`masked_gap_study` or :func:`covidct.studies.confounder_study`.
        out: the folder.

    Returns:
        The three files.
    """
    paths = tuple(out / f"study.{suffix}" for suffix in ("html", "json", "csv"))
    write_study_page(study, paths[0])
    write_study_json(study, paths[1])
    write_study_csv(study, paths[2])
    return paths
