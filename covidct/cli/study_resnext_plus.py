"""``covidct study resnext-plus``: the ablations and enhancements of slice attention as one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from covidct.cli.console import make_table, progress, research_use, results
from covidct.cli.out_folder import check_out_folder
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from covidct.report import Ablation
    from covidct.studies import StudyData

__all__ = ("resnext_plus",)

# the document's recipe, as examples/configs/resnext_plus.yaml has it
_DATA: Mapping[str, Any] = {
    "window": (-1200.0, 600.0),
    "grid": "slices",
    "balanced_sampling": True,
    "val_fraction": 0.0,  # the last epoch is tested: nothing is chosen on a validation part
}
_MANIFEST: Mapping[str, Any] = {
    "size": 256,
    "mask_source": "lung_field",
    "max_slices": 50,
    "test_fraction": 0.2,
    "on_failure": "skip",
}
_PHANTOMS: Mapping[str, Any] = {
    "size": 64,
    "mask_source": "file",
    "max_slices": 16,
    "test_fraction": 0.3,
    "batch_size": 4,
}
_PHANTOM_TASK: Mapping[str, Any] = {"backbone": "resnet10", "slice_size": 64}
_PHANTOM_EPOCHS, _PHANTOM_SUBJECTS, _PHANTOM_SHAPE, _PHANTOM_RATE = 8, 240, (32, 64, 64), 5e-4


def resnext_plus(
    *,
    out: Path,
    manifest: Path | None = None,
    phantoms: bool = False,
    rows: tuple[str, ...] = ("N-SCA", "N-MSCA", "N-SLA", "proposed", "none", "stochastic", "tone"),
    regions: tuple[str, ...] = ("original", "lungs"),
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: int | None = None,
    backbone: Literal["resnext50_32x4d", "resnet50", "resnet18", "resnet10"] | None = None,
    weights: str | None = None,
    max_learning_rate: float | None = None,
    size: int | None = None,
    slice_size: int | None = None,
    max_slices: int | None = None,
    batch_size: int | None = None,
    num_subjects: int | None = None,
    test_fraction: float | None = None,
    hold_out_site: str | None = None,
    split_seed: int = 0,
    mask_source: str | None = None,
    accelerator: str = "auto",
    precision: str = "32-true",
    prepare_workers: int = 0,
    cache_dir: str | None = None,
    resamples: int = 1000,
    keep_checkpoints: bool = False,
) -> int:
    """Train the ablations and enhancements of slice attention on the same split and seeds, by patient.

    Tables in the shape of the paper's: N-SCA, N-MSCA, N-SLA and proposed on original slices; original, stochastic and
    tone-mapped slices, a network trained for each and one trained on originals, on whole slices and on the lungs alone.
    Slice scores need slice labels in the test part (the column slice_labels of a manifest). Writes study.html,
    study.json, study.csv and one file a run; a study that is started again with the same options takes over the runs
    that are done.

    Args:
        out: folder of the study.
        manifest: table of scans with the columns path, label, subject (and split, site, mask, slice_labels).
        phantoms: simulate the scans, COVID-19 against the rest.
        rows: rows of the tables: N-SCA, N-MSCA, N-SLA, proposed, none, stochastic, tone.
        regions: where the enhancement rows look: original (whole slices), lungs.
        seeds: of the trainings.
        epochs: of each training; 40 with a manifest (the paper's).
        backbone: resnext50_32x4d with a manifest, resnet10 with phantoms.
        weights: of the backbone by name or path (IMAGENET1K_V1, the paper's, needs a network connection); none unless
            told.
        max_learning_rate: highest rate of the cycle, the lowest is a tenth of it; 1e-4 with a manifest (the paper's).
        size: pixels per side of a prepared slice; 256 with a manifest (the paper's).
        slice_size: pixels of the longer side of a slice in the network; 224 with a manifest (the paper's).
        max_slices: slices drawn of a scan in training; 50 with a manifest (the paper's).
        batch_size: scans per step; 1 with a manifest (the paper's).
        num_subjects: of the phantoms.
        test_fraction: share of the scans that is tested on where the manifest has no split of its own; 0.2 with a
            manifest (the paper's).
        hold_out_site: test on this site of the manifest instead, train on the others; refused where a class is at one
            site only.
        split_seed: of the split by subject and of the phantoms.
        mask_source: lung masks by lung_field or threshold, or file for the manifest's own; lung_field with a manifest.
        accelerator: of the trainer: auto, cpu, gpu.
        precision: of the trainer: 32-true, bf16-mixed.
        prepare_workers: processes that prepare scans.
        cache_dir: folder of prepared scans; $COVIDCT_CACHE or ~/.cache/covidct unless told.
        resamples: of the bootstrap over subjects.
        keep_checkpoints: keep the trained networks, for covidct triage.

    Returns:
        0.
    """
    if (manifest is None) == (not phantoms):
        raise UsageError("Give either --manifest FILE or --phantoms.")
    check_out_folder(out)
    from covidct.cli.quiet import quiet_lightning
    from covidct.studies import plan_trainings, resnext_plus_study, write_ablation

    quiet_lightning()
    rate = max_learning_rate or (_PHANTOM_RATE if phantoms else None)
    rates = {} if rate is None else {"learning_rate": rate / 10, "max_learning_rate": rate}
    length = epochs or (_PHANTOM_EPOCHS if phantoms else 40)
    own = {**_PHANTOM_TASK, "epochs_up": length / 2} if phantoms else {}  # one triangle in so short a training
    task = {"backbone": backbone, "weights": weights, "slice_size": slice_size}
    data = {
        "size": size,
        "max_slices": max_slices,
        "batch_size": batch_size,
        "test_fraction": test_fraction,
        "mask_source": mask_source,
        "hold_out_site": hold_out_site,
    }
    options = {**_given(data), "seed": split_seed, "prepare_workers": prepare_workers, "cache_dir": cache_dir}
    cohort = _of_phantoms(num_subjects, options) if manifest is None else _of_manifest(manifest, options)
    with progress(len(plan_trainings(rows, regions)) * len(seeds), "runs") as step:  # type: ignore[arg-type]
        study = resnext_plus_study(
            cohort,
            out=out,
            rows=rows,
            regions=regions,  # type: ignore[arg-type]  # checked there
            task_options={**own, **rates, **_given(task)},
            seeds=tuple(seeds),
            epochs=length,
            trainer_options={"accelerator": accelerator, "precision": precision},
            keep_checkpoints=keep_checkpoints,
            resamples=resamples,
            on_run=step,
        )
    paths = write_ablation(study, out)
    _summary(study)
    results().print(", ".join(map(str, paths)), markup=False, soft_wrap=True)
    research_use()
    return 0


def _of_manifest(manifest: Path, options: Mapping[str, Any]) -> StudyData:
    """A cohort of the user's, COVID-19 against the rest, with the document's augmentation of all classes."""
    from covidct.datasets import ManifestVolumes
    from covidct.studies import StudyData
    from covidct.transforms import resnext_plus_augment

    dataset = ManifestVolumes(str(manifest), classes="covid_vs_rest")
    return StudyData(dataset, options={**_DATA, **_MANIFEST, "train_transform": resnext_plus_augment(), **options})


def _of_phantoms(num_subjects: int | None, options: Mapping[str, Any]) -> StudyData:
    """Simulated scans, COVID-19 against the rest, mirrored at random in training."""
    from monai.transforms import RandFlipd

    from covidct.datasets import PhantomCTVolumes
    from covidct.studies import StudyData
    from covidct.transforms import Augment

    dataset = PhantomCTVolumes(
        num_subjects or _PHANTOM_SUBJECTS,
        shape=_PHANTOM_SHAPE,
        classes="covid_vs_rest",
        seed=options["seed"],
    )
    flip = Augment(RandFlipd(("image", "lung_mask"), prob=0.5, spatial_axis=2))
    return StudyData(dataset, options={**_DATA, **_PHANTOMS, "train_transform": flip, **options})


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the user has set."""
    return {name: value for name, value in options.items() if value is not None}


def _summary(study: Ablation) -> None:
    """Print the AUROCs."""
    table = make_table(study.title, "table", "row", "volumes", "slices, mean", "slices, pooled")
    for section in study.sections:
        for name, report in section.comparison.reports.items():
            slices = {} if report.slices is None else report.slices.scores["auroc"]
            found = [report.scores["auroc"][report.class_names[-1]], slices.get("volume_mean"), slices.get("pooled")]
            figures = ["" if estimate is None else f"{estimate.value:.3f}" for estimate in found]
            table.add_row(section.title, study.titles.get(name, name), *figures)
    console = results()
    console.print(table)
    console.print("AUROC of the averaged trainings.")
