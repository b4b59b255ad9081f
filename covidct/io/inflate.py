"""Read gzip and zlib streams straight into memory that is there already, and never more than asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isal import isal_zlib  # two to three times as fast as zlib, the same results

from covidct.errors import InputError

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ("Inflater",)

_EITHER = 32 + 15  # zlib.h: 15 bits of window, + 32: gzip or zlib wrapper, with its checksum
_INPUT = 1 << 18  # compressed bytes taken at a time
_OUTPUT = 1 << 22  # most bytes unfolded at a time, whatever the stream claims


class Inflater:
    """A gzip or zlib stream, of one or several members, that is read forwards once.

    Python's ``gzip`` unfolds 8 KiB at a time and joins the parts; this fills the caller's buffer.
    """

    def __init__(self, raw: BinaryIO) -> None:
        """Start at the present place of ``raw``."""
        self._raw = raw
        self._decoder = isal_zlib.decompressobj(_EITHER)
        self._more = b""

    def read(self, count: int) -> bytes:
        """Return up to ``count`` bytes, fewer only at the end.

        Raises:
            InputError: when the stream is damaged or ends early.
        """
        buffer = bytearray(count)
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` (of bytes) and return how many bytes there were, fewer than its length only at the end.

        Raises:
            InputError: when the stream is damaged or ends early.
        """
        filled = 0
        try:
            while filled < len(view):
                part = self._unfold(min(len(view) - filled, _OUTPUT))
                if part is None:
                    break
                view[filled : filled + len(part)] = part
                filled += len(part)
        except isal_zlib.error as error:  # type: ignore[misc]  # its stub calls the class an instance
            raise InputError(f"The compressed stream is damaged ({error}): copy the file again.") from error
        return filled

    def _unfold(self, most: int) -> bytes | None:
        """The next bytes, at times none; None at the end of the last member."""
        if self._decoder.eof:
            rest = (self._decoder.unused_data or self._raw.read(_INPUT)).lstrip(b"\0")  # zero padding is legal
            if not rest:
                return None
            self._decoder = isal_zlib.decompressobj(_EITHER)
            self._more = rest
        data = self._more or self._decoder.unconsumed_tail or self._raw.read(_INPUT)
        self._more = b""
        part: bytes = self._decoder.decompress(data, most)
        if not (data or part or self._decoder.eof):
            raise InputError("The compressed stream ends too early: copy the file again.")
        return part
