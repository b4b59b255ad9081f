"""``covidct study gated-ensemble``: experts on either side of the contrast gate against one model for both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.cli.console import progress, research_use, results
from covidct.cli.out_folder import check_out_folder
from covidct.cli.score_board import print_score_board
from covidct.errors import UsageError

__all__ = ("gated_ensemble",)

_SYSTEMS = 2


def gated_ensemble(
    *,
    out: Path,
    phantoms: bool = False,
    looks: tuple[str, ...] = ("same", "swapped"),
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: int = 12,
    num_subjects: int | None = None,
    size: int | None = None,
    depth: int | None = None,
    learning_rate: float = 1e-3,
    accelerator: str = "auto",
    precision: str = "32-true",
    prepare_workers: int = 0,
    cache_dir: str | None = None,
    resamples: int = 1000,
) -> int:
    """Compare the gated ensemble and one model for both contrasts on phantoms, by held-out subject.

    Half of the subjects have scans of low contrast. With the look "same", the sides differ in image quality alone; with
    "swapped", pneumonia and COVID-19 have each other's lesions in scans of low contrast. The experts and the one model
    have one form and are trained for as many epochs, the experts on their side alone. Writes study.html, study.json,
    study.csv and one file a run; a study that is started again with the same options takes over the runs that are
    done.

    Args:
        out: folder of the study.
        phantoms: simulate the scans; there is no other source.
        looks: of the classes in scans of low contrast: same, swapped.
        seeds: of phantoms, split and weights.
        epochs: of each training.
        num_subjects: phantoms of each seed; 240.
        size: pixels per side; 64.
        depth: slices of a scan; 16.
        learning_rate: of AdamW; it falls to zero as a cosine.
        accelerator: of the trainer: auto, cpu, gpu.
        precision: of the trainer: 32-true, bf16-mixed.
        prepare_workers: processes that prepare scans.
        cache_dir: folder of prepared scans; $COVIDCT_CACHE or ~/.cache/covidct unless told.
        resamples: of the bootstrap over subjects.

    Returns:
        0.
    """
    if not phantoms:
        raise UsageError("Give --phantoms: the study needs scans whose look is known on both sides of the gate.")
    check_out_folder(out)
    from covidct.cli.quiet import quiet_lightning
    from covidct.studies import GATED_PHANTOMS, gated_ensemble_study, write_score_board

    standard = GATED_PHANTOMS["shape"]
    side = size or standard[1]
    cohort: dict[str, Any] = {"shape": (depth or standard[0], side, side)}
    cohort |= {} if num_subjects is None else {"num_subjects": num_subjects}
    quiet_lightning()
    with progress(len(looks) * len(seeds) * _SYSTEMS, "runs") as step:
        board = gated_ensemble_study(
            cohort,
            out=out,
            looks=looks,  # type: ignore[arg-type]  # checked there
            seeds=tuple(seeds),
            epochs=epochs,
            learning_rate=learning_rate,
            data_options={"size": side, "prepare_workers": prepare_workers, "cache_dir": cache_dir},
            trainer_options={"accelerator": accelerator, "precision": precision},
            resamples=resamples,
            on_run=step,
        )
    paths = write_score_board(board, out)
    print_score_board(board)
    results().print(", ".join(map(str, paths)), markup=False, soft_wrap=True)
    research_use()
    return 0
