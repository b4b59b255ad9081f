"""Who may import whom: an ``ast`` walk over the package, no import of it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "covidct"
LEVELS = (
    {
        "__init__",
        "atomic",
        "cache_folder",
        "cards",
        "errors",
        "labels",
        "legacy_torch",
        "preprocessing",
        "result",
        "sample",
        "volume",
    },
    {"functional", "io", "weights"},
    {"layers", "losses", "metrics", "phantom", "transforms"},
    {"datasets", "models"},
    {"datamodules", "tasks"},
    {"curation", "explain"},
    {"inference", "report"},
    {"callbacks", "studies"},
    {"cli", "__main__"},
)
SAME_LEVEL_ALLOWED = {0, len(LEVELS) - 1}  # the contract's files and the command line
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
LIGHTNING = {"tasks", "datamodules", "callbacks", "studies", "inference", "cli"}
THIRD_PARTY = {
    "pytorch_lightning": LIGHTNING,
    "lightning": set(),
    "pydicom": {"io"},
    "highdicom": {"io"},
    "nibabel": {"io"},
    "PIL": {"io", "curation"},
    "pickle": set(),
}


def part_of(path: Path) -> str:
    """First-level name of a file: ``covidct/io/dicom.py`` -> ``io``, ``covidct/volume.py`` -> ``volume``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Dotted names that a file imports, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if node.module == "covidct":
                yield from ((node.lineno, f"covidct.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def faults(path: Path, source: str) -> list[str]:
    """Import rules that ``source``, standing at ``path``, breaks."""
    part = part_of(path)
    found = []
    for line, name in imports(ast.parse(source)):
        root, _, rest = name.partition(".")
        place = f"{path.relative_to(PACKAGE.parent)}:{line} imports {name}"
        if root == "covidct" and rest:
            other = rest.split(".")[0]
            if other not in LEVEL:  # a name such as __version__, from covidct/__init__.py
                continue
            same = LEVEL[other] == LEVEL[part] and LEVEL[part] not in SAME_LEVEL_ALLOWED
            if other != part and (LEVEL[other] > LEVEL[part] or same):
                found.append(f"{place}; {part} (level {LEVEL[part]}) may import only lower levels")
        elif root in THIRD_PARTY and part not in THIRD_PARTY[root]:
            found.append(f"{place}; {root} is allowed in {sorted(THIRD_PARTY[root]) or 'no part'} only")
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_part_has_a_level() -> None:
    assert {part_of(path) for path in FILES} <= set(LEVEL)


def test_imports_go_down_only() -> None:
    assert [fault for path in FILES for fault in faults(path, path.read_text(encoding="utf-8"))] == []


def test_torch_load_stands_in_weights_only() -> None:
    calls = [
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr == "load"
        and isinstance(node.value, ast.Name)
        and node.value.id == "torch"
    ]
    assert calls == ["weights/torch_files.py"]


def test_no_drawer_for_odds_and_ends() -> None:
    assert not {path.stem for path in PACKAGE.rglob("*")} & {"common", "helpers", "misc", "utils"}


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("models/x.py", "import covidct.datasets"),
        ("io/x.py", "from covidct import tasks"),
        ("models/x.py", "def f():\n    import pytorch_lightning"),
        ("datasets/x.py", "from PIL import Image"),
        ("functional/x.py", "from covidct.io import read_scan"),
    ],
)
def test_the_walk_sees_a_fault(file: str, source: str) -> None:
    assert len(faults(PACKAGE / file, source)) == 1
