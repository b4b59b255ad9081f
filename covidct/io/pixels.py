"""Pixels of PNG, JPEG and TIFF files as numbers in [0, 1], whatever their depth."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from covidct.errors import CovidctError, InputError
from covidct.io.limits import MAX_PIXELS
from covidct.volume import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ("Pixels", "full_scale", "image_size", "read_pixels")

_Picture: TypeAlias = Any  # PIL.ImageFile.ImageFile, of which the TIFF one has tag_v2 and only some have n_frames

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_MAXIMUM = 258, 262, 281  # TIFF 6.0: BitsPerSample, Photometric..., MaxSampleValue
_WHITE_IS_ZERO = 0


@dataclass(frozen=True, slots=True)
class Pixels:
    """The stored pixels of one image file.

    Attributes:
        array: (H, W), or (H, W, 3) where the channels differ; bool, uint8, uint16, int32 or float32.
        bits: bits per value that the file declares; None when it declares none (a 16-bit file may hold 12).
        steps: what was done to get here.
        findings: what was odd.
    """

    array: NDArray[Any]
    bits: int | None
    steps: tuple[str, ...]
    findings: tuple[Finding, ...]


def read_pixels(path: Path) -> Pixels:
    """Decode a PNG, JPEG or TIFF file: oriented as its EXIF entry says, alpha dropped, equal channels made one.

    Args:
        path: the file.

    Returns:
        The stored values, not yet scaled.

    Raises:
        InputError: when the file is no such image, damaged, too large, or holds several pictures.
    """
    with _opened(path) as image:
        bits = _declared_bits(image, path)
        steps: list[str] = []
        findings: list[Finding] = []
        if bits == 16 and image.mode in ("RGB", "RGBA"):  # Pillow keeps the upper 8 bits of such files
            array = _decode_deep_colour(path)
        else:
            array, alpha_used = _decode(image)
            if alpha_used:
                findings.append(Finding("alpha", "The image is partly transparent; its alpha channel was dropped."))
        white_is_zero = image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO
        if white_is_zero and image.mode not in ("1", "L"):  # Pillow inverts these two itself
            array = np.array(2 ** (bits or 16) - 1, dtype=array.dtype) - array
            steps.append("inverted (white is zero)")
        if image.getexif().get(0x0112, 1) != 1:
            steps.append("turned as the EXIF orientation says")
    if array.ndim == 3:
        if np.array_equal(array[..., 0], array[..., 1]) and np.array_equal(array[..., 0], array[..., 2]):
            array = np.ascontiguousarray(array[..., 0])
            steps.append("equal colour channels made one")
        else:
            findings.append(Finding("colour", "The image is coloured; a radiograph or CT slice is grey."))
    return Pixels(array, bits, tuple(steps), tuple(findings))


def full_scale(pixels: Pixels) -> int:
    """What stored values are divided by to fall into [0, 1]: from the depth of the file, never from its brightness.

    255 for 8-bit files, 2**b - 1 for files that declare b bits, 1 for floats, which must be in [0, 1] already. A
    16-bit file that declares nothing more (PNG has no way to say 12) has 4095 when its largest value is below 4096,
    else 65535; of several slices of one scan the largest full scale holds for all.

    Args:
        pixels: stored values.

    Raises:
        InputError: for float values outside [0, 1], and integers beyond 16 bits.
    """
    array = pixels.array
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise InputError("The image holds floats outside [0, 1]: their meaning is unknown, save it as integers.")
        return 1
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        raise InputError(f"The image holds values from {low} to {high}: 8 to 16 bits without sign can be read.")
    if array.dtype == np.bool_:
        return 1
    if array.dtype == np.uint8:
        return 255
    if pixels.bits is not None and pixels.bits != 16 and high < 2**pixels.bits:
        return int(2**pixels.bits - 1)
    return 4095 if high <= 4095 else 65535


def image_size(path: Path) -> tuple[int, int]:
    """Height and width from the header alone.

    Raises:
        InputError: when the file is no image that can be read.
    """
    with _opened(path) as image:
        return image.height, image.width


@contextmanager
def _opened(path: Path) -> Iterator[_Picture]:
    """Open with Pillow; its many errors become one sentence, its warnings about odd tags are left out."""
    from PIL import Image as PillowImage
    from PIL import UnidentifiedImageError

    name = repr(path.name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PillowImage.open(path, formats=_FORMATS) as image:
                _check_one_picture(image, name)
                yield image
    except CovidctError:
        raise
    except PillowImage.DecompressionBombError as error:
        raise InputError(_too_large(name, "huge")) from error
    except UnidentifiedImageError as error:
        raise InputError(f"The file {name} is not a PNG, JPEG or TIFF image, or its header is damaged.") from error
    except MemoryError as error:
        raise InputError(f"The image {name} does not fit into the memory of this machine.") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"The image {name} cannot be read ({reason}): copy or export it again.") from error


def _check_one_picture(image: _Picture, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(_too_large(name, f"{image.width} x {image.height}"))
    if getattr(image, "n_frames", 1) != 1 and image.format != "MPO":  # MPO: a JPEG with its own thumbnail
        raise InputError(f"The image {name} holds {image.n_frames} pictures: give them one by one.")


def _too_large(name: str, size: str) -> str:
    return f"The image {name} claims {size} pixels, more than the {MAX_PIXELS:,} of any detector: it is damaged."


def _declared_bits(image: _Picture, path: Path) -> int | None:
    """Bits per value: of TIFF from its tags, of PNG from IHDR (or sBIT, where it says fewer); JPEG has 8."""
    if image.format == "TIFF":
        stored = image.tag_v2.get(_TIFF_BITS, (1,))
        bits = int(max(stored if isinstance(stored, tuple) else (stored,)))
        top = image.tag_v2.get(_TIFF_MAXIMUM)
        top = max(top) if isinstance(top, tuple) else top
        return bits if not top or int(top) >= 2**bits else int(top).bit_length()
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24]
    return 8


def _decode(image: _Picture) -> tuple[NDArray[Any], bool]:
    """Pixels, and whether there was transparency."""
    from PIL import ImageOps

    image.load()
    if image.getexif().get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
    transparent = image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if transparent else "RGB")
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        image = image.convert("RGB")
    array = np.asarray(image)
    used = False
    if image.mode in ("LA", "RGBA"):
        used = bool(array[..., -1].min() < 255)
        array = array[..., :-1] if image.mode == "RGBA" else array[..., 0]
    return np.array(array, dtype=array.dtype.newbyteorder("=")), used


def _decode_deep_colour(path: Path) -> NDArray[Any]:
    """Three channels of 16 bits by OpenCV, in the order red, green, blue."""
    import cv2

    array = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.ndim != 3:
        raise InputError(f"The image {path.name!r} cannot be decoded: save it as a grey image of 8 or 16 bits.")
    return np.ascontiguousarray(array[..., 2::-1])
