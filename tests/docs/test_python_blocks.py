"""Python of the printed pages is Python, and what it takes of covidct is there, with those arguments."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.docs.blocks import PAGES, ROOT, Block, blocks, inline_code

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUBPACKAGES = {path.parent.name for path in (ROOT / "covidct").glob("*/__init__.py")}
SUFFIXES = {"csv", "html", "json", "md", "py", "yaml"}


def faults(block: Block) -> list[str]:
    """What is wrong with a block."""
    try:
        tree = ast.parse(block.code)
    except SyntaxError as error:
        return [f"{block.place}: {error}"]
    names: dict[str, Any] = {}
    found = []
    for node in ast.walk(tree):
        try:
            names.update(imported(node))
        except (ImportError, AttributeError) as error:
            found.append(f"{block.place}: {error}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (fault := misfit(node, names)):
            found.append(f"{block.place}: {fault}")
    return found


def imported(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Names of covidct that a statement brings in, and what they are."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.split(".")[0] == "covidct":
                module = import_module(alias.name)
                yield (alias.asname, module) if alias.asname else ("covidct", import_module("covidct"))
    elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "covidct":
        for alias in node.names:
            yield alias.asname or alias.name, getattr(import_module(str(node.module)), alias.name)


def misfit(call: ast.Call, names: dict[str, Any]) -> str:
    """Why the arguments of a call do not fit what is called; empty where they do, or it is not of covidct."""
    try:
        called = resolved(call.func, names)
        if called is None:
            return ""
        signature = inspect.signature(called)
    except (AttributeError, ValueError) as error:  # builtins of numpy and torch have no signature
        return str(error) if isinstance(error, AttributeError) else ""
    if any(isinstance(one, ast.Starred) for one in call.args):
        return ""
    keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
    bind = signature.bind_partial if any(k.arg is None for k in call.keywords) else signature.bind
    try:
        bind(*call.args, **keywords)
    except TypeError as error:
        return f"{ast.unparse(call.func)}: {error}"
    return ""


def resolved(node: ast.expr, names: dict[str, Any]) -> Any:  # noqa: ANN401
    """What a dotted name of covidct stands for; None for others."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolved(node.value, names)
        return None if owner is None else getattr(owner, node.attr)
    return None


def unknown(name: str) -> str:
    """Why a name such as ``models.UNet3d`` stands for nothing; empty where it does, or begins with no sub-package."""
    found = re.fullmatch(r"(?:covidct\.)?([a-z]+)((?:\.[A-Za-z_]\w*)+)(?:\(.*\))?", name)
    if found is None or found[1] not in SUBPACKAGES or found[2].rpartition(".")[2] in SUFFIXES:
        return ""
    thing: Any = import_module(f"covidct.{found[1]}")
    for part in found[2].removeprefix(".").split("."):
        if inspect.isclass(thing) and part in inspect.get_annotations(thing):  # an attribute that instances have
            return ""
        try:
            thing = getattr(thing, part)
        except AttributeError as error:
            return f"{name}: {error}"
    return ""


def class_faults(node: Any, place: str) -> Iterator[str]:  # noqa: ANN401
    """Classes of a configuration that do not exist, or do not take the arguments given there."""
    if isinstance(node, list):
        for item in node:
            yield from class_faults(item, place)
    if not isinstance(node, dict):
        return
    path = node.get("class_path")
    if isinstance(path, str) and path.startswith("covidct."):
        module, _, name = path.rpartition(".")
        try:
            known = inspect.signature(getattr(import_module(module), name)).parameters
        except (ImportError, AttributeError) as error:
            yield f"{place}: {error}"
        else:
            wrong = set(node.get("init_args") or {}) - set(known)
            yield from (f"{place}: {name} takes no {argument}" for argument in sorted(wrong))
    for value in node.values():
        yield from class_faults(value, place)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_is_right(page: Path) -> None:
    assert [fault for block in blocks(page, "python") for fault in faults(block)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_in_the_text_exist(page: Path) -> None:
    names = inline_code(page)
    if "file_format: mystnb" in page.read_text(encoding="utf-8"):  # where `phantom.volume` may be a variable's
        names = [name for name in names if name.startswith("covidct.")]
    assert [fault for name in names if (fault := unknown(name))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_yaml_names_classes_that_exist(page: Path) -> None:
    found = blocks(page, "yaml")
    assert [fault for block in found for fault in class_faults(yaml.safe_load(block.code), block.place)] == []


@pytest.mark.parametrize("name", ["functional.dilates", "covidct.nothing", "models.UNet3d.cicec()", "covidct.io.x.y"])
def test_a_name_that_is_not_there_is_seen(name: str) -> None:
    assert bool(unknown(name)) == (name != "covidct.nothing")


@pytest.mark.parametrize("name", ["functional.dilate", "models.UNet3d.cicek()", "report.json", "io.Raw", "a.b"])
def test_other_names_are_left_alone(name: str) -> None:
    assert unknown(name) == ("" if name != "io.Raw" else "io.Raw: No covidct.io attribute Raw")


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("a = (", "never closed"),
        ("from covidct.io import read_scans", "read_scans"),
        ("from covidct.nothing import x", "No module named"),
        ("import covidct.io as io\nio.read_scan('a', on_faults='warn')", "unexpected keyword argument 'on_faults'"),
        ("from covidct.io import read_scan\nread_scan('a', 'b')", "too many positional"),
        ("from covidct.io import read_scan\nread_scan()", "missing a required argument: 'path'"),
        ("from covidct.models import UNet3d\nUNet3d.cicec()", "cicec"),
        ("from covidct.io import read_scan\nread_scan(*a)\nread_scan('a', **b)\nother.thing(1)", ""),
    ],
)
def test_a_fault_is_seen(code: str, fault: str) -> None:
    found = faults(Block("page.md:1", "python", code))
    assert len(found) == bool(fault)
    assert fault in "".join(found)


def test_a_fault_of_a_configuration_is_seen() -> None:
    code = (
        "a: [{class_path: covidct.callbacks.Checkpoints, init_args: {save: 1}}, {class_path: covidct.callbacks.Nope}]"
    )
    found = list(class_faults(yaml.safe_load(code), "page.md:1"))
    assert len(found) == 2
    assert found[0] == "page.md:1: Checkpoints takes no save"
    assert "No" in found[1]
