"""``reading``: few lines for many scans, the last at the end."""

from __future__ import annotations

import pytest

from covidct.cli.reading import reading


@pytest.mark.parametrize("total", [0, 1, 49, 50, 51, 777])
@pytest.mark.parametrize(("what", "words"), [("", "reading, part"), ("set", "reading set, part")])
def test_at_most_fifty_lines_and_the_last_at_the_end(
    total: int, what: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with reading(total, what) as on_scan:
        for number in range(total):
            on_scan(str(number))
    lines = capsys.readouterr().err.splitlines()
    steps = min(total, 50)
    assert len(lines) == steps
    assert all(line.startswith(f"{words} {k}/{steps} up to ") for k, line in enumerate(lines, start=1))
    assert not total or lines[-1].endswith(f"up to {total - 1}")
