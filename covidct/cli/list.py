"""``covidct list``: what is there, read from the stub files and docstrings, so that nothing is imported."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from covidct.cli.command import run_function
from covidct.cli.console import make_table, print_json, results

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ("catalogue", "config_folder", "list_parts", "run", "trainer_presets")

Topic = Literal["models", "tasks", "datasets", "configs", "trainers"]
_TOPICS: tuple[Topic, ...] = ("models", "tasks", "datasets", "configs", "trainers")
_PACKAGE = Path(__file__).parents[1]


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(list_parts, argv, verb=verb)


def list_parts(
    topic: Literal["models", "tasks", "datasets", "configs", "trainers", "all"] = "all", *, json: bool = False
) -> int:
    """List models, tasks, datasets, configs and trainers with one line about each.

    Args:
        topic: what to list.
        json: print JSON instead of tables.

    Returns:
        0.
    """
    topics = _TOPICS if topic == "all" else (topic,)
    found = {name: catalogue(name) for name in topics}
    if json:
        print_json(found)
        return 0
    console = results()
    for name, entries in found.items():
        table = make_table(name, "name", "what it is")
        for entry, text in entries.items():
            table.add_row(entry, text)
        console.print(table)
    return 0


def catalogue(topic: Topic) -> dict[str, str]:
    """Names of a topic, each with its one-line description.

    Args:
        topic: ``"models"``, ``"tasks"``, ``"datasets"`` (public classes of the sub-package), ``"configs"`` (paths) or
            ``"trainers"`` (names that ``--trainer=`` takes).
    """
    if topic == "trainers":
        return {name: _first_comment(path) for name, path in trainer_presets().items()}
    if topic == "configs":
        return {str(path): _first_comment(path) for path in sorted(config_folder().glob("*.yaml"))}
    return dict(sorted(_public_classes(_PACKAGE / topic)))


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
