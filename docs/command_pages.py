"""Reference pages of the command line and of the configurations, in their own words.

``<!-- commands -->`` in a page becomes the help of every command, ``<!-- configs -->`` the table of the configurations,
``<!-- trainers -->`` those of the trainers in full. Texts are put in before the page is parsed, so that nothing
generated is kept.
"""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from covidct.cards import model_cards
from covidct.cli.list import catalogue, config_folder, trainer_presets
from covidct.cli.main import VERBS, run
from covidct.cli.study import STUDIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sphinx.application import Sphinx

_ALIKE = {"validate": "fit", "test": "fit", "predict": "fit"}
"""Commands whose options are those of another, but for a few."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _on_source_read)
    return {"parallel_read_safe": True}


def _on_source_read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the generated text into a page."""
    for mark, make in _MADE.items():
        if mark in source[0]:
            source[0] = source[0].replace(mark, "\n".join(make()))
            app.env.note_reread()  # the help comes from any file of the package


def commands() -> Iterator[str]:
    """A section for each command, a part of it for each study."""
    yield from _block(help_of())
    for verb, (_, what) in VERBS.items():
        yield from (f"## covidct {verb}", "", f"For: {what}.", "")
        if verb in _ALIKE:
            other = _ALIKE[verb]
            yield f"Takes what [covidct {other}](#covidct-{other}) takes, but for:\n"
            known = set(options(help_of(other)))
            yield from _block("\n".join(one for one in options(help_of(verb)) if one not in known) or "nothing")
        else:
            yield from _block(help_of(verb))
        if verb == "study":
            for name in STUDIES:
                yield from (f"### covidct study {name}", "", *_block(help_of(verb, name)))


def configs() -> Iterator[str]:
    """A table of the configurations, each with the architecture on whose page it stands in full."""
    pages = {name: f"[{card.title}](models/{stem}.md)" for stem, card in model_cards().items() for name in card.configs}
    yield from ("| configuration | what it trains | in full |", "|---|---|---|")
    for path, what in catalogue("configs").items():
        name = Path(path).name
        yield f"| `{name}` | {what} | {pages[name]} |"


def trainers() -> Iterator[str]:
    """Every trainer in full."""
    for name, path in trainer_presets().items():
        yield from _yaml(name, f"trainer/{path.name}")


def help_of(*words: str) -> str:
    """What a command prints for ``--help``, as narrow as a page."""
    text = io.StringIO()
    with patch.dict(os.environ, {"COLUMNS": "84", "NO_COLOR": "1"}), redirect_stdout(text):
        run([*words, "--help"])
    return text.getvalue().replace("\b", "")  # jsonargparse joins an option to its flags by it


def options(text: str) -> list[str]:
    """What a help says of each option."""
    return [one.partition("\n\n")[0].rstrip() for one in re.split(r"(?m)^(?=  -)", text)[1:]]


def _block(text: str) -> list[str]:
    return ["```text", text.rstrip(), "```", ""]


def _yaml(title: str, name: str) -> list[str]:
    text = (config_folder() / name).read_text(encoding="utf-8")
    return [f"### {title}", "", f"```yaml\n{text}```", ""]


_MADE: Mapping[str, Callable[[], Iterator[str]]] = {
    "<!-- commands -->": commands,
    "<!-- configs -->": configs,
    "<!-- trainers -->": trainers,
}
