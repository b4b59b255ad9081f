"""A page read with the standard library's parser: structure, addresses and text, checked while reading."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

VOID = {"meta", "img", "input", "br", "hr", "link"}


@dataclass
class Element:
    """One element: its tag, its attributes and all text inside."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)


class Page(HTMLParser):
    """Parsed page; unbalanced tags are an error."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(self.source)
        self.close()
        assert not self._open, [element.tag for element in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, names)
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        script = bool(self._open) and self._open[-1].tag == "script"  # nobody reads it
        for element in self._open[-1:] if script else self._open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Elements of a tag whose attributes have these values (a class matches any of several)."""
        return [
            element
            for element in self.elements
            if element.tag == tag
            and all(
                value in element.attributes.get(name.rstrip("_").replace("_", "-"), "").split()
                if name == "class_"
                else element.attributes.get(name.rstrip("_").replace("_", "-")) == value
                for name, value in attributes.items()
            )
        ]

    @property
    def text(self) -> str:
        """Everything a reader sees, white space folded."""
        return " ".join(self.all("body")[0].text.split())
