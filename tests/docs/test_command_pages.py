"""The pages of commands and configurations hold all of them, in their own words."""

from __future__ import annotations

import re
from functools import cache

import pytest

from covidct.cli.list import config_folder
from covidct.cli.main import VERBS
from covidct.cli.study import STUDIES
from tests.docs.modules import docs_module


@cache
def made(part: str) -> str:
    return "\n".join(getattr(docs_module("command_pages"), part)())


@pytest.mark.parametrize("command", [*VERBS, *(f"study {name}" for name in STUDIES)])
def test_every_command_has_its_help(command: str) -> None:
    text = re.split(r"\n#{2,3} ", made("commands").partition(f"# covidct {command}\n")[2])[0]
    assert "usage: covidct" in text or "Takes what [covidct fit]" in text


def test_what_a_command_has_beside_those_of_fit_is_told() -> None:
    text = made("commands").partition("## covidct test\n")[2].partition("\n## ")[0]
    assert "--out OUT" in text
    assert "--ckpt_path" in text  # goes on there, is applied here
    assert "--trainer.max_epochs" not in text


def test_every_configuration_is_there() -> None:
    for path in config_folder().glob("*.yaml"):
        assert f"| `{path.name}` |" in made("configs")
    for path in (config_folder() / "trainer").glob("*.yaml"):
        assert path.read_text() in made("trainers")


def test_what_a_configuration_is_stands_on_its_first_line_as_a_sentence() -> None:
    for path in [*config_folder().glob("*.yaml"), *(config_folder() / "trainer").glob("*.yaml")]:
        assert path.read_text().splitlines()[0].endswith("."), path.name
