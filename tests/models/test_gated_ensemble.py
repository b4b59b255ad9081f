from __future__ import annotations

from typing import Any

import pytest
import torch

from covidct.errors import BatchError, UsageError
from covidct.models import GatedEnsemble, MaskedGAPResNet, SliceClassifier

CONTRAST = torch.tensor([0.1, 0.3, 0.2, 0.25])
LINE = 0.2
SLICE: dict[str, Any] = {"name": "SliceClassifier", "arguments": {"backbone": "resnet18"}}
VOLUME: dict[str, Any] = {"name": "MaskedGAPResNet", "arguments": {"backbone": "resnet18", "slice_size": 48}}


def ensemble(**changes: Any) -> GatedEnsemble:  # noqa: ANN401
    torch.manual_seed(0)
    return GatedEnsemble(**{"low": [SLICE], "high": [SLICE, SLICE], "threshold": LINE, **changes}).eval()


@pytest.fixture(scope="module")
def slices() -> torch.Tensor:
    return torch.rand(4, 1, 48, 48, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_each_scan_is_decided_by_the_experts_of_its_side(slices: torch.Tensor) -> None:
    model = ensemble()
    model.high_weights.copy_(torch.tensor([0.25, 0.75]))
    found = model(slices, CONTRAST)
    assert found["high"].tolist() == [False, True, False, True]  # 0.2 lies on the line: low
    low, (one, other) = model.low[0], model.high
    expected = torch.where(
        found["high"][:, None],
        0.25 * one(slices).softmax(1) + 0.75 * other(slices).softmax(1),
        low(slices).softmax(1),
    )
    torch.testing.assert_close(found["logits"].softmax(1), expected, atol=1e-5, rtol=0)


def test_more_contrast_moves_a_case_over_the_line() -> None:
    model = ensemble()
    assert model.side(0.5 * CONTRAST, 4).tolist() == [False] * 4
    assert model.side(3 * CONTRAST, 4).tolist() == [True] * 4


def test_nothing_of_it_is_double_precision_which_not_every_device_has() -> None:
    assert {value.dtype for value in ensemble().state_dict().values()} == {torch.float32, torch.int64}


def test_a_line_stored_in_double_precision_decides_as_before() -> None:
    line = 0.2 + 1e-9
    model, old = ensemble(threshold=None), ensemble().state_dict()
    old["threshold"] = torch.tensor(line, dtype=torch.float64)
    model.load_state_dict(old)
    contrast = torch.tensor([0.2, 0.2]).nextafter(torch.tensor([0.0, 1.0]))
    assert model.side(contrast, 2).tolist() == (contrast > torch.tensor(line)).tolist() == [False, True]


@torch.no_grad()
def test_experts_of_the_other_side_are_not_run(slices: torch.Tensor) -> None:
    model, seen = ensemble(), []
    for name, experts in (("low", model.low), ("high", model.high)):
        for expert in experts:
            expert.register_forward_hook(lambda _, args, __, name=name: seen.append((name, len(args[0]))))
    model(slices, CONTRAST)
    assert seen == [("low", 2), ("high", 2), ("high", 2)]
    seen.clear()
    model(slices, CONTRAST + 1)
    assert seen == [("high", 4), ("high", 4)]


def test_no_gradient_reaches_the_other_side(slices: torch.Tensor) -> None:
    model = ensemble()
    model(slices, CONTRAST)["logits"][1].sum().backward()  # a scan of high contrast
    assert all(p.grad is None or not p.grad.any() for p in model.low.parameters())
    assert all(p.grad is not None for p in model.high.parameters())


@torch.no_grad()
def test_experts_get_the_masks_that_they_take() -> None:
    model = ensemble(low=[VOLUME], high=[VOLUME])
    assert model.inputs == ("image", "contrast", "slice_mask", "lung_mask")
    assert ensemble().inputs == ("image", "contrast")
    generator = torch.Generator().manual_seed(2)
    image, lungs = torch.rand(4, 1, 3, 48, 48, generator=generator), torch.zeros(4, 1, 3, 48, 48, dtype=torch.uint8)
    lungs[..., 10:40, 10:40] = 1
    real = torch.tensor([[True, True, False]] * 2 + [[True, True, True]] * 2)
    found = model(image, CONTRAST, real, lungs)["logits"].softmax(1)
    for row, expert in enumerate((model.low[0], model.high[0], model.low[0], model.high[0])):
        assert isinstance(expert, MaskedGAPResNet)
        alone = expert(image[row : row + 1], lungs[row : row + 1], real[row : row + 1]).softmax(1)[0]
        torch.testing.assert_close(found[row], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["LesionMaskRCNN", "GatedEnsemble", "inference_copy", "os.system", "Linear"])
def test_anything_but_a_classifier_of_the_library_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"expert|classifier"):
        ensemble(low=[{"name": name, "arguments": {}}])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"low": []}, "at least one"),
        ({"low": [{**SLICE, "path": "x"}]}, "name and arguments"),
        ({"low": [{"name": "SliceClassifier", "arguments": {"num_classes": 2}}]}, "2 classes"),
        ({"low": [{"name": "SliceClassifier", "arguments": {"weights": "IMAGENET1K_V1"}}]}, "weights"),
        ({"low": [{"name": "SliceClassifier", "arguments": {"depth": 2}}]}, "no argument depth"),
        ({"fusion": "median"}, "fusion"),
    ],
)
def test_wrong_descriptions_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ensemble(**changes)


def test_the_gate_refuses_what_it_cannot_tell(slices: torch.Tensor) -> None:
    with pytest.raises(BatchError, match="threshold"):
        ensemble(threshold=None)(slices, CONTRAST)
    with pytest.raises(BatchError, match="not finite"):
        ensemble()(slices, CONTRAST * torch.nan)
    with pytest.raises(BatchError, match="shape"):
        ensemble()(slices, CONTRAST[:2])


def test_a_network_of_maps_is_no_expert() -> None:
    unet = {"name": "UNet3d", "arguments": {"channels": [4, 8]}}
    with pytest.raises(UsageError, match="no classifier"), torch.no_grad():
        ensemble(low=[unet], high=[unet])(torch.rand(2, 1, 8, 16, 16), CONTRAST[:2])


def test_vote_calls_what_most_experts_call(slices: torch.Tensor) -> None:
    model = ensemble(high=[SLICE, SLICE, SLICE], fusion="vote")
    with torch.no_grad():
        called = torch.stack([expert(slices).argmax(1) for expert in model.high])
        found = model(slices, CONTRAST + 1)["logits"].argmax(1)
    for row in range(4):
        votes = called[:, row].bincount(minlength=3)
        if (votes == votes.max()).sum() == 1:
            assert found[row] == votes.argmax()


def test_the_state_holds_line_weights_and_experts(slices: torch.Tensor) -> None:
    model, other = ensemble(), ensemble(threshold=None)
    model.high_weights.copy_(torch.tensor([0.1, 0.9]))
    with torch.no_grad():
        model.low[0].head.bias.add_(1)  # type: ignore[union-attr, operator]
    other.load_state_dict(model.state_dict())
    assert isinstance(other.low[0], SliceClassifier)
    with torch.no_grad():
        assert torch.equal(model(slices, CONTRAST)["logits"], other(slices, CONTRAST)["logits"])
