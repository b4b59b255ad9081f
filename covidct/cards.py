"""Cards of architectures and data sets: what each is, is for and is not for, as plain data beside its code.

``covidct/models/<stem>.toml`` and ``covidct/datasets/<stem>.toml`` are read here; nothing is imported for them.
``covidct list models --json`` and ``covidct list datasets --json`` print them, the reference pages are made of them.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from covidct.errors import CovidctError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = (
    "Count",
    "DatasetCard",
    "Figure",
    "Input",
    "ModelCard",
    "Parameters",
    "NetworkVariant",
    "dataset_cards",
    "model_cards",
)

_PACKAGE = Path(__file__).parent
_LINES = "layout"  # the field whose lines are kept

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Input:
    """What a network takes.

    Attributes:
        name: of the argument.
        shape: of an example whose results the reference page shows.
        axes: shape in letters.
        values: dtype, range and meaning.
    """

    name: str
    shape: tuple[int, ...]
    axes: str
    values: str


@dataclass(frozen=True, slots=True)
class NetworkVariant:
    """Arguments of the network that the reference page counts the parameters of.

    Attributes:
        label: what it is.
        arguments: plain arguments.
    """

    label: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parameters:
    """A number of parameters that is published, or was found from the published description, and what it is of.

    Attributes:
        label: what it is of.
        count: the number, or millions where it is published so.
        millions: whether ``count`` is in millions, with two decimals.
        arguments: of the network.
        part: submodule that it is of, "" for the whole network.
        left_out: parameters of the published network that ours does not have, such as its classifier.
        source: where it stands.
    """

    label: str
    count: float
    millions: bool
    arguments: Mapping[str, Any]
    part: str
    left_out: int
    source: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A published score, as it is printed.

    Attributes:
        quantity: of what.
        value: as printed.
        data: what it was found on.
        source: where it is printed.
    """

    quantity: str
    value: str
    data: str
    source: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """An architecture.

    Attributes:
        stem: name of its files.
        title: its name.
        network: name of the network in :mod:`covidct.models`.
        task: name of the LightningModule in :mod:`covidct.tasks`; "" where it has none of its own.
        classes: names in :mod:`covidct.models` that belong to it.
        paper: what it comes from.
        kind: what it decides, for the table of architectures.
        intended_use: what it is for.
        limits: what it is not for, and what is known to be weak.
        training_data: what the authors trained it on.
        recipe: the training in words.
        configs: names in ``examples/configs``.
        inputs: what it takes.
        variants: whose parameters are counted.
        parameters: published numbers of parameters.
        deviations: where the library leaves the publication, and why.
        published: scores of the authors.
        measured: pages of the reference with what was measured with the library, ``page.md#heading``, to what it is.
        licence: of this implementation, and of the authors' code.
        weights: trained weights that there are.
    """

    stem: str
    title: str
    network: str
    task: str
    classes: tuple[str, ...]
    paper: str
    kind: str
    intended_use: str
    limits: tuple[str, ...]
    training_data: str
    recipe: str
    configs: tuple[str, ...]
    inputs: tuple[Input, ...]
    variants: tuple[NetworkVariant, ...]
    parameters: tuple[Parameters, ...]
    deviations: tuple[str, ...]
    published: tuple[Figure, ...]
    measured: Mapping[str, str]
    licence: str
    weights: str


@dataclass(frozen=True, slots=True)
class Count:
    """A number of a data set, as it is published.

    Attributes:
        what: scans, slices, images, subjects, and which.
        number: how many.
        source: where it stands.
    """

    what: str
    number: int
    source: str


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """A data set.

    Attributes:
        stem: name of its file.
        title: its published name.
        classes: names in :mod:`covidct.datasets` that read it.
        kind: ``"published"``, ``"simulated"``, or ``"own"`` for what reads the user's data.
        publication: what to cite.
        modality: CT volumes, CT slices or X-rays, and their unit.
        layout: folders and files, as they are published.
        labels: what the classes are, and who gave them.
        annotations: masks, boxes and labels of slices.
        counts: how many there are.
        split: who goes where, and how subjects are known.
        licence: what its terms are, as far as known.
        faults: what is known to be wrong with it.
        use: what it serves here, and what not.
    """

    stem: str
    title: str
    classes: tuple[str, ...]
    kind: str
    publication: str
    modality: str
    layout: str
    labels: str
    annotations: str
    counts: tuple[Count, ...]
    split: str
    licence: str
    faults: tuple[str, ...]
    use: str


def model_cards() -> Mapping[str, ModelCard]:
    """Stem to card of each architecture.

    Raises:
        CovidctError: when a card is damaged; names it and the field.
    """
    parts = {"inputs": Input, "variants": NetworkVariant, "parameters": Parameters, "published": Figure}
    return {stem: _card(ModelCard, stem, table, parts) for stem, table in _tables("models").items()}


def dataset_cards() -> Mapping[str, DatasetCard]:
    """Stem to card of each data set.

    Raises:
        CovidctError: when a card is damaged; names it and the field.
    """
    return {stem: _card(DatasetCard, stem, table, {"counts": Count}) for stem, table in _tables("datasets").items()}


@cache
def _tables(folder: str) -> Mapping[str, Mapping[str, Any]]:
    """Stem to content of the cards of a sub-package."""
    found = {}
    for path in sorted((_PACKAGE / folder).glob("*.toml")):
        try:
            found[path.stem] = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CovidctError(f"The card {path.name} is damaged ({error}): install covidct anew.") from error
    return found


def _card(kind: type[Part], stem: str, table: Mapping[str, Any], parts: Mapping[str, type[Any]]) -> Part:
    """A card out of its table, whose tables are made of ``parts``."""
    inner = {
        name: tuple(_made(part, entry, f"{name} of {stem}.toml") for entry in table.get(name, ()))
        for name, part in parts.items()
    }
    return _made(kind, {"stem": stem, **table, **inner}, f"{stem}.toml")


def _made(kind: type[Part], table: Mapping[str, Any], place: str) -> Part:
    """A dataclass out of a table that has its fields and no others; lists become tuples, texts one line each."""
    if odd := {field.name for field in fields(kind)} ^ table.keys():  # type: ignore[arg-type]
        raise CovidctError(f"The card {place} is damaged (its {', '.join(sorted(odd))}): install covidct anew.")
    return kind(**{name: value.strip() if name == _LINES else _plain(value) for name, value in table.items()})


def _plain(value: Any) -> Any:  # noqa: ANN401
    """A value of TOML as the cards have it."""
    if isinstance(value, list):
        return tuple(_plain(one) for one in value)
    return " ".join(value.split()) if isinstance(value, str) else value
