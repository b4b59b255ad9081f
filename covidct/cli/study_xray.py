"""``covidct study xray``: chest X-rays whole, with the lungs alone and without them, by normalisation and channels."""

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

__all__ = ("xray",)

_PHANTOM_DATA: Mapping[str, Any] = {"size": 64}
_PHANTOM_TASK: Mapping[str, Any] = {"learning_rate": 1e-3}  # higher than recommended, since the weights are random
_EPOCHS, _PHANTOM_EPOCHS = 20, 8
_PHANTOMS = 120


def xray(
    *,
    out: Path,
    manifest: Path | None = None,
    covidx_cxr: Path | None = None,
    covid_qu_ex: Path | None = None,
    darkcovid: Path | None = None,
    phantoms: bool = False,
    networks: tuple[str, ...] | None = None,
    normalisations: tuple[str, ...] = ("imagenet", "dataset"),
    channels: tuple[str, ...] = ("grey", "rgb"),
    images: tuple[str, ...] = ("original", "lungs", "no_lungs"),
    lung_checkpoint: Path | None = None,
    min_lung_area: float = 0.15,
    on_failure: Literal["raise", "skip"] = "raise",
    part: Literal["test", "val"] = "test",
    seeds: tuple[int, ...] = (0,),
    epochs: int | None = None,
    split: Literal["auto", "manifest", "subject"] = "auto",
    test_fraction: float = 0.2,
    split_seed: int = 0,
    classes: str | None = None,
    num_subjects: int | None = None,
    weights: str | None = None,
    class_weights: Literal["balanced"] | None = None,
    learning_rate: float | None = None,
    size: int | None = None,
    batch_size: int = 32,
    accelerator: str = "auto",
    precision: str = "32-true",
    num_workers: int = 0,
    prepare_workers: int = 0,
    cache_dir: str | None = None,
    keep_checkpoints: bool = False,
    resamples: int = 1000,
) -> int:
    """Train classifiers on whole X-rays, on the lungs alone and on images without lungs, and compare them.

    Every combination of networks, normalisation, channels and image variant is trained on the same subjects and scored
    on the same others. One table with intervals, and a warning where images without lungs do as well as whole ones:
    then the classifier reads the source of an image, not the disease. Writes study.html, study.json, study.csv and one
    file a run; a study that is started again with the same options takes over the runs that are done.

    Args:
        out: folder of the study.
        manifest: table of X-rays with the columns path, label, subject (and split, mask).
        covidx_cxr: folder of COVIDx CXR-3, which has no lung masks: give --lung-checkpoint.
        covid_qu_ex: folder of COVID-QU-Ex, with its lung masks.
        darkcovid: folder of the DarkCovid images, which have no lung masks: give --lung-checkpoint.
        phantoms: simulate the images, with a bright mark beside the lungs of the sick alone.
        networks: backbones of torchvision, and dark_covidnet; densenet121 unless told, resnet18 with phantoms.
        normalisations: imagenet, dataset (mean and standard deviation of the training images).
        channels: grey (a one-channel stem), rgb (three equal channels).
        images: original, lungs, no_lungs.
        lung_checkpoint: a .ckpt file of FPNDenseNetTask, for lung masks; else those of the data set.
        min_lung_area: training images with a smaller share of lung are left out; 0.15 (document).
        on_failure: images that cannot be used, those in which the lung network finds no lungs too: raise an error that
            lists them, or skip them, of all variants alike.
        part: test, or val for data sets without a test part; nothing is chosen on it.
        seeds: of the weights.
        epochs: of each training; 20 (recommendation), 8 with phantoms.
        split: the data set's own (manifest), drawn by subject (subject), or its own where it has one.
        test_fraction: share of the images that is set aside where the data set has no split of its own.
        split_seed: of a split by subject, and of the phantoms.
        classes: three or covid_vs_rest (unless told); with --darkcovid three (unless told) or binary, without
            pneumonia.
        num_subjects: of the phantoms; 120.
        weights: of the backbones by name or path (IMAGENET1K_V1 needs a network connection); none unless told.
        class_weights: balanced, or none unless told; of dark_covidnet too.
        learning_rate: of AdamW; 1e-4 (recommendation), 1e-3 with phantoms. Not of dark_covidnet.
        size: pixels per side; 224 (recommendation), 64 with phantoms. dark_covidnet takes 256.
        batch_size: images per step.
        accelerator: of the trainer: auto, cpu, gpu.
        precision: of the trainer: 32-true, bf16-mixed.
        num_workers: processes that load.
        prepare_workers: processes that prepare images.
        cache_dir: folder of prepared images; $COVIDCT_CACHE or ~/.cache/covidct unless told.
        keep_checkpoints: keep the trained networks.
        resamples: of the bootstrap over subjects.

    Returns:
        0.
    """
    check_out_folder(out)
    from covidct.cli.quiet import quiet_lightning
    from covidct.datamodules import CXRDataModule
    from covidct.studies import StudyData, plan_xray_trainings, write_score_board, xray_study

    trainings = plan_xray_trainings(
        networks=networks or (("resnet18",) if phantoms else ("densenet121",)),
        normalisations=normalisations,
        channels=channels,
        images=images,
    )
    folders = {"manifest": manifest, "covidx_cxr": covidx_cxr, "covid_qu_ex": covid_qu_ex, "darkcovid": darkcovid}
    dataset = _dataset(folders, phantoms=phantoms, classes=classes, num_subjects=num_subjects, seed=split_seed)
    masks = {"mask_source": "file"} if lung_checkpoint is None else {"lung_checkpoint": str(lung_checkpoint)}
    data: dict[str, Any] = {
        **masks,
        "min_lung_area": min_lung_area,
        "on_failure": on_failure,
        "split": split,
        "val_fraction": 0.0 if part == "test" else 0.2,
        "test_fraction": test_fraction if part == "test" else 0.0,
        "seed": split_seed,
        "batch_size": batch_size,
        "num_workers": num_workers,
        "prepare_workers": prepare_workers,
        "cache_dir": cache_dir,
        **(_PHANTOM_DATA if phantoms else {}),
        **({} if size is None else {"size": size}),
    }
    task = {"weights": weights, "class_weights": class_weights, **(_PHANTOM_TASK if phantoms else {})}
    quiet_lightning()
    with progress(len(trainings) * len(seeds), "runs") as step:
        board = xray_study(
            StudyData(dataset, CXRDataModule, data),
            out=out,
            trainings=trainings,
            part=part,
            seeds=tuple(seeds),
            epochs=epochs or (_PHANTOM_EPOCHS if phantoms else _EPOCHS),
            task_options=task if learning_rate is None else {**task, "learning_rate": learning_rate},
            trainer_options={"accelerator": accelerator, "precision": precision},
            keep_checkpoints=keep_checkpoints,
            resamples=resamples,
            on_run=step,
        )
    paths = write_score_board(board, out)
    print_score_board(board)
    results().print(", ".join(map(str, paths)), markup=False, soft_wrap=True)
    research_use()
    return 0


def _dataset(
    folders: Mapping[str, Path | None], *, phantoms: bool, classes: str | None, num_subjects: int | None, seed: int
) -> BaseDataset:
    """The one cohort that is named."""
    from covidct.datasets import COVIDQUEx, COVIDxCXR3, DarkCovid, ManifestCXR, PhantomTaggedCXR

    given = {name: folder for name, folder in folders.items() if folder is not None}
    if len(given) + phantoms != 1:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in folders)
        raise UsageError(f"Give one of {options} with a path, or --phantoms.")
    if num_subjects is not None and not phantoms:
        raise UsageError("Leave out --num-subjects: it is the number of phantoms.")
    if classes is not None and (phantoms or "covidx_cxr" in given):
        raise UsageError("Leave out --classes: these images have two.")
    if phantoms:
        return PhantomTaggedCXR(num_subjects or _PHANTOMS, shape=(128, 128), seed=seed)
    ((name, folder),) = given.items()
    if name == "manifest":
        return ManifestCXR(str(folder), classes=classes or "covid_vs_rest")
    if name == "covidx_cxr":
        return COVIDxCXR3(folder)
    if name == "covid_qu_ex":
        return COVIDQUEx(folder, classes=classes or "covid_vs_rest")
    if classes not in (None, "three", "binary"):
        raise UsageError(f"--classes {classes} is unknown of --darkcovid: use three or binary.")
    return DarkCovid(folder, task="binary" if classes == "binary" else "three")
