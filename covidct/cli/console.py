"""What the command line shows: results on stdout, sentences on stderr, progress bars on a terminal."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

__all__ = ("error", "make_table", "note", "placed", "print_json", "progress", "research_use", "results")

_PLAIN_WIDTH = 160  # columns where stdout is a file or a pipe, so that tables are not folded at rich's 80


def results() -> Console:
    """The console for results, on stdout as it is now."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def note(text: str) -> None:
    """Say something that is not a result, on stderr, word for word."""
    print(" ".join(text.split()), file=sys.stderr, flush=True)


def error(text: str) -> None:
    """Say what went wrong: one line on stderr."""
    note(f"covidct: error: {text}")


def placed(sentence: str, path: Path) -> str:
    """A sentence about an input that says which one, unless it does already."""
    return sentence if str(path) in sentence else f"{path}: {sentence}"


def research_use() -> None:
    """Say what the output may be used for."""
    results().print(RESEARCH_USE, style="italic", markup=False)


def print_json(record: Any) -> None:  # noqa: ANN401  any JSON value
    """Print JSON to stdout; values JSON does not know (NaN) become null."""
    from covidct.report.plain import plain

    print(json.dumps(plain(record), indent=2, ensure_ascii=False, allow_nan=False))


def make_table(title: str, *columns: str) -> Table:
    """Build an empty table whose cells fold rather than lose text."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


@contextmanager
def progress(total: int, text: str) -> Iterator[Callable[[str], None]]:
    """Show a progress bar on a terminal, one line a step elsewhere.

    Args:
        total: number of steps.
        text: what is being done.

    Yields:
        A function to call after each step with a word about it.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        done = 0

        def step(what: str) -> None:
            nonlocal done
            done += 1
            note(f"{text} {done}/{total} {what}")

        yield step
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(text, total=total, what="")
        yield lambda what: bars.update(task, advance=1, what=what)
