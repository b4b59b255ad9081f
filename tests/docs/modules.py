"""Modules of the documentation, which are no package."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

from tests.docs.blocks import ROOT


@cache
def docs_module(name: str) -> Any:  # noqa: ANN401
    """A module of ``docs/``, such as ``card_pages``, which makes pages."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
