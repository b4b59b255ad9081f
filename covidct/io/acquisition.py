"""Scanner, reconstruction kernel and month of a DICOM series, as far as its headers tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ("acquisition_of",)

_DATE = re.compile(r"(\d{4})\.?(0[1-9]|1[0-2])")  # DA and DT of DICOM PS3.5 6.2; ACR-NEMA parted dates by full stops

_EMPTY = frozenset({"", "none", "unknown", "n/a"})  # what converters write where they know nothing


def acquisition_of(headers: Iterable[Mapping[str, Any]]) -> tuple[str, str, str]:
    """Read how a series was made from the first of its slices that says so.

    A date of acquisition helps to identify a patient, so that nothing finer than its month leaves this function.

    Args:
        headers: elements by their names in :data:`covidct.io.dicom_header.ELEMENTS`, one mapping per slice.

    Returns:
        ConvolutionKernel (0018,1210), several kernels joined by ``+``; manufacturer (0008,0070) and model (0008,1090);
        year and month of AcquisitionDate (0008,0022), or AcquisitionDateTime (0008,002A), as ``"2020-03"``. What is
        unknown is empty.
    """
    slices = list(headers)

    def first(name: str) -> str:
        texts = (str(values.get(name, "")).strip() for values in slices)
        return next((text for text in texts if text.lower() not in _EMPTY), "")

    kernel = "+".join(part.strip() for part in first("kernel").split("\\") if part.strip())
    maker, model = first("manufacturer"), first("model")
    scanner = model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()
    date = _DATE.match(first("acquisition_date") or first("acquisition_time"))
    return kernel, scanner, "-".join(date.groups()) if date else ""
