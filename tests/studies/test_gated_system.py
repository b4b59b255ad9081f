"""The gated ensemble, trained as small as can be: what an expert starts from, and what is taken over."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torchvision import models as tv

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomTwoContrasts
from covidct.errors import UsageError
from covidct.studies import Expert, GatedSystem, train_gated_system
from covidct.studies.training import require_one_device
from covidct.tasks import MaskedGAPResNetTask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FIRST = "layer1.0.conv1.weight"


def cohort(folder: Path, **changes: Any) -> CTVolumeDataModule:  # noqa: ANN401
    options: dict[str, Any] = {"contrast": "spread", "val_fraction": 0.0, **changes}
    return CTVolumeDataModule(
        PhantomTwoContrasts(12, shape=(6, 40, 40)),
        grid="slices",
        size=32,
        mask_source="file",
        batch_size=4,
        augment=False,
        test_fraction=0.25,
        cache_dir=str(folder / "cache"),
        **options,
    )


def trained(folder: Path) -> GatedSystem:
    """One expert on both sides, whose weights stay nearly where they begin."""
    task = MaskedGAPResNetTask(
        num_classes=3,
        backbone="resnet18",
        slice_size=32,
        weights=str(folder / "start.pth"),
        optimizer=partial(torch.optim.SGD, lr=1e-12),
    )
    expert = Expert(task, epochs=1)
    options = {"accelerator": "cpu"}
    return train_gated_system(cohort(folder), low=[expert], high=[expert], out=folder / "out", trainer_options=options)


def write_weights(folder: Path, seed: int) -> torch.Tensor:
    """Weights of a ResNet-18 in the file that experts start from; those of a layer."""
    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = tv.resnet18().state_dict()
    torch.save(state, folder / "start.pth")
    return state[FIRST]


@pytest.mark.slow
def test_experts_start_from_their_weights_and_are_taken_over_while_these_are_the_same(tmp_path: Path) -> None:
    for seed in (1, 2):
        start = write_weights(tmp_path, seed)
        first = trained(tmp_path)
        for side in ("low", "high"):
            state = first.task.model.get_submodule(side).state_dict()
            (name,) = (name for name in state if name.endswith(FIRST))
            torch.testing.assert_close(state[name], start, rtol=0, atol=1e-6, msg=side)
        times = {side: paths[0].stat().st_mtime_ns for side, paths in first.checkpoints.items()}
        again = trained(tmp_path)
        assert again.checkpoints == first.checkpoints
        assert {side: paths[0].stat().st_mtime_ns for side, paths in again.checkpoints.items()} == times
    assert len(list((tmp_path / "out" / "experts").glob("*.ckpt"))) == 4


@pytest.mark.slow
def test_experts_of_a_side_differ_and_are_weighed_on_its_validation_subjects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[NDArray[np.int64]] = []

    def first_alone(prob: NDArray[np.float64], label: Any, *, subject: Any) -> NDArray[np.float64]:  # noqa: ANN401
        assert prob.shape == (2, len(label), 3)
        assert len(set(subject)) == len(subject)
        assert not np.array_equal(prob[0], prob[1]), "experts of one recipe are the same"
        asked.append(np.array(label))
        return np.array([1.0, 0.0])

    monkeypatch.setattr("covidct.studies.gated_system.fit_fusion_weights", first_alone)
    strict = torch.are_deterministic_algorithms_enabled()
    data = cohort(tmp_path, val_fraction=0.5)
    expert = Expert(MaskedGAPResNetTask(num_classes=3, backbone="resnet18", slice_size=32), epochs=1)
    options = {"accelerator": "cpu"}
    found = train_gated_system(data, low=[expert], high=[expert] * 2, out=tmp_path / "out", trainer_options=options)
    validation = data.on_side("high").records("val")
    assert validation
    assert [labels.tolist() for labels in asked] == [[record.label for record in validation]]
    assert torch.are_deterministic_algorithms_enabled() is strict, "the process is left as it was"
    assert found.task.model.high_weights.tolist() == [1, 0]
    assert found.task.model.low_weights.tolist() == [1]


@pytest.mark.parametrize(("contrast", "experts", "words"), [("none", 1, "contrast='rms'"), ("spread", 0, "at least")])
def test_what_cannot_be_gated_is_refused(tmp_path: Path, contrast: str, experts: int, words: str) -> None:
    members = [Expert(MaskedGAPResNetTask(backbone="resnet18"))] * experts
    with pytest.raises(UsageError, match=words):
        train_gated_system(cohort(tmp_path, contrast=contrast), low=members, high=members, out=tmp_path)


@pytest.mark.parametrize("options", [{"devices": 2}, {"devices": "auto"}, {"devices": [0, 1]}, {"num_nodes": 2}])
def test_several_devices_are_refused_before_anything_is_prepared(tmp_path: Path, options: dict[str, Any]) -> None:
    members = [Expert(MaskedGAPResNetTask(backbone="resnet18"))]
    with pytest.raises(UsageError, match=rf"{next(iter(options))}=.*on one device"):
        train_gated_system(cohort(tmp_path), low=members, high=members, out=tmp_path, trainer_options=options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("devices", [1, "1", [3], (0,)])
def test_one_device_may_be_named(devices: object) -> None:
    require_one_device({"devices": devices, "accelerator": "gpu"})
