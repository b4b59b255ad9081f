"""COVID-CT-Mask-Net: published counts, what is trained and what is not, one pass for a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from covidct.errors import UsageError, WeightsError
from covidct.models import CovidCTMaskNet, LesionMaskRCNN
from tests.fakes.lesions import lesions_batch

LIGHT: dict[str, Any] = {"backbone": "resnet18", "truncation": 2}


def small(seed: int = 0, **changes: Any) -> CovidCTMaskNet:  # noqa: ANN401
    torch.manual_seed(seed)
    return CovidCTMaskNet(**{**LIGHT, "num_regions": 16, "features": 8, **changes})


@pytest.mark.parametrize(("regions", "features", "number"), [(256, 1024, 2_364_419), (128, 512, 592_387)])
def test_module_s_has_the_published_number_of_parameters(regions: int, features: int, number: int) -> None:
    network = CovidCTMaskNet(**LIGHT, num_regions=regions, features=features)
    assert sum(parameter.numel() for parameter in network.classifier.parameters()) == number


@pytest.mark.parametrize(("backbone", "truncation", "number"), [("resnet50", 0, 45_440), ("resnet34", 1, 9_088)])
def test_normalisation_that_is_trained_has_the_published_number(backbone: Any, truncation: Any, number: int) -> None:  # noqa: ANN401
    network = CovidCTMaskNet(backbone=backbone, truncation=truncation)
    trained = {name: p.numel() for name, p in network.named_parameters() if p.requires_grad}
    assert sum(size for name, size in trained.items() if not name.startswith("classifier.")) == number
    assert not any("downsample" in name for name in trained)


def test_one_step_moves_module_s_and_bn_alone() -> None:
    network = small().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    network(lesions_batch(3)["image"])["logits"].square().sum().backward()
    optimizer.step()
    moved = {name for name, tensor in network.state_dict().items() if not tensor.equal(before[name])}
    allowed = {name for name, p in network.named_parameters() if p.requires_grad}
    assert moved == allowed
    assert all(name.startswith("classifier.") or ".bn" in name for name in moved)
    assert not any("running" in name for name in moved)


def test_training_mode_leaves_the_detector_in_evaluation_mode() -> None:
    network = small().train()
    assert network.training
    assert network.classifier.training
    assert not any(module.training for module in (*network.backbone.modules(), network.rpn, network.roi_heads))
    assert not network.eval().classifier.training


# One slice takes other kernels than three, which round otherwise: 1e-5 of the largest value.
@pytest.mark.parametrize(("backbone", "truncation"), [("resnet18", 2), ("resnet50", 0)])
def test_a_batch_is_one_pass_and_each_slice_as_alone(backbone: str, truncation: int) -> None:
    network = small(backbone=backbone, truncation=truncation).eval()
    image = lesions_batch(3)["image"]
    calls = []
    network.backbone.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        together = network(image)
        assert len(calls) == 1
        alone = [network(image[i : i + 1]) for i in range(3)]
    for key in ("logits", "regions"):
        expected = torch.cat([one[key] for one in alone])
        tolerance = 1e-5 * float(expected.abs().max())
        torch.testing.assert_close(together[key], expected, rtol=0, atol=tolerance)
    assert together["region_labels"].equal(torch.cat([one["region_labels"] for one in alone]))


def test_order_of_the_proposals_does_not_matter() -> None:
    network = small().eval()
    image = lesions_batch(2)["image"]
    rng = torch.Generator().manual_seed(0)

    def shuffled(_: object, __: object, output: tuple[list[torch.Tensor], dict[str, torch.Tensor]]) -> object:
        return [boxes[torch.randperm(len(boxes), generator=rng)] for boxes in output[0]], output[1]

    with torch.no_grad():
        plain = network(image)["logits"]
        network.rpn.register_forward_hook(shuffled)
        torch.testing.assert_close(network(image)["logits"], plain, rtol=0, atol=1e-5 * float(plain.abs().max()))


def test_two_passes_are_identical_and_rows_are_ranked() -> None:
    network = small(num_regions=2500).eval()  # more than are left: filled up, without random numbers
    image = lesions_batch(2)["image"]
    with torch.no_grad():
        one, other = network(image), network(image)
    assert all(tensor.equal(other[key]) for key, tensor in one.items())
    assert one["regions"].shape == (2, 2500, 5)
    scores = one["regions"][..., 0]
    assert bool((scores[:, 1:] <= scores[:, :-1]).all())
    assert bool((one["region_count"] < 2500).all())


def test_a_slice_without_any_region_gives_zeros_and_a_diagnosis() -> None:
    network = small().eval()
    network.rpn.score_thresh = 2.0  # nothing is proposed
    with torch.no_grad():
        found = network(lesions_batch(2)["image"])
        expected = network.classifier(torch.zeros(1, 80))
    assert found["region_count"].tolist() == [0, 0]
    torch.testing.assert_close(found["logits"], expected.expand(2, -1))


def test_detector_is_taken_over_and_the_report_says_what_is_not() -> None:
    torch.manual_seed(1)
    detector = LesionMaskRCNN(**LIGHT)
    network = small()
    head = {name: tensor.clone() for name, tensor in network.classifier.state_dict().items()}
    report = network.load_detector(detector.state_dict(), source="stage1.ckpt")
    state = network.state_dict()
    assert all(state[name].equal(detector.state_dict()[name]) for name in report.loaded)
    assert {name.split(".")[1] for name in report.left_out} == {"mask_head", "mask_predictor"}
    assert set(report.loaded) | set(report.left_out) == set(detector.state_dict())
    assert {name.removeprefix("classifier.") for name in report.fresh} == set(head)
    assert all(tensor.equal(network.classifier.state_dict()[name]) for name, tensor in head.items())
    again = small(2)
    assert again.load_detector(state, source="stage2.ckpt").fresh == ()
    assert all(tensor.equal(state[name]) for name, tensor in again.state_dict().items())


def test_weights_of_another_detector_are_refused_whole() -> None:
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    other = LesionMaskRCNN(**LIGHT, mask_type="merge").state_dict()
    with pytest.raises(WeightsError, match=r"stage1\.ckpt.*cls_score"):
        network.load_detector(other, source="stage1.ckpt")
    with pytest.raises(WeightsError, match=r"missing.*backbone"):
        network.load_detector({"rpn.head.cls_logits.bias": torch.zeros(30)}, source="part.pth")
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("changes", [{"num_regions": 0}, {"features": 0}, {"num_classes": 1}, {"nms_threshold": -1.0}])
def test_wrong_arguments_are_one_sentence(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        small(**changes)


def test_anchors_of_another_number_are_refused() -> None:
    network = small()
    network.set_anchors((4, 8, 16, 32, 64), (0.2, 0.25, 0.5, 1, 1.5, 2))
    assert network.rpn.anchor_generator.sizes == ((4, 8, 16, 32, 64),)
    with pytest.raises(UsageError, match="2 x 1 anchors per place"):
        network.set_anchors((4, 8), (1.0,))
