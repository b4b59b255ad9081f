"""Results as plain data."""

from __future__ import annotations

import json

import numpy as np

from covidct.report.plain import plain
from covidct.result import LesionBox, LesionPreview, Preview, ScanResult


def test_a_record_has_everything_but_the_pictures() -> None:
    grey = np.zeros((1, 4, 4), np.uint8)
    row = {"lesion": "all", "objects": 1, "volume_ml": 2.5, "side": None, "unknown": ("hu",)}
    result = ScanResult(
        id="x",
        status="done",
        lesions=(row,),
        lesion_source="checkpoint:ab",
        preview=Preview(grey, grey, None, (0,)),
        lesion_preview=LesionPreview(grey, grey, ((LesionBox((0, 0, 1, 1), 1, 0.5),),), (0,)),
    )
    record = result.to_dict()
    assert set(record) == set(ScanResult.__dataclass_fields__) - {
        "preview",
        "montage",
        "lesion_preview",
        "region_preview",
        "viewer",
        "contents",
    }
    assert json.loads(json.dumps(plain(record)))["lesions"] == [row | {"unknown": ["hu"]}]
    assert record["lesion_source"] == "checkpoint:ab"
    assert result.preview is not None  # the result keeps its pictures


def test_lesion_classes_of_a_preview_are_those_of_a_lesion_mask() -> None:
    grey = np.zeros((1, 4, 4), np.uint8)
    assert LesionPreview(grey, grey, (), (0,)).names == ("background", "ground_glass_opacity", "consolidation")
