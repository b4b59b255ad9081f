"""Detections as one map of labels."""

from __future__ import annotations

import torch

from covidct.functional import label_pixels


def test_the_better_detection_is_on_top_and_the_threshold_is_strict() -> None:
    masks = torch.zeros(3, 1, 4, 6)
    masks[0, 0, :, :3] = 0.9
    masks[1, 0, :, 2:5] = 0.6
    masks[2, 0, 0, 5] = 0.5
    found = {"labels": torch.tensor([1, 2, 1]), "scores": torch.tensor([0.3, 0.8, 0.99]), "masks": masks}
    assert label_pixels(found).tolist() == [[1, 1, 2, 2, 2, 0]] * 4
    assert label_pixels(found, mask_threshold=0.4)[0].tolist() == [1, 1, 2, 2, 2, 1]
    found["scores"][0] = 0.9
    assert label_pixels(found)[1].tolist() == [1, 1, 1, 2, 2, 0]


def test_nothing_detected_is_background() -> None:
    nothing = {"labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0), "masks": torch.zeros(0, 1, 5, 7)}
    labels = label_pixels(nothing)
    assert labels.shape == (5, 7)
    assert labels.dtype == torch.uint8
    assert not labels.any()
