"""Which series of an input makes a volume, and whether it is CT at all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from covidct.errors import GeometryError, InputError
from covidct.io.dicom_series import Fault

if TYPE_CHECKING:
    from covidct.io.dicom_series import Series

__all__ = ("check_modality", "choose_series")

_KINDS = {
    "CR": "a projection X-ray", "DX": "a projection X-ray", "MR": "a magnetic resonance scan", "OT": "an image",
    "PT": "a PET scan", "RTDOSE": "a radiotherapy dose", "SC": "a screen capture", "SEG": "a segmentation",
    "SR": "a report",
}  # fmt: skip


def choose_series(found: list[Series], uid: str | None) -> tuple[Series, list[Fault]]:
    """Pick the series that is asked for, or the only one that can be a volume.

    Args:
        found: all of an input, most slices first.
        uid: SeriesInstanceUID, or None.

    Returns:
        The series, and what is to be said about the choice.

    Raises:
        InputError: when there is no series of this UID.
        GeometryError: when several could be meant.
    """
    if uid is not None:
        matching = [s for s in found if s.uid == uid]
        if not matching:
            listed = "; ".join(s.describe() for s in found[:10])
            raise InputError(f"There is no series {uid} here, there are: {listed}.")
        return matching[0], []
    images = [s for s in found if s.has_pixels]
    if not images:
        return found[0], []
    volumes = [s for s in images if len(s.slices) >= 3 and not all(x.is_localizer for x in s.slices)]
    volumes = [s for s in volumes if s.modality in ("CT", "")] or volumes
    if len(volumes) == 1 and len(images) > 1:
        listed = "; ".join(s.kind for s in images if s is not volumes[0])
        message = f"other series that make no CT volume were left out: {listed}"
        return volumes[0], [Fault("other_series", message, harmless="recorded")]
    if len(images) == 1:
        return images[0], []
    candidates = volumes or images
    listed = "; ".join(s.describe() for s in candidates[:10])
    more = f" and {len(candidates) - 10} more" if len(candidates) > 10 else ""
    raise GeometryError(
        f"There are {len(candidates)} series (several_series): {listed}{more}; choose one with series=UID.",
        (Fault("several_series", f"there are {len(candidates)} series: {listed}{more}").finding("error"),),
    )


def check_modality(series: Series) -> None:
    """Note in a series that it is none of CT, first of all its faults."""
    colour = all(s.is_colour for s in series.slices)
    if series.modality not in ("CT", "") or not series.has_pixels or colour:
        fault = Fault("not_ct", _not_ct_sentence(series))
        hopeless = colour or not series.has_pixels
        series.faults.insert(0, replace(fault, warn=None) if hopeless else fault)


def _not_ct_sentence(series: Series) -> str:
    if not series.has_pixels:
        what = (
            f"{_KINDS.get(series.modality, 'a DICOM object')} ({series.modality or 'no modality'}) without image pixels"
        )
    elif all(s.is_colour for s in series.slices):
        what = "a colour image"
    else:
        what = f"{_KINDS.get(series.modality, 'an image')} of modality {series.modality}"
    return f"This is {what}, not a CT scan"
