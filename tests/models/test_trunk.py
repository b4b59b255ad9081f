"""The trunk against torchvision's own networks: features, maps, statistics, published weights."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torchvision import models as tv
from torchvision.transforms import v2

from covidct.errors import BatchError, UsageError, WeightsError
from covidct.layers import Attention
from covidct.models import Trunk

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

ATTENTION: tuple[Attention, ...] = ("se", "eca", "cbam")


def trunk(backbone: str = "resnet18", **options: Any) -> Trunk:  # noqa: ANN401
    """In evaluation mode, with running statistics that are not 0 and 1."""
    torch.manual_seed(0)
    made = Trunk(backbone, **options)
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    return made.eval()


def images(count: int = 3, channels: int = 1, size: int = 64) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def twin(made: Trunk) -> nn.Module:
    """Torchvision's own network with the same weights, giving pooled features."""
    network: nn.Module = tv.get_model(made.backbone, weights=None)
    state = made.network.state_dict()
    network.load_state_dict(state, strict=False)
    name = "fc" if hasattr(network, "fc") else "classifier"
    if isinstance(getattr(network, name), nn.Linear):
        setattr(network, name, nn.Identity())
    else:
        getattr(network, name)[-1] = nn.Identity()
    return network.eval()


@pytest.mark.parametrize(
    ("backbone", "width"),
    [("resnet18", 512), ("densenet121", 1024), ("mobilenet_v3_small", 1024), ("shufflenet_v2_x0_5", 1024)],
)
def test_features_are_torchvisions(backbone: str, width: int) -> None:
    made, image = trunk(backbone), images()
    normalised = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(image.expand(-1, 3, -1, -1))
    with torch.no_grad():
        found = made(image)
        torch.testing.assert_close(found, twin(made)(normalised), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(made(image.expand(-1, 3, -1, -1)), found, rtol=1e-4, atol=1e-5)
    assert found.shape == (3, width)
    assert made.width == width


@pytest.mark.parametrize(
    ("backbone", "params"),
    [
        ("resnet50", 25_557_032),
        ("resnext50_32x4d", 25_028_904),
        ("densenet169", 14_149_480),
        ("efficientnet_b0", 5_288_548),
        ("vit_b_32", 88_224_232),
        ("swin_t", 28_288_354),
    ],
)
def test_parameter_count_with_the_classifier_is_the_published(backbone: str, params: int) -> None:
    with torch.device("meta"):
        network = tv.get_model(backbone, weights=None)
    made = meta(backbone)
    classifier = 1000 * made.width + 1000
    assert sum(p.numel() for p in made.parameters()) + classifier == params
    assert tv.get_model_weights(backbone)["IMAGENET1K_V1"].meta["num_params"] == params
    assert set(made.network.state_dict()) < set(network.state_dict())


def meta(backbone: str) -> Trunk:
    """A trunk of shapes alone."""
    with torch.device("meta"):
        return Trunk(backbone)


def test_every_network_without_a_linear_classifier_is_refused_and_every_other_taken() -> None:
    families = {re.split(r"[\d_]", name)[0]: name for name in tv.list_models(module=tv)}
    refused = set()
    for family, name in families.items():
        try:
            with torch.device("meta"):
                made = Trunk(name)
        except UsageError:
            refused.add(family)
        except NotImplementedError:  # RegNet draws its weights in a way that no shape can
            continue
        else:
            assert made.width > 100
    assert refused == {"googlenet", "inception", "mnasnet", "squeezenet"}


@pytest.mark.parametrize(
    "backbone", ["resnet18", "densenet121", "efficientnet_b0", "mobilenet_v3_small", "shufflenet_v2_x0_5"]
)
def test_last_maps_are_what_is_pooled(backbone: str) -> None:
    made = trunk(backbone)
    assert made.last_maps is not None
    kept: list[Tensor] = []
    made.network.get_submodule(made.last_maps).register_forward_hook(lambda _, __, maps: kept.append(maps.clone()))
    with torch.no_grad():
        found = made(images())
    pooled = kept[0].mean((2, 3))
    if backbone == "mobilenet_v3_small":  # a layer before the classifier
        pooled = made.network.classifier[:3](pooled)
    torch.testing.assert_close(found, pooled, rtol=1e-4, atol=1e-5)


def test_networks_without_maps_say_so() -> None:
    assert meta("vit_b_32").last_maps is None
    assert meta("swin_t").last_maps is None


@pytest.mark.parametrize("backbone", ["resnet18", "densenet121"])
@pytest.mark.parametrize("attention", [None, "cbam"])
def test_maps_of_their_own_are_those_on_the_way_to_the_features(backbone: str, attention: Attention | None) -> None:
    made = trunk(backbone, attention=attention)
    with torch.no_grad():
        maps = made.feature_maps(images(size=96))
        assert maps.shape == (3, made.width, 3, 3)
        torch.testing.assert_close(maps.mean((2, 3)), made(images(size=96)), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="ResNet, ResNeXt or DenseNet"):
        meta("efficientnet_b0").feature_maps(images())


def gradients(made: Trunk, *, maps: bool, checkpointing: bool = False) -> list[Tensor]:
    made.train()
    found = made.feature_maps(images(), checkpointing=checkpointing).mean((2, 3)) if maps else made(images())
    torch.autograd.backward(found.square().sum())
    return [p.grad for p in made.parameters() if p.grad is not None]


@pytest.mark.parametrize("backbone", ["resnet18", "densenet121"])
@pytest.mark.parametrize("estimates", [True, False])
def test_neither_the_way_nor_recomputing_changes_gradients(backbone: str, estimates: bool) -> None:
    made = [trunk(backbone, attention="eca", running_estimates=estimates).double() for _ in range(3)]
    for one in made[1:]:
        one.load_state_dict(made[0].state_dict())
    whole = gradients(made[0], maps=False)
    assert len(whole) == len(list(made[0].parameters()))
    torch.testing.assert_close(gradients(made[1], maps=True), whole)
    torch.testing.assert_close(gradients(made[2], maps=True, checkpointing=True), whole)
    for one in made[1:]:
        torch.testing.assert_close(list(one.buffers()), list(made[0].buffers()))


def test_gradients_of_a_densenet_are_torchvisions() -> None:
    """Its last ReLU stands there twice."""
    made = trunk("densenet121").double()
    other = twin(made).double()
    image = images(2).double().expand(-1, 3, -1, -1)
    torch.autograd.backward(made(image).square().sum())
    torch.autograd.backward(other((image - made.mean) / made.std).square().sum())
    expected = dict(other.named_parameters())
    for name, parameter in made.network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, msg=name)


@pytest.mark.parametrize("backbone", ["resnet18", "densenet121"])
def test_without_running_estimates_a_batch_is_normalised_by_itself(backbone: str) -> None:
    made = trunk(backbone, running_estimates=False)
    assert not any(name.endswith(("running_mean", "running_var", "tracked")) for name in made.state_dict())
    trained = trunk(backbone).double()  # in float32 PyTorch's own kernel rounds more than the tolerance
    trained.network.load_state_dict(made.network.state_dict(), strict=False)
    with torch.no_grad():
        expected = trained.train()(images().double())
        torch.testing.assert_close(made.double()(images().double()), expected, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(made.train()(images().double()), expected, rtol=1e-7, atol=1e-9)


# Published weights: small files under torchvision's names.


def published(backbone: str, seed: int = 5) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network as it is published, and its state."""
    torch.manual_seed(seed)
    network = tv.get_model(backbone, weights=None)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
    return network, network.state_dict()


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of before 2018, as in densenet169-b2777c0a.pth: "norm.1" for "norm1", no batch counters."""
    renamed = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): v for name, v in state.items()}
    return {name: value for name, value in renamed.items() if "num_batches" not in name}


@pytest.mark.parametrize("attention", [None, *ATTENTION])
@pytest.mark.parametrize(("backbone", "old"), [("resnet18", False), ("resnet18", True), ("densenet121", True)])
def test_published_weights_reach_the_trunk_and_leave_attention_alone(
    tmp_path: Path, backbone: str, attention: Attention | None, old: bool
) -> None:
    network, state = published(backbone)
    torch.save(old_names(state) if old else state, tmp_path / "weights.pth")
    if old and backbone == "densenet121":
        assert "features.denseblock1.denselayer1.norm.1.weight" in old_names(state)
    before = trunk(backbone, attention=attention).state_dict()
    made = trunk(backbone, attention=attention)
    made.load_published(str(tmp_path / "weights.pth"))
    after = made.state_dict()
    kept = [name for name in after if re.search(r"\.attention\d?\.", name)]
    assert bool(kept) == (attention is not None)
    assert all(after[name].equal(before[name]) for name in kept)
    loaded = {name.removeprefix("network.").replace(".norm.", "."): name for name in after if name not in kept}
    for name, value in state.items():
        if not name.startswith(("fc.", "classifier.")):
            ours = f"network.{name}" if f"network.{name}" in after else loaded[name]
            assert after[ours].equal(value), name
    if attention is None:
        with torch.no_grad():
            other = copy.deepcopy(network).eval()
            setattr(other, "fc" if backbone == "resnet18" else "classifier", nn.Identity())
            normalised = (images() - made.mean) / made.std
            torch.testing.assert_close(made(images()), other(normalised), rtol=1e-4, atol=1e-5)


def test_published_weights_without_estimates_and_at_once(tmp_path: Path) -> None:
    _, state = published("resnet18")
    torch.save(state, tmp_path / "weights.pth")
    made = Trunk("resnet18", attention="se", running_estimates=False, weights=str(tmp_path / "weights.pth"))
    assert made.network.get_parameter("conv1.weight").equal(state["conv1.weight"])
    assert made.network.get_parameter("layer4.1.bn2.norm.weight").equal(state["layer4.1.bn2.weight"])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(published("resnet18")[1], tmp_path / "weights.pth")
    for backbone in ("resnet34", "densenet121"):
        with pytest.raises(WeightsError, match=r"weights\.pth do not fit"):
            trunk(backbone).load_published(str(tmp_path / "weights.pth"))
    with pytest.raises(UsageError, match="'IMAGENET' is unknown"):
        trunk().load_published("IMAGENET")


# Normalisation, sizes, arguments.


def test_mean_and_deviation_of_one_channel() -> None:
    one, three = trunk(mean=[0.4], std=[0.3]), trunk(mean=[0.4] * 3, std=[0.3] * 3)
    assert one.mean.shape == (1, 1, 1, 1)
    with torch.no_grad():
        for channels in (1, 3):
            torch.testing.assert_close(one(images(channels=channels)), three(images(channels=channels)))
    seen: list[Tensor] = []
    one.network.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        one(images())
    torch.testing.assert_close(seen[0], ((images() - 0.4) / 0.3).expand(-1, 3, -1, -1))


@pytest.mark.parametrize(
    ("backbone", "least"), [("alexnet", 63), ("convnext_tiny", 32), ("densenet121", 29), ("vgg11", 32)]
)
def test_the_least_size_is_where_torchvision_fails(backbone: str, least: int) -> None:
    made = meta(backbone).eval()
    with torch.device("meta"):
        assert made(torch.empty(2, 1, least, least)).shape == (2, made.width)
        with pytest.raises(RuntimeError):
            made.network(torch.empty(2, 3, least - 1, least - 1))
        with pytest.raises(BatchError, match=f"at least {least} pixels"):
            made(torch.empty(2, 1, least - 1, 224))


def test_transformers_of_one_size_say_which() -> None:
    made = meta("vit_b_32").eval()
    with pytest.raises(BatchError, match=r"224x224 pixels, not 64x64"):
        made(images())


@pytest.mark.parametrize("shape", [(2, 2, 64, 64), (2, 64, 64), (2, 1, 3, 64, 64)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BatchError, match="1 or 3"):
        trunk()(torch.rand(shape))


def test_one_value_per_channel_is_refused_where_it_is_normalised() -> None:
    made = trunk()
    with torch.no_grad():
        assert made(images(1, size=32)).isfinite().all()
    with pytest.raises(BatchError, match="one value per channel"):
        made.train()(images(1, size=32))
    with pytest.raises(BatchError, match="one value per channel"):
        trunk(running_estimates=False)(images(1, size=32))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backbone": "resnet19"}, "resnet19"),
        ({"backbone": "maskrcnn_resnet50_fpn"}, "maskrcnn"),
        ({"backbone": "inception_v3"}, "inception_v3"),
        ({"attention": "bam"}, "bam"),
        ({"backbone": "mobilenet_v2", "attention": "se"}, "not into MobileNetV2"),
        ({"mean": [0.1, 0.2]}, "mean"),
        ({"mean": [-0.1]}, "mean"),
        ({"std": [0.0]}, "std"),
        ({"std": [float("nan")]}, "std"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        trunk(**options)


# Grey images: one input channel.

STATISTICS: dict[str, Any] = {"mean": [0.4], "std": [0.3]}


@pytest.mark.parametrize(
    "backbone", ["resnet18", "densenet121", "efficientnet_b0", "convnext_tiny", "vgg11", "alexnet"]
)
def test_grey_by_summed_kernels_is_rgb_of_equal_channels(tmp_path: Path, backbone: str) -> None:
    torch.save(published(backbone)[1], tmp_path / "weights.pth")
    made = [trunk(backbone, in_channels=channels, **STATISTICS) for channels in (1, 3)]
    for one in made:
        one.load_published(str(tmp_path / "weights.pth"))
    grey, rgb = made
    image = images(2).double()
    with torch.no_grad():
        found = grey.double()(image)
        torch.testing.assert_close(found, rgb.double()(image.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-6)
    assert found.std() > 0


def test_random_weights_are_added_up_too() -> None:
    grey, rgb = trunk(in_channels=1, **STATISTICS), trunk(**STATISTICS)
    assert grey.in_channels == 1
    assert rgb.in_channels == 3
    stem = grey.network.get_parameter("conv1.weight")
    assert stem.shape == (64, 1, 7, 7)
    torch.testing.assert_close(stem, rgb.network.get_parameter("conv1.weight").sum(1, keepdim=True), rtol=0, atol=0)
    assert sum(p.numel() for p in grey.parameters()) == sum(p.numel() for p in rgb.parameters()) - 2 * stem.numel()


def test_every_family_takes_grey_images() -> None:
    families = {re.split(r"[\d_]", name)[0]: name for name in tv.list_models(module=tv)}
    taken = set()
    for family, name in families.items():
        try:
            with torch.device("meta"):
                made = Trunk(name, in_channels=1).eval()
        except UsageError:
            continue
        except NotImplementedError:  # RegNet draws its weights in a way that no shape can
            made = Trunk(name, in_channels=1).eval().to("meta")
        assert made(torch.empty(2, 1, 224, 224, device="meta")).shape == (2, made.width), name
        taken.add(family)
    assert {"resnet", "densenet", "efficientnet", "regnet", "vit", "swin", "shufflenet"} <= taken


def test_statistics_of_grey_images_are_the_means_of_imagenets() -> None:
    made = trunk(in_channels=1)
    assert made.mean.shape == made.std.shape == (1, 1, 1, 1)
    assert made.mean.item() == pytest.approx((0.485 + 0.456 + 0.406) / 3)
    assert made.std.item() == pytest.approx((0.229 + 0.224 + 0.225) / 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"in_channels": 2}, "in_channels=2"),
        ({"in_channels": 1, "mean": [0.4] * 3}, "one number"),
        ({"in_channels": 1, "std": [0.4] * 3}, "one number"),
    ],
)
def test_impossible_channels_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        trunk(**options)


def test_colour_is_refused_by_a_network_of_grey_images() -> None:
    with pytest.raises(BatchError, match=r"\(N, 1, H, W\)"):
        trunk(in_channels=1)(images(channels=3))
    assert trunk(in_channels=1).feature_maps(images()).shape == (3, 512, 2, 2)


def test_grey_weights_reach_a_grey_network_as_they_are(tmp_path: Path) -> None:
    _, state = published("resnet18")
    state["conv1.weight"] = state["conv1.weight"].sum(1, keepdim=True)
    torch.save(state, tmp_path / "weights.pth")
    made = trunk(in_channels=1)
    made.load_published(str(tmp_path / "weights.pth"))
    assert made.network.get_parameter("conv1.weight").equal(state["conv1.weight"])
    with pytest.raises(WeightsError, match=r"conv1\.weight \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)"):
        trunk().load_published(str(tmp_path / "weights.pth"))
