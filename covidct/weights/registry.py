"""Weights that are published: what they are, where they lie, and how to tell that they are the right bytes."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from covidct.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("BackboneWeights", "PublishedWeights", "backbone_weights", "published_weights")

_FILE = Path(__file__).with_name("registry.toml")
_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SUFFIXES = (".ckpt", ".safetensors", ".pth", ".pt")


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """A file of weights of the library.

    Attributes:
        name: what ``weights=`` takes.
        summary: one line about them.
        url: https address of the file.
        mirrors: further addresses of the same bytes, in the order of trying.
        sha256: 64 hex digits, of the file.
        size: of the file, bytes.
        licence: SPDX name of what they are published under.
        input: what the network takes, in words: modality, shape, unit or range.
        classes: names of the outputs, index = label; empty where there are none.
        card: stem of the architecture's card (:mod:`covidct.cards`), which says what it is for.
    """

    name: str
    summary: str
    url: str
    mirrors: tuple[str, ...]
    sha256: str
    size: int
    licence: str
    input: str
    classes: tuple[str, ...]
    card: str

    @property
    def file_name(self) -> str:
        """Name of the file in the cache: another one whenever the bytes are others."""
        return f"{self.name}-{self.sha256[:16]}{_suffix(self.url)}"


@dataclass(frozen=True, slots=True)
class BackboneWeights:
    """ImageNet weights of torchvision that the library's networks begin with.

    Attributes:
        backbone: torchvision's name of the network.
        name: what ``weights=`` takes.
        url: https address; the file name holds the first digits of its sha256.
        licence: as far as torchvision says.
    """

    backbone: str
    name: str
    url: str
    licence: str


def published_weights() -> Mapping[str, PublishedWeights]:
    """The library's published weights by name; none before the first release.

    Raises:
        WeightsError: when the registry is damaged; names the entry and the field.
    """
    return _read(_FILE)[0]


def backbone_weights() -> tuple[BackboneWeights, ...]:
    """Weights of torchvision that shipped configurations and studies name; any other of its names works too."""
    return _read(_FILE)[1]


@cache
def _read(file: Path) -> tuple[Mapping[str, PublishedWeights], tuple[BackboneWeights, ...]]:
    """Both tables of a registry."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
        found = {name: _entry(name, table) for name, table in tables.get("weights", {}).items()}
        licence = tables["torchvision"]["licence"]
        return found, tuple(BackboneWeights(licence=licence, **table) for table in tables["torchvision"]["files"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"The registry of weights {file.name} is damaged ({error}): install covidct anew."
        ) from error


def _entry(name: str, table: Mapping[str, Any]) -> PublishedWeights:
    """One table of the registry, checked.

    Raises:
        ValueError: names the field.
    """
    wanted = {field.name for field in fields(PublishedWeights)} - {"name"}
    if odd := wanted ^ table.keys():
        raise ValueError(f"{name} lacks or must not have {', '.join(sorted(odd))}")
    lists = {key: tuple(value) for key, value in table.items() if isinstance(value, list)}
    entry = PublishedWeights(**{"name": name, **table, **lists})
    wrong = [
        field
        for field, right in (
            ("name", _NAME.fullmatch(name)),
            ("url", _suffix(entry.url) in _SUFFIXES),
            ("sha256", _SHA256.fullmatch(entry.sha256)),
            ("size", entry.size > 0),
        )
        if not right
    ]
    if wrong:
        raise ValueError(f"{wrong[0]} of {name} is {getattr(entry, wrong[0])!r}")
    return entry


def _suffix(url: str) -> str:
    return PurePosixPath(urlsplit(url).path).suffix
