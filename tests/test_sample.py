from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from covidct.errors import BatchError
from covidct.sample import Kind, check_batch, check_sample, collate, stable_hash


def sample(kind: Kind = "ct_volume", depth: int = 4, **changes: object) -> dict[str, Any]:
    size = (1, depth, 6, 5) if kind == "ct_volume" else (1, 6, 5)
    made: dict[str, Any] = {
        "image": torch.rand(size),
        "label": torch.tensor(1),
        "lung_mask": torch.ones(size, dtype=torch.uint8),
        "scan": torch.tensor(stable_hash("set", "scan")),
        "subject": torch.tensor(stable_hash("set", "subject")),
        "id": "case-1",
    }
    if kind == "ct_volume":
        made |= {"slice_label": torch.zeros(depth, dtype=torch.int64), "affine": torch.eye(4, dtype=torch.float64)}
    return {key: value for key, value in (made | changes).items() if value is not None}


@pytest.mark.parametrize("kind", ["ct_slice", "ct_volume", "cxr"])
def test_good_samples_pass(kind: Kind) -> None:
    check_sample(sample(kind), kind)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, "no key 'image'"),
        ({"image": torch.rand(4, 6, 5)}, r"axes \(C,D,H,W\)"),
        ({"image": torch.rand(1, 4, 6, 5, dtype=torch.float64)}, "float32"),
        ({"image": torch.full((1, 4, 6, 5), -1000.0)}, r"\[0, 1\]"),
        ({"image": torch.full((1, 4, 6, 5), torch.nan)}, "NaN"),
        ({"lung_mask": torch.zeros(1, 5, 6, 5, dtype=torch.uint8)}, "5 along D, 4 is needed"),
        ({"lung_mask": torch.full((1, 4, 6, 5), 3, dtype=torch.uint8)}, "0, 1 and 2"),
        ({"lung_mask": torch.zeros(2, 4, 6, 5, dtype=torch.uint8)}, "2 along 1"),
        ({"label": 1}, "must be a torch.int64 tensor, it is int"),
        ({"position": torch.tensor(1.0)}, "does not belong into a ct_volume"),
        ({"id": 3}, "must be a str"),
        ({"surprise": torch.tensor(1)}, "does not belong"),
    ],
)
def test_broken_samples_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BatchError, match=message):
        check_sample(sample(**changes), "ct_volume")


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (torch.rand(2, 1, 6, 4), "4 along W, 5 is needed"),
        (torch.rand(3, 1, 6, 5), "3 along 2"),
        (torch.full((2, 1, 6, 5), 1.5), r"'views' .* \[0, 1\]"),
        (torch.full((2, 1, 6, 5), torch.nan), r"'views' .* \[0, 1\]"),
    ],
)
def test_broken_views_are_named(views: torch.Tensor, message: str) -> None:
    check_sample(sample("ct_slice", views=torch.rand(2, 1, 6, 5)), "ct_slice")
    with pytest.raises(BatchError, match=message):
        check_sample(sample("ct_slice", views=views), "ct_slice")


def test_hounsfield_units_pass_where_declared() -> None:
    check_sample(sample(image=torch.full((1, 4, 6, 5), -1000.0)), "ct_volume", intensity="hu")


def objects(count: int = 2, **changes: object) -> dict[str, Any]:
    """Good instances of a slice of 6 x 5 pixels."""
    masks = torch.zeros(count, 6, 5, dtype=torch.uint8)
    masks[:, 1:4, 2:5] = 1
    boxes = torch.tensor([[2.0, 1.0, 5.0, 4.0]]).repeat(count, 1)
    made = {"boxes": boxes, "labels": torch.ones(count, dtype=torch.int64), "masks": masks} | changes
    return {key: value for key, value in made.items() if value is not None}


def boxes_with(*box: float) -> torch.Tensor:
    return torch.tensor([[2.0, 1.0, 5.0, 4.0], box])


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ({"boxes": torch.zeros(0, 4)}, "sample 'case-1' must be a dict of boxes, labels and masks"),
        (objects(extra=1), "must be a dict of boxes, labels and masks"),
        (objects(boxes=boxes_with(2, 1, 2, 4)), r"object number 1 \(box 2, 1, 2, 4; label 1\) has a box without area"),
        (objects(boxes=boxes_with(2, 4, 4, 1)), "object number 1 .* without area"),
        (objects(boxes=boxes_with(2, 1, torch.nan, 4)), "object number 1 .* without area"),
        (objects(boxes=boxes_with(2, 1, 5.5, 4)), "object number 1 .* outside the image of 6 x 5 pixels"),
        (objects(boxes=boxes_with(-1, 1, 5, 4)), "object number 1 .* outside the image"),
        (objects(boxes=boxes_with(2, 1, 5, 7)), "object number 1 .* outside the image"),
        (objects(labels=torch.tensor([2, 0])), "object number 1 .* label 0.* label below 1"),
        (objects(masks=torch.zeros(2, 6, 5, dtype=torch.uint8)), "object number 0 .* mask without a pixel"),
        (objects(masks=torch.full((2, 6, 5), 255, dtype=torch.uint8)), "object number 0 .* other values than 0 and 1"),
        (objects(labels=torch.ones(3, dtype=torch.int64)), "unlike numbers .*'labels': 3"),
        (objects(boxes=torch.zeros(2, 5)), r"boxes must be \(N, 4\) torch.float32, it is \(2, 5\)"),
        (objects(boxes=torch.zeros(2, 4, dtype=torch.float64)), "boxes must be .* torch.float64"),
        (objects(boxes=[[0, 0, 1, 1]]), "boxes must be .* it is list"),
        (objects(labels=torch.ones(2)), r"labels must be \(N,\) torch.int64"),
        (objects(masks=torch.zeros(2, 5, 6, dtype=torch.uint8)), r"masks must be \(N, 6, 5\) torch.uint8, .*2, 5, 6"),
        (objects(masks=torch.zeros(2, 6, 5)), "masks must be .* torch.float32"),
    ],
)
def test_broken_instances_are_named(instances: dict[str, Any], message: str) -> None:
    with pytest.raises(BatchError, match=message):
        check_sample(sample("ct_slice", instances=instances), "ct_slice")


def test_good_instances_pass() -> None:
    check_sample(sample("ct_slice", instances=objects()), "ct_slice")
    whole = objects(1, boxes=torch.tensor([[0.0, 0.0, 5.0, 6.0]]))
    check_sample({"instances": whole} | sample("ct_slice"), "ct_slice")  # whatever the order of the keys


def test_empty_instances_are_a_negative_slice() -> None:
    check_sample(sample("ct_slice", instances=objects(0)), "ct_slice")


def test_instances_belong_to_slices() -> None:
    with pytest.raises(BatchError, match="'instances' does not belong into a ct_volume"):
        check_sample(sample("ct_volume", instances=objects()), "ct_volume")


def test_collate_pads_volumes_at_the_end() -> None:
    short, long = sample(depth=2, id="a"), sample(depth=5, id="b")
    batch = collate([short, long])
    assert batch["image"].shape == (2, 1, 5, 6, 5)
    torch.testing.assert_close(batch["image"][0, :, :2], short["image"])
    assert batch["image"][0, :, 2:].abs().sum() == 0
    assert batch["slice_label"][0].tolist() == [0, 0, -1, -1, -1]
    assert batch["slice_mask"].tolist() == [[True, True, False, False, False], [True] * 5]
    assert batch["id"] == ["a", "b"]
    check_batch(batch, "ct_volume", ("image", "slice_mask"))


def test_collate_keeps_instances_as_a_list() -> None:
    batch = collate([sample("ct_slice", instances=objects(0)), sample("ct_slice", instances=objects(3))])
    assert [len(instances["boxes"]) for instances in batch["instances"]] == [0, 3]
    check_batch(batch, "ct_slice", ("image", "instances"))
    batch["instances"][1]["labels"][2] = 0
    with pytest.raises(BatchError, match="object number 2"):
        check_batch(batch, "ct_slice")
    assert "slice_mask" not in batch


def test_collate_refuses_unlike_samples() -> None:
    with pytest.raises(BatchError, match="unlike keys"):
        collate([sample(), sample(label=None)])
    with pytest.raises(BatchError, match="unlike shapes"):
        collate([sample("ct_slice"), sample("ct_slice", image=torch.rand(1, 7, 5))])


def test_check_batch_names_the_missing_key() -> None:
    with pytest.raises(BatchError, match="needs the key 'views'"):
        check_batch(collate([sample()]), "ct_volume", ("image", "views"))


def test_stable_hash_is_the_same_in_every_process() -> None:
    code = "from covidct.sample import stable_hash; print(stable_hash('set', 'patient'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == stable_hash("set", "patient")
    assert 0 <= stable_hash("set", "patient") < 2**63
    assert stable_hash("a", "bc") != stable_hash("ab", "c")
