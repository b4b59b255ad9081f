"""The ablations of the slice-attention paper: its Tables 1 and 2 on any cohort.

A. Mohammed et al., "Semi-supervised Network for Detection of COVID-19 in Chest CT Scans" (IEEE Access 2020), sections
V.E to V.G. The paper splits by scan, trains once and tests its enhancements on a network trained on original slices;
it names two possible reasons for their failure (the network was not trained on them, they reach outside the lungs).
Here the split is by subject, several seeds are trained, and both reasons are put to the test (recommendations).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import covidct
from covidct.errors import UsageError
from covidct.report import Ablation, AblationSection, write_ablation_csv, write_ablation_json, write_ablation_page
from covidct.studies.comparison import StudyData, Variant, compare_runs, run_variants
from covidct.studies.published_resnext_plus import PUBLISHED_TABLES, SOURCE, VOLUMES
from covidct.studies.slice_scores import slice_labels, with_slice_scores
from covidct.tasks import ResNeXtPlusTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from covidct.studies.runs import TestPredictions

__all__ = ("ENHANCEMENT_ROWS", "NETWORK_ROWS", "Training", "plan_trainings", "resnext_plus_study", "write_ablation")

NETWORK_ROWS = ("N-SCA", "N-MSCA", "N-SLA", "proposed")
"""Rows of Table 2, in its order."""

ENHANCEMENT_ROWS = ("none", "stochastic", "tone")
"""Rows of Table 1, in its order."""

_TITLES = {"proposed": "Proposed", "none": "Original", "stochastic": "Stochastic enhancement", "tone": "Tone mapping"}
_REGIONS = {"original": "whole slices", "lungs": "the lungs alone"}

Region = Literal["original", "lungs"]
Runs = dict[int, "TestPredictions"]


@dataclass(frozen=True, slots=True)
class Training:
    """One network of the study.

    Attributes:
        variant: of :class:`covidct.tasks.ResNeXtPlusTask`.
        enhancement: of the scans it is trained on.
        region: masking of the scans in training and test.
        tests: enhancements of the scans it is tested on.
    """

    variant: str
    enhancement: str
    region: Region
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """Part of file names."""
        return f"{self.variant}-{self.enhancement}-{self.region}"


@dataclass(frozen=True, slots=True)
class _Section:
    """A table to come: the key of each row's predictions, (training, test)."""

    name: str
    table: str
    title: str
    text: str
    rows: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def plan_trainings(rows: Sequence[str], regions: Sequence[Region]) -> tuple[Training, ...]:
    """The networks behind the rows, each trained once however many rows it serves.

    Args:
        rows: of :data:`NETWORK_ROWS` and :data:`ENHANCEMENT_ROWS`.
        regions: ``"original"`` (whole slices), ``"lungs"``.

    Returns:
        Each training once: those of the enhancement rows region by region, then the network rows that are not among
        them.

    Raises:
        UsageError: for an unknown row or region, or none.
    """
    unknown = [row for row in rows if row not in NETWORK_ROWS + ENHANCEMENT_ROWS]
    wrong = [region for region in regions if region not in _REGIONS]
    if unknown or wrong or not rows or not regions:
        raise UsageError(
            f"rows={list(rows)}, regions={list(regions)} make no study: give rows of "
            f"{', '.join(NETWORK_ROWS + ENHANCEMENT_ROWS)} and regions of {', '.join(_REGIONS)}."
        )
    enhanced = tuple(row for row in ENHANCEMENT_ROWS if row in rows)
    plan: dict[str, Training] = {}
    for region in regions if enhanced else ():
        trainings = [Training("proposed", "none", region, ("none", *(name for name in enhanced if name != "none")))]
        trainings += [Training("proposed", name, region, (name,)) for name in enhanced if name != "none"]
        plan |= {training.name: training for training in trainings}
    for row in NETWORK_ROWS:
        training = Training(row, "none", "original", ("none",))
        if row in rows:
            plan.setdefault(training.name, training)
    return tuple(plan.values())


def resnext_plus_study(
    train: StudyData,
    *,
    out: Path,
    rows: Sequence[str] = (*NETWORK_ROWS, *ENHANCEMENT_ROWS),
    regions: Sequence[Region] = ("original", "lungs"),
    task_options: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 40,
    trainer_options: Mapping[str, Any] | None = None,
    keep_checkpoints: bool = False,
    resamples: int = 1000,
    on_run: Callable[[str], None] | None = None,
) -> Ablation:
    """Train every network of the two tables and test all on the same scans.

    The network rows (Table 2) see original, whole slices. The enhancement rows (Table 1) stand in two protocols,
    trained per enhancement and trained on originals but tested enhanced, each once per region. Slice scores need slice
    labels in the test part; they never enter training. To test on a site that no network has seen, give the cohort's
    options a ``hold_out_site``.

    Args:
        train: a cohort of CT volumes of two classes with a training and a test part; its options have no
            ``enhancement`` and no ``masking``.
        out: folder of the study; finished runs in it are taken over.
        rows: of the tables.
        regions: ``"original"`` (whole slices), ``"lungs"`` (all else is 0).
        task_options: arguments of :class:`covidct.tasks.ResNeXtPlusTask`, without ``variant``.
        seeds: of the trainings.
        epochs: of each training; 40 (document, section V.D).
        trainer_options: further arguments of the trainer.
        keep_checkpoints: leave the trained tasks in ``out/runs``.
        resamples: of the bootstraps over subjects.
        on_run: called with the name of each run when it is done.

    Returns:
        The study, for :func:`write_ablation`.

    Raises:
        UsageError: for arguments that make no study.
    """
    _check(train)
    found: dict[tuple[str, str], Runs] = {}
    for training in plan_trainings(rows, regions):
        runs = run_variants(
            [Variant(training.name, ResNeXtPlusTask, {**(task_options or {}), "variant": training.variant})],
            train=_prepared(train, training.enhancement, training.region),
            tests={name: _prepared(train, name, training.region) for name in training.tests},
            out=out,
            seeds=seeds,
            epochs=epochs,
            trainer_options=trainer_options,
            keep_checkpoints=keep_checkpoints,
            on_run=on_run,
        )
        found |= {(training.name, test): variants[training.name] for test, variants in runs.items()}
    labels = slice_labels(train)
    return Ablation(
        title="Slice attention: ablations and enhancements",
        text=(
            "Which parts of the network, and which enhancement of the slices, does a diagnosis from volume labels "
            "need? All networks are trained on the same subjects and judge the same scans."
        ),
        sections=tuple(_compared(section, found, labels, resamples) for section in _sections(rows, regions)),
        titles=_TITLES,
        source=SOURCE,
        positives=VOLUMES["positives"],
        run={
            "covidct": covidct.__version__,
            "data": type(train.dataset).__name__,
            "preprocessing": train.build().preprocessing.to_dict(),
            "hold_out_site": train.options.get("hold_out_site"),
            "task": dict(task_options or {}),
            "seeds": list(seeds),
            "epochs": epochs,
        },
        phantoms=type(train.dataset).__name__.startswith("Phantom"),
        slices=_example_slices(train, [row for row in ENHANCEMENT_ROWS if row in rows], regions[0]),
    )


def write_ablation(study: Ablation, out: Path) -> tuple[Path, ...]:
    """Write ``study.html``, ``study.json`` and ``study.csv``.

    Args:
        study: from :func:`resnext_plus_study`.
        out: the folder.

    Returns:
        The three files.
    """
    paths = tuple(out / f"study.{suffix}" for suffix in ("html", "json", "csv"))
    write_ablation_page(study, paths[0])
    write_ablation_json(study, paths[1])
    write_ablation_csv(study, paths[2])
    return paths


def _check(train: StudyData) -> None:
    """Refuse cohorts that the study cannot vary or score."""
    own = sorted({"enhancement", "masking"} & set(train.options))
    if own:
        raise UsageError(f"The study sets {' and '.join(own)} itself: leave them out of the cohort's options.")
    names = train.dataset.class_names
    if len(names) != 2:
        raise UsageError(f"The study needs two classes, the cohort has {', '.join(names)}: merge them by classes=.")


def _example_slices(train: StudyData, rows: Sequence[str], region: Region) -> dict[str, NDArray[np.uint8]]:
    """The slice of most lung (else the middle one) of the first test scan, under each enhancement."""
    found = {}
    for row in rows:
        module = _prepared(train, row, region).build()
        module.prepare_data()  # in the cache by now
        module.setup("test")
        batch = next(iter(module.test_dataloader()))
        image = batch["image"][0, 0]
        area = batch["lung_mask"][0, 0].count_nonzero((1, 2)) if "lung_mask" in batch else None
        index = len(image) // 2 if area is None else int(area.argmax())
        found[row] = (image[index] * 255).round().byte().numpy()
    return found


def _compared(
    section: _Section,
    found: Mapping[tuple[str, str], Runs],
    labels: Mapping[str, NDArray[np.int64]],
    resamples: int,
) -> AblationSection:
    """A table with its figures, the printed ones of the same rows beside them."""
    runs = {row: found[key] for row, key in section.rows.items()}
    comparison = compare_runs(runs, what=section.title, resamples=resamples)
    return AblationSection(
        name=section.name,
        title=section.title,
        text=section.text,
        comparison=with_slice_scores(comparison, runs, labels, resamples=resamples),
        table=section.table,
        published={
            level: {row: values[row] for row in section.rows if row in values}
            for level, values in PUBLISHED_TABLES[section.table].items()
        },
    )


def _prepared(cohort: StudyData, enhancement: str, region: Region) -> StudyData:
    """The cohort, enhanced and masked."""
    return replace(cohort, options={**cohort.options, "enhancement": enhancement, "masking": region})


def _sections(rows: Sequence[str], regions: Sequence[Region]) -> list[_Section]:
    """The tables that the rows make."""
    sections = []
    networks = {row: (f"{row}-none-original", "none") for row in NETWORK_ROWS if row in rows}
    if networks:
        text = (
            "N-SCA: without channel and spatial attention. N-MSCA: without those and without the mask. N-SLA: the mean "
            "over the slices instead of slice attention, so it cannot point at slices."
        )
        sections.append(_Section("network", "Table 2", "Parts of the network", text, networks))
    enhanced = [row for row in ENHANCEMENT_ROWS if row in rows]
    for region in regions if enhanced else ():
        where = _REGIONS[region]
        base = f"proposed-none-{region}"
        sections += [
            _Section(
                f"trained_per_enhancement_{region}",
                "Table 1",
                f"Enhancements on {where}, a network trained for each",
                "Each network is trained and tested on slices of one kind.",
                {row: (f"proposed-{row}-{region}", row) for row in enhanced},
            ),
            _Section(
                f"trained_on_originals_{region}",
                "Table 1",
                f"Enhancements on {where}, one network trained on originals",
                "One network, trained on original slices, is tested on slices of each kind: the paper's protocol"
                + (", there on whole slices." if region == "lungs" else "."),
                {row: (base, row) for row in enhanced},
            ),
        ]
    return sections
