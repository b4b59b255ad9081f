from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch

from covidct.errors import CheckpointError, UsageError
from covidct.functional import ContrastSplit
from covidct.tasks import (
    GatedEnsembleTask,
    MaskedGAPResNetTask,
    TwoLevelTask,
    UNet3dTask,
    join_experts,
    load_task,
    save_task,
)
from tests.fakes.two_contrasts import LINE, TinyTwoContrastsDataModule, two_contrasts_batch
from tests.fakes.volumes import PREPROCESSING, TinyVolumesDataModule

if TYPE_CHECKING:
    from pathlib import Path

EXPERT: dict[str, Any] = {"name": "MaskedGAPResNet", "arguments": {"backbone": "resnet18", "slice_size": 32}}
SPLIT = ContrastSplit(LINE, "rms", 2, 2)


def ensemble(**changes: Any) -> GatedEnsembleTask:  # noqa: ANN401
    torch.manual_seed(0)
    return GatedEnsembleTask(**{"low": [EXPERT], "high": [EXPERT], "num_classes": 2, **changes})


def trainer(**changes: Any) -> pl.Trainer:  # noqa: ANN401
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return pl.Trainer(accelerator="cpu", devices=1, max_steps=1, num_sanity_val_steps=0, **{**quiet, **changes})


def expert(path: Path, *, seed: int, **changes: Any) -> Path:  # noqa: ANN401
    """A checkpoint of a volume classifier that no trainer saw."""
    torch.manual_seed(seed)
    task = MaskedGAPResNetTask(**{**EXPERT["arguments"], "num_classes": 2})
    task.preprocessing = changes.pop("preprocessing", PREPROCESSING)
    save_task(task, path)
    return path


def test_the_line_comes_from_the_data_module_and_stays_in_the_checkpoint(tmp_path: Path) -> None:
    task = ensemble()
    run = trainer()
    run.fit(task, datamodule=TinyTwoContrastsDataModule())
    assert task.model.threshold.item() == pytest.approx(LINE, rel=1e-7)
    run.save_checkpoint(tmp_path / "gate.ckpt", weights_only=True)
    loaded = load_task(tmp_path / "gate.ckpt")
    assert isinstance(loaded, GatedEnsembleTask)
    assert loaded.model.threshold.item() == pytest.approx(LINE, rel=1e-7)
    assert loaded.preprocessing is not None
    assert loaded.preprocessing.contrast == "rms"


def test_a_data_module_without_contrast_is_refused() -> None:
    with pytest.raises(UsageError, match="contrast='rms'"):
        trainer().fit(ensemble(), datamodule=TinyVolumesDataModule())


def test_scores_of_each_side_are_logged() -> None:
    (scores,) = trainer().test(ensemble(threshold=LINE), datamodule=TinyTwoContrastsDataModule(8), verbose=False)
    assert scores["test_high_share"] == 0.5
    sides = [scores[f"test_{side}_accuracy"] for side in ("low", "high")]
    assert scores["test_accuracy"] == pytest.approx(sum(sides) / 2)
    (one_sided,) = trainer().test(ensemble(threshold=0.0), datamodule=TinyTwoContrastsDataModule(8), verbose=False)
    assert one_sided["test_high_share"] == 1
    assert one_sided["test_low_accuracy"] != one_sided["test_low_accuracy"]  # NaN: nobody was there


def test_losses_are_those_of_each_expert_alone() -> None:
    task = ensemble(high=[EXPERT, EXPERT], threshold=LINE).eval()
    batch = two_contrasts_batch()
    output = task(batch)
    expected = []
    for row in range(4):
        experts = task.model.high if output["high"][row] else task.model.low
        inputs = (batch["image"][[row]], batch["lung_mask"][[row]], batch["slice_mask"][[row]])
        logits = torch.stack([one(*inputs)[0] for one in experts])
        expected.append(torch.nn.functional.cross_entropy(logits, batch["label"][[row] * len(experts)]))
    torch.testing.assert_close(task._loss(output, batch), torch.stack(expected).mean())


def test_experts_join_to_one_checkpoint(tmp_path: Path) -> None:
    low = expert(tmp_path / "low.ckpt", seed=1)
    high = [expert(tmp_path / f"high{seed}.ckpt", seed=seed) for seed in (2, 3)]
    joined = join_experts(low=[low], high=high, split=SPLIT, high_weights=[1, 3])
    save_task(joined, tmp_path / "gate.ckpt")
    loaded = load_task(tmp_path / "gate.ckpt")
    assert isinstance(loaded, GatedEnsembleTask)
    batch = two_contrasts_batch()
    found = loaded.predict_step(batch, 0)
    assert found["high"].tolist() == [False, False, True, True]
    one, two, three = (load_task(path).predict_step(batch, 0)["prob"] for path in (low, *high))
    expected = torch.cat([one[:2], 0.25 * two[2:] + 0.75 * three[2:]])
    torch.testing.assert_close(found["prob"], expected, atol=1e-5, rtol=0)


def test_networks_that_training_alone_needs_stay_behind(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = TwoLevelTask(num_classes=2, backbone="resnet18", slice_size=32, folds=2)
    task.preprocessing = PREPROCESSING
    save_task(task, tmp_path / "two.ckpt")
    joined = join_experts(low=[tmp_path / "two.ckpt"], high=[tmp_path / "two.ckpt"], split=SPLIT)
    count = sum(parameter.numel() for parameter in joined.model.low.parameters())
    level1 = sum(parameter.numel() for parameter in task.model.level1.parameters())
    assert count == level1 + sum(parameter.numel() for parameter in task.model.level2.parameters())
    batch = two_contrasts_batch()
    expected = task.eval().predict_step(batch, 0)["prob"]
    torch.testing.assert_close(joined.predict_step(batch, 0)["prob"], expected, atol=1e-5, rtol=0)


def test_experts_of_other_preprocessing_or_kind_are_refused(tmp_path: Path) -> None:
    low = expert(tmp_path / "low.ckpt", seed=1)
    other = expert(tmp_path / "high.ckpt", seed=2, preprocessing=replace(PREPROCESSING, enhancement="tone"))
    with pytest.raises(UsageError, match="enhancement"):
        join_experts(low=[low], high=[other], split=SPLIT)
    namesakes = [tmp_path / side / "last.ckpt" for side in ("low", "high")]
    turned = replace(PREPROCESSING, classes=PREPROCESSING.classes[::-1])
    for path, record in zip(namesakes, (PREPROCESSING, turned), strict=True):
        expert(path, seed=1, preprocessing=record)
    with pytest.raises(UsageError, match=r"classes.*high/last\.ckpt"):
        join_experts(low=namesakes[:1], high=namesakes[1:], split=SPLIT)
    with pytest.raises(UsageError, match="high_weights"):
        join_experts(low=[low], high=[low], split=SPLIT, high_weights=[1, 2])
    unet = UNet3dTask(channels=[4, 8])
    unet.preprocessing = PREPROCESSING
    save_task(unet, tmp_path / "unet.ckpt")
    with pytest.raises(CheckpointError, match="cannot be an expert"):
        join_experts(low=[low], high=[tmp_path / "unet.ckpt"], split=SPLIT)
    with pytest.raises(UsageError, match=r"\.ckpt"):
        save_task(unet, tmp_path / "unet.pt")


def test_a_checkpoint_with_another_class_as_expert_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gate.ckpt"
    save_task(_joined(tmp_path), path)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["low"][0]["name"] = "os.system"
    torch.save(checkpoint, path)
    with pytest.raises(CheckpointError, match=r"os\.system"):
        load_task(path)


def _joined(folder: Path) -> GatedEnsembleTask:
    low = expert(folder / "low.ckpt", seed=1)
    return join_experts(low=[low], high=[low], split=SPLIT)
