"""Commands of the printed pages: the parsers take them, with every option and value; nothing is run."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from functools import cache
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from covidct.cli import command, run
from covidct.cli.main import VERBS
from covidct.errors import UsageError
from tests.docs.blocks import PAGES, ROOT, Block, blocks, commands, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONFIGS = ROOT / "examples" / "configs"
STAND_INS = {"run.yaml": "masked_gap_resnet.yaml", "mine.yaml": "trainer/cpu.yaml"}
"""Configurations of the reader that pages name, and what stands for them here."""
SHELLS = ("bash", "console", "")


def calls_of(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Program and arguments of each command of a block that is the project's own business."""
    for line in commands(block):
        for part in re.split(r"\s(?:&&|\|\||\||;)\s", line):
            words = list(takewhile(lambda word: word not in (">", ">>", "2>"), shlex.split(part)))
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            if words[:1] in (["srun"], ["torchrun"], ["python"]) and "covidct" in words:
                words = words[words.index("covidct") :]
            if words:
                yield words[0], words[1:]


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[list[str]], int]:
    """The command line with everything behind the parsers taken out, in a folder with the shipped configurations."""
    shutil.copytree(CONFIGS, tmp_path / "examples" / "configs")
    for name, stand_in in STAND_INS.items():
        shutil.copy(CONFIGS / stand_in, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as `python -m covidct` has the current folder

    def parsed(function: Callable[..., int], argv: list[str], *, verb: str, variadic: Any = None) -> int:  # noqa: ANN401
        command.parse_arguments(function, argv, verb=verb, variadic=variadic)
        return 0

    for module in {module for module, _ in VERBS.values()}:
        monkeypatch.setattr(import_module(f"covidct.cli.{module}"), "run_function", parsed, raising=False)
    return run


def without_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Lightning's commands and ``ensemble`` end behind their parsers."""
    from covidct.cli import ensemble, train

    def leave(*_: object) -> NoReturn:
        raise SystemExit(0)

    monkeypatch.setattr(train.TaskCLI, "before_instantiate_classes", leave)  # the first thing behind the parser
    monkeypatch.setattr(ensemble, "check_out_folder", leave)  # as well


@cache
def extras() -> set[str]:
    """Names of the optional dependencies."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return set(tables["project"]["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_right(
    page: Path,
    parse_only: Callable[[list[str]], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    without_running(monkeypatch)
    for name, code in files(page).items():
        Path(name).write_text(code, encoding="utf-8")
    for block in blocks(page, *SHELLS):
        for program, arguments in calls_of(block):
            place = f"{block.place}: {program} {' '.join(arguments)}"
            if program == "covidct":
                assert parse_only(arguments) == 0, f"{place}\n{capsys.readouterr().err}"
            elif program == "python":
                assert arguments[0].startswith("-") or (ROOT / arguments[0]).is_file(), place
            elif program == "pip":
                wanted = re.findall(r"(?:covidct|\.)\[([\w,]+)\]", " ".join(arguments))
                assert {name for group in wanted for name in group.split(",")} <= extras(), place


@pytest.mark.parametrize(
    "line",
    [
        "covidct triag scans/",
        "covidct triage scans/ --checkpoint a.ckpt --outt out",
        "covidct triage scans/ --checkpoint a.ckpt --out out --on-fault mend",
        "covidct fit -c masked_gap_resnet.yaml --data.init_args.dataset.init_args.manifests=cohort.csv",
        "covidct fit -c masked_gap_resnet.yaml --trainer.max_epochz=3",
        "covidct ensemble -c gated_system.yaml --outt ensemble/",
        "srun covidct fit -c no.yaml",
    ],
)
def test_a_fault_is_seen(line: str, parse_only: Callable[[list[str]], int], monkeypatch: pytest.MonkeyPatch) -> None:
    without_running(monkeypatch)
    ((_, arguments),) = calls_of(Block("page.md:1", "bash", line))
    assert parse_only(arguments) == 2


def test_arguments_that_do_not_fit_a_function_are_refused() -> None:
    def function(*, scans: int = 3) -> int:
        return scans

    assert command.parse_arguments(function, ["--scans=4"], verb="x") == {"scans": 4}
    with pytest.raises(UsageError, match="scan"):
        command.parse_arguments(function, ["--scanz=4"], verb="x")
