"""Grad-CAM against closed forms, a formula of its own in numpy and the grad-cam package; what it leaves untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models as tv

from covidct import tasks
from covidct.errors import BatchError, UsageError
from covidct.explain import GradCAM
from covidct.tasks import ClassificationTask
from tests.explain.networks import Cube, RealSlices, inputs_of, pooling_network, pooling_task, settled, volumes
from tests.tasks.conftest import CASES

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.sample import Batch
    from covidct.tasks import MaskedGAPResNetTask


def reference(network: nn.Module, layer: nn.Module, image: Tensor, target: int) -> NDArray[np.float64]:
    """Selvaraju's formula by hooks that change nothing, ``torch.autograd.grad`` and numpy."""
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, given, output: kept.append(output))
    score = network(image)[:, target].sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept)
    features, alpha = kept[0].detach().numpy().astype(float), gradient.numpy().astype(float).mean((2, 3))
    return np.asarray(np.maximum((alpha[:, :, None, None] * features).sum(1), 0))


def reference_of_task(task: MaskedGAPResNetTask, batch: Batch, target: int) -> NDArray[np.float64]:
    """The same formula for a task on one volume: (rows of the trunk, h, w)."""
    return reference(_OnBatch(task, batch), task.model.trunk["layer4"], batch["image"], target)


class _OnBatch(nn.Module):
    """A task as a function of the image, all slices in one chunk."""

    def __init__(self, task: MaskedGAPResNetTask, batch: Batch) -> None:
        super().__init__()
        self.task, self.batch = task, batch
        task.model.slices_per_chunk = 1000

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.task({**self.batch, "image": image})
        return logits


def test_one_slice_and_a_linear_head_have_a_closed_form() -> None:
    network = pooling_network(slice_size=224)
    batch = volumes(1)
    image, lung_mask = batch["image"][:, :, 1:2], batch["lung_mask"][:, :, 1:2]  # one slice, with lungs
    found = GradCAM(network)((image, lung_mask), 1)
    with torch.no_grad():
        features = network.feature_maps(image[:, :, 0])[0].numpy().astype(float)
    assert features.shape == (512, 7, 7)
    weights = network.head.weight[1].detach().numpy().astype(float)
    expected = np.maximum(np.einsum("k,kij->ij", weights, features), 0) / 49  # the pooling weights cancel
    assert found.maps.shape == (1, 1, 7, 7)
    assert expected.max() > 0
    # sums of 512 float32 terms of either sign: small values keep the rounding of the large ones
    np.testing.assert_allclose(found.maps[0, 0].numpy(), expected, rtol=1e-5, atol=1e-6 * expected.max())


@pytest.mark.parametrize("fusion", ["max", "mean"])
@pytest.mark.parametrize("target", [0, 1])
def test_fused_slices_get_their_share_of_the_gradient(fusion: str, target: int) -> None:
    network, batch = pooling_network(fusion=fusion), volumes(2)
    found = GradCAM(network)(inputs_of(batch), target).maps.numpy()
    head = network.head.weight[target].detach().numpy().astype(float)
    weights = network.pooling_weights(batch["lung_mask"]).numpy().astype(float)
    for index, depth in enumerate((3, 4)):
        used = range(1, depth)  # slice 0 has no lung
        with torch.no_grad():
            slices = batch["image"][index].transpose(0, 1)[list(used)]
            features = network.feature_maps(slices).numpy().astype(float)
        pooled = np.einsum("nkij,nij->nk", features, weights[index, list(used)])
        share = pooled == pooled.max(0) if fusion == "max" else np.full(pooled.shape, 1 / len(used))
        cells = features.shape[2] * features.shape[3]
        expected = np.maximum(np.einsum("nk,k,nkij->nij", share / cells, head, features), 0)
        np.testing.assert_allclose(found[index, list(used)], expected, rtol=1e-4, atol=1e-6)
        unused = [number for number in range(4) if number not in used]
        assert not found[index, unused].any()
    assert found.any()


@pytest.mark.parametrize("target", [0, 3])
def test_agrees_with_the_formula_on_a_torchvision_resnet(target: int) -> None:
    network = settled(tv.resnet18(num_classes=4)).eval()
    image = torch.rand(3, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    found = GradCAM(network, layer="layer4")(image, target)
    expected = reference(network, network.get_submodule("layer4"), image, target)
    assert found.maps.shape == (3, 3, 2)
    assert expected.max() > 0
    np.testing.assert_allclose(found.maps.numpy(), expected, atol=1e-5 * expected.max())


def test_agrees_with_the_grad_cam_package() -> None:
    package: Any = pytest.importorskip("pytorch_grad_cam")
    targets: Any = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    network = settled(tv.resnet18(num_classes=4)).eval()
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = GradCAM(network, layer="layer3")(image, 2).maps
    with package.GradCAM(model=network, target_layers=[network.get_submodule("layer3")]) as cam:
        theirs = cam(input_tensor=image, targets=[targets.ClassifierOutputTarget(2)] * 2)
    # the package scales each map to [0, 1], enlarges it, and scales again
    expected = [_scaled(np.asarray(cv2.resize(_scaled(one.numpy()), (64, 64)))) for one in found]
    assert found.any()
    np.testing.assert_allclose(theirs, expected, rtol=0, atol=1e-5)


def _scaled(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    cells = cells - cells.min()
    return np.asarray(cells / (1e-7 + cells.max()))


def test_layers_before_an_operation_in_place() -> None:
    network = settled(tv.densenet121(num_classes=2)).eval()  # applies ReLU in place to its last feature map
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = GradCAM(network, layer="features.denseblock4")(image, 1).maps
    expected = reference(network, network.get_submodule("features.denseblock4"), image, 1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5 * max(expected.max(), 1e-3))
    GradCAM(network, layer="features")(image, 1)


def test_trunks_in_three_dimensions() -> None:
    torch.manual_seed(0)
    network = Cube()
    image = torch.rand(2, 1, 6, 8, 8)
    found = GradCAM(network, layer="trunk")((image,), 1)
    features = network.trunk(image).detach()
    alpha = network.head.weight[1][None, :, None, None, None] * (features > 0)
    alpha = alpha.mean((2, 3, 4), keepdim=True) / features[0, 0].numel()
    expected = (alpha * features).sum(1).clamp(min=0)
    assert found.maps.shape == (2, 3, 4, 4)
    torch.testing.assert_close(found.maps, expected.detach())


def test_networks_that_run_the_real_slices_need_not_say_so() -> None:
    torch.manual_seed(0)
    network, batch = RealSlices(), volumes(2)
    found = GradCAM(network)((batch["image"], batch["slice_mask"]), 0).maps
    assert found.shape[:2] == (2, 4)
    assert not found[0, 3].any()  # padding
    alone = GradCAM(network)((batch["image"][:1, :, :3], None), 0).maps
    torch.testing.assert_close(found[:1, :3], alone)


def test_a_scan_alone_and_in_a_padded_batch_give_the_same_maps() -> None:
    network, batch = pooling_network(), volumes(2)
    together = GradCAM(network)(inputs_of(batch), 1).maps
    alone = GradCAM(network)(inputs_of(volumes(1)), 1).maps
    torch.testing.assert_close(together[:1, :3], alone)


def test_without_a_slice_mask_all_slices_pass_and_unused_ones_stay_cold() -> None:
    network, batch = pooling_network(), volumes(1)
    dense = GradCAM(network)((batch["image"], batch["lung_mask"]), 1).maps
    sparse = GradCAM(network)(inputs_of(batch), 1).maps
    torch.testing.assert_close(dense, sparse)


@pytest.mark.parametrize(
    "options", [{"slices_per_chunk": 1}, {"slices_per_chunk": 3}, {"checkpointing": True}], ids=str
)
def test_ways_to_save_memory_change_nothing(options: dict[str, Any]) -> None:
    batch = volumes(2)
    expected = GradCAM(pooling_network())(inputs_of(batch), 1).maps
    network = pooling_network(**options)
    torch.testing.assert_close(GradCAM(network)(inputs_of(batch), 1).maps, expected)
    if network.checkpointing:  # a layer inside a block that is computed again in the backward pass
        inner = GradCAM(network, layer="trunk.layer4.0")(inputs_of(batch), 1).maps
        plain = GradCAM(pooling_network(), layer="trunk.layer4.0")(inputs_of(batch), 1).maps
        torch.testing.assert_close(inner, plain)


def test_frozen_trunks_and_modes_without_gradients() -> None:
    network, batch = pooling_network(), volumes(2)
    expected = GradCAM(network)(inputs_of(batch), 1).maps
    network.requires_grad_(requires_grad=False)
    torch.testing.assert_close(GradCAM(network)(inputs_of(batch), 1).maps, expected)
    with torch.inference_mode():
        inside = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
        assert inside["image"].is_inference()
        within = GradCAM(network)(inputs_of(inside), 1).maps
        torch.testing.assert_close(GradCAM(network)(inputs_of(inside), torch.ones(2, dtype=torch.int64)).maps, within)
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(within, expected)
    with torch.no_grad():
        torch.testing.assert_close(GradCAM(network)(inputs_of(batch), 1).maps, expected)


def test_bfloat16_gives_finite_float32_maps_near_the_others() -> None:
    network, batch = pooling_network(fusion="mean"), volumes(2)  # the maximum jumps between slices
    expected = GradCAM(network)(inputs_of(batch), 1).maps
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = GradCAM(network)(inputs_of(batch), 1).maps
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.1 * expected.max()
    assert not found.equal(expected)  # it did run in bfloat16


def test_leaves_no_trace() -> None:
    task, batch = pooling_task(), volumes(2)
    task.train()
    task.model.trunk["bn1"].eval()  # a part that its owner keeps frozen
    task.model.trunk["conv1"].requires_grad_(requires_grad=False)
    for parameter in task.model.head.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    modes = {name: part.training for name, part in task.named_modules()}
    asking = {name: parameter.requires_grad for name, parameter in task.named_parameters()}
    torch.manual_seed(3)
    random = torch.get_rng_state()
    GradCAM(task)(batch)
    with pytest.raises(BatchError):
        GradCAM(task)(batch, 7)
    assert torch.get_rng_state().equal(random)
    assert modes == {name: part.training for name, part in task.named_modules()}
    assert asking == {name: parameter.requires_grad for name, parameter in task.named_parameters()}
    assert all(value.equal(before[name]) for name, value in task.state_dict().items())
    with_gradient = {name for name, parameter in task.named_parameters() if parameter.grad is not None}
    assert with_gradient == {"model.head.weight", "model.head.bias"}
    assert all(
        bool((parameter.grad == 1).all()) for parameter in task.model.head.parameters() if parameter.grad is not None
    )
    assert not any(part._forward_hooks for part in task.modules())


def test_a_pass_of_ones_own_can_be_watched() -> None:
    task, batch = pooling_task(), volumes(2)
    expected = GradCAM(task)(batch, 1)
    with GradCAM(task).watch(batch) as watch:
        found = task.predict_step(batch, 0)
        maps = watch.maps(found["logits"][:, 1])
    torch.testing.assert_close(maps, expected.maps)
    torch.testing.assert_close(found["logits"].detach(), expected.logits)


def test_explains_the_predicted_class_unless_told() -> None:
    task, batch = pooling_task(), volumes(3)
    found = GradCAM(task)(batch)
    with torch.no_grad():
        assert found.target.equal(task(batch).argmax(1))
    chosen = torch.tensor([0, 1, 0])
    mixed = GradCAM(task)(batch, chosen)
    assert mixed.target.equal(chosen)
    torch.testing.assert_close(mixed.maps[1], GradCAM(task)(batch, 1).maps[1])


WITHOUT_A_LAYER = ("GatedEnsembleTask",)
"""Its experts have layers of their own: they are explained one by one."""


@pytest.mark.parametrize("name", [n for n in tasks.__all__ if n in CASES and n not in WITHOUT_A_LAYER])
def test_every_classifier_of_the_library(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    task = getattr(tasks, name)(**case.arguments)
    if not isinstance(task, ClassificationTask):
        pytest.skip("no classifier")
    batch: Batch = case.batch(2)
    found = GradCAM(task)(batch, 1)
    image = batch["image"]
    assert found.maps.shape[: image.ndim - 3] == (image.shape[0], *image.shape[2:-2])
    assert found.maps.isfinite().all()
    assert (found.maps >= 0).all()
    if "slice_mask" in batch:
        assert not found.maps[~batch["slice_mask"]].any()


@pytest.mark.parametrize("name", WITHOUT_A_LAYER)
def test_an_ensemble_says_that_it_has_no_layer_of_its_own(name: str) -> None:
    case = CASES[name]
    with pytest.raises(UsageError, match="does not say which layer"):
        GradCAM(getattr(tasks, name)(**case.arguments))(case.batch(2), 1)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("nowhere", "has no layer 'nowhere'"),
        ("head", "not feature maps"),
        ("spare", "did not call"),
        (None, "does not say which layer"),
    ],
)
def test_a_wrong_layer_is_named(layer: str | None, message: str) -> None:
    network = Cube()
    network.spare = nn.Conv3d(1, 1, 1)
    with pytest.raises(UsageError, match=message):
        GradCAM(network, layer=layer)((torch.rand(1, 1, 4, 4, 4),), 0)


def test_scores_that_do_not_depend_on_the_layer() -> None:
    network, batch = pooling_network(), volumes(1)
    with GradCAM(network).watch(inputs_of(batch)) as watch:
        network(*inputs_of(batch))
        with pytest.raises(UsageError, match="do not depend"):
            watch.maps(torch.zeros(1))


def test_recurrent_layers_are_differentiated_without_their_dropout() -> None:
    class Recurrent(RealSlices):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 4, num_layers=2, dropout=0.5, batch_first=True)

        def forward(self, image: Tensor, slice_mask: Tensor | None = None) -> Tensor:
            features = self.trunk(image.transpose(1, 2).flatten(0, 1)).mean((2, 3))
            logits: Tensor = self.head(self.lstm(features.reshape(len(image), -1, 4))[0][:, -1])
            return logits

    torch.manual_seed(0)
    network = Recurrent().eval()
    image = volumes(2)["image"]
    expected = network(image).detach()
    found = GradCAM(network)((image,), 0)
    assert found.logits.equal(expected)
    assert found.maps.equal(GradCAM(network)((image,), 0).maps)
    assert (network.lstm.training, network.lstm.dropout) == (False, 0.5)


def test_maps_that_fit_no_slices() -> None:
    class Half(RealSlices):
        def forward(self, image: Tensor, slice_mask: Tensor | None = None) -> Tensor:
            logits: Tensor = self.head(self.trunk(image[:, :, 0]).mean((2, 3)))
            return logits

    with pytest.raises(BatchError, match="cam_slices"):
        GradCAM(Half())((volumes(2)["image"],), 0)


@pytest.mark.parametrize("target", [2, -1, torch.tensor([0]), torch.tensor([[0, 1]])], ids=str)
def test_a_target_is_a_class_for_each_sample(target: int | Tensor) -> None:
    with pytest.raises(BatchError, match="must name one of the classes 0 to 1"):
        GradCAM(pooling_task())(volumes(2), target)


def test_dicts_are_for_tasks() -> None:
    with pytest.raises(UsageError, match="takes tensors, dict was given"):
        GradCAM(pooling_network())(volumes(1))
    with pytest.raises(UsageError, match="takes a batch dict, Tensor was given"):
        GradCAM(pooling_task())(volumes(1)["image"])
    with pytest.raises(BatchError, match="has no 'lung_mask'; MaskedGAPResNetTask needs image, lung_mask"):
        GradCAM(pooling_task())({"image": volumes(1)["image"]})
