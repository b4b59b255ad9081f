"""Projections of chest X-rays, as tables call them: only frontal ones show both lungs side by side."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from covidct.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covidct.datasets.table import Row

__all__ = ("frontal_rows", "is_frontal")

_log = logging.getLogger(__name__)

_FRONTAL = {"ap", "pa", "frontal", "anteroposterior", "posteroanterior"}
"""Words of frontal views: DICOM PS3.3 C.8.7.1.1 (View Position), and the tables of public collections, which add
the posture (``AP Supine``, ``Portable AP``)."""
_OTHER = {"lateral", "lat", "ll", "rl", "oblique"}
"""Words that no frontal view has, whatever else is said (``PA and lateral``: two views in one image)."""
_UNKNOWN = {"unknown", "nan", "none", "na"}


def is_frontal(view: str) -> bool:
    """Whether a view is frontal; one of which nothing is known counts as frontal.

    Args:
        view: such as ``"PA"``, ``"AP Supine"``, ``"lateral"``, ``"LL"``; letters of either case.
    """
    joined = re.sub(r"(?<=antero)[-_ ]+|(?<=postero)[-_ ]+", "", view.lower())
    words = set(re.findall(r"[a-z]+", joined))
    return words <= _UNKNOWN or (bool(words & _FRONTAL) and not words & _OTHER)


def frontal_rows(rows: Sequence[Row], *, table: str, exclude: bool) -> tuple[Row, ...]:
    """The rows of a table whose view is frontal or unknown.

    Args:
        rows: of the table.
        table: its name, for messages.
        exclude: leave the others out, with a warning, and do not refuse them.

    Raises:
        ManifestError: for a view that is not frontal, unless ``exclude``; when no row is left.
    """
    others = [row for row in rows if not is_frontal(row.view)]
    if not others:
        return tuple(rows)
    fault = f"The manifest {table} has {len(others)} views that are not frontal, first in row {others[0].number}"
    if not exclude:
        raise ManifestError(
            f"{fault} ({others[0].view}): take lateral views out, or leave them out with other_views='exclude'."
        )
    kept = tuple(row for row in rows if is_frontal(row.view))
    if not kept:
        raise ManifestError(f"{fault}, and no other ones: list frontal chest X-rays.")
    _log.warning("%s: they are left out.", fault)
    return kept
