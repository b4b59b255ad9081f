"""``write_curation_page`` and its JSON and CSV: slices out of place, between their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE
from covidct.report.pages import write_page
from covidct.report.pictures import shrunk
from covidct.report.tables import write_csv, write_json
from covidct.report.words import facts

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from covidct.curation import CleanedScan, Unreadable
    from covidct.curation.cleaning import Neighbourhood

__all__ = ("write_curation_csv", "write_curation_json", "write_curation_page")

_SIDE = 224
_SHOWN_ROWS = 200


@dataclass(frozen=True, slots=True)
class _Removed:
    """A removed slice on the page: data URIs of the slice before, itself and the slice after."""

    scan: str
    index: int
    before: int
    after: int
    images: Sequence[tuple[str, str, int, int]]


def write_curation_page(
    scans: Sequence[CleanedScan],
    path: str | os.PathLike[str],
    *,
    unreadable: Sequence[Unreadable] = (),
    title: str = "Slice order",
    shown: int = 100,
    run: Mapping[str, Any] | None = None,
) -> None:
    """Write one HTML page: each removed slice between its neighbours, then a table of the scans.

    Args:
        scans: from :func:`covidct.curation.clean_scans`.
        path: the HTML file to write.
        unreadable: entries that could not be read.
        title: headline.
        shown: removed slices that are shown with pictures.
        run: what was run.
    """
    pictured = ((scan, near) for scan in scans for near in scan.pictures)
    removed = [_removed(scan, near) for scan, near in islice(pictured, shown)]
    touched = [scan for scan in scans if scan.order.removed]
    write_page(
        "curation.html",
        path,
        title=title,
        scans=[(scan.id, *_numbers(scan)) for scan in touched[:_SHOWN_ROWS]],
        counts={
            "scans": len(scans),
            "slices": sum(len(scan.order.kept) + len(scan.order.removed) for scan in scans),
            "touched": len(touched),
            "removed": sum(len(scan.order.removed) for scan in scans),
        },
        removed=removed,
        threshold=scans[0].order.threshold if scans else 0,
        failed=[(item.entry.id, item.public_reason) for item in unreadable[:_SHOWN_ROWS]],
        failures=len(unreadable),
        facts=facts(run or {}),
    )


def write_curation_json(
    scans: Sequence[CleanedScan],
    path: str | os.PathLike[str],
    *,
    unreadable: Sequence[Unreadable] = (),
    run: Mapping[str, Any] | None = None,
) -> None:
    """Write the slices removed, and the distances of all, by scan.

    Args:
        scans: from :func:`covidct.curation.clean_scans`.
        path: the file to write.
        unreadable: entries that could not be read.
        run: what was run.
    """
    record = {
        "kind": "covidct.slice_order",
        "version": 1,
        "research_use": RESEARCH_USE,
        "scans": [{"id": scan.id, **scan.order.to_dict()} for scan in scans],
        "unreadable": [{"id": item.entry.id, "reason": item.public_reason} for item in unreadable],
        "run": run or {},
    }
    write_json(record, path)


def write_curation_csv(scans: Sequence[CleanedScan], path: str | os.PathLike[str]) -> None:
    """Write one row per removed slice: id, slice, distance_before, distance_after, hash, threshold, research_use.

    Args:
        scans: from :func:`covidct.curation.clean_scans`.
        path: the file to write.
    """
    rows = [
        {
            "id": scan.id,
            "slice": one.index,
            "distance_before": one.before,
            "distance_after": one.after,
            "hash": scan.order.kind,
            "threshold": scan.order.threshold,
            "research_use": RESEARCH_USE,
        }
        for scan in scans
        for one in scan.order.removed
    ]
    columns = ["id", "slice", "distance_before", "distance_after", "hash", "threshold", "research_use"]
    write_csv(rows, path, columns=columns)


def _numbers(scan: CleanedScan) -> tuple[int, int, str]:
    """Slices, how many are removed, and which."""
    gone = [one.index for one in scan.order.removed]
    return len(scan.order.kept) + len(gone), len(gone), ", ".join(map(str, gone))


def _removed(scan: CleanedScan, near: Neighbourhood) -> _Removed:
    before, here, after = near.indices
    one = next(one for one in scan.order.removed if one.index == here)
    titles = (f"slice {before}", f"slice {here}, removed", f"slice {after}")
    planes = (near.before, near.slice, near.after)
    images = [(title, *shrunk(plane, _SIDE)) for title, plane in zip(titles, planes, strict=True)]
    return _Removed(scan.id, one.index, one.before, one.after, images)
