"""``covidct list``: what is there, read from stub files, docstrings and cards, so that nothing is imported."""

from __future__ import annotations

import ast
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from covidct.cards import dataset_cards, model_cards
from covidct.cli.command import run_function
from covidct.cli.console import make_table, print_json, results
from covidct.weights import backbone_weights, published_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from covidct.cards import DatasetCard, ModelCard

__all__ = ("catalogue", "config_folder", "details", "list_parts", "run", "trainer_presets")

Topic = Literal["models", "tasks", "datasets", "configs", "trainers", "weights"]
_TOPICS: tuple[Topic, ...] = ("models", "tasks", "datasets", "configs", "trainers", "weights")
_PACKAGE = Path(__file__).parents[1]


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(list_parts, argv, verb=verb)


def list_parts(
    topic: Literal["models", "tasks", "datasets", "configs", "trainers", "weights", "all"] = "all",
    *,
    json: bool = False,
) -> int:
    """List models, tasks, datasets, configs, trainers and published weights with one line about each.

    Args:
        topic: what to list.
        json: print JSON instead of tables, with the cards of models and datasets, and the addresses of weights.

    Returns:
        0.
    """
    topics = _TOPICS if topic == "all" else (topic,)
    if json:
        print_json({name: details(name) for name in topics})
        return 0
    console = results()
    for name in topics:
        table = make_table(name, "name", "what it is")
        for entry, text in catalogue(name).items():
            table.add_row(entry, text)
        console.print(table)
    return 0


def catalogue(topic: Topic) -> dict[str, str]:
    """Names of a topic, each with its one-line description.

    Args:
        topic: ``"models"``, ``"tasks"``, ``"datasets"`` (public classes of the sub-package), ``"configs"`` (paths),
            ``"trainers"`` (names that ``--trainer=`` takes) or ``"weights"`` (names that ``weights=`` takes; those of
            torchvision with their network).
    """
    if topic == "trainers":
        return {name: _first_comment(path) for name, path in trainer_presets().items()}
    if topic == "configs":
        return {str(path): _first_comment(path) for path in sorted(config_folder().glob("*.yaml"))}
    if topic == "weights":
        return {name: entry["summary"] for name, entry in _weights().items()}
    found = dict(sorted(_public_classes(_PACKAGE / topic)))
    parts = _parts(topic)
    return found if parts is None else {name: line for name, line in found.items() if name in parts}


def details(topic: Topic) -> dict[str, dict[str, Any]]:
    """Names of a topic, each with all that is known of it, as plain data.

    Args:
        topic: as in :func:`catalogue`.

    Returns:
        Name to ``summary``, of models and datasets also ``card`` (None where a class is part of no architecture), of
        weights also their address, sha256, licence and so on.
    """
    if topic == "weights":
        return _weights()
    cards: Mapping[str, Mapping[str, Any]] = {}
    if topic == "models":
        cards = _by_class(model_cards())
    elif topic == "datasets":
        cards = _by_class(dataset_cards())
    found: dict[str, dict[str, Any]] = {name: {"summary": line} for name, line in catalogue(topic).items()}
    if cards:
        for name, entry in found.items():
            entry["card"] = cards.get(name)
    return found


def _parts(topic: Topic) -> set[str] | None:
    """Tasks and data sets that are ready to use, as the cards name them, without what they are built of; else None."""
    if topic == "tasks":
        return {card.task for card in model_cards().values() if card.task}
    if topic == "datasets":
        return {name for card in dataset_cards().values() for name in card.classes}
    return None


def _by_class(cards: Mapping[str, ModelCard] | Mapping[str, DatasetCard]) -> dict[str, dict[str, Any]]:
    """Class to the card it belongs to, as plain data."""
    return {name: asdict(card) for card in cards.values() for name in card.classes}


def _weights() -> dict[str, dict[str, Any]]:
    """Published weights, and those of torchvision that configurations name, as plain data."""
    ours = {name: asdict(one) | {"file_name": one.file_name} for name, one in published_weights().items()}
    torchvisions = {
        f"{one.name} of {one.backbone}": {"summary": f"ImageNet, torchvision, {one.url}", **asdict(one)}
        for one in backbone_weights()
    }
    return ours | torchvisions


def config_folder() -> Path:
    """Folder of the shipped configs: ``covidct/configs`` in a wheel, ``examples/configs`` in a source tree."""
    shipped = _PACKAGE / "configs"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "examples" / "configs"


def trainer_presets() -> dict[str, Path]:
    """Name of each shipped trainer, with hyphens, to its file of arguments of the trainer."""
    return {path.stem.replace("_", "-"): path for path in sorted((config_folder() / "trainer").glob("*.yaml"))}


def _public_classes(package: Path) -> Iterator[tuple[str, str]]:
    """Classes that a sub-package's stub exports, with the first line of their docstrings."""
    stub = package / "__init__.pyi"
    if not stub.is_file():
        return
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        source = package.joinpath(*node.module.split(".")).with_suffix(".py")
        classes = {
            item.name: ast.get_docstring(item) or ""
            for item in ast.parse(source.read_text(encoding="utf-8")).body
            if isinstance(item, ast.ClassDef)
        }
        for alias in node.names:
            if alias.name in classes:
                yield alias.name, classes[alias.name].partition("\n\n")[0].replace("\n", " ")


def _first_comment(path: Path) -> str:
    """The comment on the first line of a YAML file."""
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()
