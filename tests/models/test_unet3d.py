"""The 3-D U-Net against published counts and shapes, and what it can learn."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from covidct.errors import BatchError, UsageError
from covidct.models import UNet3d, inference_copy

if TYPE_CHECKING:
    from torch import Tensor


def two_spheres(seed: int = 0) -> tuple[Tensor, Tensor]:
    """A noisy volume (1, 1, 16, 16, 16) with two dark balls of different size in a bright body, and its labels."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.stack(torch.meshgrid(*[torch.arange(16, dtype=torch.float32)] * 3, indexing="ij"), -1)
    labels = torch.zeros(16, 16, 16, dtype=torch.long)
    for label, (across, radius) in enumerate(((3.5, 3.2), (11.5, 3.7)), 1):
        labels[(grid - torch.tensor((7.5, 7.5, across))).norm(dim=-1) < radius] = label
    image = torch.where(labels > 0, 0.3, 0.7) + 0.05 * torch.randn(labels.shape, generator=generator)
    return image[None, None], labels[None]


@pytest.fixture(scope="module")
def learnt() -> UNet3d:
    """A small network that has seen the two spheres alone."""
    torch.manual_seed(0)
    image, truth = two_spheres()
    wanted = F.one_hot(truth, 3).movedim(-1, 1).float()
    net = UNet3d(channels=(8, 16, 32))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(80):
        optimiser.zero_grad()
        logits = net(image)
        found = logits.softmax(1)
        overlap = 2 * (found * wanted).sum((2, 3, 4)) / (found + wanted).sum((2, 3, 4))
        torch.autograd.backward(F.cross_entropy(logits, truth) + 1 - overlap.mean())
        optimiser.step()
    return net.eval()


def dice(labels: Tensor, truth: Tensor, index: int) -> float:
    found, wanted = labels == index, truth == index
    return 2 * (found & wanted).sum().item() / (found.sum() + wanted.sum()).item()


def counted(net: nn.Module, kinds: tuple[type[nn.Module], ...]) -> int:
    return sum(p.numel() for part in net.modules() if isinstance(part, kinds) for p in part.parameters())


def test_parameters_of_the_lung_network() -> None:
    assert sum(p.numel() for p in UNet3d().parameters()) == 5_602_595


def test_parameters_of_the_original_are_those_published() -> None:
    net = UNet3d.cicek()
    assert counted(net, (nn.Conv3d, nn.ConvTranspose3d)) == 19_069_955
    assert [net.state_dict()[f"merge.{i}.0.weight"].shape[:2] for i in range(3)] == [(256, 768), (128, 384), (64, 192)]


def test_the_names_of_the_state_stay() -> None:
    names = {name.split(".")[0] for name in UNet3d(channels=(2, 3)).state_dict()}
    assert names == {"down", "up", "merge", "head"}
    assert set(UNet3d(channels=(2, 3)).state_dict()) >= {"down.0.0.weight", "down.1.4.running_var", "up.0.bias"}


def test_published_shapes() -> None:
    with torch.device("meta"):
        assert UNet3d().eval()(torch.empty(1, 1, 128, 128, 128)).shape == (1, 3, 128, 128, 128)
        assert UNet3d.cicek().eval()(torch.empty(1, 3, 132, 132, 116)).shape == (1, 3, 44, 44, 28)


@pytest.mark.parametrize("norm", ["batch", "instance", None])
def test_normalisation(norm: Literal["batch", "instance"] | None) -> None:
    net = UNet3d(channels=(4, 8), norm=norm)
    kinds = {type(part) for part in net.modules() if isinstance(part, nn.modules.batchnorm._NormBase)}
    assert kinds == {"batch": {nn.BatchNorm3d}, "instance": {nn.InstanceNorm3d}, None: set()}[norm]
    torch.autograd.backward(net(torch.rand(2, 1, 4, 6, 8)).square().sum())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ("size", "valid"),
    [((9, 16, 23), "16 x 16 x 24"), ((1, 1, 1), "8 x 8 x 8"), ((128, 127, 129), "128 x 128 x 136")],
)
def test_sizes_that_cannot_be_pooled_are_refused_with_the_next_valid_one(size: tuple[int, ...], valid: str) -> None:
    with torch.device("meta"):
        net = UNet3d().eval()
        with pytest.raises(UsageError, match=f"{re.escape(valid)}, the next valid size, or pad=True"):
            net(torch.empty(1, 1, *size))


def test_sizes_of_valid_convolutions() -> None:
    """44 -> 40 | 20 -> 16 | 8 -> 4 | 8 -> 4 | 8 -> 4 is the smallest; the next are 4 apart."""
    net = UNet3d(channels=(1, 1, 1), padding="valid", norm=None).eval()
    for side in range(1, 62):
        image = torch.rand(1, 1, side, 44, 44)
        valid = next(v for v in (44, 48, 52, 56, 60, 64) if v >= side)
        if side == valid:
            assert net(image).shape == (1, 3, side - 40, 4, 4)
        else:
            with pytest.raises(UsageError, match=f"use {valid} x 44 x 44, the next valid size.$"):
                net(image)


def test_joined_features_are_cropped_to_the_centre() -> None:
    """Moving the image by one pooling step moves the result by as much: true of a centred crop alone at both ends."""
    torch.manual_seed(0)
    net = UNet3d(channels=(2, 3), padding="valid", norm=None).double().eval()
    image = torch.rand(1, 1, 24, 20, 20, dtype=torch.float64)
    whole = net(image)
    assert whole.shape == (1, 3, 8, 4, 4)
    torch.testing.assert_close(net(image[:, :, 2:22]), whole[:, :, 2:6])
    mirrored = copy.deepcopy(net)
    for part in mirrored.modules():
        if isinstance(part, nn.Conv3d | nn.ConvTranspose3d):
            part.weight.data = part.weight.flip(2, 3, 4)
    torch.testing.assert_close(mirrored(image.flip(2, 3, 4)), whole.flip(2, 3, 4))


def test_padded_convolutions_are_mirrored_too() -> None:
    torch.manual_seed(0)
    net = UNet3d(channels=(2, 3, 4)).double().eval()
    mirrored = copy.deepcopy(net)
    for part in mirrored.modules():
        if isinstance(part, nn.Conv3d | nn.ConvTranspose3d):
            part.weight.data = part.weight.flip(2, 3, 4)
    image = torch.rand(1, 1, 8, 12, 16, dtype=torch.float64)
    torch.testing.assert_close(mirrored(image.flip(2, 3, 4)), net(image).flip(2, 3, 4))


def test_padding_appends_zeros_and_crops_them_off() -> None:
    torch.manual_seed(0)
    net = UNet3d(channels=(2, 3, 4, 5), pad=True).eval()
    image = torch.rand(2, 1, 9, 16, 23)
    larger = torch.zeros(2, 1, 16, 16, 24)
    larger[:, :, :9, :, :23] = image
    found = net(image)
    assert found.shape == (2, 3, 9, 16, 23)
    torch.testing.assert_close(found, net(larger)[:, :, :9, :, :23], rtol=0, atol=0)


def test_one_value_per_channel_is_refused_in_training_alone() -> None:
    net = UNet3d(channels=(1, 1, 1, 1))
    with pytest.raises(BatchError, match="one value per channel"):
        net(torch.rand(1, 1, 8, 8, 8))
    net(torch.rand(2, 1, 8, 8, 8))
    net.eval()(torch.rand(1, 1, 8, 8, 8))
    with pytest.raises(BatchError, match="instance normalisation"):
        UNet3d(channels=(1, 1, 1, 1), norm="instance").eval()(torch.rand(2, 1, 8, 8, 8))


@pytest.mark.parametrize("shape", [(1, 8, 8, 8), (1, 2, 8, 8, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BatchError, match=r"must be \(B, 1, D, H, W\)"):
        UNet3d(channels=(1, 1))(torch.rand(shape))


@pytest.mark.parametrize(
    "changes",
    [
        {"in_channels": 0},
        {"num_classes": 1},
        {"channels": (4,)},
        {"channels": (4, 0)},
        {"norm": "layer"},
        {"upsample": "nearest"},
        {"padding": "circular"},
        {"widening": "late"},
        {"padding": "valid", "pad": True},
        {"channels": (3, 4), "widening": "pool"},
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="="):
        UNet3d(**changes)


def test_checkpointing_changes_neither_gradients_nor_statistics() -> None:
    torch.manual_seed(0)
    plain = UNet3d(channels=(3, 4, 5))
    frugal = UNet3d(channels=(3, 4, 5), checkpointing=True)
    frugal.load_state_dict(plain.state_dict())
    image = torch.rand(2, 1, 8, 8, 12)
    for net in (plain, frugal):
        torch.autograd.backward(net(image).square().mean())
    expected = [p.grad for p in plain.parameters()]
    torch.testing.assert_close([p.grad for p in frugal.parameters()], expected, rtol=0, atol=0)
    torch.testing.assert_close(list(frugal.buffers()), list(plain.buffers()), rtol=0, atol=0)


def test_checkpointing_keeps_less() -> None:
    """Bytes of the activations that the backward pass holds."""
    held = {}
    for checkpointing in (False, True):
        net = UNet3d(channels=(4, 8, 16), checkpointing=checkpointing)
        sizes: dict[int, int] = {}

        def note(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = net(torch.rand(1, 1, 16, 16, 16)).sum()
        held[checkpointing] = sum(sizes.values())
        torch.autograd.backward(loss)
    assert held[True] < held[False] / 2


def test_bfloat16_autocast_is_finite() -> None:
    torch.manual_seed(0)
    net = UNet3d(channels=(4, 8))
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(image)
    torch.autograd.backward(F.cross_entropy(logits.float(), torch.zeros(1, 8, 8, 8, dtype=torch.long)))
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_two_spheres_are_learnt_by_heart(learnt: UNet3d) -> None:
    image, truth = two_spheres()
    labels = learnt(image).argmax(1)
    assert min(dice(labels, truth, index) for index in (1, 2)) > 0.98


def test_bfloat16_changes_dice_by_two_thousandths_at_most(learnt: UNet3d) -> None:
    """On other noise, where the network errs."""
    scans = [two_spheres(seed) for seed in range(1, 9)]
    image, truth = (torch.cat(parts) for parts in zip(*scans, strict=True))
    image += 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(9))
    whole, half = (inference_copy(learnt, dtype=dtype).labels(image) for dtype in (torch.float32, torch.bfloat16))
    assert torch.equal(whole, learnt(image).argmax(1))
    for index in (1, 2):
        assert 0.9 < dice(whole, truth, index) < 1
        assert abs(dice(half, truth, index) - dice(whole, truth, index)) <= 0.002
