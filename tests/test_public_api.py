"""What a user may import: lazy, complete, sorted, documented."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import covidct

ROOT = Path(__file__).parents[1]
SUBPACKAGES = sorted(path.parent.name for path in (ROOT / "covidct").glob("*/__init__.py"))
HEAVY = ("monai", "pytorch_lightning", "torch", "torchvision", "SimpleITK", "matplotlib", "wandb", "pandas")


def modules_after(code: str) -> set[str]:
    """Heavy modules that a fresh interpreter has loaded after ``code``."""
    report = f"import sys\n{code}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_version_is_the_distributions() -> None:
    assert covidct.__version__ == version("covidct")


def test_import_loads_nothing_heavy() -> None:
    assert modules_after("import covidct; dir(covidct)") == set()


def test_subpackages_list_their_names_without_loading_anything_heavy() -> None:
    lines = "\n".join(f"import covidct.{name}; covidct.{name}.__all__" for name in SUBPACKAGES)
    assert modules_after(lines) == set()


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    package = import_module(f"covidct.{name}")
    assert list(package.__all__) == sorted(package.__all__)
    for public in package.__all__:
        thing = getattr(package, public)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert (thing.__doc__ or "").strip(), f"covidct.{name}.{public} has no docstring"


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError):
        _ = covidct.nothing
