"""Windows against the whole volume, and what they hold in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from covidct.errors import UsageError
from covidct.functional import sliding_window_labels


def network(radius: int = 3, classes: int = 3) -> nn.Module:
    """Receptive field of ``radius`` voxels to each side."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(radius):
        layers += [nn.Conv3d(4 if layers else 1, 4, 3, padding=1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers, nn.Conv3d(4, classes, 1, bias=False)).eval()


@pytest.mark.parametrize("shape", [(40, 33, 51), (16, 47, 16), (17, 90, 31)])
def test_equals_the_whole_volume(shape: tuple[int, int, int]) -> None:
    """Half an overlap of 6 voxels is the receptive field."""
    net, volume = network(3), torch.rand(2, 1, *shape) - 0.5
    with torch.no_grad():
        whole = net(volume).argmax(1, keepdim=True)
        parts = sliding_window_labels(net, volume, window=16, overlap=0.4)
    assert len(whole.unique()) == 3
    assert parts.dtype == torch.uint8
    assert parts.equal(whole.to(torch.uint8))


def test_too_little_overlap_shows() -> None:
    net, volume = network(3), torch.rand(1, 1, 40, 40, 40)
    with torch.no_grad():
        parts = sliding_window_labels(net, volume, window=16, overlap=0.0)
        assert not parts.equal(net(volume).argmax(1, keepdim=True).to(torch.uint8))


def test_each_voxel_belongs_to_the_window_with_the_nearest_centre() -> None:
    """A network that answers with the number of the call shows who owns what."""
    calls: list[int] = []

    def predict(part: torch.Tensor) -> torch.Tensor:
        calls.append(len(calls))
        return torch.nn.functional.one_hot(torch.full(part.shape[2:], calls[-1]), 8).movedim(-1, 0)[None].float()

    labels = sliding_window_labels(predict, torch.zeros(1, 1, 4, 4, 11), window=(4, 4, 5), overlap=0.4)
    starts = [0, 3, 6]  # evenly from edge to edge: three windows of 5 on 11 voxels
    centres = [start + 2 for start in starts]
    expected = [min(range(3), key=lambda k: (abs(x - centres[k]), -k)) for x in range(11)]
    assert labels[0, 0, 0, 0].tolist() == expected
    assert calls == [0, 1, 2]


def test_an_axis_shorter_than_the_window_is_padded_with_air() -> None:
    seen = []

    def predict(part: torch.Tensor) -> torch.Tensor:
        seen.append(part.clone())
        return torch.cat([0.5 - part, part - 0.5], 1)

    volume = torch.ones(1, 1, 6, 20, 6)
    labels = sliding_window_labels(predict, volume, window=8)
    assert all(part.shape[2:] == (8, 8, 8) for part in seen)
    assert all(not part[:, :, 6:].any() and not part[..., 6:].any() for part in seen)
    assert labels.shape == volume.shape
    assert labels.all()


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers the size in bytes of the largest tensor that any operation made; slices make none."""

    nbytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor) and "slice" not in str(func):
                self.nbytes = max(self.nbytes, tensor.numel() * tensor.element_size())
        return out


def test_the_softmax_is_never_whole() -> None:
    net, volume = nn.Conv3d(1, 3, 1), torch.rand(1, 1, 64, 64, 64)
    with torch.no_grad(), Largest() as largest:  # type: ignore[no-untyped-call]
        sliding_window_labels(net, volume, window=16)
    assert largest.nbytes == 64**3  # the uint8 labels; the logits of a window have 12 * 16^3 bytes
    with torch.no_grad(), Largest() as whole:  # type: ignore[no-untyped-call]
        net(volume)
    assert whole.nbytes >= 3 * 4 * 64**3  # what it is kept from


@pytest.mark.parametrize("options", [{"window": 0}, {"window": (8, 8)}, {"window": 8, "overlap": 1.0}])
def test_wrong_arguments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="overlap"):
        sliding_window_labels(network(), torch.zeros(1, 1, 8, 8, 8), **options)


def test_a_network_that_shrinks_is_refused() -> None:
    with pytest.raises(UsageError, match="keeps the size"):
        sliding_window_labels(nn.Conv3d(1, 3, 3), torch.zeros(1, 1, 16, 16, 16), window=8)
