from __future__ import annotations

import gzip
import io
import zlib

import numpy as np
import pytest

from covidct.errors import InputError
from covidct.io.inflate import Inflater

NOISE = np.random.default_rng(0).bytes(700_000)
PLAIN = b"a" * 9_000_000 + NOISE + bytes(1000)


@pytest.mark.parametrize("packed", [gzip.compress(PLAIN), zlib.compress(PLAIN), gzip.compress(PLAIN, 0)])
@pytest.mark.parametrize("step", [1 << 30, 4_194_304, 1_000_003])
def test_reads_in_any_steps_what_was_packed(packed: bytes, step: int) -> None:
    stream = Inflater(io.BytesIO(packed))
    parts = []
    while part := stream.read(min(step, len(PLAIN) + 10)):
        parts.append(part)
    assert b"".join(parts) == PLAIN
    assert stream.read(10) == b""


def test_members_follow_one_another_and_padding_is_skipped() -> None:
    stream = Inflater(io.BytesIO(gzip.compress(b"abc") + gzip.compress(b"") + gzip.compress(b"def") + bytes(700)))
    assert stream.read(100) == b"abcdef"


def test_damage_is_one_sentence() -> None:
    packed = gzip.compress(NOISE)
    for damaged in (
        packed[:-1],
        packed[: len(packed) // 2],
        packed[:-5] + b"xxxxx",
        packed + b"junk",
        b"",
        b"\x1f\x8b",
    ):
        with pytest.raises(InputError, match=r"damaged|too early"):
            Inflater(io.BytesIO(damaged)).read(len(NOISE) + 10)
