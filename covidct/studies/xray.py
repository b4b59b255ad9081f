"""``xray_study``: chest X-rays whole, with the lungs alone and without them, by normalisation and channels.

"Classification of COVID-19 from chest X-ray images using Deep Neural Networks" (Dao Thi Truc Loan, 2022), experiments
(1) to (3): normalisation, grey or RGB, original, segmented lungs or no lungs. The document sets their scores beside
each other and draws no conclusion; its table of related work has images without lungs ahead of lungs alone (accuracy
0.956 and 0.933). Where that happens a classifier tells the source of an image, not a disease of the lungs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import covidct
from covidct.datamodules import CXRDataModule
from covidct.errors import UsageError
from covidct.report import ScoreBoard
from covidct.studies.comparison import run_variants
from covidct.studies.runs import describe_options
from covidct.studies.xray_figures import xray_section
from covidct.studies.xray_trainings import plan_xray_trainings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from covidct.datasets.base import Split
    from covidct.studies.comparison import StudyData
    from covidct.studies.xray_trainings import XRayTraining

__all__ = ("xray_study",)


def xray_study(
    train: StudyData,
    *,
    out: Path,
    trainings: Sequence[XRayTraining] | None = None,
    part: Literal["test", "val"] = "test",
    seeds: Sequence[int] = (0,),
    epochs: int = 20,
    task_options: Mapping[str, Any] | None = None,
    trainer_options: Mapping[str, Any] | None = None,
    keep_checkpoints: bool = False,
    resamples: int = 1000,
    on_run: Callable[[str], None] | None = None,
) -> ScoreBoard:
    """Train and score every combination on the same subjects, and say what the images without lungs give away.

    Training images with too small a lung mask are left out (``min_lung_area`` of the data module); they stay in the
    part that is scored, and where there are any, a second table leaves them out there too. Images without any lung mask
    to look at cannot be prepared: they end the study, or with ``on_failure="skip"`` of the data module are left out of
    all variants alike and counted.

    Args:
        train: a cohort of X-rays with lung masks; its options have no ``masking``.
        out: folder of the study; finished runs in it are taken over.
        trainings: from :func:`plan_xray_trainings`; None: all of DenseNet-121, which the document does not name
            (recommendation).
        part: which part of the split is scored. Nothing is chosen on it: the weights after the last epoch count, so
            ``"val"`` serves a data set that is published without a test part.
        seeds: of the weights; a case's probabilities are their mean over the seeds.
        epochs: of each training; 20 (recommendation).
        task_options: further arguments of :class:`covidct.tasks.SliceClassifierTask`, the same for all; of them
            ``class_weights`` goes to DarkCovidNet too.
        trainer_options: further arguments of the trainers.
        keep_checkpoints: leave ``<run>.ckpt`` beside each run that is trained.
        resamples: of the bootstraps over subjects.
        on_run: called with the name of each run, ``<training>-seed<k>``, when it is done.

    Returns:
        Sections ``all`` and, where masks are too small, ``large_lungs``, for
        :func:`covidct.studies.write_score_board`.

    Raises:
        UsageError: for arguments that make no study, or a cohort without lung masks.
    """
    if "masking" in train.options:
        raise UsageError("The study sets masking itself: leave it out of the cohort's options.")
    trainings = plan_xray_trainings() if trainings is None else tuple(trainings)
    data = train.build()
    if not isinstance(data, CXRDataModule):
        raise UsageError(f"The study is of X-rays: give CXRDataModule as module, not {type(data).__name__}.")
    if data.preprocessing.mask_source == "none" and any(one.image != "original" for one in trainings):
        raise UsageError(
            "The study needs lung masks: give mask_source='file' for those of the data set, or a lung_checkpoint."
        )
    names = data.class_names
    runs = run_variants(
        [one.variant(len(names), task_options or {}) for one in trainings],
        train=train,
        out=out,
        part=part,
        seeds=seeds,
        epochs=epochs,
        trainer_options={"limit_val_batches": 0, **(trainer_options or {})},
        keep_checkpoints=keep_checkpoints,
        on_run=on_run,
    )["test"]
    found = {one: runs[one.name] for one in trainings}
    sections = [xray_section(found, resamples=resamples)]
    data.prepare_data()
    data.setup("fit")
    small = set(data.small_lungs)
    first = next(iter(next(iter(found.values())).values()))
    kept = np.array([name not in small for name in first.id])
    if not kept.all() and kept.any():
        sections.append(xray_section(found, kept=kept, resamples=resamples))
    return ScoreBoard(
        title="Chest X-rays whole, lungs alone, without lungs",
        text=(
            "What does a classifier of chest X-rays read: the lungs, or where the image comes from? An image without a "
            "single pixel of the lungs cannot show pneumonia, but still shows markers, borders and the device."
        ),
        protocol=_protocol(epochs, len(seeds), part, trained=len(data.records("train")), unusable=_unusable(data)),
        sections=tuple(sections),
        run={
            "covidct": covidct.__version__,
            "data": type(train.dataset).__name__,
            "preprocessing": data.preprocessing.to_dict(),
            "task": describe_options(dict(task_options or {})),
            "part": part,
            "seeds": list(seeds),
            "split_seed": data.hparams["seed"],
            "epochs": epochs,
        },
        phantoms=type(train.dataset).__name__.startswith("Phantom"),
    )


def _unusable(data: CXRDataModule) -> int:
    """How many images of known class are in no part, since they could not be prepared, now or in an earlier run."""
    known = {record.id for record in data.dataset.records if record.label >= 0}
    parts: tuple[Split, ...] = ("train", "val", "test")
    return len(known - data.small_lungs.keys() - {record.id for part in parts for record in data.records(part)})


def _protocol(epochs: int, seeds: int, part: str, *, trained: int, unusable: int) -> tuple[str, ...]:
    """What the page says of the protocol."""
    joined = "" if seeds == 1 else f" A case's probabilities are their mean over {seeds} trainings of other seeds."
    return (
        f"Every combination is trained for {epochs} epochs on the same {trained} images; the last epoch counts, none "
        f"is chosen.{joined}",
        f"Scored on the {'test' if part == 'test' else 'validation'} part, whose subjects are not trained on.",
        "Lungs alone: pixels outside the lung mask are 0. Without lungs: pixels inside it are 0; the outline stays.",
        "Intervals resample whole subjects.",
        *((f"{unusable} image(s) could not be used and are in no part, of any combination.",) if unusable else ()),
    )
