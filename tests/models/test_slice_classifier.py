"""The slice classifier: a trunk and a linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.export import Dim, export
from torchvision import models as tv

from covidct.errors import BatchError, UsageError
from covidct.explain import GradCAM
from covidct.models import SliceClassifier

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def network(**options: Any) -> SliceClassifier:  # noqa: ANN401
    torch.manual_seed(0)
    made = SliceClassifier(**{"backbone": "resnet18", **options})
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    return made.eval()


def slices(count: int = 3, size: int = 64, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def net() -> SliceClassifier:
    return network()


def test_is_torchvisions_network_with_another_last_layer(net: SliceClassifier) -> None:
    twin = tv.resnet18(num_classes=3)
    state = net.trunk.network.state_dict()
    twin.load_state_dict({**state, "fc.weight": net.head.weight, "fc.bias": net.head.bias}, strict=True)
    image = slices()
    with torch.no_grad():
        expected = twin.eval()((image - net.trunk.mean) / net.trunk.std)
        torch.testing.assert_close(net(image), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net(slices(channels=1).expand(-1, 3, -1, -1)), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net.head(net.features(image)), net(image))


@pytest.mark.parametrize(("backbone", "width"), [("resnet50", 2048), ("densenet169", 1664)])
def test_parameter_counts(backbone: str, width: int) -> None:
    with torch.device("meta"):
        made = SliceClassifier(backbone=backbone)
    published = tv.get_model_weights(backbone)["IMAGENET1K_V1"].meta["num_params"]
    assert sum(p.numel() for p in made.parameters()) == published - (1000 * width + 1000) + (3 * width + 3)


def test_slices_do_not_depend_on_one_another(net: SliceClassifier) -> None:
    with torch.no_grad():
        together = net(slices())
        for i in range(3):
            torch.testing.assert_close(net(slices()[i : i + 1]), together[i : i + 1], rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_alone() -> None:
    made = network(dropout=0.5)
    with torch.no_grad():
        torch.testing.assert_close(made(slices()), network()(slices()))
    ones = torch.ones(10_000)
    assert made.dropout(ones).equal(ones)
    assert 0.45 < float((made.train().dropout(ones) == 0).float().mean()) < 0.55


@pytest.mark.parametrize("backbone", ["resnet18", "densenet121", "mobilenet_v3_small"])
def test_grad_cam_names_its_layer(backbone: str) -> None:
    made = network(backbone=backbone)
    found = GradCAM(made)(slices(2, 96), target=1)
    assert found.maps.shape == (2, 3, 3)
    assert found.maps.isfinite().all()
    assert (found.maps >= 0).all()


def test_grad_cam_of_linear_pooling_is_the_weighted_map(net: SliceClassifier) -> None:
    """CAM (Zhou et al. 2016): with a mean and a linear layer behind the maps, Grad-CAM is that divided by the cells."""
    image = slices(2, 96)
    with torch.no_grad():
        maps = net.trunk.feature_maps(image)
        expected = torch.einsum("k,nkij->nij", net.head.weight[2], maps).relu() / 9
    torch.testing.assert_close(GradCAM(net)(image, target=2).maps, expected, rtol=1e-4, atol=1e-6)


def test_transformers_have_no_layer_to_explain() -> None:
    with torch.device("meta"):
        assert not hasattr(SliceClassifier(backbone="vit_b_32"), "cam_layer")


def test_can_be_exported_with_any_number_of_slices(net: SliceClassifier) -> None:
    program = export(net, (slices(2),), dynamic_shapes=({0: Dim("batch", max=64)},)).module()
    with torch.no_grad():
        for count in (1, 5):
            torch.testing.assert_close(program(slices(count)), net(slices(count)), rtol=1e-4, atol=1e-5)


def test_half_precision_is_finite(net: SliceClassifier) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert net(slices()).isfinite().all()


def test_weights_come_from_a_file_and_leave_the_rest(tmp_path: Path) -> None:
    torch.manual_seed(3)
    published = tv.resnet18()
    torch.save(published.state_dict(), tmp_path / "w.pth")
    made = network(attention="se", weights=str(tmp_path / "w.pth"))
    assert made.trunk.network.get_parameter("conv1.weight").equal(published.conv1.weight)
    torch.manual_seed(0)
    fresh = SliceClassifier(backbone="resnet18", attention="se")
    assert made.head.weight.equal(fresh.head.weight)
    for name, value in made.trunk.network.named_parameters():
        if ".attention." in name:
            assert value.equal(fresh.trunk.network.get_parameter(name))


@pytest.mark.parametrize(
    "options",
    [{"num_classes": 1}, {"dropout": 1.0}, {"dropout": -0.1}, {"backbone": "resnet1"}, {"attention": "x"}, {"std": []}],
)
def test_wrong_arguments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        network(**options)


def test_wrong_shapes_are_refused(net: SliceClassifier) -> None:
    with pytest.raises(BatchError, match="'image'"):
        net(torch.rand(2, 2, 32, 32))
