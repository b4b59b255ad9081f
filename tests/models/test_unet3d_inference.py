"""The reordered network against the plain one: the same function."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from covidct.errors import BatchError, UsageError
from covidct.models import UNet3d, inference_copy, unet3d_slabs

if TYPE_CHECKING:
    from torch import Tensor

FORMS: tuple[dict[str, Any], ...] = (
    {"channels": (4, 6, 10)},
    {"channels": (4, 6), "norm": None},
    {"channels": (4, 6), "norm": "instance"},
    {"channels": (3, 5), "in_channels": 2, "num_classes": 5},
    {"channels": (4, 6, 8), "widening": "pool"},
)


def settled(**changes: Any) -> UNet3d:  # noqa: ANN401
    """A network whose biases, scales and running statistics are far from where they start."""
    torch.manual_seed(0)
    net = UNet3d(**changes)
    for parameter in net.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 0.3, 0.5)
    for name, buffer in net.named_buffers():
        if name.endswith("mean"):
            buffer.normal_(0, 0.3)
        elif name.endswith("var"):
            buffer.uniform_(0.5, 2)
    with torch.no_grad():  # so that all classes win somewhere
        net.head.bias -= net.eval()(image(net, 16, 8, 24)).mean((0, 2, 3, 4))
    return net.double()


def image(net: UNet3d, *size: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, net.in_channels, *(size or (12, 8, 20)), generator=generator)


@pytest.mark.parametrize("slab_bytes", [1, 2**13, 2**23])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_logits_and_labels_are_those_of_the_plain_network(
    form: dict[str, Any], slab_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64 nothing but the rounding of the result is left; seams and borders included."""
    monkeypatch.setattr(unet3d_slabs, "_SLAB_BYTES", slab_bytes)
    net = settled(**form)
    x = image(net).double()
    expected = net(x).detach()
    fast = inference_copy(net, dtype=torch.float64)
    found = fast(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=1e-6)
    labels = fast.labels(x)
    assert labels.dtype == torch.uint8
    assert set(labels.flatten().tolist()) == set(range(net.num_classes))
    assert torch.equal(labels, expected.argmax(1))


def test_default_network_in_float32_and_bfloat16() -> None:
    net = settled().float()
    x = image(net, 16, 24, 16)
    with torch.no_grad():
        expected = net(x)
    torch.testing.assert_close(inference_copy(net, dtype=torch.float32)(x), expected, rtol=0, atol=1e-4)
    half = copy.deepcopy(net).bfloat16()(x.bfloat16()).float().detach()
    found = inference_copy(net, dtype=torch.bfloat16)(x)
    error, plain_error = ((logits - expected).square().mean().sqrt() for logits in (found, half))
    assert 0 < error < 1.2 * plain_error


def test_sizes_are_padded_and_cropped_as_in_the_plain_network() -> None:
    net = settled(channels=(3, 4, 5), pad=True)
    x = image(net, 9, 6, 11).double()
    fast = inference_copy(net, dtype=torch.float64)
    torch.testing.assert_close(fast(x), net(x).detach().float(), rtol=1e-6, atol=1e-6)
    assert torch.equal(fast.labels(x), net(x).argmax(1))


def test_valid_convolutions_stay_valid() -> None:
    net = settled_valid()
    x = torch.rand(1, 1, 20, 22, 24)
    torch.testing.assert_close(inference_copy(net, dtype=torch.float32)(x), net(x).detach(), rtol=1e-6, atol=1e-6)


def settled_valid() -> UNet3d:
    torch.manual_seed(0)
    return UNet3d(channels=(2, 3), padding="valid").eval()


def test_errors_are_those_of_the_plain_network() -> None:
    fast = inference_copy(UNet3d(channels=(2, 3, 4)))
    with pytest.raises(UsageError, match="12 x 8 x 8, the next valid size"):
        fast(torch.rand(1, 1, 9, 8, 8))
    with pytest.raises(BatchError, match=r"\(B, 1, D, H, W\)"):
        fast.labels(torch.rand(1, 2, 8, 8, 8))
    with pytest.raises(UsageError, match=r"torch\.int8"):
        inference_copy(UNet3d(channels=(2, 3)), dtype=torch.int8)


def test_the_copy_is_apart_from_the_network() -> None:
    net = settled(channels=(2, 3))
    x = image(net).double()
    fast = inference_copy(net, dtype=torch.float64)
    before = fast(x)
    net.train()
    net(x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert torch.equal(fast(x), before)
    assert net.training


def test_dtype_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    net = UNet3d(channels=(2, 3))
    for features, dtype in (({"avx512_bf16": True}, torch.bfloat16), ({"avx512_bf16": False}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda features=features: features)
        assert inference_copy(net).dtype == dtype
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert inference_copy(net).dtype == torch.float32
