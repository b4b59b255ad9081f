from __future__ import annotations

import json
from dataclasses import replace

import pytest

from covidct.errors import CheckpointError, UsageError
from covidct.preprocessing import Preprocessing

RECORD = Preprocessing("ct_volume", ("non_covid", "covid"))


def test_round_trip_through_json() -> None:
    assert Preprocessing.from_dict(json.loads(json.dumps(RECORD.to_dict()))) == RECORD
    unit = replace(RECORD, window=None, size=None, mask_source="none")
    assert Preprocessing.from_dict(json.loads(json.dumps(unit.to_dict()))) == unit


def test_fingerprint_follows_pixels_not_class_names() -> None:
    assert replace(RECORD, classes=("a", "b")).fingerprint() == RECORD.fingerprint()
    changes = [
        replace(RECORD, window=(-1000, 400)),
        replace(RECORD, size=96),
        replace(RECORD, mask_source="file"),
        replace(RECORD, masking="lungs"),
        replace(RECORD, enhancement="tone"),
        replace(RECORD, enhancement="equalise"),
        replace(RECORD, enhancement="clahe"),
        replace(RECORD, enhancement="equalise_clahe"),
        replace(RECORD, grid="slices"),
        replace(RECORD, kind="ct_slice"),
    ]
    assert len({record.fingerprint() for record in (RECORD, *changes)}) == 11


def test_conflicts_name_field_and_values() -> None:
    RECORD.require_same(Preprocessing("ct_volume", ("non_covid", "covid")), what="the data module")
    with pytest.raises(UsageError, match=r"size: checkpoint 128, the data module 96"):
        RECORD.require_same(replace(RECORD, size=96), what="the data module")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": (250.0, -1250.0)}, "empty"),
        ({"window": (float("nan"), 1.0)}, "window"),
        ({"window": (1.0,)}, "window"),
        ({"window": "lung"}, "window"),
        ({"size": 4}, "too small"),
        ({"size": 128.0}, "whole number"),
        ({"size": True}, "whole number"),
        ({"kind": "mr"}, "ct_volume"),
        ({"classes": "covid"}, "list of different names"),
        ({"classes": ()}, "list of different names"),
        ({"classes": ("covid", "covid")}, "list of different names"),
        ({"classes": (0, 1)}, "list of different names"),
        ({"masking": "lung"}, "original, lungs, no_lungs"),
        ({"mask_source": None}, "'none'"),
        ({"enhancement": None}, "none, tone, stochastic, equalise, clahe, equalise_clahe"),
        ({"enhancement": "magic"}, "'magic' is unknown"),
        ({"grid": "flat"}, "cube, slices"),
        ({"kind": "ct_slice", "grid": "slices"}, "for volumes"),
        ({"mask_source": "none", "masking": "lungs"}, "needs a lung mask"),
    ],
)
def test_bad_values(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(RECORD, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"version": 99}, {"colour": "red"}])
def test_foreign_records_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="another release"):
        Preprocessing.from_dict(RECORD.to_dict() | change)


@pytest.mark.parametrize("change", [{"size": "x"}, {"classes": None}, {"window": 3}, {"kind": None}, {"masking": []}])
def test_damaged_records_are_refused_as_such(change: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        Preprocessing.from_dict(RECORD.to_dict() | change)


@pytest.mark.parametrize("record", [None, 3, "x", [1, 2]])
def test_what_is_no_record_is_refused(record: object) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        Preprocessing.from_dict(record)  # type: ignore[arg-type]
