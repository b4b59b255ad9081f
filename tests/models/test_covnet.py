"""COVNet against torchvision on each slice, brute-force maxima and itself on single scans."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.export import Dim, export
from torchvision import models as tv
from torchvision.transforms import v2

from covidct.errors import BatchError, UsageError, WeightsError
from covidct.explain import GradCAM
from covidct.layers import SqueezeExcite
from covidct.models import COVNet, CSRNet

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

STATISTICS = ("scan", "running")


def network(**options: Any) -> COVNet:  # noqa: ANN401
    """A small network with settled running statistics, and features of a size that can be compared, in evaluation."""
    torch.manual_seed(0)
    made = COVNet(**{"backbone": "resnet18", "slice_size": 48, "slices_per_chunk": 3, **options})
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    if isinstance(made.trunk, CSRNet):  # whose published initialisation gives features of 1e-4
        for part in made.trunk.back:
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight)
    return made.eval()


def scans(batch: int = 3, depth: int = 6, channels: int = 1, size: int = 40) -> tuple[Tensor, Tensor]:
    """Images and slice masks; of three volumes, two have padding below, above and between."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(batch, channels, depth, size, size, generator=generator)
    image *= torch.linspace(0.3, 1, batch)[:, None, None, None, None]
    real = torch.ones(batch, depth, dtype=torch.bool)
    if batch == 3:
        real[1, :1] = real[1, 4:] = real[2, 2] = False
    image[~real[:, None].expand(batch, channels, depth)] = 0.7
    return image, real


@pytest.fixture(scope="module", params=STATISTICS)
def net(request: pytest.FixtureRequest) -> COVNet:
    return network(statistics=request.param)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# Size, features, fusion.


@pytest.mark.parametrize(
    ("backbone", "width", "published"),
    [("resnet50", 2048, 25_557_032), ("densenet169", 1664, 14_149_480), ("resnext50_32x4d", 2048, 25_028_904)],
)
@pytest.mark.parametrize("statistics", STATISTICS)
def test_parameter_counts_are_torchvisions_with_another_last_layer(
    backbone: str,
    width: int,
    published: int,
    statistics: Any,  # noqa: ANN401
) -> None:
    with torch.device("meta"):
        made = COVNet(backbone=backbone, num_classes=1000, statistics=statistics)
        assert count(made) == published
        assert made.head.in_features == width
        assert made.eval().feature_maps(torch.empty(1, 1, 512, 512)).shape == (1, width, 7, 7)


def test_csrnet_has_64_features_of_28_by_28() -> None:
    with torch.device("meta"):
        made = COVNet(backbone="csrnet")
        assert count(made) == 16_263_424 + 64 * 3 + 3
        assert made.feature_maps(torch.empty(1, 1, 128, 128)).shape == (1, 64, 28, 28)


def twin(net: COVNet) -> nn.Module:
    """Torchvision's network with the same weights, giving pooled features."""
    other: nn.Module = tv.resnet18()
    other.load_state_dict(net.get_submodule("trunk.network").state_dict(), strict=False)
    other.fc = nn.Identity()
    return other.train(net.by_scan)  # batch statistics


@pytest.mark.parametrize("statistics", STATISTICS)
def test_is_torchvisions_network_on_the_slices_of_each_scan(statistics: str) -> None:
    net = network(statistics=statistics, slice_size=None)
    image, real = scans()
    normalise, other = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), twin(net)
    with torch.no_grad():
        features, used = net.slice_features(image, real)
        assert used.equal(real)
        assert features.dtype == torch.float32
        assert not features[~real].any()
        found = net(image, real)
        for volume, keep, rows, logits in zip(image, real, features, found, strict=True):
            slices = volume.transpose(0, 1)[keep]
            expected = other(normalise(slices.expand(-1, 3, -1, -1)))
            torch.testing.assert_close(rows[keep], expected, rtol=1e-3, atol=1e-4)
            highest = torch.tensor([max(column) for column in expected.T.tolist()])
            torch.testing.assert_close(logits, net.head(highest), rtol=1e-3, atol=1e-4)


def test_maximum_by_brute_force_and_its_gradient(net: COVNet) -> None:
    _, real = scans()
    features = torch.randn(3, 6, 5).requires_grad_()
    fused = net.fuse(features, real)
    for b in range(3):
        for f in range(5):
            assert float(fused[b, f].detach()) == max(features[b, :, f].detach()[real[b]].tolist())
    torch.autograd.backward(fused.sum())
    assert features.grad is not None
    assert features.grad.sum(1).eq(1).all()
    assert features.grad.ne(0).sum(1).eq(1).all()
    assert not features.grad[~real].any()


# Invariance.


def test_order_of_slices_does_not_matter(net: COVNet) -> None:
    image, _ = scans()
    order = torch.tensor([3, 5, 0, 2, 4, 1])
    with torch.no_grad():
        torch.testing.assert_close(net(image[:, :, order]), net(image), rtol=1e-4, atol=1e-5)


def test_duplicates_of_slices_do_not_matter(net: COVNet) -> None:
    """All of them: the statistics of a scan are then the same."""
    image, real = scans()
    with torch.no_grad():
        twice = net(image.repeat_interleave(2, 2), real.repeat_interleave(2, 1))
        torch.testing.assert_close(twice, net(image, real), rtol=1e-4, atol=1e-5)
    if not net.by_scan:
        with torch.no_grad():
            once_more = net(image[:, :, [0, 1, 2, 2, 2, 3, 4, 5]])
            torch.testing.assert_close(once_more, net(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", ["resnet18", "densenet121", "csrnet"])
@pytest.mark.parametrize("statistics", STATISTICS)
def test_a_scan_alone_is_as_in_a_padded_batch(backbone: str, statistics: str) -> None:
    net = network(backbone=backbone, statistics=statistics)
    image, real = scans()
    with torch.no_grad():
        together = net(image, real)
        for i, keep in enumerate(real):
            alone = image[i : i + 1, :, keep]
            torch.testing.assert_close(net(alone)[0], together[i], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                net(alone, torch.ones(1, int(keep.sum()), dtype=torch.bool))[0], together[i], rtol=1e-4, atol=1e-5
            )


def test_scans_do_not_share_statistics_in_training_either() -> None:
    net = network().train()
    image, real = scans()
    with torch.no_grad():
        together = net(image, real)
        torch.testing.assert_close(together, net.eval()(image, real), rtol=1e-4, atol=1e-5)
        for i, keep in enumerate(real):
            torch.testing.assert_close(net.train()(image[i : i + 1, :, keep])[0], together[i], rtol=1e-4, atol=1e-5)
    running = network(statistics="running").train()
    with torch.no_grad():
        both = running(image, real)
        assert not torch.allclose(running(image[:1]), both[:1], atol=1e-3)


def test_running_estimates_move_by_the_real_slices_of_the_batch() -> None:
    net = network(statistics="running", slice_size=None).train()
    image, real = scans()
    before = net.state_dict()["trunk.network.bn1.running_mean"].clone()
    conv = copy.deepcopy(net.get_submodule("trunk.network.conv1"))
    with torch.no_grad():
        net(image, real)
        slices = image.transpose(1, 2)[real]
        mean, std = net.get_buffer("trunk.mean"), net.get_buffer("trunk.std")
        expected = conv((slices - mean) / std).mean((0, 2, 3))
    found = net.get_buffer("trunk.network.bn1.running_mean")
    torch.testing.assert_close(found, 0.9 * before + 0.1 * expected, rtol=1e-4, atol=1e-5)


def test_padding_costs_nothing(net: COVNet) -> None:
    image, real = scans()
    seen: list[int] = []
    hook = net.get_submodule("trunk.network.conv1").register_forward_hook(
        lambda _, inputs, __: seen.append(len(inputs[0]))
    )
    with torch.no_grad():
        net(image, real)
    hook.remove()
    assert sum(seen) == int(real.sum()) == 14
    assert seen == ([6, 3, 5] if net.by_scan else [3, 3, 3, 3, 2])


def test_chunks_do_not_change_the_result() -> None:
    image, real = scans()
    for options in ({"statistics": "running"}, {"statistics": "scan"}, {"backbone": "csrnet"}):
        with torch.no_grad():
            first, *others = [network(slices_per_chunk=n, **options)(image, real) for n in (1, 4, 100)]
        for other in others:
            torch.testing.assert_close(other, first, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_volumes_of_one_slice(net: COVNet, training: bool) -> None:
    image, _ = scans(2, depth=1)
    made = copy.deepcopy(net).train(training)
    with torch.no_grad():
        found = made(image)
        features, _ = made.slice_features(image)
        torch.testing.assert_close(found, made.head(features[:, 0]))
        torch.testing.assert_close(made(image, torch.ones(2, 1, dtype=torch.bool)), found)


def test_size_channels_and_resizing(net: COVNet) -> None:
    image, real = scans()
    with torch.no_grad():
        expected = net(image, real)
        torch.testing.assert_close(net(image.expand(-1, 3, -1, -1, -1), real), expected, rtol=1e-4, atol=1e-5)
        size = network(statistics=net.statistics, slice_size=None)
        flat = image.transpose(1, 2).flatten(0, 1)
        larger = nn.functional.interpolate(flat, (48, 48), mode="bilinear").reshape(3, 6, 1, 48, 48).transpose(1, 2)
        torch.testing.assert_close(size(larger, real), expected, rtol=1e-4, atol=1e-5)
        assert net(torch.rand(1, 1, 3, 37, 53)).isfinite().all()


# Attention, gradients, memory, precision.


@pytest.mark.parametrize("attention", ["se", "eca", "cbam"])
@pytest.mark.parametrize("backbone", ["resnet18", "densenet121"])
def test_attention_goes_into_the_backbone(attention: str, backbone: str) -> None:
    net = network(attention=attention, backbone=backbone)
    assert count(net) > count(network(backbone=backbone))
    image, real = scans()
    with torch.no_grad():
        together = net(image, real)
        torch.testing.assert_close(net(image[1:2, :, real[1]])[0], together[1], rtol=1e-4, atol=1e-5)
    if attention == "se":
        blocks = [part for part in net.modules() if isinstance(part, SqueezeExcite)]
        assert len(blocks) == (8 if backbone == "resnet18" else 4)


@pytest.mark.parametrize(
    "options",
    [
        {"statistics": "scan"},
        {"statistics": "running"},
        {"backbone": "densenet121", "attention": "eca"},
        {"backbone": "csrnet"},
    ],
)
def test_checkpointing_changes_neither_result_nor_gradients(options: dict[str, Any]) -> None:
    image, real = scans()
    found, states = [], []
    for checkpointing in (False, True):
        net = network(checkpointing=checkpointing, **options).double().train()
        torch.autograd.backward(net(image.double(), real)[:, 0].square().sum())
        found.append({name: parameter.grad for name, parameter in net.named_parameters()})
        states.append(net.state_dict())
    for name, grad in found[0].items():
        assert grad is not None, name
        torch.testing.assert_close(found[1][name], grad, msg=name)
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, msg=name)


def kept_bytes(net: COVNet) -> int:
    """Bytes that autograd keeps between the passes, parameters aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = net(*scans())
        total = sum(kept.values())
    assert result.requires_grad
    return total


@pytest.mark.parametrize("backbone", ["resnet18", "densenet121", "csrnet"])
def test_checkpointing_keeps_a_fraction_of_the_activations(backbone: str) -> None:
    costs = [kept_bytes(network(checkpointing=c, backbone=backbone).train()) for c in (False, True)]
    assert costs[1] < 0.5 * costs[0]


def test_other_scans_give_no_gradient(net: COVNet) -> None:
    image, real = scans()
    image.requires_grad_()
    (grad,) = torch.autograd.grad(net(image, real)[1].sum(), image)
    moved = grad.abs().sum((1, 3, 4)) > 0
    assert not moved[[0, 2]].any()
    assert not moved[~real].any()
    assert moved[1].any()


def test_half_precision_pools_in_float32(net: COVNet) -> None:
    image, real = scans()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert net.slice_features(image, real)[0].dtype == torch.float32
        assert net(image, real).isfinite().all()


# Explanation, export, weights, errors.


@pytest.mark.parametrize("backbone", ["resnet18", "densenet121", "csrnet"])
@pytest.mark.parametrize("statistics", STATISTICS)
def test_grad_cam_of_the_slices_that_decide(backbone: str, statistics: str) -> None:
    """A map of a slice is that of the features in which it has the maximum, by the weights of the head."""
    net = network(backbone=backbone, statistics=statistics)
    image, real = scans()
    found = GradCAM(net)((image, real), target=1).maps
    with torch.no_grad():
        features, _ = net.slice_features(image, real)
        winner = features.masked_fill(~real[..., None], -torch.inf).argmax(1)
        for b, keep in enumerate(real):
            maps = torch.zeros(6, *net.feature_maps(image[b].transpose(0, 1)[keep]).shape[1:])
            maps[keep] = net.feature_maps(image[b].transpose(0, 1)[keep])
            for d in range(6):
                weight = net.head.weight[1] * (winner[b] == d) / maps[0, 0].numel()
                expected = torch.einsum("k,kij->ij", weight, maps[d]).relu()
                torch.testing.assert_close(found[b, d], expected, rtol=1e-3, atol=1e-6)


def test_dense_path_can_be_exported() -> None:
    image, _ = scans(2)
    running, scan = network(statistics="running"), network()
    axes = {0: Dim("batch", max=64), 2: Dim("depth", max=1024)}
    program = export(running, (image,), dynamic_shapes=(axes,)).module()
    with torch.no_grad():
        for batch, depth in ((1, 3), (3, 11)):
            other, _ = scans(batch, depth)
            torch.testing.assert_close(program(other), running(other), rtol=1e-4, atol=1e-5)
        fixed = export(scan, (image,)).module()
        torch.testing.assert_close(fixed(image), scan(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("statistics", STATISTICS)
def test_published_weights_reach_the_trunk_alone(tmp_path: Path, statistics: str) -> None:
    torch.manual_seed(3)
    published = tv.resnet18()
    torch.save(published.state_dict(), tmp_path / "w.pth")
    net = network(attention="cbam", statistics=statistics, weights=str(tmp_path / "w.pth"))
    before = network(attention="cbam", statistics=statistics).state_dict()
    after = net.state_dict()
    assert after["trunk.network.layer3.1.conv2.weight"].equal(published.layer3[1].conv2.weight)
    assert after["trunk.network.layer3.1.bn2.norm.weight"].equal(published.layer3[1].bn2.weight)
    for name, value in after.items():
        if ".attention." in name or name.startswith("head."):
            assert value.equal(before[name])
    with pytest.raises(WeightsError, match="do not fit"):
        network(backbone="resnet34", weights=str(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"backbone": "resnet1"},
        {"backbone": "efficientnet_b0"},
        {"attention": "bam"},
        {"attention": "se", "backbone": "csrnet"},
        {"statistics": "batch"},
        {"num_classes": 1},
        {"slice_size": 0},
        {"slices_per_chunk": None},
        {"slices_per_chunk": 2.5},
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        network(**wrong)


def test_wrong_batches_are_refused(net: COVNet) -> None:
    image, real = scans()
    with pytest.raises(BatchError, match="'image'"):
        net(image[:, 0], real)
    with pytest.raises(BatchError, match="'slice_mask'"):
        net(image, real[:, :3])
    with pytest.raises(BatchError, match="no real slice"):
        net(image, torch.zeros_like(real))


@pytest.mark.parametrize("statistics", STATISTICS)
def test_one_value_per_channel_is_refused_where_it_is_normalised(statistics: str) -> None:
    net = network(slice_size=32, statistics=statistics)
    image = torch.rand(1, 1, 1, 32, 32)
    with pytest.raises(BatchError, match="slice_size"):
        net.train()(image)
    if statistics == "running":
        with torch.no_grad():
            assert net.eval()(image).isfinite().all()
