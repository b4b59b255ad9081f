"""The mask-weighted pooling network against torchvision, double loops and closed forms."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import pytest
import torch
from torch.export import Dim, export
from torchvision import models as tv
from torchvision.transforms import v2

from covidct.errors import BatchError, UsageError, WeightsError
from covidct.models import MaskedGAPResNet

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SIZE = 40


def network(**changes: object) -> MaskedGAPResNet:
    """A small network with settled running statistics, in evaluation mode."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"backbone": "resnet18", "slice_size": 64, "slices_per_chunk": 3, **changes}
    made = MaskedGAPResNet(**arguments)
    for name, buffer in made.trunk.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    return made.eval()


def scans(batch: int = 2, depth: int = 6, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Random images and masks; the third slice has no lung."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(batch, channels, depth, SIZE, SIZE, generator=generator)
    mask = (torch.rand(batch, 1, depth, SIZE, SIZE, generator=generator) > 0.5).to(torch.uint8)
    mask[:, :, :, :, SIZE // 2 :] *= 2
    mask[:, :, 2:3] = 0
    return image, mask


def all_real(image: Tensor) -> Tensor:
    return torch.ones(image.shape[0], image.shape[2], dtype=torch.bool)


@pytest.fixture(scope="module")
def net() -> MaskedGAPResNet:
    return network()


@pytest.mark.parametrize(
    ("backbone", "weights"),
    [
        ("resnet18", tv.ResNet18_Weights.IMAGENET1K_V1),
        ("resnet34", tv.ResNet34_Weights.IMAGENET1K_V1),
        ("resnet50", tv.ResNet50_Weights.IMAGENET1K_V2),
    ],
)
def test_backbone_has_torchvisions_parameter_count(
    backbone: Literal["resnet18", "resnet34", "resnet50"], weights: tv.WeightsEnum
) -> None:
    made = MaskedGAPResNet(backbone=backbone, num_classes=1000)
    assert sum(p.numel() for p in made.parameters()) == weights.meta["num_params"]


def test_resnet50_has_the_published_parameter_count_and_feature_map() -> None:
    made = MaskedGAPResNet(num_classes=1000).eval()
    assert sum(p.numel() for p in made.parameters()) == 25_557_032
    with torch.no_grad():
        assert made.feature_maps(torch.rand(1, 1, 128, 128)).shape == (1, 2048, 7, 7)
    assert made.pooling_weights(torch.ones(1, 1, 2, 128, 128, dtype=torch.uint8)).shape == (1, 2, 7, 7)


def torchvision_twin(net: MaskedGAPResNet) -> tv.ResNet:
    """Torchvision's own network with the same weights, giving pooled features."""
    twin = tv.get_model(net.backbone, weights=None)
    state = {**net.trunk.state_dict(), "fc.weight": twin.fc.weight, "fc.bias": twin.fc.bias}
    twin.load_state_dict(state, strict=True)
    twin.fc = torch.nn.Identity()
    return twin.eval()


def test_mean_pooling_is_torchvisions_network_on_each_slice() -> None:
    net = network(pooling="mean", slice_size=None)
    image, mask = scans()
    normalise = v2.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    twin = torchvision_twin(net)
    with torch.no_grad():
        found = net(image, mask, all_real(image))
        for volume, logits in zip(image, found, strict=True):
            slices = [twin(normalise(s.expand(3, -1, -1))[None])[0] for d, s in enumerate(volume[0]) if d != 2]
            expected = net.head(torch.stack(slices).amax(0))
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_full_mask_without_smoothing_is_mean_pooling() -> None:
    image, _ = scans()
    mask = torch.ones(image.shape, dtype=torch.uint8)
    weighted, mean = network(sigma=0.0), network(pooling="mean")
    with torch.no_grad():
        torch.testing.assert_close(weighted(image, mask), mean(image, mask), rtol=0, atol=1e-6)


def test_features_are_the_double_loop_of_equation_1(net: MaskedGAPResNet) -> None:
    image, mask = scans(batch=1, depth=2)
    with torch.no_grad():
        features, used = net.slice_features(image, mask, all_real(image))
        maps = net.feature_maps(image[0].transpose(0, 1)).numpy()
        weights = net.pooling_weights(mask)[0].numpy()
    assert used.all()
    for d in range(2):
        expected = np.zeros(maps.shape[1])
        for i in range(maps.shape[2]):
            for j in range(maps.shape[3]):
                expected += weights[d, i, j] * maps[d, :, i, j]
        np.testing.assert_allclose(features[0, d].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_one_cell_of_lung_without_smoothing_picks_that_cell() -> None:
    net = network(sigma=0.0)
    image, mask = scans(batch=1, depth=1)
    mask.zero_()[..., : SIZE // 2, SIZE // 2 :] = 1  # the upper right of the 2x2 cells
    with torch.no_grad():
        features, _ = net.slice_features(image, mask)
        torch.testing.assert_close(features[0, 0], net.feature_maps(image[0])[0, :, 0, 1], rtol=0, atol=1e-6)


def test_features_outside_the_weights_do_not_count() -> None:
    net = network(sigma=0.0)
    image, mask = scans(batch=1, depth=1)
    mask.zero_()[..., : SIZE // 2, :] = 1
    outside = net.pooling_weights(mask)[:, :1] == 0
    with torch.no_grad():
        expected = net(image, mask)
        hook = net.trunk["layer4"].register_forward_hook(lambda _, __, maps: maps.masked_fill(outside, 99.0))
        try:
            torch.testing.assert_close(net(image, mask), expected, rtol=0, atol=0)
        finally:
            hook.remove()


@pytest.mark.parametrize("pooling", ["mask", "mean"])
def test_pooling_weights_sum_to_one_and_follow_the_lungs(pooling: str) -> None:
    net = network(pooling=pooling)
    _, mask = scans()
    weights = net.pooling_weights(mask)
    assert weights.shape == (2, 6, 2, 2)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum((-1, -2)), torch.ones(2, 6))
    torch.testing.assert_close(weights[:, 2], torch.full((2, 2, 2), 0.25))
    assert torch.equal(weights, torch.full_like(weights, 0.25)) is (pooling == "mean")


@pytest.mark.parametrize("fusion", ["max", "mean"])
def test_padding_changes_nothing_and_costs_nothing(fusion: str) -> None:
    net = network(fusion=fusion)
    image, mask = scans()
    seen: list[int] = []
    hook = net.trunk["conv1"].register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    with torch.no_grad():
        alone = net(image, mask, all_real(image))
        count = sum(seen)
        padded = [torch.cat([t, torch.full_like(t[:, :, :4], value)], 2) for t, value in ((image, 0.7), (mask, 1))]
        slice_mask = torch.cat([all_real(image), torch.zeros(2, 4, dtype=torch.bool)], 1)
        together = net(*padded, slice_mask)
    hook.remove()
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert count == 10  # 2 x 6 slices, one each without lung
    assert sum(seen) == 2 * count


def test_volume_alone_and_in_a_batch_agree(net: MaskedGAPResNet) -> None:
    image, mask = scans(batch=3)
    with torch.no_grad():
        together = net(image, mask, all_real(image))
        for i in range(3):
            alone = net(image[i : i + 1], mask[i : i + 1], all_real(image)[:1])
            torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fusion", ["max", "mean"])
def test_without_slice_mask_the_result_is_the_same(fusion: str, training: bool) -> None:
    net = network(fusion=fusion).train(training)
    image, mask = scans()
    mask[1] = 0
    with torch.no_grad():
        torch.testing.assert_close(net(image, mask), net(image, mask, all_real(image)), rtol=0, atol=1e-5)


def test_slices_without_lung_do_not_count(net: MaskedGAPResNet) -> None:
    image, mask = scans()
    changed = image.clone()
    changed[:, :, 2] = 1
    with torch.no_grad():
        for slice_mask in (None, all_real(image)):
            torch.testing.assert_close(net(changed, mask, slice_mask), net(image, mask, slice_mask), rtol=0, atol=1e-6)
            assert net.slice_features(image, mask, slice_mask)[1].tolist() == [[d != 2 for d in range(6)]] * 2


def test_volume_without_lung_uses_all_real_slices_uniformly() -> None:
    weighted, mean = network(), network(pooling="mean")
    image, mask = scans()
    slice_mask = all_real(image)
    slice_mask[:, 5] = False
    with torch.no_grad():
        logits = weighted(image, torch.zeros_like(mask), slice_mask)
        torch.testing.assert_close(logits, mean(image, torch.ones_like(mask), slice_mask), rtol=0, atol=1e-5)
        assert weighted.slice_features(image, mask * 0, slice_mask)[1].equal(slice_mask)


def test_chunks_do_not_change_the_result() -> None:
    image, mask = scans()
    with torch.no_grad():
        results = [network(slices_per_chunk=n)(image, mask, all_real(image)) for n in (1, 4, 100)]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-5)


def test_one_channel_is_three_alike(net: MaskedGAPResNet) -> None:
    image, mask = scans()
    with torch.no_grad():
        torch.testing.assert_close(net(image.repeat(1, 3, 1, 1, 1), mask), net(image, mask), rtol=0, atol=1e-5)


def test_resizing_is_opencvs_bilinear() -> None:
    net = network()
    image, _ = scans(batch=1, depth=1)
    seen: list[Tensor] = []
    hook = net.trunk["conv1"].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        net.feature_maps(image[0])
    hook.remove()
    expected = cv2.resize(image[0, 0, 0].numpy(), (64, 64), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose((seen[0] * net.std + net.mean)[0, 1].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "slice_size", "cells"),
    [((37, 53), None, (2, 2)), ((37, 53), 96, (3, 3)), ((64, 128), 32, (1, 1)), ((20, 20), None, (1, 1))],
)
def test_any_size_works_and_the_weights_follow(
    shape: tuple[int, int], slice_size: int | None, cells: tuple[int, int]
) -> None:
    net = network(slice_size=slice_size)
    image, mask = torch.rand(1, 1, 3, *shape), torch.ones(1, 1, 3, *shape, dtype=torch.uint8)
    with torch.no_grad():
        assert net(image, mask).isfinite().all()
        assert net.feature_maps(image[0].transpose(0, 1)).shape[-2:] == cells
    assert net.pooling_weights(mask).shape[-2:] == cells


def test_training_takes_the_statistics_of_all_kept_slices() -> None:
    net = network().train()
    image, mask = scans()
    kept = [d for d in range(6) if d != 2]
    stem = copy.deepcopy(net.trunk["conv1"])
    with torch.no_grad():
        slices = image[:, :, kept].transpose(1, 2).flatten(0, 1)
        resized = torch.nn.functional.interpolate(slices, (64, 64), mode="bilinear")
        expected = stem((resized - net.mean) / net.std).mean((0, 2, 3))
        before = net.trunk.state_dict()["bn1.running_mean"].clone()
        net(image, mask, all_real(image))
    torch.testing.assert_close(net.trunk["bn1"].running_mean, 0.9 * before + 0.1 * expected, rtol=1e-4, atol=1e-5)


def test_recomputing_activations_changes_nothing() -> None:
    image, mask = scans()
    plain, frugal = network().train(), network(checkpointing=True).train()
    for net in (plain, frugal):
        torch.autograd.backward(net(image, mask, all_real(image)).square().sum())
    torch.testing.assert_close([p.grad for p in frugal.parameters()], [p.grad for p in plain.parameters()])
    torch.testing.assert_close(list(frugal.buffers()), list(plain.buffers()), rtol=0, atol=0)


def test_maximum_has_its_gradient_in_the_winning_slice_only(net: MaskedGAPResNet) -> None:
    image, mask = scans(batch=1)
    features, used = net.slice_features(image, mask, all_real(image))
    features = features.detach().requires_grad_()
    torch.autograd.backward(net.fuse(features, used).sum())
    assert features.grad is not None
    assert ((features.grad[0] != 0).sum(0) == 1).all()
    winner = features[0].detach().masked_fill(~used[0, :, None], -1).argmax(0)
    assert (features.grad[0].argmax(0) == winner).all()


def test_gradient_of_a_feature_map_is_head_weight_times_pooling_weight(net: MaskedGAPResNet) -> None:
    image, mask = scans(batch=1, depth=1)
    kept: list[Tensor] = []

    def keep(_: object, __: object, maps: Tensor) -> None:
        maps.retain_grad()
        kept.append(maps)

    hook = net.trunk["layer4"].register_forward_hook(keep)
    torch.autograd.backward(net(image, mask)[0, 1])
    hook.remove()
    expected = net.head.weight[1][:, None, None] * net.pooling_weights(mask)[0]
    torch.testing.assert_close(kept[0].grad, expected[None])


def test_dense_path_exports_with_any_batch_and_depth(net: MaskedGAPResNet) -> None:
    image, mask = scans()
    axes = {0: Dim("batch", max=64), 2: Dim("depth", max=1024)}
    program = export(net, (image, mask), dynamic_shapes=(axes, axes)).module()
    with torch.no_grad():
        for batch, depth in ((1, 3), (3, 11)):
            image, mask = scans(batch, depth)
            torch.testing.assert_close(program(image, mask), net(image, mask), rtol=0, atol=1e-5)


def test_pooling_stays_in_float32_under_autocast(net: MaskedGAPResNet) -> None:
    image, mask = scans()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features, _ = net.slice_features(image, mask, all_real(image))
        assert features.dtype == torch.float32
        assert net(image, mask).isfinite().all()


@pytest.mark.parametrize(
    ("image", "mask", "slice_mask", "words"),
    [
        ((1, 2, 3, 40, 40), (1, 1, 3, 40, 40), None, "1 or 3"),
        ((1, 3, 40, 40), (1, 1, 3, 40, 40), None, "1 or 3"),
        ((1, 1, 3, 40, 40), (1, 1, 3, 20, 20), None, "lung_mask"),
        ((1, 1, 3, 40, 40), (1, 1, 3, 40, 40), (1, 4), "slice_mask"),
        ((1, 1, 3, 40, 40), (1, 1, 3, 40, 40), (1, 3), "no real slice"),
    ],
)
def test_wrong_batches_are_refused(
    net: MaskedGAPResNet, image: tuple[int, ...], mask: tuple[int, ...], slice_mask: tuple[int, int] | None, words: str
) -> None:
    real = None if slice_mask is None else torch.zeros(slice_mask, dtype=torch.bool)
    with pytest.raises(BatchError, match=words):
        net(torch.rand(image), torch.ones(mask, dtype=torch.uint8), real)


def test_training_on_a_single_tiny_slice_is_refused() -> None:
    net = network(slice_size=32).train()
    with pytest.raises(BatchError, match="slice_size"):
        net(torch.rand(1, 1, 1, 32, 32), torch.ones(1, 1, 1, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize(
    "arguments",
    [
        {"backbone": "vgg16"},
        {"pooling": "max"},
        {"fusion": "sum"},
        {"num_classes": 1},
        {"slices_per_chunk": 0},
        {"slices_per_chunk": 3.5},
        {"slice_size": 0},
        {"slice_size": 22.4},
        {"slice_size": "224"},
        {"sigma": -1.0},
        {"sigma": float("nan")},
        {"sigma": None},
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        MaskedGAPResNet(**arguments)


def test_backbone_weights_come_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    published = tv.resnet18(weights=None)
    torch.save(published.state_dict(), tmp_path / "resnet18.pth")
    made = network(weights=str(tmp_path / "resnet18.pth"))
    for name, tensor in made.trunk.named_parameters():
        assert tensor.equal(published.get_parameter(name))
    with pytest.raises(WeightsError, match="do not fit"):
        network(backbone="resnet50", weights=str(tmp_path / "resnet18.pth"))
