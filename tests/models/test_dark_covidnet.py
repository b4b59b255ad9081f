"""DarkCovidNet: the published counts and sizes, its layers one by one, what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.export import Dim, export
from torch.nn import functional as F

from covidct.errors import BatchError, UsageError
from covidct.explain import GradCAM
from covidct.models import DarkCovidNet

if TYPE_CHECKING:
    from torch import Tensor


def network(**options: Any) -> DarkCovidNet:  # noqa: ANN401
    torch.manual_seed(0)
    made = DarkCovidNet(**options)
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    return made.eval()


def xrays(count: int = 2, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, 256, 256, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("classes", "count"), [(2, 1_164_434), (3, 1_167_586)])
def test_parameter_counts_are_the_published(classes: int, count: int) -> None:
    assert sum(p.numel() for p in DarkCovidNet(num_classes=classes).parameters()) == count


def test_sizes_grow_by_the_borders_of_the_pointwise_convolutions() -> None:
    net, sides = network(), [256]
    for part in (*net.features, net.scores):
        part.register_forward_hook(lambda _, __, found: sides.append(found.shape[-1]))
    with torch.no_grad():
        assert net(xrays()).shape == (2, 2)
    assert sides == [256, 256, 128, 128, 64, 66, 33, 35, 17, 19, 9, 11, 13, 13, 13]


# Of each block: its convolution's channels, its kernel, whether pooling comes before (the published notebook).
LAYERS = [
    (8, 3, False),
    (16, 3, True),
    *((32, 3, True), (16, 1, False), (32, 3, False)),
    *((64, 3, True), (32, 1, False), (64, 3, False)),
    *((128, 3, True), (64, 1, False), (128, 3, False)),
    *((256, 3, True), (128, 1, False), (256, 3, False)),
    (128, 1, False),
    (256, 3, False),
]


def test_layers_are_the_published_one_by_one() -> None:
    net, image = network(num_classes=3, mean=[0.4], std=[0.3]), xrays(channels=3)
    convolutions = [part for part in net.modules() if isinstance(part, nn.Conv2d)]
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(convolutions) == len(norms) == len(LAYERS) + 1 == 17

    def normalised(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    with torch.no_grad():
        x = (image - 0.4) / 0.3
        for (width, kernel, pooled), convolution, norm in zip(LAYERS, convolutions, norms, strict=False):
            assert convolution.weight.shape[0] == width
            assert convolution.weight.shape[2:] == (kernel, kernel)
            x = F.conv2d(F.max_pool2d(x, 2) if pooled else x, convolution.weight, padding=1)
            x = F.leaky_relu(normalised(x, norm), 0.1)
        x = normalised(F.conv2d(x, convolutions[-1].weight, padding=1).relu(), norms[-1])
        expected = F.linear(x.reshape(2, 3 * 13 * 13), net.head.weight, net.head.bias)
        torch.testing.assert_close(net(image), expected)


def test_one_channel_is_repeated() -> None:
    net, image = network(), xrays()
    with torch.no_grad():
        torch.testing.assert_close(net(image), net(image.expand(-1, 3, -1, -1)), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(2, 1, 224, 224), (2, 1, 256, 255), (2, 2, 256, 256), (1, 256, 256)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BatchError, match=r"256, 256\).*set size=256"):
        network()(torch.rand(shape))


@pytest.mark.parametrize(
    ("options", "words"), [({"num_classes": 1}, "num_classes=1"), ({"mean": [0.1, 0.2]}, "mean"), ({"std": [0]}, "std")]
)
def test_wrong_arguments_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        DarkCovidNet(**options)


def test_grad_cam_is_of_the_last_feature_map() -> None:
    found = GradCAM(network())(xrays(), target=1)
    assert found.maps.shape == (2, 13, 13)
    assert found.maps.isfinite().all()
    assert (found.maps >= 0).all()


def test_can_be_exported_with_any_number_of_xrays() -> None:
    net = network()
    program = export(net, (xrays(),), dynamic_shapes=({0: Dim("batch", max=64)},)).module()
    with torch.no_grad():
        for count in (1, 3):
            torch.testing.assert_close(program(xrays(count)), net(xrays(count)), rtol=1e-4, atol=1e-5)
