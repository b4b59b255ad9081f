"""DetectionMetrics against torchmetrics and pycocotools themselves, in one process and in two."""

from __future__ import annotations

import contextlib
import io
import json
import math
import multiprocessing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import distributed
from torchmetrics.detection import MeanAveragePrecision

from covidct.errors import UsageError
from covidct.metrics import DetectionMetrics, reference_mask_ap

CLASSES = ("background", "ggo", "consolidation")
SIZE = (24, 32)
Image = dict[str, torch.Tensor]


def image(seed: int, *, predictions: int = 4, objects: int = 3) -> tuple[Image, Image]:
    """Rectangles of two classes, and predictions of which the first come near them; float masks."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((objects + predictions, *SIZE))
    for mask in masks:
        top, left = rng.integers(0, 14, 2)
        mask[top : top + rng.integers(4, 10), left : left + rng.integers(4, 14)] = 1
    labels = rng.integers(1, 3, len(masks))
    near = min(objects, predictions)
    masks[objects : objects + near] = np.roll(masks[:near], seed % 3, axis=2)
    labels[objects : objects + near] = labels[:near]
    boxes = torch.tensor(rng.uniform(0, 9, (len(masks), 4)), dtype=torch.float32)
    soft = torch.tensor(masks * rng.uniform(0.6, 1, masks.shape), dtype=torch.float32)
    predicted = {
        "boxes": boxes[objects:],
        "labels": torch.tensor(labels[objects:]),
        "scores": torch.tensor(rng.permutation(predictions) / 10 + 0.05 + seed / 1000, dtype=torch.float32),
        "masks": soft[objects:, None],
    }
    target = {
        "boxes": boxes[:objects],
        "labels": torch.tensor(labels[:objects]),
        "masks": torch.tensor(masks[:objects], dtype=torch.uint8),
    }
    return predicted, target


COHORT = [image(seed) for seed in range(7)]
COHORT += [image(7, predictions=0), image(8, objects=0), image(9, predictions=0, objects=0), image(10, objects=1)]
KEYS = [2**60 + 3 * k for k in range(len(COHORT))]


def fill(rows: list[int], *, step: int = 3) -> DetectionMetrics:
    """A metric that has seen some images of the cohort, in batches."""
    metric = DetectionMetrics(CLASSES)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        predictions, targets = zip(*(COHORT[row] for row in part), strict=True)
        metric.update(predictions, targets, scan=torch.tensor([KEYS[row] for row in part]))
    return metric


def values(metric: DetectionMetrics) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


def direct_coco(pairs: list[tuple[Image, Image]], label: int | None = None) -> list[float]:
    """COCO's own evaluation: AP, AP50, AP75, with every image in it."""

    def regions(record: Image, index: int) -> list[dict[str, Any]]:
        masks = (record["masks"].reshape(-1, *SIZE) > 0.5).to(torch.uint8).numpy()
        codes = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]
        scores = record.get("scores", torch.zeros(len(codes))).tolist()
        rows = zip(codes, record["labels"].tolist(), scores, strict=True)
        return [
            {
                "image_id": index,
                "segmentation": c,
                "category_id": k,
                "score": s,
                "iscrowd": 0,
                "area": coco_mask.area(c),
            }
            for c, k, s in rows
        ]

    sides: list[Any] = []
    for side in range(2):
        coco, found = COCO(), [row for index, pair in enumerate(pairs) for row in regions(pair[side], index)]
        coco.dataset = {
            "images": [{"id": index, "height": SIZE[0], "width": SIZE[1]} for index in range(len(pairs))],
            "annotations": [row | {"id": number + 1, "iscrowd": 0} for number, row in enumerate(found)],
            "categories": [{"id": 1}, {"id": 2}],
        }
        sides.append(coco)
    with contextlib.redirect_stdout(io.StringIO()):
        for coco in sides:
            coco.createIndex()
        evaluation = COCOeval(sides[1], sides[0], "segm")
        if label is not None:
            evaluation.params.catIds = [label]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats: list[float] = evaluation.stats[:3].tolist()
    return stats


def test_equals_coco_itself_over_all_images() -> None:
    found = values(fill(list(range(len(COHORT)))))
    assert [found[f"coco_{name}"] for name in ("map", "map50", "map75")] == pytest.approx(direct_coco(COHORT))
    for label, name in enumerate(CLASSES[1:], start=1):
        assert found[f"coco_map_{name}"] == pytest.approx(direct_coco(COHORT, label)[0]), name
    assert 0.1 < found["coco_map"] < 0.9
    assert len(found) == 9


def test_equals_torchmetrics_where_all_images_have_objects() -> None:
    pairs = COHORT[:7]
    direct = MeanAveragePrecision(
        iou_type="segm",
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),  # COCO's, where torchmetrics' own are of float32
        rec_thresholds=np.linspace(0, 1, 101).tolist(),
        class_metrics=True,
    )
    for predicted, target in pairs:
        direct.update([predicted | {"masks": predicted["masks"][:, 0] > 0.5}], [target])
    expected = direct.compute()
    found = values(fill(list(range(7))))
    assert found["coco_map"] == pytest.approx(expected["map"].item())
    assert found["coco_map50"] == pytest.approx(expected["map_50"].item())
    assert found["coco_map75"] == pytest.approx(expected["map_75"].item())
    per_class = [found["coco_map_ggo"], found["coco_map_consolidation"]]
    assert per_class == pytest.approx(expected["map_per_class"].tolist())


def test_the_reference_is_the_mean_over_images() -> None:
    found = values(fill(list(range(len(COHORT)))))
    ap = reference_mask_ap(*zip(*COHORT, strict=True)).double()
    assert found["reference_map"] == pytest.approx(ap.mean().item(), abs=1e-6)
    assert found["reference_ap50"] == pytest.approx(ap[:, 0].mean().item(), abs=1e-6)
    assert found["reference_ap75"] == pytest.approx(ap[:, 5].mean().item(), abs=1e-6)
    lesions = torch.tensor([len(target["labels"]) > 0 for _, target in COHORT])
    assert 0 < lesions.sum() < len(COHORT)
    assert found["reference_map_lesions"] == pytest.approx(ap[lesions].mean().item(), abs=1e-6)
    assert ap[9].tolist() == [1.0] * 10  # neither predictions nor objects


def test_the_truth_as_prediction_is_perfect_by_both() -> None:
    metric = DetectionMetrics(CLASSES)
    targets = [target for _, target in COHORT]
    predictions = [
        target | {"scores": torch.ones(len(target["labels"])), "masks": target["masks"][:, None].float()}
        for target in targets
    ]
    metric.update(predictions, targets, scan=torch.tensor(KEYS))
    assert values(metric) == dict.fromkeys(values(metric), 1.0)


def test_false_predictions_in_an_image_without_objects_count() -> None:
    perfect = COHORT[0][1]
    predicted = perfect | {"scores": torch.full((3,), 0.5), "masks": perfect["masks"][:, None].float()}
    false = predicted | {"scores": torch.full((3,), 0.9)}
    empty = {name: value[:0] for name, value in perfect.items()}
    metric = DetectionMetrics(CLASSES)
    metric.update([predicted, false], [perfect, empty], scan=torch.tensor([1, 2]))
    found = values(metric)
    assert (found["reference_map"], found["reference_map_lesions"]) == (0.5, 1.0)
    assert found["coco_map"] == pytest.approx(0.5)  # as many false ones, better scored, as hits


def test_images_count_once_and_come_back_as_they_were() -> None:
    once, twice = fill(list(range(len(COHORT)))), fill([3, 3, *range(len(COHORT)), 0, 8, 10])
    assert values(once) == values(twice)
    for (found, true), (predicted, target) in zip(twice.images(), COHORT, strict=True):
        assert found["masks"].equal((predicted["masks"][:, 0] > 0.5).to(torch.uint8))
        assert true["masks"].equal(target["masks"])
        for name in ("boxes", "labels", "scores"):
            assert found[name].equal(predicted[name]), name
        assert true["boxes"].equal(target["boxes"])
        assert true["labels"].equal(target["labels"])


def test_order_does_not_matter() -> None:
    assert values(fill(list(range(len(COHORT))))) == values(fill(list(range(len(COHORT)))[::-1], step=2))


def test_what_is_not_defined_is_nan() -> None:
    nothing = DetectionMetrics(CLASSES)
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert all(math.isnan(value) for value in values(nothing).values())
    empty = fill([9])
    assert values(empty)["reference_map"] == 1.0
    assert math.isnan(values(empty)["coco_map"])
    assert math.isnan(values(empty)["reference_map_lesions"])
    lesionless = fill([8, 9])
    assert values(lesionless)["reference_map"] == 0.5
    assert math.isnan(values(lesionless)["coco_map_ggo"])
    predicted, target = COHORT[0]
    one_class = DetectionMetrics(CLASSES)
    one_class.update([predicted], [target | {"labels": torch.ones_like(target["labels"])}], scan=torch.tensor([1]))
    found = values(one_class)
    assert math.isnan(found["coco_map_consolidation"])
    assert found["coco_map"] == found["coco_map_ggo"]


def test_little_is_kept() -> None:
    side, metric = 512, DetectionMetrics(CLASSES)
    masks = torch.zeros(20, 1, side, side)
    masks[:, :, 100:300, 50:200] = 0.9
    regions = {"boxes": torch.zeros(20, 4), "labels": torch.ones(20, dtype=torch.int64), "masks": masks}
    metric.update([regions | {"scores": torch.rand(20)}], [regions], scan=torch.tensor([1]))
    states = [state for name in metric.columns for state in getattr(metric, name)]
    assert sum(state.numel() * state.element_size() for state in states) < 40 * 1000


def test_mask_threshold() -> None:
    predicted, target = COHORT[0]
    strict, kind = (DetectionMetrics(CLASSES, mask_threshold=value) for value in (0.999, 0.5))
    for metric in (strict, kind):
        metric.update([predicted], [target], scan=torch.tensor([1]))
    assert values(strict)["reference_map"] == values(strict)["coco_map"] == 0.0
    assert values(kind)["reference_map"] > 0


def test_wrong_input_is_refused() -> None:
    predicted, target = COHORT[0]
    metric = DetectionMetrics(CLASSES)
    with pytest.raises(UsageError, match="scan of shape"):
        metric.update([predicted], [target], scan=torch.tensor([1, 2]))
    with pytest.raises(UsageError, match="1 images and targets of 2"):
        metric.update([predicted], [target] * 2, scan=torch.tensor([1]))
    for label in (0, 3):
        strange = predicted | {"labels": torch.full_like(predicted["labels"], label)}
        with pytest.raises(UsageError, match=f"label {label} names no class"):
            metric.update([strange], [target], scan=torch.tensor([1]))
    for names in (("ggo", "consolidation"), ("background",), ("background", "ggo", "ggo")):
        with pytest.raises(UsageError, match="do not serve"):
            DetectionMetrics(names)


SHARES: dict[str, list[list[int]]] = {
    "duplicate": [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 0]],
    "one idle": [list(range(len(COHORT))), []],
    "other idle": [[], [3, 9]],
    "only empty images": [[9], [9]],
    "no image": [[], []],
}


def _work(rank: int, folder: str) -> None:
    """One process: take a share of the images, gather, save what came out; for each way of sharing."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    records = {}
    for name, shares in SHARES.items():
        metric = fill(shares[rank])
        found = values(metric)
        with metric.sync_context():
            scans = metric.rows()["scan"].tolist()
        records[name] = {"scans": scans, "local": metric.rows()["scan"].tolist(), "found": found}
    Path(folder, f"{rank}.json").write_text(json.dumps(records))
    distributed.destroy_process_group()


@pytest.mark.ddp
@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_two_processes_score_like_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_work, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=200)
    assert [process.exitcode for process in processes] == [0, 0]
    saved = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for name, shares in SHARES.items():
        rows = sorted({*shares[0], *shares[1]})
        expected = values(fill(rows))
        for rank in range(2):
            record = saved[rank][name]
            assert record["scans"] == [KEYS[row] for row in rows], name
            assert record["local"] == [KEYS[row] for row in sorted(shares[rank])], name
            assert record["found"] == pytest.approx(expected, abs=1e-7, nan_ok=True), name
