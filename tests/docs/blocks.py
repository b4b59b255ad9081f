"""Code blocks of the printed pages: README and everything below docs."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts))

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`\n]*)\n(?P<code>.*?)^(?P=indent)(?P=fence)`*\s*$", re.M | re.S
)
_FILE = re.compile(r"^`([\w-]+\.(?:py|yaml))`[^\n]*:\n\n\Z", re.M)
_WRITTEN = re.compile(r"%%writefile ([\w-]+\.(?:py|yaml))\n(.*)", re.S)
_INLINE = re.compile(r"(?<![`}])`([^`\n]+)`(?!`)")
_OPTIONS = re.compile(r"\A(---\n.*?^---\n|(:[^\n]*\n)+)", re.M | re.S)
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        place: file and line, for messages.
        language: first word behind the fence; of cells of a notebook ``"python"``, or what their magic says.
        code: what stands in it, without the indentation of its list, and of a cell without its options and magics.
    """

    place: str
    language: str
    code: str


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page in some languages."""
    return [block for block in blocks_of(page.read_text(encoding="utf-8"), page.name) if block.language in languages]


def blocks_of(text: str, name: str) -> Iterator[Block]:
    """All blocks of a text."""
    for found in _FENCE.finditer(text):
        place = f"{name}:{text.count(chr(10), 0, found.start()) + 1}"
        word = (found["info"].split() or [""])[0]
        code = textwrap.dedent(found["code"])
        if word == "{code-cell}":
            yield from _cell(place, _OPTIONS.sub("", code))
        else:
            yield Block(place, word, code)


def _cell(place: str, code: str) -> Iterator[Block]:
    """What a cell of a notebook holds: Python, commands behind exclamation marks, or what its magic says."""
    first, _, rest = code.partition("\n")
    if first.startswith("%%"):
        magic, *words = first.removeprefix("%%").split()
        yield Block(place, words[-1].rpartition(".")[2] if magic == "writefile" else magic, rest)
        return
    lines = code.replace("\\\n", " ").splitlines(keepends=True) if "!" in code else code.splitlines(keepends=True)
    shell = "".join(line.removeprefix("!") for line in lines if line.startswith("!"))
    yield Block(place, "python", "".join(line for line in lines if not line.startswith(("%", "!"))))
    if shell:
        yield Block(place, "bash", shell)


def files(page: Path) -> dict[str, str]:
    """Files that a page prints.

    Blocks behind a line that begins with a name in backticks and ends with a colon, and cells of ``%%writefile``.
    """
    text = page.read_text(encoding="utf-8")
    found = {}
    for block in _FENCE.finditer(text):
        named = _FILE.search(text[: block.start()])
        if named:
            found[named[1]] = block["code"]
        elif written := _WRITTEN.match(_OPTIONS.sub("", block["code"])):
            found[written[1]] = written[2]
    return found


def inline_code(page: Path) -> list[str]:
    """What stands between single backticks in the text of a page, beside its blocks and roles."""
    return _INLINE.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def commands(block: Block) -> Iterator[str]:
    """The commands of a block for a shell, a line each: continued lines joined, prompts and comments gone.

    Of a block ``console`` the lines with a prompt alone: the others are what a command prints.
    """
    for line in block.code.replace("\\\n", " ").splitlines():
        command = line.removeprefix("$ ")
        if block.language == "console" and command == line:
            continue
        command = _COMMENT.sub("", command).strip()
        if command:
            yield command
