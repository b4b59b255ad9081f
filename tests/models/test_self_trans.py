"""Momentum contrast: the queue and the slow mean by brute force, key shuffling, and two processes against one."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

import covidct
from covidct.errors import BatchError, UsageError
from covidct.losses import InfoNCELoss
from covidct.models import SelfTransDenseNet, Trunk

SMALL: dict[str, Any] = {"backbone": "resnet18", "dim": 4, "queue_size": 6, "bn_groups": 2}


def network(**changes: object) -> SelfTransDenseNet:
    torch.manual_seed(0)
    return SelfTransDenseNet(**{**SMALL, **changes})


def images(count: int, *shape: int) -> torch.Tensor:
    return torch.rand(count, *shape, 1, 48, 48, generator=torch.Generator().manual_seed(1))


def freeze(net: SelfTransDenseNet) -> SelfTransDenseNet:
    """Batch normalisation as in evaluation, in a network in training."""
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return net


def test_both_views_become_unit_vectors_and_only_the_first_has_a_gradient() -> None:
    net = network()
    out = net.train()(images(4, 2))
    assert out["query"].shape == out["key"].shape == (4, 4)
    for vectors in out.values():
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    assert not out["key"].requires_grad
    torch.autograd.backward(InfoNCELoss()(out["query"], out["key"], net.queue.clone()))
    assert all(p.grad is not None and p.grad.any() for p in net.query.parameters())
    assert all(p.grad is None and not p.requires_grad for p in net.key.parameters())


def test_encoders_begin_alike() -> None:
    net = network().eval()
    view = images(2)
    out = net(torch.stack([view, view], 1))
    assert out["query"].equal(out["key"])
    assert net.encode(view).equal(net.query.trunk(view))
    assert net.encode(view).shape == (2, net.width) == (2, 512)


def test_key_encoder_is_the_slow_mean() -> None:
    net, momentum = network(momentum=0.9), 0.9
    expected = {name: value.detach().double() for name, value in net.key.named_parameters()}
    for step in range(5):
        with torch.no_grad():
            for parameter in net.query.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step)))
        net.update_key()
        for name, value in net.query.named_parameters():
            expected[name] = momentum * expected[name] + (1 - momentum) * value.detach().double()
    for name, value in net.key.named_parameters():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sizes", [(2, 2, 2, 2), (4, 4, 4), (5, 3, 1, 6, 2), (9, 2, 14)])
def test_queue_holds_the_newest_keys_and_the_pointer_the_oldest(sizes: tuple[int, ...]) -> None:
    net = network()
    expected: deque[torch.Tensor] = deque(net.queue.clone(), maxlen=6)
    pushed = 0
    for size in sizes:
        keys = torch.randn(size, 4)
        net.enqueue(keys)
        expected.extend(keys)
        pushed += size
        assert int(net.pointer) == pushed % 6
        assert net.queue.roll(-int(net.pointer), 0).equal(torch.stack(list(expected)))


def test_state_keeps_queue_and_pointer() -> None:
    net = network()
    net.enqueue(torch.randn(4, 4))
    fresh = SelfTransDenseNet(**SMALL)
    fresh.load_state_dict(net.state_dict())
    assert fresh.queue.equal(net.queue)
    assert int(fresh.pointer) == 4


def test_shuffling_and_unshuffling_is_the_identity() -> None:
    net, views = freeze(network()), images(5, 2)
    plain = torch.cat([net.key(view[None]) for view in views[:, 1]])
    for step in range(3):
        torch.testing.assert_close(net(views, step=step)["key"], plain, rtol=1e-5, atol=1e-5)
    whole = network(bn_groups=1).train()  # in one group the order does not matter either
    torch.testing.assert_close(whole(views, step=0)["key"], whole(views, step=1)["key"], rtol=1e-4, atol=1e-4)


def test_keys_are_normalised_among_others_than_their_queries() -> None:
    net = network().train()
    view = images(8)
    views = torch.stack([view, view], 1)
    out = net(views, step=0)
    halves = [net.query(half) for half in (view[:4], view[4:])]
    torch.testing.assert_close(out["query"], torch.cat(halves), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(out["key"], out["query"], atol=1e-3)
    assert not torch.allclose(out["key"], net(views, step=1)["key"], atol=1e-3)
    assert out["key"].equal(network().train()(views, step=0)["key"])  # the step alone decides


def test_groups_have_two_images_at_least() -> None:
    net = network(bn_groups=4).train()
    sizes: list[int] = []
    net.query.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    for count, expected in ((8, [2, 2, 2, 2]), (5, [3, 2]), (3, [3]), (1, [1])):
        sizes.clear()
        net(images(count, 2))
        assert sizes == expected
    net.eval()
    sizes.clear()
    net(images(8, 2))
    assert sizes == [8]


def test_forward_changes_neither_queue_nor_key_weights() -> None:
    net = network().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(images(4, 2))
    changed = {name for name, value in net.state_dict().items() if not value.equal(before[name])}
    assert all("running" in name or "batches_tracked" in name for name in changed)


def test_sizes_are_the_published_ones() -> None:
    trunk = 14_149_480 - 1_665_000  # DenseNet-169 without its classifier, torchvision's table
    heads = {"v1": 1664 * 128 + 128, "v2": 1664 * 1664 + 1664 + 1664 * 128 + 128}
    for version, head in heads.items():
        with torch.device("meta"):
            net = SelfTransDenseNet(version=version)  # type: ignore[arg-type]
        assert sum(p.numel() for p in net.query.parameters()) == trunk + head
        assert net.queue.shape == (1024, 128)


def test_torchvision_weights_go_into_both_encoders(tmp_path: Path) -> None:
    other = Trunk("resnet18")
    state = {**other.network.state_dict(), "fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)}
    torch.save(state, tmp_path / "resnet18.pth")
    net = network(weights=str(tmp_path / "resnet18.pth")).eval()
    for encoder in (net.query, net.key):
        assert encoder.trunk(images(1)).equal(other.eval()(images(1)))


def test_attention_and_normalisation_reach_the_trunk() -> None:
    net = network(attention="se", mean=[0.4], std=[0.3])
    assert net.query.trunk.attention == "se"
    assert any("attention" in name for name, _ in net.key.named_parameters())
    assert net.key.trunk.mean.item() == pytest.approx(0.4)


def test_wrong_arguments_are_named() -> None:
    for options in ({"version": "v3"}, {"momentum": 1.5}, {"dim": 0}, {"queue_size": 2.5}, {"bn_groups": 0}):
        with pytest.raises(UsageError, match=next(iter(options))):
            network(**options)
    for shape in ((4, 1, 48, 48), (4, 3, 1, 48, 48), (4, 2, 2, 48, 48)):
        with pytest.raises(BatchError, match=r"'views' must be \(B, 2, 1 or 3, H, W\)"):
            network()(torch.rand(shape))


class Step(nn.Module):
    """One training step up to the loss, as the task makes it."""

    def __init__(self, net: SelfTransDenseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, views: torch.Tensor, step: int) -> torch.Tensor:
        out = self.net(views, step=step)
        loss: torch.Tensor = InfoNCELoss(0.2)(out["query"], out["key"], self.net.queue.clone())
        self.net.enqueue(out["key"])
        return loss


def train(net: SelfTransDenseNet, step: nn.Module, batches: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    optimizer = torch.optim.SGD(net.query.parameters(), lr=0.05, momentum=0.9)
    for number, views in enumerate(batches):
        optimizer.zero_grad()
        torch.autograd.backward(step(views, number))
        optimizer.step()
        net.update_key()
    return net.state_dict()


def batches_of(world: int, rank: int) -> list[torch.Tensor]:
    """Three batches of eight images over all processes, dealt out as a distributed sampler does."""
    return [images(24, 2)[start : start + 8][rank::world] for start in (0, 8, 16)]


def work(rank: int, folder: str) -> None:
    """What each of two processes does."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    net = freeze(network(momentum=0.5))
    state = train(net, DistributedDataParallel(Step(net)), batches_of(2, rank))
    torch.save(state, f"{folder}/trained{rank}.pt")
    keys = [network().train()(images(8, 2)[4 * rank : 4 * rank + 4], step=step)["key"] for step in range(2)]
    torch.save(keys, f"{folder}/keys{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(covidct.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    spawn(work, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    found = [torch.load(tmp_path / f"trained{rank}.pt", weights_only=True) for rank in range(2)]
    net = freeze(network(momentum=0.5))
    expected = train(net, Step(net), batches_of(1, 0))
    start = network().state_dict()
    assert not any(expected[name].equal(start[name]) for name in ("queue", "query.head.0.weight", "key.head.0.weight"))
    for name, value in expected.items():
        assert found[0][name].equal(found[1][name]), name  # the queue too
        torch.testing.assert_close(found[0][name], value, rtol=1e-5, atol=1e-5, msg=name)

    # batch normalisation in training: the two processes are the two groups of one
    keys = [torch.load(tmp_path / f"keys{rank}.pt", weights_only=True) for rank in range(2)]
    for step in range(2):
        one = network().train()(images(8, 2), step=step)["key"]
        torch.testing.assert_close(torch.cat([keys[rank][step] for rank in range(2)]), one, rtol=1e-4, atol=1e-5)
