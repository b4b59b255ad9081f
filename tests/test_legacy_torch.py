"""Old files without the source code of their classes: the same otherwise, and untouched where there is none."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from covidct.legacy_torch import without_class_sources


def saved(content: object, *, zipped: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def test_a_module_becomes_readable_by_the_name_of_its_class() -> None:
    content = {"first": torch.arange(3.0), "layers": [torch.nn.ReLU(), torch.nn.ReLU()], "last": {"rest": 1}}
    data = saved(content)
    with torch.serialization.safe_globals([torch.nn.ReLU]):
        with pytest.raises(Exception, match="persistent_load"):
            torch.load(io.BytesIO(data), weights_only=True)
        found: dict[str, Any] = torch.load(io.BytesIO(without_class_sources(data)), weights_only=True)
    assert found["first"].equal(content["first"])
    assert found["last"] == {"rest": 1}
    assert [type(layer) for layer in found["layers"]] == [torch.nn.ReLU] * 2


def test_the_class_still_has_to_be_on_the_list() -> None:
    with pytest.raises(Exception, match="ReLU"):
        torch.load(io.BytesIO(without_class_sources(saved(torch.nn.ReLU()))), weights_only=True)


@pytest.mark.parametrize(
    "data", [saved({"module": torch.ones(2)}), saved([1, "module"], zipped=True), b"", b"nothing of the kind" * 9]
)
def test_other_files_stay_as_they_are(data: bytes) -> None:
    assert without_class_sources(data) == data
