"""Any result as plain JSON data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from os import PathLike, fspath
from typing import Any

import numpy as np

__all__ = ("plain",)


def plain(value: object) -> Any:  # noqa: ANN401 - JSON data has no narrower type
    """Turn tuples, mappings, dataclasses, numpy values and paths into str, int, float, bool, list, dict, None.

    Args:
        value: what a result or a run record holds.

    Returns:
        Data that ``json.dumps(..., allow_nan=False)`` takes: NaN and infinity become None, everything unknown its
        ``str``.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    return fspath(value) if isinstance(value, PathLike) else str(value)
