"""Dispatch of the verbs, before anything heavy is imported, and the one place that turns errors into exit codes."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from covidct import RESEARCH_USE, __version__
from covidct.cli.console import error, note
from covidct.errors import CovidctError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ("EXIT_INTERNAL", "EXIT_INTERRUPTED", "VERBS", "run")

VERBS: Mapping[str, tuple[str, str]] = {
    "demo": ("demo", "phantoms, lung masks, training, test and report.html: everything once, in minutes, on a CPU"),
    "inspect": ("inspect", "what is in a file, folder or zip: series, geometry, what is odd; decodes no pixels"),
    "curate": ("curate", "slices that stand where they do not belong; writes a table without them, deletes nothing"),
    "audit": ("audit", "leakage: subjects and pictures in two splits, contradicting labels, shortcuts"),
    "eda": ("eda", "know a cohort before training on it: counts, mean images, contrast, shortcuts, sizes, times"),
    "otdd": ("otdd", "distances of data sets by optimal transport: what to pre-train on, do classes stay together"),
    "segment": ("segment", "the lung mask of a CT scan, written on the scan's own grid"),
    "triage": ("triage", "apply a checkpoint to scans: probabilities, slice scores, JSON, CSV and pages"),
    "fit": ("train", "train a task on a data module (YAML configs)"),
    "ensemble": ("ensemble", "the gated dual-contrast ensemble from one config: clean, gate, experts, fusion, report"),
    "validate": ("train", "one pass over the validation part"),
    "test": ("train", "metrics of the test part, with --out as a report with confidence intervals"),
    "predict": ("train", "predictions.csv of a checkpoint for a data module"),
    "study": ("study", "a published comparison as one command: train the variants, test, and compare beside the paper"),
    "export": ("export", "the network of a checkpoint as pt2, ONNX, MONAI bundle or safetensors, checked"),
    "convert": ("convert", "a trained file of COVID-CT-Mask-Net's author as a checkpoint for segment and triage"),
    "list": ("list", "models, tasks, datasets, configs, trainers and published weights"),
    "doctor": ("doctor", "check the installation: versions, devices, decoders, cache, speed"),
}
"""Verb to (module of this package, what it does)."""

EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

EXIT_INTERNAL = 70
"""A fault of covidct itself (``EX_SOFTWARE`` of sysexits.h), so that scripts can tell it from refused input (3)."""


def run(argv: Sequence[str]) -> int:
    """Run one command.

    Args:
        argv: arguments without the program name. ``--debug`` may stand anywhere.

    Returns:
        0 all done; 1 some inputs failed; 2 wrong usage; 3 the only input, or all, refused; 70 an error inside
        covidct; 130 interrupted.
    """
    debug = "--debug" in argv
    arguments = [argument for argument in argv if argument != "--debug"]
    try:
        with _quiet_process(debug=debug):
            return _dispatch(arguments)
    except (Exception, KeyboardInterrupt) as problem:
        if debug and not isinstance(problem, KeyboardInterrupt):
            import traceback

            traceback.print_exc()
        return _explain(problem)
    except SystemExit as leaving:  # parsers leave this way after --help
        return leaving.code if isinstance(leaving.code, int) else 2 if leaving.code else 0


def _dispatch(arguments: Sequence[str]) -> int:
    """Find the verb and hand over."""
    if not arguments or arguments[0] in ("--help", "-h"):
        print(_help())
        return 0 if arguments else 2
    verb, *rest = arguments
    if verb == "--version":
        print(f"covidct {__version__}")
        return 0
    if verb not in VERBS:
        error(f"there is no command {verb!r}{_nearest(verb)}; the commands are {', '.join(VERBS)}.")
        return 2
    module = import_module(f"covidct.cli.{VERBS[verb][0]}")
    code: int = module.run(verb, rest)
    return code


def _explain(problem: BaseException) -> int:
    """Print one sentence about an error and choose the exit code."""
    if isinstance(problem, KeyboardInterrupt):
        note("covidct: stopped by the user.")
        return EXIT_INTERRUPTED
    if isinstance(problem, CovidctError):
        error(str(problem))
        return problem.exit_code
    if isinstance(problem, BrokenPipeError):  # the reader of the output (head, less) has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(problem, OSError):
        place = f"{problem.filename}: " if problem.filename else ""
        error(f"{place}{problem.strerror or problem}.")
        return 3
    if isinstance(problem, MemoryError):
        error("there is not enough memory for this input: use a machine with more, or a smaller scan.")
        return 3
    error(f"covidct itself failed with {type(problem).__name__}: {problem} (add --debug for the traceback to report).")
    return EXIT_INTERNAL


def _help() -> str:
    """The text of ``covidct --help``."""
    width = max(map(len, VERBS)) + 2
    return "\n".join(
        [
            "usage: covidct [--version] [--help] COMMAND ... [--debug]",
            "",
            f"Published systems for COVID-19 and pneumonia in chest CT and chest X-ray. {RESEARCH_USE}",
            "",
            "commands:",
            *(f"  {verb:<{width}}{text}" for verb, (_, text) in VERBS.items()),
            "",
            "'covidct COMMAND --help' lists the options of a command; --debug shows the traceback of an error.",
            "Exit codes: 0 all done, 1 some inputs failed, 2 wrong usage, 3 all input refused, 70 internal error.",
        ]
    )


def _nearest(verb: str) -> str:
    """A guess what a misspelt command was meant to be."""
    from difflib import get_close_matches

    close = get_close_matches(verb, VERBS, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


@contextmanager
def _quiet_process(*, debug: bool) -> Iterator[None]:
    """Keep the noise of third parties (warnings, Lightning's tips) from the user's terminal, in this process only."""
    if debug:
        yield
        return
    names = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "pydicom", "nibabel", "py.warnings")
    before = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
