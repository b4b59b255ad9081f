"""Which compressed DICOM files this installation reads, and what would read the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covidct.errors import CodecError

if TYPE_CHECKING:
    from covidct.io.dicom_slices import Slice

__all__ = ("NATIVE", "decoders", "missing_codec", "plugin_for", "require_codec")

NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"})
"""Uncompressed, little endian: implicit and explicit VR."""
_PYDICOM_NATIVE = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})  # deflated, big endian
_CODECS = {
    "1.2.840.10008.1.2.4.50": ("pillow", "gdcm"),  # JPEG baseline
    "1.2.840.10008.1.2.4.51": ("gdcm", "pillow"),  # JPEG extended, 12 bit
    "1.2.840.10008.1.2.4.57": ("gdcm",),  # JPEG lossless, any selection value
    "1.2.840.10008.1.2.4.70": ("gdcm",),  # JPEG lossless, selection value 1
    "1.2.840.10008.1.2.4.80": ("pyjpegls", "gdcm"),  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": ("pyjpegls", "gdcm"),  # JPEG-LS near lossless
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "gdcm"),  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "gdcm"),  # JPEG 2000
    "1.2.840.10008.1.2.4.201": ("pylibjpeg",),  # high-throughput JPEG 2000 lossless
    "1.2.840.10008.1.2.4.202": ("pylibjpeg",),
    "1.2.840.10008.1.2.4.203": ("pylibjpeg",),
    "1.2.840.10008.1.2.5": ("pydicom",),  # RLE; pylibjpeg-rle is faster, but panics on damaged data
}
"""Decoders by transfer syntax, in the order in which they are asked; all under MIT, BSD or HPND licences."""


def decoders() -> dict[str, tuple[str, ...]]:
    """Decoders of each compressed transfer syntax, in the order in which they are asked.

    Returns:
        Name of the transfer syntax (PS3.6) to the names of its installed decoders; an empty tuple where nothing decodes
        it.
    """
    from pydicom.uid import UID

    return {UID(syntax).name: _installed(syntax) for syntax in _CODECS}


def plugin_for(syntax: str) -> str | None:
    """Name of the decoder to ask; None for uncompressed pixels, and where nothing decodes them."""
    return next(iter(_installed(syntax)), None)


def _installed(syntax: str) -> tuple[str, ...]:
    from pydicom.pixels import get_decoder

    wanted = _CODECS.get(syntax, ())
    installed = set(get_decoder(syntax).available_plugins) if wanted else set()
    return tuple(name for name in wanted if name in installed)


def missing_codec(slice_: Slice) -> str | None:
    """Say which transfer syntax no installed decoder reads, and what can; None when one does."""
    syntax = str(slice_.values.get("transfer_syntax", ""))
    if syntax in NATIVE or syntax in _PYDICOM_NATIVE:
        return None
    from pydicom.uid import UID

    if syntax in _CODECS:
        if plugin_for(syntax):
            return None
        packages = {"gdcm": "python-gdcm", "pylibjpeg": "pylibjpeg-openjpeg"}
        needed = " or ".join(packages.get(name, name) for name in _CODECS[syntax])
        return f"compressed as {UID(syntax).name} ({syntax}): install {needed} to read it"
    name = UID(syntax).name if syntax else "an unnamed way"
    return (
        f"stored as {name} ({syntax or 'no transfer syntax'}), which no decoder here reads: convert it to an "
        "uncompressed file with gdcmconv --raw or dcmdjpeg, and read that"
    )


def require_codec(slice_: Slice) -> None:
    """Refuse a transfer syntax that no installed decoder reads.

    Raises:
        CodecError: names the syntax and what can decode it.
    """
    missing = missing_codec(slice_)
    if missing:
        raise CodecError(f"The file {slice_.name} is {missing}.")
