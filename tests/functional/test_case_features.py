"""Features of a case's slices against numpy's interpolation and sorting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from covidct.errors import UsageError
from covidct.functional import case_features


def probabilities(batch: int = 2, depth: int = 9, classes: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(depth)
    return torch.randn(batch, depth, classes, generator=generator).softmax(2)


def expected(prob: np.ndarray[tuple[int, int], np.dtype[np.float32]], positions: int, top: int) -> list[float]:
    """Of one case, (n, C): numpy's interpolation between the middles of the cells, and sorting."""
    count, classes = prob.shape
    middles = (np.arange(count) + 0.5) / count
    asked = (np.arange(positions) + 0.5) / positions
    profile = [np.interp(asked, middles, prob[:, one]) for one in range(classes)]
    best = np.sort(prob, axis=0)[::-1][:top]
    return [float(value) for value in np.concatenate([*profile, prob.mean(0), prob.max(0), best.mean(0)])]


@pytest.mark.parametrize("depth", [1, 2, 4, 5, 9, 64, 150])
@pytest.mark.parametrize(("positions", "top"), [(64, 5), (7, 1), (1, 20)])
def test_features_are_numpys(depth: int, positions: int, top: int) -> None:
    prob = probabilities(depth=depth)
    found = case_features(prob, positions=positions, top=top)
    assert found.shape == (2, 3 * positions + 9)
    for row, one in zip(found, prob, strict=True):
        torch.testing.assert_close(row, torch.tensor(expected(one.numpy(), positions, top), dtype=torch.float32))


def test_as_many_points_as_slices_are_the_slices() -> None:
    prob = probabilities(depth=64)
    torch.testing.assert_close(case_features(prob)[:, : 3 * 64], prob.transpose(1, 2).flatten(1))


def test_padding_anywhere_changes_nothing() -> None:
    prob, mask = probabilities(2, 9), torch.ones(2, 9, dtype=torch.bool)
    mask[0, [0, 1, 8]] = mask[1, 4:] = False
    changed = prob.masked_fill(~mask[..., None], 7.0)
    found = case_features(changed, mask)
    for row, one, real in zip(found, prob, mask, strict=True):
        torch.testing.assert_close(row, case_features(one[None, real])[0])


def test_every_slice_twice_leaves_mean_and_maximum_and_nearly_the_profile() -> None:
    place = torch.arange(40) / 64  # sums of these are exact
    prob = torch.stack([place, 1 - place, 0.25 - place / 4], 1)[None]
    once, twice = case_features(prob), case_features(prob.repeat_interleave(2, 1))
    assert twice[:, -9:-3].equal(once[:, -9:-3])
    assert (twice - once)[:, :-9].abs().max() <= 0.25 / 64  # a quarter of the step from slice to slice
    # the five largest of a line in steps of 1/64 are 0 to 4 steps below the first; doubled 0, 0, 1, 1 and 2
    torch.testing.assert_close(once[0, -3:-1], torch.tensor([37 / 64, 62 / 64]))
    torch.testing.assert_close(twice[0, -3:-1], torch.tensor([38.2 / 64, 63.2 / 64]))


def test_the_order_counts_in_the_profile_alone() -> None:
    prob = probabilities(1, 12)
    forward, backward = case_features(prob), case_features(prob.flip(1))
    torch.testing.assert_close(backward[:, -9:], forward[:, -9:])
    torch.testing.assert_close(backward[:, :192].reshape(3, 64).flip(1), forward[:, :192].reshape(3, 64))


def test_half_precision_is_described_in_float32() -> None:
    found = case_features(probabilities().bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, case_features(probabilities()), rtol=0, atol=0.01)


def test_every_slice_has_its_share_of_the_gradient() -> None:
    prob = probabilities(1, 80).requires_grad_()
    torch.autograd.backward(case_features(prob)[:, :-6].sum())
    assert prob.grad is not None
    assert (prob.grad > 0).all()
    torch.testing.assert_close(prob.grad.sum(), torch.tensor(3 * 64 + 3.0))


@pytest.mark.parametrize(
    ("shape", "mask", "arguments", "words"),
    [
        ((2, 3), None, {}, "B, D, C"),
        ((2, 3, 3), (2, 4), {}, "slice_mask"),
        ((2, 3, 3), None, {"positions": 0}, "positions=0"),
        ((2, 3, 3), None, {"top": 0}, "top=0"),
    ],
)
def test_wrong_inputs_are_refused(
    shape: tuple[int, ...], mask: tuple[int, int] | None, arguments: dict[str, int], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        case_features(torch.rand(shape), None if mask is None else torch.ones(mask, dtype=torch.bool), **arguments)
