"""Natural order of names, and numbers in sentences."""

from __future__ import annotations

from covidct.io.names import counted, natural_key


def test_natural_order() -> None:
    names = ["s10", "S9", "s1", "a2", "a10b", "a10", "a²3", "³"]
    assert sorted(names, key=natural_key) == ["a2", "a10", "a10b", "a²3", "s1", "S9", "s10", "³"]


def test_counted() -> None:
    assert [counted(n, "slice is", "slices are") for n in (0, 1, 2)] == ["0 slices are", "1 slice is", "2 slices are"]
