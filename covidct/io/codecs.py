"""``decoders``: which compressed DICOM files this installation reads."""

from __future__ import annotations

from covidct.io import dicom_pixels

__all__ = ("decoders",)


def decoders() -> dict[str, tuple[str, ...]]:
    """Decoders of each compressed transfer syntax, in the order in which they are asked.

    Returns:
        Name of the transfer syntax (PS3.6) to the names of its installed decoders; an empty tuple where nothing decodes
        it.
    """
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    found = {}
    for syntax, wanted in dicom_pixels._CODECS.items():
        installed = set(get_decoder(UID(syntax)).available_plugins)
        found[UID(syntax).name] = tuple(name for name in wanted if name in installed)
    return found
