"""The deletion curve on a network whose score can be computed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from covidct.errors import UsageError
from covidct.explain import ClassMaps, DeletionCurve, deletion_curve, deletion_figure
from covidct.tasks import ClassificationTask

if TYPE_CHECKING:
    from torch import Tensor

    from covidct.sample import Batch


class Sum(nn.Module):
    """Score of class 1: sum of all pixels; of class 0: 0. Its feature map is the image itself."""

    cam_layer = "same"

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.same.weight)
        self.dropout = nn.Dropout(0.5)

    def forward(self, image: Tensor) -> Tensor:
        rows = self.dropout(self.same(image.transpose(1, 2).flatten(0, 1)))
        total = rows.reshape(len(image), -1).sum(1)
        return torch.stack([torch.zeros_like(total), total], 1)


class SumTask(ClassificationTask):
    """The task of the sum."""

    inputs = ("image",)
    kinds = ("ct_volume",)

    def __init__(self) -> None:
        super().__init__(num_classes=2)

    def build_model(self) -> nn.Module:
        return Sum()

    def default_optimizer(self) -> Any:  # noqa: ANN401
        return torch.optim.SGD(self.parameters())


def scan() -> Batch:
    """20 lung pixels of 0.2 in one slice, four of them 0.9; a bright pixel outside the lungs."""
    image = torch.zeros(1, 1, 2, 6, 6)
    mask = torch.zeros(1, 1, 2, 6, 6, dtype=torch.uint8)
    mask[0, 0, 1, :4, :5] = 1
    image[mask > 0] = 0.2
    image[0, 0, 1, 0, :4] = 0.9
    image[0, 0, 0, 5, 5] = 1.0
    return {"image": image, "lung_mask": mask, "id": ["one"], "label": torch.tensor([1])}


def test_hottest_pixels_are_blanked_with_the_median() -> None:
    curve = deletion_curve(SumTask(), scan(), target=1, fractions=(0.1, 0.2, 0.4), draws=50)
    np.testing.assert_allclose(curve.hottest, [2 * 0.7, 4 * 0.7, 4 * 0.7], atol=1e-5)
    assert curve.score == pytest.approx(16 * 0.2 + 4 * 0.9 + 1.0, abs=1e-5)
    assert curve.random.shape == (50, 3)
    # the number of bright pixels among the drawn ones is hypergeometric: its mean is 4 x share
    np.testing.assert_allclose(curve.random.mean(0), [0.7 * 4 * share for share in curve.fractions], atol=0.25)
    assert (np.diff(curve.random, axis=1) >= -1e-6).all()  # larger shares hold the smaller ones


def test_the_draws_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, same, other = (deletion_curve(SumTask(), scan(), target=1, seed=seed).random for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    torch.manual_seed(1)
    assert torch.get_rng_state().equal(before)


def test_the_score_is_the_log_odds_of_the_class_and_modes_are_restored() -> None:
    task = SumTask().train()
    curve = deletion_curve(task, scan(), target=0)
    assert curve.score == pytest.approx(-(16 * 0.2 + 4 * 0.9 + 1.0), abs=1e-5)
    assert task.model.get_submodule("dropout").training
    assert deletion_curve(task, scan()).target == 1  # the predicted class


def test_any_map_can_be_examined() -> None:
    def cold_first(batch: Batch, target: int | None) -> ClassMaps:
        return ClassMaps(-batch["image"][:, 0], torch.tensor([1]), torch.zeros(1, 2))

    curve = deletion_curve(SumTask(), scan(), explain=cold_first, fractions=(0.2,), draws=1)
    np.testing.assert_allclose(curve.hottest, [0.0], atol=1e-6)  # 0.2 becomes 0.2


@pytest.mark.parametrize("depth", [1, 2])  # of a 3-D trunk, and slice by slice
def test_maps_of_other_sizes_are_enlarged(depth: int) -> None:
    def upper_cells(batch: Batch, target: int | None) -> ClassMaps:
        maps = torch.zeros(1, depth, 2, 2)
        maps[0, :, 0] = 1
        return ClassMaps(maps, torch.tensor([1]), torch.zeros(1, 2))

    curve = deletion_curve(SumTask(), scan(), explain=upper_cells, fractions=(0.5,), draws=1)
    np.testing.assert_allclose(curve.hottest, [4 * 0.7], atol=1e-5)  # the upper two rows, all bright pixels among them


def test_the_figure_shows_both_curves() -> None:
    curve = DeletionCurve(1, 2.0, (0.1, 0.2), np.array([1.0, 2.0]), np.array([[0.1, 0.3], [0.3, 0.5]]))
    figure = deletion_figure({"COVID-19": curve, "again": curve})
    axis = figure.axes[0]
    assert axis.get_title() == "COVID-19"
    random, hottest = axis.lines[:2]
    np.testing.assert_allclose(np.asarray(random.get_xydata(), float), [[0.0, 0.0], [10.0, 0.2], [20.0, 0.4]])
    np.testing.assert_allclose(np.asarray(hottest.get_xydata(), float), [[0.0, 0.0], [10.0, 1.0], [20.0, 2.0]])
    with pytest.raises(UsageError, match="at least one curve"):
        deletion_figure({})


@pytest.mark.parametrize(
    "options", [{"fractions": ()}, {"fractions": (0.2, 0.1)}, {"fractions": (0.5, 1.5)}, {"draws": 0}], ids=str
)
def test_wrong_numbers(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must rise"):
        deletion_curve(SumTask(), scan(), **options)


def test_scans_without_lungs() -> None:
    empty = {**scan(), "lung_mask": torch.zeros(1, 1, 2, 6, 6, dtype=torch.uint8)}
    for batch in (empty, {"image": torch.zeros(1, 1, 2, 6, 6)}):
        with pytest.raises(UsageError, match="one scan with a lung mask"):
            deletion_curve(SumTask(), batch)
