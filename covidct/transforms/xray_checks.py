"""What is no chest X-ray is refused before anything is made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from covidct.errors import InputError, ModalityError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.volume import Image

__all__ = ("LEAST_PIXELS", "check_xray")

LEAST_PIXELS = 64
"""Pixels of the shorter side below which an X-ray is taken for a thumbnail (recommendation)."""

_OTHERS = {"CT": "CT", "MR": "MR", "PT": "PET", "NM": "scintigraphy", "US": "ultrasound"}  # DICOM PS3.3 C.7.3.1.1.1


def check_xray(image: Image, grey: NDArray[Any]) -> None:
    """Refuse what cannot be a chest X-ray.

    Args:
        image: as it was read; an image file tells no modality and is believed.
        grey: (H, W) of the image.

    Raises:
        ModalityError: for an image that says that it is of CT, MR, PET, scintigraphy or ultrasound.
        InputError: for one of fewer than 64 pixels along a side, and for one of a single value.
    """
    if image.modality in _OTHERS:
        raise ModalityError(
            f"The image is of {_OTHERS[image.modality]} ({image.modality}), not an X-ray: give it to a system for that "
            "modality."
        )
    height, width = grey.shape
    if min(height, width) < LEAST_PIXELS:
        raise InputError(
            f"The X-ray has {height} x {width} pixels, fewer than {LEAST_PIXELS} along a side: give the image in its "
            "own size, not a thumbnail."
        )
    if grey.min() == grey.max():
        raise InputError(
            f"All pixels of the X-ray have the value {float(grey.min()):.3g}, there is nothing to see: export it again."
        )
