"""``covidct convert``: trained files of COVID-CT-Mask-Net's author as checkpoints for ``segment`` and ``triage``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from covidct.cli.command import run_function
from covidct.cli.console import make_table, note, research_use, results

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("convert", "run")

_USES = {
    "LesionMaskRCNNTask": "covidct segment SCAN MASK --checkpoint {}",
    "CovidCTMaskNetTask": "covidct triage SCANS --checkpoint {} --out OUT",
}


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(
        convert, argv, verb=verb, variadic={"window": float, "anchor_sizes": int, "anchor_ratios": float}
    )


def convert(
    reference: Path,
    out: Path,
    *,
    mask_type: Literal["both", "ggo", "merge"] | None = None,
    window: list[float] | None = None,
    anchor_sizes: list[int] | None = None,
    anchor_ratios: list[float] | None = None,
) -> int:
    """Turn a .pth file of AlexTS1980/COVID-CT-Mask-Net into a checkpoint that the other commands take.

    A lesion network is then for segment (and triage --lesions), a classifier for triage. Backbone, truncation and sizes
    are read from the weights, anchors from the file; no code of the file is run.

    Args:
        reference: the .pth file that the author published, or that the training with the author's code wrote.
        out: the .ckpt file to write.
        mask_type: ggo or merge, for networks of one lesion class, whose weights do not tell which (the author's are of
            merge); both is read from the weights.
        window: low and high in HU that the pictures of the training showed, so that scans in HU can be used; the author
            does not say it, and without it the network takes pictures alone.
        anchor_sizes: in pixels, for a file without anchors.
        anchor_ratios: height by width, for a file without anchors.

    Returns:
        0.
    """
    from covidct.tasks import convert_reference
    from covidct.weights import sha256_file

    task = convert_reference(
        reference,
        out,
        mask_type=mask_type,
        window=window,
        anchor_sizes=anchor_sizes,
        anchor_ratios=anchor_ratios,
    )
    table = make_table(f"{reference.name} as {type(task).__name__}", "what", "value")
    shown = ("backbone", "truncation", "mask_type", "anchor_sizes", "anchor_ratios", "num_regions", "features")
    for name in shown:
        if name in task.hparams:
            table.add_row(name, str(task.hparams[name]))
    table.add_row("classes", ", ".join(task.class_names))
    table.add_row("window", "display values" if window is None else "{:g} to {:g} HU".format(*window))
    table.add_row("sha256", sha256_file(out))
    results().print(table)
    results().print(f"{out}: {_USES[type(task).__name__].format(out)}", markup=False, soft_wrap=True)
    if window is None:
        note("covidct: the checkpoint takes pictures alone; with --window of the training it takes scans in HU too.")
    research_use()
    return 0
