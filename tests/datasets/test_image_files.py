"""Single images in files: their ids, and masks in both ways to write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from covidct.datasets.image_files import ImageFiles, XrayFile, read_lungs
from covidct.errors import ManifestError
from covidct.labels import class_map

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Listed(ImageFiles):
    """Images by part and name, as published sets call them."""

    name = "listed"

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self.paths, self.classes = paths, class_map("three")

    def list_files(self) -> tuple[XrayFile, ...]:
        return tuple(XrayFile(id=f"train-{path.stem}", path=path, word="normal", subject="0") for path in self.paths)


def test_files_that_differ_by_their_suffix_have_ids_of_their_own(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "a.jpg", "b.png")]
    assert [record.id for record in Listed(paths).records] == ["train-a.png", "train-a.jpg", "train-b"]
    with pytest.raises(ManifestError, match=r"train-a\.png would stand for two"):
        _ = Listed([*paths, tmp_path / "more" / "a.png"]).records


@pytest.mark.parametrize(
    ("stored", "labels"),
    [([0, 255], [0, 1]), ([0, 1], [0, 1]), ([0, 1, 2], [0, 1, 2]), ([0, 3, 127, 128, 250], [0, 0, 0, 1, 1])],
)
def test_masks_are_labels_or_dark_and_bright(tmp_path: Path, stored: list[int], labels: list[int]) -> None:
    assert cv2.imwrite(str(tmp_path / "m.png"), np.array([stored], np.uint8))
    mask = read_lungs(tmp_path / "m.png")
    assert mask.dtype == np.uint8
    assert mask[0].tolist() == labels


def test_colour_counts_by_its_brightest_channel(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "m.png"), np.array([[[0, 0, 255], [0, 0, 0]]], np.uint8))
    assert read_lungs(tmp_path / "m.png")[0].tolist() == [1, 0]
