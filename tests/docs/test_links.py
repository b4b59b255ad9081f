"""A link that leads nowhere ends the build of the documentation; files that the README names are there."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import ROOT

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "# Page\n\n## Part\n\n[part](#part), [other](other.md#its-part), {doc}`other`, [there](https://example.org)\n"
OTHER = "---\norphan: true\n---\n\n# Other\n\n## Its part\n"


def build(folder: Path, page: str) -> tuple[int, str]:
    """Exit code and messages of a build of two pages with the project's settings."""
    (folder / "source").mkdir()
    (folder / "source" / "index.md").write_text(page, encoding="utf-8")
    (folder / "source" / "other.md").write_text(OTHER, encoding="utf-8")
    options = ["-W", "--keep-going", "-q", "-b", "dummy", "-c", str(ROOT / "docs")]
    command = [sys.executable, "-m", "sphinx", *options, str(folder / "source"), str(folder / "built")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return done.returncode, done.stderr


def test_links_that_lead_nowhere_end_the_build_and_others_do_not(tmp_path: Path) -> None:
    wrong = ["[a](nowhere.md)", "[b](other.md#no-part)", "[c](#no-part)", "{doc}`none`", "{class}`covidct.io.Nothing`"]
    code, messages = build(tmp_path, GOOD + "\n" + "\n\n".join(wrong) + "\n")
    assert code != 0
    places = re.findall(r"index\.md:(\d+): WARNING", messages)
    assert len(places) == messages.count("WARNING") == len(wrong), messages
    assert min(map(int, places)) > GOOD.count("\n")


@pytest.mark.parametrize("name", ["README.md", ".github/SECURITY.md", "CHANGELOG.md"])
def test_files_that_top_level_pages_name_are_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    named = re.findall(r"`((?:docs|examples|covidct|tests)/[\w./-]+\.\w+)`", text)
    assert [path for path in [*linked, *named] if not (ROOT / path).exists()] == []
