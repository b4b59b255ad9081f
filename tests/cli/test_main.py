"""Dispatch, exit codes, one-sentence errors, and what is loaded for them."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import covidct
from covidct.__main__ import main
from covidct.cli import main as dispatch
from covidct.errors import CovidctError, InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

HEAVY = ("torch", "pytorch_lightning", "monai", "torchvision", "SimpleITK", "pandas", "matplotlib", "scipy", "cv2")


class Verb:
    """Stands in for the module of a verb."""

    def __init__(self, outcome: BaseException | int) -> None:
        self.outcome = outcome
        self.calls: list[tuple[str, list[str]]] = []

    def run(self, verb: str, argv: Sequence[str]) -> int:
        self.calls.append((verb, list(argv)))
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def outcome_of(monkeypatch: pytest.MonkeyPatch, outcome: BaseException | int, *arguments: str) -> tuple[int, Verb]:
    verb = Verb(outcome)

    def load(_: str) -> ModuleType | Verb:
        return verb

    monkeypatch.setattr(dispatch, "import_module", load)
    return main(["inspect", *arguments]), verb


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list", "--json"], ["inspect", "--help"]])
def test_the_light_verbs_load_nothing_heavy(arguments: list[str]) -> None:
    code = (
        f"import sys\nfrom covidct.__main__ import main\nassert main({arguments!r}) == 0\n"
        f"loaded = [m for m in {HEAVY!r} if m in sys.modules]\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_module_and_version() -> None:
    done = subprocess.run([sys.executable, "-m", "covidct", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"covidct {covidct.__version__}"


def test_help_names_every_verb_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in dispatch.VERBS)
    assert covidct.RESEARCH_USE in text
    assert "Exit codes" in text


def test_no_arguments_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: covidct" in capsys.readouterr().out


def test_arguments_come_from_the_process_when_none_are_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["covidct", "--version"])
    assert main() == 0
    assert covidct.__version__ in capsys.readouterr().out


def test_a_misspelt_verb_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspekt", "x"]) == 2
    assert "did you mean 'inspect'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("outcome", "code", "words"),
    [
        (UsageError("Wrong option."), 2, "Wrong option."),
        (InputError("Not a scan."), 3, "Not a scan."),
        (CovidctError("Two\nlines."), 3, "Two lines."),
        (KeyboardInterrupt(), 130, "stopped"),
        (PermissionError(13, "Permission denied", "out.nrrd"), 3, "out.nrrd: Permission denied."),
        (MemoryError(), 3, "not enough memory"),
        (ZeroDivisionError("division by zero"), 70, "ZeroDivisionError"),
    ],
)
def test_every_error_is_one_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: BaseException,
    code: int,
    words: str,
) -> None:
    assert outcome_of(monkeypatch, outcome, "x")[0] == code
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert captured.out == ""


def test_debug_shows_the_traceback_and_may_stand_anywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, verb = outcome_of(monkeypatch, InputError("Not a scan."), "--debug", "x")
    assert code == 3
    assert verb.calls == [("inspect", ["x"])]
    assert "Traceback" in capsys.readouterr().err


def test_codes_of_verbs_and_parsers_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome_of(monkeypatch, 1, "x")[0] == 1
    assert outcome_of(monkeypatch, SystemExit(0), "x")[0] == 0
    assert outcome_of(monkeypatch, SystemExit("text"), "x")[0] == 2


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m covidct list --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)  # noqa: S607
    assert done.stderr == ""


@pytest.mark.parametrize("seed", range(40))
def test_arguments_out_of_the_blue_are_never_an_internal_error(
    seed: int, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(seed)  # noqa: S311
    words = ["--json", "--config", "--", "-", "", "\x00", "é", "{", "[1", "a: b", "--x=1", "nan", "--topic", "=", "all"]
    verb = rng.choice(["list", "inspect", "doctor", "segment", "lst"])
    argv = [verb, *(rng.choice(words) for _ in range(rng.randint(1, 4)))]
    code = main(argv)
    captured = capsys.readouterr()
    assert code in (0, 1, 2, 3), argv
    assert "Traceback" not in captured.err
    if code == 2:
        assert captured.err.count("\n") == 1, argv
