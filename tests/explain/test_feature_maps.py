"""Feature maps against forward hooks and convolutions worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models as tv

from covidct.errors import UsageError
from covidct.explain import feature_maps
from tests.explain.networks import (
    Cube,
    RealSlices,
    inputs_of,
    pooling_network,
    pooling_task,
    settled,
    volumes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def hooked(network: nn.Module, layer: str, image: Tensor) -> NDArray[np.float32]:
    """What a layer gives, by a plain hook: the first sample's (F, h, w)."""
    kept: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(
        lambda module, given, output: kept.append(output.clone())
    )
    with torch.no_grad():
        network(image)
    handle.remove()
    return kept[0].numpy()


class Shifts(nn.Module):
    """Four channels by hand: the image, its double, its negative shifted right by one, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        kernel = torch.zeros(4, 1, 3, 3)
        kernel[0, 0, 1, 1], kernel[1, 0, 1, 1], kernel[2, 0, 1, 0] = 1, 2, -1
        self.conv.weight.data, self.conv.bias = kernel, nn.Parameter(torch.tensor([0.0, 0.0, 0.0, 7.0]))
        self.act = nn.ReLU(inplace=True)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.act(self.conv(image)).mean((2, 3))
        return features


def test_a_convolution_by_hand() -> None:
    image = torch.rand(2, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    found = feature_maps(Shifts(), image, layers=["conv"], channels=3, sample=1)
    ((cell,),) = found.rows
    plain = image[1, 0].numpy()
    shifted = np.zeros_like(plain)
    shifted[:, 1:] = -plain[:, :-1]
    assert (cell.model, cell.layer, cell.width) == ("Shifts", "conv", 4)
    # the spread of the shifted one has a column of zeros beside it
    order = [1, *sorted((0, 2), key=lambda channel: -(plain, None, shifted)[channel].std())]  # type: ignore[union-attr]
    assert cell.channels.tolist() == order
    by_hand = {0: plain, 1: 2 * plain, 2: shifted}
    for channel, maps in zip(cell.channels, cell.maps, strict=True):
        np.testing.assert_allclose(maps, by_hand[int(channel)], rtol=1e-6)  # the ReLU behind works in place
    np.testing.assert_allclose(cell.mean, (3 * plain + shifted + 7) / 4, rtol=1e-6)
    np.testing.assert_array_equal(found.image, plain)
    assert found.image.dtype == cell.maps.dtype == cell.mean.dtype == np.float32


def test_which_channels() -> None:
    image = torch.rand(1, 1, 6, 8)
    options: list[tuple[dict[str, Any], list[int]]] = [
        ({"channels": 2, "choice": "first"}, [0, 1]),
        ({"channels": [3, 1]}, [3, 1]),
        ({"channels": 99, "choice": "first"}, [0, 1, 2, 3]),
    ]
    for given, expected in options:
        ((cell,),) = feature_maps(Shifts(), image, layers=["conv"], **given).rows
        assert cell.channels.tolist() == expected
        assert len(cell.maps) == len(expected)
    spread = feature_maps(Shifts(), image, layers=["conv"], channels=99).rows[0][0].channels.tolist()
    assert spread[0] == 1
    assert spread[-1] == 3  # a constant


def test_models_side_by_side_equal_their_hooks() -> None:
    models = {name: settled(tv.resnet18(num_classes=2), seed).eval() for seed, name in enumerate(("random", "trained"))}
    image = torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    found = feature_maps(models, image, channels=5)
    assert [[cell.model for cell in row] for row in found.rows] == [["random", "trained"]] * 4
    assert [row[0].layer for row in found.rows] == ["layer1", "layer2", "layer3", "layer4"]
    for row in found.rows:
        for cell in row:
            expected = hooked(models[cell.model], cell.layer, image)[0]
            np.testing.assert_allclose(cell.maps, expected[cell.channels], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(cell.mean, expected.mean(0), rtol=1e-4, atol=1e-6)
            spread = expected.std((1, 2))
            assert sorted(spread)[-5:] == pytest.approx(sorted(spread[cell.channels]))
    np.testing.assert_allclose(found.image, image[0].mean(0), rtol=1e-6)


def test_models_of_unlike_names() -> None:
    image = torch.rand(1, 3, 64, 64)
    models = {"a": settled(tv.resnet18()), "b": settled(tv.densenet121())}
    found = feature_maps(models, image, layers={"a": ["layer3"], "b": ["features.denseblock3"]})
    assert [cell.layer for cell in found.rows[0]] == ["layer3", "features.denseblock3"]
    assert len(feature_maps(models, image).rows) == 4
    with pytest.raises(UsageError, match=r"unlike numbers of layers \(a 1, b 2\)"):
        feature_maps(models, image, layers={"a": ["layer3"], "b": ["features.norm0", "features.denseblock3"]})
    with pytest.raises(UsageError, match="names none of the model 'b'"):
        feature_maps(models, image, layers={"a": ["layer3"]})


def test_a_slice_of_a_volume_in_a_batch() -> None:
    network, batch = pooling_network(slices_per_chunk=2), volumes(2)
    found = feature_maps(network, inputs_of(batch), layers=["trunk.layer2"], sample=1, slice_index=3)
    with torch.no_grad():
        alone = pooling_network()
        one = (batch["image"][1:, :, 3:4], batch["lung_mask"][1:, :, 3:4])
        kept: list[Tensor] = []
        alone.get_submodule("trunk.layer2").register_forward_hook(lambda module, given, output: kept.append(output))
        alone(*one)
    ((cell,),) = found.rows
    np.testing.assert_allclose(cell.maps, kept[0][0].numpy()[cell.channels], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.image, batch["image"][1, 0, 3])
    for unused in (0, 3):  # no lung, padding
        with pytest.raises(UsageError, match=f"Slice {unused} is padding"):
            feature_maps(network, inputs_of(batch), sample=0, slice_index=unused)


def test_a_task_and_the_slice_with_most_lesion_else_lung() -> None:
    task, batch = pooling_task(), volumes(1)
    batch["lung_mask"][0, 0, 1, 8:] = 0
    lung = feature_maps({"ours": task}, batch)
    np.testing.assert_array_equal(lung.image, batch["image"][0, 0, 2])
    assert [row[0].layer for row in lung.rows] == [f"trunk.layer{number}" for number in (1, 2, 3, 4)]
    batch["lesion_mask"] = torch.zeros_like(batch["lung_mask"])
    batch["lesion_mask"][0, 0, 1, 6:8, 6:9] = 1
    np.testing.assert_array_equal(feature_maps(task, batch).image, batch["image"][0, 0, 1])
    assert next(iter(feature_maps(task, batch).rows))[0].model == "MaskedGAPResNet"
    volume = torch.rand(1, 1, 5, 16, 16)
    np.testing.assert_array_equal(feature_maps(RealSlices(), volume).image, volume[0, 0, 2])  # the middle one


def test_a_3d_trunk_has_a_depth_of_its_own() -> None:
    network, volume = settled(Cube()), torch.rand(2, 1, 8, 12, 12, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = network.trunk(volume)[1].numpy()  # type: ignore[operator]
    assert expected.shape[1] == 4
    for index, depth in ((0, 0), (3, 1), (7, 3)):
        ((cell,),) = feature_maps(network, volume, layers=["trunk"], channels=[0, 4], sample=1, slice_index=index).rows
        np.testing.assert_allclose(cell.maps, expected[[0, 4], depth], rtol=1e-5)


def test_models_are_left_as_they_were() -> None:
    network = settled(tv.resnet18(num_classes=2)).train()
    network.get_submodule("layer1").eval()
    network.get_parameter("conv1.weight").requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    grads = [parameter.requires_grad for parameter in network.parameters()]
    feature_maps(network, torch.rand(2, 3, 64, 64))
    assert [module.training for module in network.modules()] == modes
    assert [parameter.requires_grad for parameter in network.parameters()] == grads
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.is_grad_enabled()
    with torch.inference_mode():
        feature_maps(network, torch.rand(2, 3, 64, 64))
        assert torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["trunk.layer9"]}, r"no layer 'trunk\.layer9'.* trunk\.layer1, trunk\.layer2"),
        ({"layers": ["nowhere"]}, r"no layer 'nowhere'.*trunk, head"),
        ({"layers": "trunk.layer1"}, "no list of names"),
        ({"layers": []}, "no list of names"),
        ({"layers": ["head"]}, "not feature maps"),
        ({"channels": 0}, "channels=0"),
        ({"channels": [0, 64], "layers": ["trunk.layer1"]}, r"\[0, 64\] are not all in trunk\.layer1 .* 0 to 63"),
        ({"channels": []}, "are not all in"),
        ({"choice": "best"}, "choice='best'"),
        ({"sample": 2}, "sample=2"),
        ({"slice_index": 9}, "slice_index=9"),
        ({"models": {}}, "at least one"),
    ],
)
def test_what_cannot_be_shown(options: dict[str, Any], message: str) -> None:
    models = options.pop("models", pooling_task())
    with pytest.raises(UsageError, match=message):
        feature_maps(models, volumes(2), **options)


def test_what_cannot_be_shown_of_images() -> None:
    network = Shifts()
    with pytest.raises(UsageError, match="no volumes"):
        feature_maps(network, torch.rand(1, 1, 6, 8), slice_index=0)
    network.unused = nn.Conv2d(1, 1, 1)
    with pytest.raises(UsageError, match="did not call its layer 'unused'"):
        feature_maps(network, torch.rand(1, 1, 6, 8), layers=["unused"])
    deep = nn.Sequential(nn.Unflatten(1, (1, 1)), nn.Conv3d(1, 2, 1), nn.Flatten())
    with pytest.raises(UsageError, match=r"'1' gives \(1, 2, 1, 6, 8\) for images"):
        feature_maps(deep, torch.rand(1, 1, 6, 8), layers=["1"])
    with pytest.raises(UsageError, match="takes tensors"):
        feature_maps(network, {"image": torch.rand(1, 1, 6, 8)})
