"""From a template and its data to one HTML file that needs nothing else."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote

from covidct import RESEARCH_USE, __version__
from covidct.atomic import atomic_write_text
from covidct.report import words

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ("CONTENT_POLICY", "local_link", "write_page")

CONTENT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content security policy of every page: no request, and no script but those of this package, which a page that has any
names by their SHA-256; pictures and style stand in the page itself."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # HTML has no place for them


def write_page(
    template: str, path: str | os.PathLike[str], /, *, scripts: Sequence[str] = (), **context: object
) -> None:
    """Render a template of this package and write it in one piece.

    Every value is escaped where it is printed, whatever a scan or a file calls itself.

    Args:
        template: name in ``covidct/report/templates``.
        path: the HTML file to write.
        scripts: names of scripts in the same folder, which run at the end of the page.
        context: what the template shows.
    """
    run = [_script(name) for name in scripts]
    hashes = [f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in run]
    policy = f"{CONTENT_POLICY}; script-src {' '.join(hashes)}" if hashes else CONTENT_POLICY
    text = _environment().get_template(template).render(context | {"scripts": run, "content_policy": policy})
    atomic_write_text(path, _tidy(_CONTROL.sub("", text)))


def _tidy(text: str) -> str:
    """Without empty lines."""
    return "\n".join(line for line in text.split("\n") if line.strip()) + "\n"


@cache
def _script(name: str) -> Markup:
    """A script as it stands between its tags; a browser hashes every character of it."""
    from markupsafe import Markup

    environment = _environment()
    source, _, _ = environment.loader.get_source(environment, name)  # type: ignore[union-attr]
    return Markup("\n" + _tidy(_CONTROL.sub("", source)))  # noqa: S704 - a file of this package


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
    environment.globals.update(research_use=RESEARCH_USE, release=__version__, zip=zip, METRICS=words.METRICS)
    environment.tests["nested"] = lambda name: words.NESTED in name
    environment.filters.update(
        figure=words.figure,
        percent=words.percent,
        interval=words.interval,
        mask_words=words.mask_words,
        span_percent=words.span_percent,
        value=words.value,
        p_value=words.p_value,
        seconds=words.seconds,
        class_title=words.class_title,
        scope_title=words.scope_title,
        metric_title=words.metric_title,
    )
    return environment
