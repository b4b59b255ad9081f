"""Typed functions as commands."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from covidct.cli.command import run_function
from covidct.errors import UsageError

SEEN: list[object] = []
PAIRS: list[tuple[float, float]] = []


def example(
    inputs: list[Path],
    *,
    out: Path,
    fault: Literal["error", "warn"] = "error",
    count: int = 3,
    again_now: bool = False,
    show_all: bool = True,
    grey_range: tuple[float, float] = (0.0, 1.0),
) -> int:
    """Do an example.

    Args:
        inputs: what to read.
        out: where to write.
        fault: what to do.
        count: how often.
        again_now: once more.
        show_all: show all; --no-show-all does not.
        grey_range: low and high.
    """
    PAIRS[:] = [grey_range]
    SEEN[:] = [inputs, out, fault, count, again_now]
    return 1


def call(*argv: str) -> list[object]:
    assert run_function(example, argv, verb="example", variadic={"inputs": Path}) == 1
    return SEEN


def test_values_get_their_types() -> None:
    assert call("a", "b", "--out=c", "--count", "7") == [[Path("a"), Path("b")], Path("c"), "error", 7, False]


@pytest.mark.parametrize("flag", ["--again-now", "--again_now"])
def test_hyphens_and_underscores_are_the_same(flag: str) -> None:
    assert call("a-b", flag, "--out", "my-out")[1:] == [Path("my-out"), "error", 3, True]


def test_yaml_gives_the_same_and_the_command_line_wins(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("inputs: [u, v]\nout: k\ncount: 5\nfault: warn\nagain_now: true\n")
    assert call("--config", str(config)) == [[Path("u"), Path("v")], Path("k"), "warn", 5, True]
    assert call("--config", str(config), "--count=6")[3] == 6


@pytest.mark.parametrize(
    "argv",
    [
        ["--out=o"],
        ["a"],
        ["a", "--out=o", "--count=many"],
        ["a", "--out=o", "--fault=ignore"],
        ["a", "--out=o", "--typo=1"],
        ["a", "--out=o", "--config=nowhere.yaml"],
        ["a", "--out"],
        ["a", "--out=o", "--count=[1,"],
    ],
)
def test_wrong_arguments_are_one_sentence(argv: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        call(*argv)
    assert "\n" not in str(caught.value)
    assert "covidct example --help" in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2", "typo: 1", "count: many", "\x00", "inputs: 3"])
def test_wrong_yaml_is_one_sentence(tmp_path: Path, text: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(text)
    with pytest.raises(UsageError) as caught:
        call("a", "--out=o", "--config", str(config))
    assert "\n" not in str(caught.value)


def test_help_tells_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "Do an example." in text
    assert "how often" in text
    assert "--no-show-all" in text
    assert "--again_now" not in text
    assert "--again-now" in text
    assert "--grey-range LOW HIGH" in text


@pytest.mark.parametrize(
    "argv",
    [
        ["--grey-range", "-1000", "4e2"],
        ["--grey_range=-1000,400"],
        ["--grey-range", "-1000,400"],
        ["--grey-range", "[-1000, 400]"],
        ["--grey-range=(-1000 400)"],
    ],
)
def test_a_pair_of_numbers_in_any_form(argv: list[str]) -> None:
    call("a", "--out=o", *argv, "--count=2")
    assert PAIRS == [(-1000.0, 400.0)]
    assert SEEN[3] == 2


@pytest.mark.parametrize(
    "argv", [["--grey-range", "5"], ["--grey-range"], ["--grey-range", "1,2,3"], ["--grey-range=x,y"]]
)
def test_what_is_no_pair_is_one_sentence(argv: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        call("a", "--out=o", *argv)
    assert "\n" not in str(caught.value)
    assert "grey" in str(caught.value)


def test_yaml_gives_a_pair(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("grey_range: [-1000, 400]\n")
    call("a", "--out=o", "--config", str(tmp_path / "c.yaml"))
    assert PAIRS == [(-1000.0, 400.0)]
