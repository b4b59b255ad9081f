"""Files that ``torch.save`` wrote before version 1.6, as far as today's safe reader does not take them."""

from __future__ import annotations

import io
import pickletools
from collections import deque

__all__ = ("without_class_sources",)

_STREAMS_BEFORE = 3  # magic number, protocol and system, each a pickle of its own, stand before the object's
_ID = (("MARK",), ("BINUNICODE", "BINGET"), ("GLOBAL", "BINGET"), None, None, ("TUPLE",), ("BINPERSID",))
"""Steps that make such an id, whatever the file name and source code are, without those that fill the memo; of a class
that was named before, word and class are fetched from the memo."""


def without_class_sources(data: bytes) -> bytes:
    """Leave out the source code that old files keep of every class of an ``nn.Module`` in them.

    Old files name such a class by a "persistent id": ("module", class, file name, source code). The reader for tensors
    alone refuses these, whatever the class. Here each is replaced by the bare name of its class, which the reader then
    checks against its list like any other. The bytes are only parsed (``pickletools``), nothing is unpickled.

    Args:
        data: content of the file.

    Returns:
        The same, without these ids; ``data`` itself where it is no such file.
    """
    stream = io.BytesIO(data)
    try:
        for _ in range(_STREAMS_BEFORE):
            _skip(stream)
        return _rewritten(data, stream)
    except (ValueError, IndexError, UnicodeDecodeError):  # what pickletools says of other bytes
        return data


def _skip(stream: io.BytesIO) -> None:
    """Go behind the next pickle of a file."""
    deque(pickletools.genops(stream), maxlen=0)


def _rewritten(data: bytes, stream: io.BytesIO) -> bytes:
    """Replace each id by the steps that name its class."""
    steps = [(step.name, argument, int(place or 0)) for step, argument, place in pickletools.genops(stream)]
    ends = [place for _, _, place in steps[1:]] + [stream.tell()]  # places are those of the whole file
    made = [at for at, (name, _, _) in enumerate(steps) if not name.endswith("PUT")]
    out, copied, memo = [], 0, set[object]()  # where the word "module" is kept
    for first in range(len(made) - len(_ID) + 1):
        own = made[first : first + len(_ID)]
        if not all(want is None or steps[at][0] in want for want, at in zip(_ID, own, strict=True)):
            continue
        name, word, _ = steps[own[1]]
        if word == "module" or (name == "BINGET" and word in memo):
            memo.add(steps[own[1] + 1][1])
            out += [data[copied : steps[own[0]][2]], data[steps[own[2]][2] : steps[own[3]][2]]]
            copied = ends[own[-1]]
    return b"".join([*out, data[copied:]])
