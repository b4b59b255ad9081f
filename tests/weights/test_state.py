"""States of networks: all of a state or none of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from covidct.errors import WeightsError
from covidct.weights import load_state


def test_state_must_fit_and_the_message_lists_five() -> None:
    module = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(
        WeightsError, match=r"8 missing: 0\.weight, 0\.bias, 1\.weight, 1\.bias, 2\.weight, \.\.\."
    ) as error:
        load_state(module, {"extra": torch.ones(1)}, source="file.pth")
    assert "1 unexpected: extra" in str(error.value)
    assert "file.pth" in str(error.value)
    with pytest.raises(WeightsError, match=r"0\.bias \(3,\) instead of \(2,\)"):
        load_state(module, {**before, "0.bias": torch.ones(3), "0.weight": torch.zeros(2, 2)}, source="x")
    torch.testing.assert_close(module.state_dict(), before)  # nothing was copied
    load_state(module, {name: tensor + 1 for name, tensor in before.items()}, source="x")
    torch.testing.assert_close(module.state_dict()["3.bias"], before["3.bias"] + 1)
