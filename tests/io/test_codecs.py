"""What the installation decodes."""

from __future__ import annotations

import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import UID, UID_dictionary

from covidct.io.codecs import decoders


def test_every_syntax_of_the_plain_install_is_decoded() -> None:
    found = decoders()
    assert all(found.values()), found
    assert {"JPEG-LS Lossless Image Compression", "RLE Lossless", "JPEG 2000 Image Compression"} <= set(found)


def test_what_is_listed_is_what_pydicom_has() -> None:
    by_name = {entry[0]: uid for uid, entry in UID_dictionary.items()}
    for name, plugins in decoders().items():
        assert set(plugins) <= set(get_decoder(UID(by_name[name])).available_plugins)


def test_a_syntax_that_nothing_decodes_has_an_empty_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covidct.io.codecs._CODECS", {"1.2.840.10008.1.2.5": ("no such plugin",)})
    assert decoders() == {"RLE Lossless": ()}
