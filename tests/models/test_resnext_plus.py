"""ResNeXt+ against torchvision, hand-written equations and itself on single volumes."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import export
from torchvision import models as tv
from torchvision.transforms import v2

from covidct.errors import BatchError, UsageError, WeightsError
from covidct.layers import MaskFusion
from covidct.models import ResNeXtPlus

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

VARIANTS = ("proposed", "N-SCA", "N-SLA", "N-MSCA")


def network(**changes: object) -> ResNeXtPlus:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"backbone": "resnet10", "slice_size": 48, **changes}
    return ResNeXtPlus(**arguments).eval()


def scans(batch: int = 3, depth: int = 6, channels: int = 1, size: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """Images, masks and slice masks; of three volumes, two have padding below, above and between."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(batch, channels, depth, size, size, generator=generator)
    mask = (torch.rand(batch, 1, depth, size, size, generator=generator) > 0.5).to(torch.uint8)
    real = torch.ones(batch, depth, dtype=torch.bool)
    if batch == 3:
        real[1, :1] = real[1, 4:] = real[2, 2] = False
    image[~real[:, None].expand(batch, channels, depth)] = 0.7
    return image, mask, real


@pytest.fixture(scope="module")
def net() -> ResNeXtPlus:
    return network()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_of_the_full_network() -> None:
    made = ResNeXtPlus()
    assert count(made.lstm) == 10_493_952
    trunk = count(made.trunk) + count(made._conv_image()) + count(made.stem.get_submodule("bn1"))
    assert trunk + 2048 * 1000 + 1000 == 25_028_904  # with torchvision's fc
    assert tv.ResNeXt50_32X4D_Weights.IMAGENET1K_V2.meta["num_params"] == 25_028_904
    mask, cbam, attention, head = 64 * 49, 580 + 162, 128 * 1024 + 128, 2 * 1024 + 2
    assert count(made) == 25_028_904 - 2_049_000 + 10_493_952 + mask + cbam + attention + head
    assert not any("running" in name for name in made.state_dict())


@pytest.mark.parametrize(
    ("variant", "missing"),
    [("N-SCA", 580 + 162), ("N-SLA", 128 * 1024 + 128), ("N-MSCA", 580 + 162 + 64 * 49)],
)
def test_variants_lack_what_their_names_say(variant: str, missing: int, net: ResNeXtPlus) -> None:
    assert count(network(variant=variant)) == count(net) - missing
    assert count(network(hidden=1024)) == count(net) + 1024 * 1024 + 1024


def torchvision_twin(net: ResNeXtPlus) -> tv.ResNet:
    """Torchvision's network with the same weights and batch statistics, giving pooled features."""
    twin = tv.resnext50_32x4d(norm_layer=partial(nn.BatchNorm2d, track_running_stats=False))
    state = {f"conv1.{k}": v for k, v in net._conv_image().state_dict().items()}
    state |= {f"bn1.{k}": v for k, v in net.stem.get_submodule("bn1").state_dict().items()}
    state |= net.trunk.state_dict()
    twin.load_state_dict({**state, "fc.weight": twin.fc.weight, "fc.bias": twin.fc.bias}, strict=True)
    twin.fc = nn.Identity()
    return twin.eval()


def test_trunk_without_mask_and_cbam_is_torchvisions() -> None:
    net = network(backbone="resnext50_32x4d", variant="N-MSCA", slice_size=None).double()
    twin, image = torchvision_twin(net).double(), scans(1, 5, size=48)[0].double()
    mean, std = (
        np.array(values, dtype=np.float32).tolist() for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    normalise = v2.Normalize(mean=mean, std=std)  # the buffers are float32, and few statistics amplify rounding
    with torch.no_grad():
        found = net.feature_maps(image[0].transpose(0, 1)).mean((2, 3))
        expected = twin(normalise(image[0].transpose(0, 1).expand(-1, 3, -1, -1)))
    torch.testing.assert_close(found, expected)


def test_empty_mask_gives_the_network_without_mask() -> None:
    fused, plain = network(variant="N-SCA"), network(variant="N-MSCA")
    state = fused.state_dict()
    del state["first.conv_mask.weight"]
    state["first.weight"] = state.pop("first.conv_image.weight")
    plain.load_state_dict(state)
    image, mask, real = scans()
    with torch.no_grad():
        expected = plain(image, None, real)
        found = fused(image, torch.zeros_like(mask), real)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_volume_of_a_batch_is_as_alone(variant: str, *, training: bool) -> None:
    net = network(variant=variant).train(training)
    image, mask, real = scans()
    with torch.no_grad():
        together = net(image, mask, real)
        for i, keep in enumerate(real):
            alone = net(image[i : i + 1, :, keep], mask[i : i + 1, :, keep])
            torch.testing.assert_close(together["logits"][i], alone["logits"][0], rtol=0, atol=1e-5)
            if variant != "N-SLA":
                torch.testing.assert_close(together["attention"][i, keep], alone["attention"][0], rtol=0, atol=1e-5)
                assert not together["attention"][i, ~keep].any()


def test_other_volumes_give_no_gradient(net: ResNeXtPlus) -> None:
    image, mask, real = scans()
    image.requires_grad_()
    (grad,) = torch.autograd.grad(net(image, mask, real)["logits"][1].sum(), image)
    moved = grad.abs().sum((1, 3, 4)) > 0
    assert moved[1].equal(real[1])
    assert not moved[[0, 2]].any()


def test_no_mask_of_slices_is_all_real(net: ResNeXtPlus) -> None:
    image, mask, _ = scans()
    with torch.no_grad():
        dense, listed = net(image, mask), net(image, mask, torch.ones(3, 6, dtype=torch.bool))
    for key in dense:
        torch.testing.assert_close(dense[key], listed[key], rtol=0, atol=1e-6)
    torch.testing.assert_close(dense["attention"].sum(1), torch.ones(3))


def test_statistics_are_those_of_the_volume_in_training_and_evaluation(net: ResNeXtPlus) -> None:
    image, mask, _ = scans(1)
    seen: list[Tensor] = []
    hook = net.stem.get_submodule("bn1").register_forward_hook(lambda _, __, out: seen.append(out.detach().clone()))
    try:
        with torch.no_grad():
            evaluated = net(image, mask)
            trained = net.train()(image, mask)
    finally:
        hook.remove()
        net.eval()
    for out in seen:
        torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(64), rtol=0, atol=1e-4)
        torch.testing.assert_close(out.var((0, 2, 3), unbiased=False), torch.ones(64), rtol=0, atol=1e-2)
    torch.testing.assert_close(trained["logits"], evaluated["logits"], rtol=1e-4, atol=1e-5)


def lstm_by_hand(rows: np.ndarray, state: dict[str, np.ndarray], suffix: str) -> np.ndarray:
    """Equations 12 to 17; gates in torch's order: input, forget, cell, output."""

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-x)))

    hidden = cell = np.zeros(512)
    found = []
    for row in rows:
        total = state[f"weight_ih_l0{suffix}"] @ row + state[f"weight_hh_l0{suffix}"] @ hidden
        total = total + state[f"bias_ih_l0{suffix}"] + state[f"bias_hh_l0{suffix}"]
        i, f, c, o = np.split(total, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
        hidden = sigmoid(o) * np.tanh(cell)
        found.append(hidden)
    return np.array(found)


@pytest.mark.parametrize("length", [1, 4])
def test_lstm_is_the_documents(net: ResNeXtPlus, length: int) -> None:
    net = copy.deepcopy(net)
    for name, parameter in net.lstm.named_parameters():
        if name.startswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    rows = torch.rand(1, length, 512)
    state = {name: p.detach().double().numpy() for name, p in net.lstm.named_parameters()}
    with torch.no_grad():
        found = net.lstm(rows)[0][0].numpy()
    forward = lstm_by_hand(rows[0].double().numpy(), state, "")
    backward = lstm_by_hand(rows[0].double().numpy()[::-1], state, "_reverse")[::-1]
    np.testing.assert_allclose(found, np.hstack((forward, backward)), atol=1e-5)


def test_reversed_slices_swap_the_halves_of_a_swapped_lstm(net: ResNeXtPlus) -> None:
    swapped = copy.deepcopy(net.lstm)
    state = net.lstm.state_dict()
    swapped.load_state_dict(
        {k: state[k.removesuffix("_reverse") if k.endswith("_reverse") else f"{k}_reverse"] for k in state}
    )
    rows = torch.rand(1, 5, 512)
    with torch.no_grad():
        ahead, back = net.lstm(rows)[0], swapped(rows.flip(1))[0].flip(1)
    torch.testing.assert_close(torch.cat((back[..., 512:], back[..., :512]), dim=-1), ahead, rtol=0, atol=1e-6)


def test_lstm_begins_as_published() -> None:
    for std in (0.1, 0.01):
        for name, parameter in network(lstm_std=std).lstm.named_parameters():
            if name.startswith("bias"):
                assert not parameter.any()
            else:
                assert float(parameter.detach().std()) == pytest.approx(std, rel=0.01)
                assert abs(float(parameter.detach().mean())) < 0.01 * std


def test_zero_scores_of_the_attention_are_the_mean_variant(net: ResNeXtPlus) -> None:
    flat, mean = copy.deepcopy(net), network(variant="N-SLA")
    assert flat.attention is not None
    nn.init.zeros_(flat.attention.score.weight)
    mean.load_state_dict({k: v for k, v in flat.state_dict().items() if not k.startswith("attention")})
    image, mask, real = scans()
    with torch.no_grad():
        torch.testing.assert_close(flat(image, mask, real)["logits"], mean(image, mask, real)["logits"])


def test_order_of_cbam_and_first_normalisation() -> None:
    assert [name for name, _ in network().stem.named_children()] == ["bn1", "relu", "cbam", "maxpool"]
    early = network(pre_bn=True)
    assert [name for name, _ in early.stem.named_children()] == ["cbam", "bn1", "relu", "maxpool"]
    image, mask, real = scans()
    with torch.no_grad():
        assert not early(image, mask, real)["logits"].equal(network()(image, mask, real)["logits"])


def test_slice_size_resizes_slices_and_masks_together() -> None:
    net, large = network(slice_size=64), network(slice_size=None)
    image, mask, _ = scans(1)
    double = torch.nn.functional.interpolate(image[0].transpose(0, 1), size=(64, 64), mode="bilinear")
    masks = torch.nn.functional.interpolate(mask[0].transpose(0, 1).float(), size=(64, 64), mode="nearest-exact")
    with torch.no_grad():
        expected = large(double.transpose(0, 1)[None], masks.transpose(0, 1)[None].to(torch.uint8))
        torch.testing.assert_close(net(image, mask)["logits"], expected["logits"], rtol=0, atol=1e-5)


def test_three_channels_of_one_slice_are_the_slice(net: ResNeXtPlus) -> None:
    image, mask, real = scans()
    with torch.no_grad():
        expected, found = net(image, mask, real), net(image.expand(-1, 3, -1, -1, -1), mask, real)
        torch.testing.assert_close(found["logits"], expected["logits"], rtol=0, atol=1e-5)
        both = net(image, (mask * 2).to(torch.uint8), real)["logits"]  # sides do not matter
        torch.testing.assert_close(both, expected["logits"], rtol=0, atol=0)


def test_checkpointing_changes_neither_result_nor_gradients() -> None:
    image, mask, real = scans()
    found = []
    for checkpointing in (False, True):
        net = network(checkpointing=checkpointing).train()
        torch.autograd.backward(net(image, mask, real)["logits"].square().sum())
        found.append({name: parameter.grad for name, parameter in net.named_parameters()})
    for name, grad in found[0].items():
        torch.testing.assert_close(found[1][name], grad, rtol=1e-4, atol=1e-6)


def kept_bytes(net: ResNeXtPlus, depth: int) -> int:
    """Bytes that autograd keeps between the passes, parameters aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    image, mask, _ = scans(1, depth)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = net(image, mask)["logits"]
        total = sum(kept.values())
    assert result.requires_grad
    return total


def test_checkpointing_keeps_a_fraction_of_the_activations() -> None:
    costs = [kept_bytes(network(checkpointing=c).train(), 8) for c in (False, True)]
    assert costs[1] < 0.5 * costs[0]


def test_published_weights_reach_slice_filters_and_trunk_alone(tmp_path: Path) -> None:
    published = tv.resnet18(weights=None)
    torch.save(published.state_dict(), tmp_path / "w.pth")
    before = network(backbone="resnet18").state_dict()
    net = network(backbone="resnet18", weights=str(tmp_path / "w.pth"))
    after = net.state_dict()
    assert after["first.conv_image.weight"].equal(published.conv1.weight)
    assert after["stem.bn1.weight"].equal(published.bn1.weight)
    assert after["trunk.layer3.1.conv2.weight"].equal(published.layer3[1].conv2.weight)
    for name in ("first.conv_mask.weight", "lstm.weight_ih_l0", "head.weight", "stem.cbam.spatial.weight"):
        assert after[name].equal(before[name])
    with pytest.raises(WeightsError, match="do not fit"):
        network(backbone="resnet10").load_backbone(str(tmp_path / "w.pth"))
    with pytest.raises(UsageError, match="resnet10"):
        network(backbone="resnet10").load_backbone("IMAGENET1K_V1")


def test_bf16_keeps_lstm_and_attention_in_float32(net: ResNeXtPlus) -> None:
    image, mask, real = scans()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = net(image, mask, real)
    assert found["attention"].dtype == torch.float32
    assert found["logits"].isfinite().all()
    torch.testing.assert_close(found["attention"].sum(1), torch.ones(3), rtol=0, atol=1e-5)


def test_dense_path_can_be_exported(net: ResNeXtPlus) -> None:
    image, mask, _ = scans(1, 4)
    program = export(net, (image, mask))
    with torch.no_grad():
        found, expected = program.module()(image, mask), net(image, mask)
    torch.testing.assert_close(found["logits"], expected["logits"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"backbone": "resnet101"},
        {"variant": "N-XXX"},
        {"num_classes": 1},
        {"slice_size": 0},
        {"hidden": 0.5},
        {"lstm_std": 0.0},
        {"lstm_std": float("nan")},
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        network(**wrong)


def test_wrong_shapes_are_refused(net: ResNeXtPlus) -> None:
    image, mask, real = scans()
    with pytest.raises(BatchError, match="'image'"):
        net(image[:, :, 0], mask, real)
    with pytest.raises(BatchError, match="'lung_mask' must"):
        net(image, mask[:, :, 1:], real)
    with pytest.raises(BatchError, match="N-MSCA"):
        net(image)
    with pytest.raises(BatchError, match="'slice_mask'"):
        net(image, mask, real[:, 1:])
    with pytest.raises(BatchError, match="no real slice"):
        net(image, mask, real & torch.tensor([[True], [False], [True]]))
    with pytest.raises(BatchError, match="one value per channel"):
        network(slice_size=32)(image[:1, :, :1], mask[:1, :, :1])


def test_only_the_variant_without_attention_refuses_slice_scores() -> None:
    for variant in VARIANTS:
        net = network(variant=variant)
        if variant == "N-SLA":
            with pytest.raises(UsageError, match=r"N-SLA.*cannot give slice scores"):
                net.require_attention()
        else:
            net.require_attention()
        image, mask, real = scans()
        with torch.no_grad():
            assert ("attention" in net(image, mask, real)) == (variant != "N-SLA")


def test_small_trunks_still_fuse(net: ResNeXtPlus) -> None:
    assert isinstance(net.first, MaskFusion)
    assert count(net.trunk) < count(network(backbone="resnet18").trunk)
