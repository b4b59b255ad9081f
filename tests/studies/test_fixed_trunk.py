"""Only the last layer learns."""

from __future__ import annotations

from functools import partial

import torch

from covidct.studies import adam_of_head
from covidct.tasks import MaskedGAPResNetTask


def test_only_the_head_gets_a_gradient_and_moves() -> None:
    task = MaskedGAPResNetTask(backbone="resnet18", slice_size=None, optimizer=partial(adam_of_head, lr=0.1))
    before = {name: value.clone() for name, value in task.model.named_parameters()}
    optimizer = task.configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["lr"] == 0.1
    image, mask = torch.rand(2, 1, 3, 64, 64), torch.ones(2, 1, 3, 64, 64, dtype=torch.uint8)
    task.loss(task.model(image, mask), torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    moved = {name for name, value in task.model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"head.weight", "head.bias"}
    assert [name for name, value in task.model.named_parameters() if value.grad is not None] == sorted(moved)[::-1]
