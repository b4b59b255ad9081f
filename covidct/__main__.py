"""``python -m covidct`` and the command ``covidct``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; see :func:`covidct.cli.main.run` for the exit codes.

    Args:
        argv: arguments without the program name; None takes them from ``sys.argv``.

    Returns:
        The exit code.
    """
    from covidct.cli.main import run

    return run(sys.argv[1:] if argv is None else list(argv))


if __name__ == "__main__":
    sys.exit(main())
