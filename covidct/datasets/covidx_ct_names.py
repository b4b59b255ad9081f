"""File names of COVIDx CT, and of the same slices in COVID-CT-Mask-Net."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

__all__ = ("CLASSES", "cncb_name", "slice_key")

CLASSES = ("Normal", "CP", "NCP")
"""Index = class id of the split files, and of file names that begin with a number (COVIDNet-CT, docs; facts 0.2)."""

_CNCB = re.compile(r"(ncp|cp|normal|[012])_([^_]+)_([^_]+)_([^_]+)", re.IGNORECASE)
_WORDS = dict(zip("012", CLASSES, strict=True)) | {word.lower(): word for word in CLASSES}


def cncb_name(stem: str) -> tuple[str, str, str, str] | None:
    """Class word, patient, scan and slice of an image of CNCB.

    Args:
        stem: ``NCP_96_1328_0032``, or ``2_96_1328_0032`` as COVID-CT-Mask-Net writes the same slice.

    Returns:
        None for the name of another collection.
    """
    match = _CNCB.fullmatch(stem)
    return (_WORDS[match[1].lower()], match[2], match[3], match[4]) if match else None


def slice_key(name: str) -> str:
    """The same for all names of a slice; the file name itself for images of other collections.

    Args:
        name: of the file, without folders.
    """
    found = cncb_name(PurePosixPath(name).stem)
    return "_".join(found) if found else name
