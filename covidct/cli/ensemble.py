"""``covidct ensemble``: the gated dual-contrast ensemble from one configuration."""

from __future__ import annotations

from argparse import ArgumentError
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from covidct.cli.command import usage_sentence
from covidct.cli.console import make_table, note, progress, research_use, results
from covidct.cli.out_folder import check_out_folder
from covidct.cli.presets import with_presets
from covidct.cli.quiet import quiet_lightning
from covidct.cli.score_board import score_cell
from covidct.cli.train import import_parts, own_error
from covidct.datamodules import BaseDataModule
from covidct.errors import UsageError
from covidct.studies import Expert, GatedSystem, train_gated_system
from covidct.studies.training import require_one_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonargparse import ArgumentParser, Namespace

    from covidct.functional.contrast import Side
    from covidct.metrics import TriageReport

__all__ = ("make_parser", "run")

_PARTS: tuple[tuple[Side | None, str], ...] = (
    (None, "all scans"),
    ("low", "low contrast"),
    ("high", "high contrast"),
)

_HELP = """Train the gated dual-contrast ensemble: clean the slice order, part the subjects by contrast, train the
experts of each side by their own recipes, weigh several experts of a side on validation subjects, test, report. Writes
ensemble.ckpt, which covidct triage and test take, report.html, metrics.json and predictions.csv of the test part, the
same of each side in the folders low and high, and the experts' own checkpoints in experts. A command that is started
again takes over the experts that are done."""


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    import pytorch_lightning as pl

    quiet_lightning()
    import_parts()
    parser = make_parser(verb)
    try:
        config = parser.parse_args(with_presets(argv))
        check_out_folder(config.out)
        require_one_device(config.trainer)
        if config.clean:
            _clean(config)
        pl.seed_everything(config.seed, workers=True, verbose=False)
        made = parser.instantiate_classes(config)
    except (ArgumentError, TypeError, ValueError) as problem:
        raise own_error(problem) or UsageError(usage_sentence(str(problem), verb)) from problem
    system = _train(made)
    _report(system, made)
    research_use()
    return 0


def make_parser(verb: str) -> ArgumentParser:
    """The options; everything may stand in the configuration."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=f"covidct {verb}", description=_HELP, exit_on_error=False)
    parser.add_argument("-c", "--config", action="config", help="YAML file with any of the arguments below.")
    parser.add_argument("--out", type=Path, required=True, help="Folder of the ensemble.")
    parser.add_argument("--clean", type=bool, default=False, help="Leave out slices in the wrong order first (curate).")
    parser.add_argument("--clean_hash", type=Literal["ahash", "dhash", "phash"], default="ahash", help="See curate.")
    parser.add_argument("--clean_threshold", type=int, default=5, help="Bits of 64, see curate.")
    parser.add_argument("--data", type=BaseDataModule, required=True, help="Data module that measures contrast.")
    parser.add_argument("--low", type=list[Expert], required=True, help="Experts for low contrast.")
    parser.add_argument("--high", type=list[Expert], required=True, help="Experts for high contrast.")
    parser.add_argument("--fusion", type=Literal["mean", "vote"], default="mean", help="Of the experts of a side.")
    parser.add_argument("--seed", type=int, default=0, help="Of weights and trainings.")
    parser.add_argument("--trainer", type=dict[str, Any], default={}, help="Of Lightning's trainer; on one device.")
    parser.add_argument("--resamples", type=int, default=1000, help="Of the bootstrap over subjects.")
    return parser


def _clean(config: Namespace) -> None:
    """Run ``covidct curate`` on the data set's table, and train on the cleaned one."""
    from covidct.cli.curate import curate

    options = config.data.init_args.dataset.init_args
    if "manifest" not in options:
        raise UsageError("clean=true cleans the scans of a table: use a data set with a manifest, or set clean=false.")
    folder = config.out / "curation"
    curate([Path(options.manifest)], out=folder, hash=config.clean_hash, threshold=config.clean_threshold)
    options.manifest = str(folder / "cleaned.csv")


def _train(made: Namespace) -> GatedSystem:
    """Train, with a bar that counts experts."""
    with progress(len(made.low) + len(made.high), "experts") as step:
        return train_gated_system(
            made.data,
            low=made.low,
            high=made.high,
            out=made.out,
            seed=made.seed,
            fusion=made.fusion,
            trainer_options=made.trainer,
            on_expert=step,
        )


def _report(system: GatedSystem, made: Namespace) -> None:
    """Print and write what the ensemble does on the test part, as a whole and side by side."""
    from covidct.cli.evaluation import evaluate, write_evaluation
    from covidct.report import classification_table

    data: BaseDataModule = made.data
    line, low, high = system.split.threshold, system.split.low, system.split.high
    results().print(f"gate: {system.split.measure} contrast {line:.4f}; training subjects: {low} low, {high} high")
    for name, weights in system.weights.items():
        if len(weights) > 1:
            results().print(f"{name} contrast: experts weigh {', '.join(f'{weight:.2f}' for weight in weights)}")
    found: dict[str, TriageReport] = {}
    for side, title in _PARTS:
        part = data if side is None else data.on_side(side)
        if not part.records("test"):
            note(f"covidct: there is no test scan of {title}.")
            continue
        out: Path = made.out if side is None else made.out / side
        report, cohort = evaluate(
            system.task, part.test_dataloader(), run=_record(system, made), resamples=made.resamples
        )
        write_evaluation(report, cohort, out, title=f"Gated ensemble: {title}")
        found[title] = report
        results().print(f"\n{title}: {report.cases} scans of {report.subjects} subjects", markup=False)
        results().print(classification_table(report.confusion, report.class_names), markup=False, highlight=False)
    _summary(found)
    results().print(f"{made.out / 'ensemble.ckpt'}, {made.out / 'report.html'}", markup=False, soft_wrap=True)


def _summary(found: dict[str, TriageReport]) -> None:
    """One line a side, with intervals."""
    from covidct.report.score_board import SHOWN

    columns = ("scans", "count", *(title for _, _, title in SHOWN))
    table = make_table("Test part, 95 % intervals over subjects", *columns)
    for title, report in found.items():
        cells = [score_cell(report.scores[metric][scope]) for metric, scope, _ in SHOWN]
        table.add_row(title, str(report.cases), *cells)
    results().print(table)


def _record(system: GatedSystem, made: Namespace) -> dict[str, Any]:
    """What made the report; no path, no name."""
    import covidct
    from covidct.weights import sha256_file

    preprocessing = system.task.preprocessing
    return {
        "covidct": covidct.__version__,
        "task": type(system.task).__name__,
        "checkpoint_sha256": sha256_file(made.out / "ensemble.ckpt"),
        "preprocessing": None if preprocessing is None else preprocessing.to_dict(),
        "gate": system.split.to_dict(),
        "experts": {side: [_name(one) for one in cast("list[Expert]", made[side])] for side in ("low", "high")},
        "fusion_weights": {side: list(weights) for side, weights in system.weights.items()},
        "fusion": made.fusion,
    }


def _name(expert: Expert) -> str:
    """The expert's network."""
    return type(expert.task.model).__name__
