"""The fixed scale: which value, where it is kept, and what it does to a normal scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from covidct.errors import UsageError
from covidct.explain import ClassMaps, ElementMap, GradCAM, calibrate, explained_classes, maximum_on_positives, overlay
from covidct.sample import collate
from covidct.tasks import ClassificationTask, load_task
from tests.explain.networks import pooling_task, volumes
from tests.explain.test_gradcam import reference_of_task
from tests.fakes.volumes import PREPROCESSING

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.sample import Batch
    from covidct.tasks import MaskedGAPResNetTask


def single(index: int) -> Batch:
    """One volume; odd ones are positive."""
    from tests.fakes.volumes import TinyVolumes

    return collate([TinyVolumes()[index]])


def test_is_the_largest_value_over_the_scans_of_the_class() -> None:
    task = pooling_task()
    found = calibrate(task, [single(index) for index in range(4)])
    for label in (0, 1):
        peaks = [reference_of_task(task, single(index), label).max() for index in (label, label + 2)]
        assert found[label].item() == pytest.approx(max(peaks), rel=1e-4)
    assert task.cam_scale.equal(found)


def test_scans_of_unknown_class_and_empty_classes() -> None:
    task = pooling_task()
    unknown = single(0)
    unknown["label"] = torch.tensor([-1])
    found = calibrate(task, [unknown, single(1)])
    assert found[0] == 0
    assert found[1] > 0
    both = volumes(2)
    both["label"] = torch.tensor([-1, 1])
    assert calibrate(task, [both]).equal(found) or torch.allclose(task.cam_scale, found)


def test_maps_of_a_diverged_network_give_no_scale() -> None:
    maps = torch.tensor([[[1.0, torch.nan]], [[torch.inf, 0.0]], [[2.0, 3.0]]])
    target = torch.tensor([0, 1, 0])
    batches = [{"image": maps, "label": target}]
    found = maximum_on_positives(lambda batch, label: ClassMaps(maps, label, torch.zeros(3, 2)), batches, classes=2)
    assert found.tolist() == [3.0, 0.0]


def test_other_maps_have_a_scale_too() -> None:
    task = pooling_task()
    batches = [volumes(2)]
    found = maximum_on_positives(ElementMap(task), batches, classes=2)
    expected = ElementMap(task)(volumes(2), torch.tensor([0, 1])).maps.flatten(1).amax(1)
    torch.testing.assert_close(found, expected)


def test_the_checkpoint_keeps_it(tmp_path: Path) -> None:
    task = pooling_task()
    task.preprocessing = PREPROCESSING
    scale = calibrate(task, [volumes(2)])
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    trainer.strategy.connect(task)  # as the docstring of calibrate says
    trainer.save_checkpoint(tmp_path / "new.ckpt")
    loaded = load_task(tmp_path / "new.ckpt")
    assert isinstance(loaded, ClassificationTask)
    assert loaded.cam_scale.equal(scale)


def test_a_checkpoint_from_before_has_none(tmp_path: Path) -> None:
    task = pooling_task()
    task.preprocessing = PREPROCESSING
    calibrate(task, [volumes(2)])
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(tmp_path / "new.ckpt", weights_only=True)
    old = torch.load(tmp_path / "new.ckpt", weights_only=True)
    del old["state_dict"]["cam_scale"]
    torch.save(old, tmp_path / "old.ckpt")
    loaded = load_task(tmp_path / "old.ckpt")
    assert isinstance(loaded, ClassificationTask)
    assert not bool(loaded.cam_scale.any())


def bright_lung_task() -> MaskedGAPResNetTask:
    """A network that can be read: its score of "covid" is the brightness of the lungs above that of normal ones.

    The last block passes on one channel that grows with brightness; the head takes it with weight 1.
    """
    task = pooling_task(slice_size=64, fusion="max")
    with torch.no_grad():
        task.model.head.weight.zero_()
        task.model.head.bias.zero_()
    convolution = torch.nn.Conv2d(3, 512, 1, bias=False)
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.weight[0] = 1 / 3
        mean = float(((0.1 - task.model.mean) / task.model.std).mean())
        task.model.head.weight[1, 0] = 1.0
        task.model.head.bias[1] = -mean
    brightness = torch.nn.Sequential(convolution, torch.nn.AvgPool2d(32))
    task.model.trunk = torch.nn.ModuleDict({"layer4": _Shifted(brightness, mean)})
    return task


class _Shifted(torch.nn.Module):
    """ReLU(brightness - that of a normal lung)."""

    def __init__(self, inner: torch.nn.Module, mean: float) -> None:
        super().__init__()
        self.inner, self.mean = inner, mean

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.inner(image) - self.mean)


def test_a_whole_normal_scan_stays_cold_where_scaling_by_itself_makes_it_hot() -> None:
    task = bright_lung_task()
    positives, normal = [single(1), single(3)], single(0)
    calibrate(task, positives)
    scale = float(task.cam_scale[1])
    sick = GradCAM(task)(single(1), 1).maps[0]
    maps = GradCAM(task)(normal, 1).maps[0]
    image = normal["image"][0, 0].numpy()
    assert float(maps.max()) > 0  # it is not cold for want of a map
    fixed = np.stack([overlay(one, heat.numpy(), scale) for one, heat in zip(image, maps, strict=True)])
    by_itself = np.stack([overlay(one, heat.numpy(), float(maps.max())) for one, heat in zip(image, maps, strict=True)])
    assert colour(fixed).max() < 0.1 * 255
    assert colour(by_itself).max() > 0.4 * 255
    hot = np.stack(
        [overlay(one, heat.numpy(), scale) for one, heat in zip(single(1)["image"][0, 0].numpy(), sick, strict=True)]
    )
    assert colour(hot).max() > 0.4 * 255


def colour(
    pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """How far a pixel is from grey."""
    return np.asarray(np.ptp(pictures.astype(np.int64), -1))


@pytest.mark.parametrize(
    ("names", "scores", "expected"),
    [
        (("normal", "cap", "covid"), [3.0, 1.0, 2.0], 2),
        (("normal", "cap", "covid"), [3.0, 2.0, 1.0], 1),
        (("normal", "cap", "covid"), [1.0, 2.0, 3.0], 2),
        (("non_covid", "covid"), [5.0, -5.0], 1),
        (("a", "b"), [5.0, -5.0], 0),
        (("normal", "non_covid"), [1.0, 2.0], 1),
    ],
)
def test_pictures_explain_a_disease(names: tuple[str, ...], scores: list[float], expected: int) -> None:
    assert explained_classes(torch.tensor([scores]), names).tolist() == [expected]


def test_scores_and_names_belong_together() -> None:
    with pytest.raises(UsageError, match="do not belong"):
        explained_classes(torch.zeros(1, 3), ("a", "b"))
