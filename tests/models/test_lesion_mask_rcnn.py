"""Mask R-CNN of lesions: published counts, anchors by hand, losses that stay finite, batches equal to single slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torchvision import models as tv
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork

from covidct.errors import BatchError, UsageError
from covidct.models import LesionMaskRCNN
from covidct.models.lesion_detector import ANCHOR_RATIOS, ANCHOR_SIZES
from tests.fakes.lesions import lesions_batch

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from covidct.models.resnet_fpn import Truncation

NOTHING = {
    "boxes": torch.zeros(0, 4),
    "labels": torch.zeros(0, dtype=torch.int64),
    "masks": torch.zeros(0, 64, 64, dtype=torch.uint8),
}


def small(seed: int = 0, **changes: Any) -> LesionMaskRCNN:  # noqa: ANN401
    torch.manual_seed(seed)
    return LesionMaskRCNN(**{"backbone": "resnet18", "truncation": 2, "max_detections": 8, **changes})


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("backbone", "truncation", "millions"),
    [
        ("resnet50", 0, 31.73),
        ("resnet34", 1, 11.44),
        ("resnet18", 1, 6.05),
        ("resnet34", 2, 4.58),
        ("resnet18", 2, 3.92),
    ],
)
def test_published_numbers_of_parameters(backbone: Any, truncation: Any, millions: float) -> None:  # noqa: ANN401
    network = LesionMaskRCNN(backbone=backbone, truncation=truncation)
    assert count(network) / 1e6 == pytest.approx(millions, abs=0.005)
    assert count(network.rpn) == 628_630
    masks = count(network.roi_heads.mask_head) + count(network.roi_heads.mask_predictor)
    assert masks / 1e6 == pytest.approx(2.62 if backbone == "resnet50" else 0.36, abs=0.005)


def test_resnet50_with_buffers_has_the_readmes_number() -> None:
    network = LesionMaskRCNN()
    buffers = sum(buffer.numel() for buffer in network.backbone.buffers())
    assert (count(network) + buffers) / 1e6 == pytest.approx(31.78, abs=0.005)


@pytest.mark.parametrize(("mask_type", "classes"), [("both", 3), ("ggo", 2), ("merge", 2)])
def test_classes_follow_the_mask_type(mask_type: Any, classes: int) -> None:  # noqa: ANN401
    network = small(mask_type=mask_type)
    assert len(network.class_names) == classes
    assert network.roi_heads.box_predictor.cls_score.out_features == classes
    assert network.roi_heads.mask_predictor.mask_fcn_logits.out_channels == classes


def test_pyramid_of_resnet50_has_four_levels_and_no_pooled_one() -> None:
    network = LesionMaskRCNN().eval()
    with torch.no_grad():
        _, levels = network.encode(torch.rand(1, 1, 128, 128))
    assert {name: tuple(level.shape[1:]) for name, level in levels.items()} == {
        "0": (256, 32, 32),
        "1": (256, 16, 16),
        "2": (256, 8, 8),
        "3": (256, 4, 4),
    }


@pytest.mark.parametrize(("truncation", "stride"), [(0, 32), (1, 16), (2, 8)])
def test_a_light_backbone_feeds_its_last_stage_alone(truncation: Any, stride: int) -> None:  # noqa: ANN401
    network = small(truncation=truncation).eval()
    with torch.no_grad():
        _, levels = network.encode(torch.rand(1, 3, 64, 96))
    assert {name: tuple(level.shape[1:]) for name, level in levels.items()} == {"0": (256, 64 // stride, 96 // stride)}


def test_anchors_are_thirty_per_place_on_every_level_of_512_pixels() -> None:
    network = LesionMaskRCNN()
    maps = [torch.zeros(1, 256, side, side) for side in (128, 64, 32, 16)]
    (anchors,) = network.rpn.anchor_generator(ImageList(torch.zeros(1, 3, 512, 512), [(512, 512)]), maps)
    assert network.rpn.anchor_generator.num_anchors_per_location() == [30] * 4
    assert len(anchors) == 652_800 == 30 * 21_760
    first = anchors[:30]  # around the upper left corner
    sides = first[:, 2:] - first[:, :2]
    wanted = torch.tensor(
        [[size / ratio**0.5, size * ratio**0.5] for ratio in (0.1, 0.25, 0.5, 1, 1.5, 2) for size in (2, 4, 8, 16, 32)]
    )  # width and height: area size^2, height by width the ratio
    assert float((sides - wanted).abs().max()) <= 1.0  # torchvision rounds half sides to whole pixels
    assert int((sides.min(1).values == 0).sum()) == 2  # size 2 with ratios 0.1 and 0.25


def test_proposals_are_torchvisions() -> None:
    network = small(backbone="resnet50", truncation=0).eval()
    images, features = network.encode(torch.rand(2, 1, 96, 64))
    with torch.no_grad():
        ours, _ = network.rpn(images, features)
        theirs, _ = RegionProposalNetwork.forward(network.rpn, images, features)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)


def test_detections_of_a_batch_are_those_of_single_slices() -> None:
    network = small().eval()
    image = lesions_batch(3)["image"]
    with torch.no_grad():
        together = network(image)
        alone = [network(image[i : i + 1])[0] for i in range(3)]
    for one, other in zip(together, alone, strict=True):
        assert one["labels"].equal(other["labels"])
        for key in ("boxes", "scores", "masks"):
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=1e-4)


def test_detections_have_torchvisions_form_and_stay_inside() -> None:
    network = small().eval()
    with torch.no_grad():
        (found,) = network(torch.rand(1, 1, 50, 70))
    number = len(found["boxes"])
    assert 0 < number <= 8
    assert found["masks"].shape == (number, 1, 50, 70)
    assert 0 <= float(found["masks"].min()) <= float(found["masks"].max()) <= 1
    assert bool((found["scores"][1:] <= found["scores"][:-1]).all())
    assert float(found["boxes"].min()) >= 0
    assert float(found["boxes"][:, 2].max()) <= 70
    assert float(found["boxes"][:, 3].max()) <= 50


def test_one_channel_is_three_equal_ones() -> None:
    network = small().eval()
    image = lesions_batch(1)["image"]
    with torch.no_grad():
        (one,), (three,) = network(image), network(image.expand(-1, 3, -1, -1))
    assert one["boxes"].equal(three["boxes"])


def test_five_losses_and_none_needs_an_object() -> None:
    network = small()
    batch = lesions_batch(3)
    losses = network(batch["image"], batch["instances"])
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
    empty = network(batch["image"], [NOTHING] * 3)
    assert all(bool(loss.isfinite()) for loss in empty.values())
    assert empty["loss_mask"].item() == empty["loss_box_reg"].item() == 0


def test_validation_losses_leave_the_statistics_alone() -> None:
    network = small().eval()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    batch = lesions_batch(2)
    with torch.no_grad():
        losses, found = network.losses_and_detections(batch["image"], batch["instances"])
        (direct, *_) = network.detect(batch["image"])
    assert all(buffer.equal(before[name]) for name, buffer in network.named_buffers())
    assert len(losses) == 5
    assert found[0]["boxes"].equal(direct["boxes"])
    assert not network.rpn.training
    assert not network.roi_heads.training


def random_instances(rng: torch.Generator, size: int) -> dict[str, Tensor]:
    """No object, one, or many, some as small as one pixel or as large as the slice."""
    number = int(torch.randint(0, 9, (), generator=rng)) % 7
    low = torch.randint(0, size, (number, 2), generator=rng).float()
    high = low + 1 + (torch.rand(number, 2, generator=rng) * (size - low - 1)).floor()
    masks = torch.zeros(number, size, size, dtype=torch.uint8)
    for mask, (x0, y0), (x1, y1) in zip(masks, low.int().tolist(), high.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = 1
    labels = torch.randint(1, 3, (number,), generator=rng)
    return {"boxes": torch.cat([low, high], 1), "labels": labels, "masks": masks}


@pytest.mark.parametrize("truncation", [0, 1, 2])
@pytest.mark.parametrize("box", [(10, 120, 40, 127), (40, 119, 60, 128), (119, 40, 128, 52), (118, 118, 128, 128)])
def test_objects_that_no_anchor_overlaps_leave_the_losses_finite(truncation: Truncation, box: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = LesionMaskRCNN(backbone="resnet18", truncation=truncation)
    mask = torch.zeros(1, 128, 128, dtype=torch.uint8)
    mask[0, box[1] : box[3], box[0] : box[2]] = 1
    target = {"boxes": torch.tensor([box]).float(), "labels": torch.tensor([1]), "masks": mask}
    losses = network.train()(torch.rand(1, 1, 128, 128), [target])
    assert all(bool(loss.isfinite()) for loss in losses.values()), losses


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "truncation", "size"), [("fp32", 2, 32), ("bf16", 2, 32), ("fp32", 0, 64)])
def test_500_steps_on_random_targets_stay_finite(precision: str, truncation: int, size: int) -> None:
    network = small(truncation=truncation, anchor_sizes=ANCHOR_SIZES, anchor_ratios=ANCHOR_RATIOS)
    network.roi_heads.fg_bg_sampler.batch_size_per_image = 8  # as many regions as a test can afford
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    rng = torch.Generator().manual_seed(0)
    for step in range(500):
        image = torch.rand(1, 1, size, size, generator=rng)
        targets = [random_instances(rng, size) for _ in image]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            losses = network(image, targets)
        loss = torch.stack(list(losses.values())).sum()
        assert loss.dtype == torch.float32
        assert bool(loss.isfinite()), (step, losses)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert all(bool(parameter.isfinite().all()) for parameter in network.parameters())


def test_imagenet_weights_go_into_the_retained_stages(tmp_path: Path) -> None:
    torch.manual_seed(1)
    published = tv.get_model("resnet18", weights=None).state_dict()
    torch.save(published, tmp_path / "resnet18.pth")
    network = small(truncation=1, weights=str(tmp_path / "resnet18.pth"))
    body = network.backbone.body.state_dict()
    assert "layer4.0.conv1.weight" not in body
    assert all(body[name].equal(published[name]) for name in body)


def test_thresholds_can_be_changed_for_use() -> None:
    network = small().eval()
    image = lesions_batch(1)["image"]
    with torch.no_grad():
        network.set_thresholds(score=0.99, nms=0.3, rpn_nms=0.6)
        (found,) = network(image)
    assert len(found["boxes"]) == 0
    assert found["masks"].shape == (0, 1, 64, 64)
    assert network.rpn.nms_thresh == 0.6
    network.set_thresholds(score=0.0)
    assert network.roi_heads.nms_thresh == 0.3
    with pytest.raises(UsageError, match="nms_threshold"):
        network.set_thresholds(nms=2.0)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"backbone": "resnet101"}, "backbone"),
        ({"truncation": 3}, "truncation"),
        ({"backbone": "resnet50", "truncation": 1}, "all of whose stages"),
        ({"mask_type": "all"}, "mask_type"),
        ({"anchor_sizes": ()}, "anchor_sizes"),
        ({"anchor_ratios": (1.0, -1.0)}, "anchor_ratios"),
        ({"score_threshold": -0.1}, "score_threshold"),
        ({"rpn_nms_threshold": 1.1}, "rpn_nms_threshold"),
    ],
)
def test_wrong_arguments_are_one_sentence(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        small(**changes)


def test_wrong_batches_are_one_sentence() -> None:
    network = small()
    with pytest.raises(BatchError, match=r"1 or 3, H, W"):
        network.eval()(torch.rand(1, 2, 64, 64))
    with pytest.raises(BatchError, match=r"1 or 3, H, W"):
        network(torch.rand(1, 64, 64))
    network.train()
    with pytest.raises(BatchError, match="none are given"):
        network(torch.rand(1, 1, 64, 64))
    with pytest.raises(BatchError, match="one value per channel"):
        small(truncation=0)(torch.rand(1, 1, 16, 16), [NOTHING])
