"""``covidct study <name>``: a published comparison as one command."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from covidct.cli.command import run_function
from covidct.cli.console import error, make_table, progress, research_use, results
from covidct.cli.out_folder import check_out_folder
from covidct.cli.study_gated_ensemble import gated_ensemble
from covidct.cli.study_resnext_plus import resnext_plus
from covidct.cli.study_slice_classifiers import slice_classifiers
from covidct.cli.study_xray import xray
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from covidct.metrics import TriageReport
    from covidct.report import Study

__all__ = ("STUDIES", "masked_gap", "run")

_VARIADIC: Mapping[str, type] = {
    "seeds": int,
    **dict.fromkeys(("rows", "regions", "looks", "backbones", "attentions", "losses", "optimizers"), str),
    **dict.fromkeys(("networks", "normalisations", "channels", "images"), str),
}
_SHOWN = (("accuracy", "overall"), ("sensitivity", ""), ("specificity", ""), ("auroc", ""))


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command: find the study and hand over."""
    if not argv or argv[0] in ("--help", "-h"):
        lines = [f"  {name:<20}{text}" for name, (_, text) in STUDIES.items()]
        print("\n".join([f"usage: covidct {verb} STUDY ...", "", "studies:", *lines, ""]))
        print(f"'covidct {verb} STUDY --help' lists the options of a study.")
        return 0 if argv else 2
    name, *rest = argv
    if name not in STUDIES:
        error(f"there is no study {name!r}; the studies are {', '.join(STUDIES)}.")
        return 2
    return run_function(STUDIES[name][0], rest, verb=f"{verb} {name}", variadic=_VARIADIC)


def masked_gap(
    *,
    out: Path,
    manifest: Path | None = None,
    phantoms: bool = False,
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: int | None = None,
    backbone: Literal["resnet18", "resnet34", "resnet50"] | None = None,
    weights: str | None = None,
    learning_rate: float | None = None,
    size: int | None = None,
    slice_size: int | None = None,
    batch_size: int | None = None,
    num_subjects: int | None = None,
    test_fraction: float | None = None,
    split_seed: int | None = None,
    mask_source: str | None = None,
    accelerator: str | None = None,
    precision: str | None = None,
    prepare_workers: int | None = None,
    cache_dir: str | None = None,
    resamples: int = 1000,
    keep_checkpoints: bool = False,
) -> int:
    """Compare plain and mask-weighted global average pooling on the same split and seeds, by patient.

    With --manifest, networks are trained on a cohort. With --phantoms, on simulated scans with a marker beside the body
    that tells the class in training alone, the features of a random network are fixed and a linear head is fitted: it
    shows what pooling does to given features, not that it guards a network trained end to end. Writes study.html,
    study.json, study.csv and one file a run; a study that is started again with the same options takes over the runs
    that are done.

    Args:
        out: folder of the study.
        manifest: table of scans with the columns path, label, subject (and split, mask).
        phantoms: simulate the scans.
        seeds: of the trainings; with phantoms also of scans and split.
        epochs: of each training; 50 (recommendation, COVNet). With a manifest alone.
        backbone: resnet50 with a manifest (the paper's), resnet18 with phantoms.
        weights: of the backbone by name or path (IMAGENET1K_V1 needs a network connection); none unless told. With a
            manifest alone.
        learning_rate: of Adam; 1e-5 (recommendation, COVNet). With a manifest alone.
        size: voxels per side of the cube; 128 (the paper's). With a manifest alone.
        slice_size: pixels of the longer side of a slice in the network; 224 (the paper's).
        batch_size: scans per step; 1 (recommendation, COVNet). With a manifest alone.
        num_subjects: of the phantoms.
        test_fraction: share of the scans that is tested on where the manifest has no split of its own; 0.21 with a
            manifest (the paper's 2062 of 9862).
        split_seed: of the split by subject; 0. With a manifest alone.
        mask_source: lung masks by threshold, or file for the manifest's own; threshold. With a manifest alone.
        accelerator: of the trainer: auto, cpu, gpu. With a manifest alone.
        precision: of the trainer: 32-true, bf16-mixed. With a manifest alone.
        prepare_workers: processes that prepare scans. With a manifest alone.
        cache_dir: folder of prepared scans; $COVIDCT_CACHE or ~/.cache/covidct unless told. With a manifest alone.
        resamples: of the bootstrap over subjects.
        keep_checkpoints: keep the trained networks, for covidct triage. With a manifest alone.

    Returns:
        0.
    """
    if (manifest is None) == (not phantoms):
        raise UsageError("Give either --manifest FILE or --phantoms.")
    check_out_folder(out)
    shared = {"backbone": backbone, "slice_size": slice_size}
    task = {"weights": weights, "learning_rate": learning_rate}
    data = {"size": size, "batch_size": batch_size, "mask_source": mask_source, "seed": split_seed}
    data |= {"prepare_workers": prepare_workers, "cache_dir": cache_dir}
    trainer = {"accelerator": accelerator, "precision": precision}
    common: dict[str, Any] = {"out": out, "seeds": tuple(seeds), "resamples": resamples}
    if manifest is None:
        training = {"epochs": epochs, **task, **data, **trainer, "keep_checkpoints": keep_checkpoints or None}
        make = partial(_of_phantoms, {"num_subjects": num_subjects, "test_fraction": test_fraction}, training, shared)
        runs = len(common["seeds"])
    else:
        common |= {"epochs": epochs or 50, "trainer_options": _given(trainer), "keep_checkpoints": keep_checkpoints}
        make = partial(_of_manifest, manifest, {**data, "test_fraction": test_fraction}, {**shared, **task})
        runs = 2 * len(common["seeds"])
    from covidct.cli.quiet import quiet_lightning
    from covidct.studies import write_study

    quiet_lightning()
    with progress(runs, "runs") as step:
        study = make({**common, "on_run": step})
    paths = write_study(study, out)
    _summary(study)
    results().print(", ".join(map(str, paths)), markup=False, soft_wrap=True)
    research_use()
    return 0


STUDIES: Mapping[str, tuple[Callable[..., int], str]] = {
    "masked-gap": (masked_gap, "plain against mask-weighted global average pooling, with McNemar's exact test"),
    "resnext-plus": (resnext_plus, "ablations and enhancements of slice attention, at volume and slice level"),
    "slice-classifiers": (slice_classifiers, "backbone, attention, loss, optimiser on the same folds; the best fused"),
    "gated-ensemble": (gated_ensemble, "experts on either side of the contrast gate against one model for both"),
    "xray": (xray, "X-rays whole, lungs alone, without lungs, by normalisation and channels"),
}
"""Name of a study to its command and what it does."""


def _of_manifest(manifest: Path, data: Mapping[str, Any], task: Mapping[str, Any], common: Mapping[str, Any]) -> Study:
    """The paper's comparison on a cohort of the user's, in the shipped configuration's settings."""
    from covidct.datasets import ManifestVolumes
    from covidct.studies import StudyData, masked_gap_study

    options = {"val_fraction": 0.0, "test_fraction": 0.21, "balanced_sampling": True, **_given(data)}
    cohort = StudyData(ManifestVolumes(str(manifest), classes="covid_vs_rest"), options=options)
    return masked_gap_study(cohort, task_options=_given(task), **common)


def _of_phantoms(
    phantoms: Mapping[str, Any], training: Mapping[str, Any], network: Mapping[str, Any], common: Mapping[str, Any]
) -> Study:
    """The comparison on phantoms with a marker."""
    from covidct.studies import confounder_study

    unused = [f"--{name.replace('_', '-').replace('seed', 'split-seed')}" for name in _given(training)]
    if unused:
        raise UsageError(
            f"Leave out {', '.join(unused)}: with --phantoms no network is trained, its features are fixed and a "
            "linear head is fitted."
        )
    return confounder_study(_given(phantoms), **_given(network), **common)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the user has set."""
    return {name: value for name, value in options.items() if value is not None}


def _summary(study: Study) -> None:
    """Print the figures that matter."""
    table = make_table(study.title, "comparison", "pooling", *(metric for metric, _ in _SHOWN), "p")
    for section in study.sections:
        found = section.comparison
        for name, report in found.reports.items():
            p_value = f"{found.tests[0].mcnemar.p_value:.2g}"
            table.add_row(section.title, study.titles[name], *_figures(report), p_value)
    for name, report in study.published.items():
        table.add_row("published", study.titles[name], *_figures(report), "")
    results().print(table)


def _figures(report: TriageReport) -> list[str]:
    """The scores that are shown; an empty cell where a report has none."""
    found = [report.scores.get(metric, {}).get(scope or report.class_names[-1]) for metric, scope in _SHOWN]
    return ["" if estimate is None else f"{estimate.value:.3f}" for estimate in found]
