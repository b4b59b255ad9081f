"""From a template and its data to one HTML file that needs nothing else."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from covidct import RESEARCH_USE, __version__
from covidct.atomic import atomic_write_text
from covidct.report import words

if TYPE_CHECKING:
    import os

    from jinja2 import Environment

__all__ = ("CONTENT_POLICY", "local_link", "write_page")

CONTENT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content security policy of every page: no script, no request; pictures and style stand in the page itself."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # HTML has no place for them


def write_page(template: str, path: str | os.PathLike[str], /, **context: object) -> None:
    """Render a template of this package and write it in one piece.

    Every value is escaped where it is printed, whatever a scan or a file calls itself.

    Args:
        template: name in ``covidct/report/templates``.
        path: the HTML file to write.
        context: what the template shows.
    """
    text = _CONTROL.sub("", _environment().get_template(template).render(context))
    atomic_write_text(path, "\n".join(line for line in text.split("\n") if line.strip()) + "\n")


def local_link(target: str) -> str:
    """A relative link that can leave neither the machine nor the folder's scheme (``javascript:``, ``//host``)."""
    return "./" + quote(target.lstrip("/"), safe="/")


@cache
def _environment() -> Environment:
    """Templates with autoescape everywhere; an unknown name is an error, not an empty place."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("covidct.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        research_use=RESEARCH_USE, release=__version__, zip=zip, content_policy=CONTENT_POLICY, METRICS=words.METRICS
    )
    environment.filters.update(
        figure=words.figure,
        percent=words.percent,
        interval=words.interval,
        mask_words=words.mask_words,
        span_percent=words.span_percent,
        p_value=words.p_value,
        seconds=words.seconds,
        class_title=words.class_title,
        scope_title=words.scope_title,
        metric_title=words.metric_title,
    )
    return environment
