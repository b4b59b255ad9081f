"""Docstrings of what a user may import: arguments are told, arrays have a shape, published parts a source."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SUBPACKAGES = sorted(path.parent.name for path in (ROOT / "covidct").glob("*/__init__.py"))
PUBLISHED = ("layers", "losses", "models", "tasks")
"""What stands in these comes from a publication, or says that it does not."""
NOTHING_PUBLISHED = (
    "layers.evaluation",
    "models.LesionMap",
    "models.SliceDetections",
    "tasks.load_task",
    "tasks.save_task",
)
"""Modes, files and plain results: nothing to have a source."""
TOLD_BY_SUBCLASSES = ("datamodules.BaseDataModule",)
"""Abstract: nobody calls the constructor but the subclasses, each of which tells the arguments that it passes on."""
ARRAY = re.compile(r"\b(Tensor|NDArray)\b")
SHAPE = re.compile(
    r"\(\w+(, \w+)+\)|\([^()]*\b[A-Z\d][^()]*\)"  # (h, w), (B, C, D, H, W)
    r"|\(\w*,\)|\(\)|[Ss]calar|any shape|of a (batch|slice|volume|class)"
    r"|\b[Ss]ame shape[\w, ]* as \S|\bshape (and \w+ )?of \S|\w's shape\b"
    r"|\b[Nn]ames? to tensors|\b[Aa]s (\w+ )?:(meth|func|class):"
)
SOURCE = re.compile(
    r"\b(19[5-9]\d|20[0-3]\d)\b|\b([Ss]ections?|[Ee]quations?|[Aa]ppendix|[Ff]igures?|[Tt]ables?|eq\.) [A-Z\d(]"
    r"|reference code|published code|recommendation|of our own|our choice"
    r"|``(torch|torchvision|monai|segmentation_models_pytorch)\.[\w.]+``",
)


def public() -> Iterator[tuple[str, Any, Any]]:
    """Name, the thing and the function whose arguments it takes; methods too, but for those that a base class tells."""
    for sub in SUBPACKAGES:
        package = import_module(f"covidct.{sub}")
        for name in package.__all__:
            thing = getattr(package, name)
            if inspect.isfunction(thing):
                yield f"{sub}.{name}", thing, thing
            elif inspect.isclass(thing) and thing.__module__.startswith("covidct"):
                yield f"{sub}.{name}", thing, thing.__init__
                yield from methods(f"{sub}.{name}", thing)


def methods(name: str, kind: type) -> Iterator[tuple[str, Any, Any]]:
    """Public methods that are the class's own."""
    for method, found in vars(kind).items():
        function = found.__func__ if isinstance(found, classmethod | staticmethod) else found
        inherited = any(method in vars(base) for base in kind.__mro__[1:])
        if inspect.isfunction(function) and not method.startswith("_") and (not inherited or method == "forward"):
            yield f"{name}.{method}", function, function


def sections(thing: Any, function: Any) -> tuple[str, dict[str, str]]:  # noqa: ANN401
    """The text of a docstring, that of the constructor included, and its sections."""
    text = ""
    found: dict[str, str] = {}
    for one in dict.fromkeys((thing, function)):
        parts = re.split(r"(?m)^(Args|Returns|Yields|Attributes|Raises):\n", inspect.cleandoc(one.__doc__ or ""))
        text += parts[0] + "\n"
        found |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return text, found


def described(name: str, section: str) -> str | None:
    """What a section says of one of its entries."""
    found = re.search(rf"(?ms)^    \*{{0,2}}{name}: (.*?)(?=^    \S|\Z)", section)
    return None if found is None else found[1]


NAMES = {name: (thing, function) for name, thing, function in public()}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TOLD_BY_SUBCLASSES])
def test_arguments_are_told_and_arrays_have_a_shape(name: str) -> None:
    thing, function = NAMES[name]
    text, found = sections(thing, function)
    section = found.get("Args", "") + "\n" + found.get("Attributes", "")
    for argument in inspect.signature(function).parameters.values():
        if argument.name in ("self", "cls", "args", "kwargs"):
            continue
        told = described(argument.name, section)
        if told is None:
            assert f"``{argument.name}``" in text, f"{argument.name} is not told"
        elif ARRAY.search(str(argument.annotation)):
            assert SHAPE.search(told), f"{argument.name} has no shape: {told}"


@pytest.mark.parametrize("name", [name for name, (thing, _) in NAMES.items() if inspect.isfunction(thing)])
def test_results_are_told_and_arrays_have_a_shape(name: str) -> None:
    thing, function = NAMES[name]
    text, found = sections(thing, function)
    told = found.get("Returns") or found.get("Yields") or text
    annotation = str(inspect.signature(function).return_annotation)
    assert told.strip()
    if annotation not in ("None", "inspect._empty", "Iterator[None]") and ("Args" in found or "\n\n" in text.strip()):
        assert "Returns" in found or "Yields" in found, "it gives something and has no section Returns"
    if ARRAY.search(annotation):
        assert SHAPE.search(told), f"the result has no shape: {told}"


@pytest.mark.parametrize(
    "name",
    [n for n in NAMES if n.split(".")[0] in PUBLISHED and n.count(".") == 1 and n not in NOTHING_PUBLISHED],
)
def test_published_parts_name_their_source(name: str) -> None:
    thing, _ = NAMES[name]
    told = f"{inspect.getdoc(thing)}\n{inspect.getdoc(inspect.getmodule(thing))}"
    assert SOURCE.search(told)
