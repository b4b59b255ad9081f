"""Normalisation by scan: several scans at once give what each gives alone, by torch's own batch normalisation."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from covidct.layers import ScanNorm2d, forget_estimates, scans_apart


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5, eps=1e-3), nn.ReLU())
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return network


def test_a_network_without_estimates_normalises_by_what_passes(network: nn.Sequential) -> None:
    training = copy.deepcopy(network).train()
    forget_estimates(network)
    x = torch.randn(3, 2, 8, 8)
    torch.testing.assert_close(network.eval()(x), training(x))
    assert isinstance(network[1], ScanNorm2d)
    assert set(network.state_dict()) == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_scans_apart_are_normalised_each_by_its_own_slices(network: nn.Sequential) -> None:
    alone = copy.deepcopy(network).train()
    forget_estimates(network)
    scans = torch.randn(4, 3, 2, 8, 8) * torch.tensor([1.0, 0.1, 5.0, 2.0]).view(4, 1, 1, 1, 1) + 3
    with scans_apart(network, 4, 3):
        together = network(scans.flatten(0, 1)).unflatten(0, (4, 3))
    torch.testing.assert_close(together, torch.stack([alone(scan) for scan in scans]), rtol=1e-4, atol=1e-5)


def test_afterwards_all_slices_are_one_scan_again(network: nn.Sequential) -> None:
    forget_estimates(network)
    x = torch.randn(4, 2, 8, 8)
    expected = network(x)
    with pytest.raises(RuntimeError), scans_apart(network, 3, 2):
        network(x)  # 4 slices are not 3 scans of 2
    torch.testing.assert_close(network(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_statistics_of_evaluation_are_exact(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = (torch.randn(8, 16, 96, 96) * 2 + 20).to(memory_format=layout)
    exact = nn.BatchNorm2d(16, track_running_stats=False).double()(x.double())
    torch.testing.assert_close(ScanNorm2d(16).eval()(x).double(), exact, rtol=0, atol=5e-6)


def test_half_precision_is_added_up_in_float32() -> None:
    torch.manual_seed(0)
    x = (torch.randn(4, 3, 64, 64) + 30).bfloat16()
    found = ScanNorm2d(3).eval()(x)
    exact = nn.BatchNorm2d(3, track_running_stats=False).double()(x.double())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=2**-8)


def test_one_scan_of_any_number_of_slices_is_exported() -> None:
    norm = ScanNorm2d(3).eval()
    free = torch.export.Dim("slices", min=2)
    program = torch.export.export(norm, (torch.randn(6, 3, 8, 8),), dynamic_shapes=({0: free},))
    for count in (2, 19):
        x = torch.randn(count, 3, 8, 8) + 5
        torch.testing.assert_close(program.module()(x), norm(x), rtol=0, atol=1e-5)


def test_gradients_of_evaluation_pass_the_statistics() -> None:
    torch.manual_seed(0)
    x = torch.randn(11, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ScanNorm2d(2).double().eval(), (x,))
