"""Detection tasks: the loss is the sum, validation repeats itself, broken objects are named."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torchvision import models as tv

from covidct.errors import BatchError, UsageError
from covidct.tasks import LesionMaskRCNNTask, load_task
from tests.fakes.lesions import TinyLesionsDataModule, lesions_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytorch_lightning as pl

    MakeTrainer = Callable[..., pl.Trainer]

LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask")


def small(**changes: Any) -> LesionMaskRCNNTask:  # noqa: ANN401
    torch.manual_seed(0)
    return LesionMaskRCNNTask(**{"backbone": "resnet18", "truncation": 2, "max_detections": 5, **changes})


def test_recipe_is_the_references() -> None:
    optimizer = small().default_optimizer()
    assert isinstance(optimizer, torch.optim.Adam)
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (1e-5, 1e-3)
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == 3_920_104  # all of them
    with pytest.raises(UsageError, match="published optimizer"):
        small(optimizer=partial(torch.optim.SGD, lr=0.1), learning_rate=1e-3)


def test_loss_is_the_sum_of_the_five_and_each_is_logged(trainer: MakeTrainer) -> None:
    run = trainer(max_epochs=1)
    run.fit(small(), datamodule=TinyLesionsDataModule())
    for stage in ("train", "val"):
        logged = {name: float(run.callback_metrics[f"{stage}_{name}"]) for name in LOSSES}
        assert sum(logged.values()) == pytest.approx(float(run.callback_metrics[f"{stage}_loss"]), abs=1e-5)
    assert {"val_reference_map", "val_coco_map", "val_coco_map_consolidation"} <= set(run.callback_metrics)
    assert not any(name.startswith("train_reference") for name in run.callback_metrics)


def test_validation_repeats_itself_and_moves_nothing(trainer: MakeTrainer) -> None:
    task, data = small(), TinyLesionsDataModule()
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    (first,) = trainer().validate(task, datamodule=data, verbose=False)
    (second,) = trainer().validate(task, datamodule=data, verbose=False)
    assert {k: v for k, v in first.items() if v == v} == {k: v for k, v in second.items() if v == v}  # NaN aside
    assert all(tensor.equal(before[name]) for name, tensor in task.state_dict().items())


def test_validation_leaves_the_random_numbers_of_the_training_alone() -> None:
    task, batch = small().eval(), lesions_batch(2)
    task.log = task.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    state = torch.random.get_rng_state()
    losses = [float(task.validation_step(batch, 0)) for _ in range(2)]
    assert losses[0] == losses[1]
    assert torch.random.get_rng_state().equal(state)


def test_perfect_detections_score_one(trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    task = small()

    def truth(image: torch.Tensor, instances: list[dict[str, torch.Tensor]]) -> tuple[Any, Any]:
        found = [
            {**one, "masks": one["masks"][:, None].float(), "scores": torch.ones(len(one["labels"]))}
            for one in instances
        ]
        return {"loss_mask": image.sum() * 0}, found

    monkeypatch.setattr(task.model, "losses_and_detections", truth)
    (scores,) = trainer().test(task, datamodule=TinyLesionsDataModule(), verbose=False)
    assert scores["test_reference_map"] == scores["test_coco_map"] == 1


def test_predictions_cover_what_was_detected() -> None:
    task = small(score_threshold=0.0).eval()
    with torch.no_grad():
        found = task.predict_step(lesions_batch(2), 0)
    covered = torch.stack([one["masks"].any(0)[0] for one in found["detections"]])
    assert covered.equal(found["mask"][:, 0] > 0)
    assert found["detections"][0]["masks"].dtype == torch.bool


def edited(key: str, index: tuple[int, ...], value: float) -> dict[str, Any]:
    batch = lesions_batch(2)
    batch["instances"][1][key][index] = value
    return batch


@pytest.mark.parametrize(
    ("key", "index", "value"),
    [
        ("boxes", (1, 2), -5.0),
        ("boxes", (1, 3), 65.0),
        ("boxes", (1, 0), -1.0),
        ("labels", (1,), 3),
        ("labels", (1,), 0),
    ],
)
def test_broken_objects_are_named_in_every_batch(key: str, index: tuple[int, ...], value: float) -> None:
    task = small()
    task.check_target(lesions_batch(2))
    with pytest.raises(BatchError, match="Object 1 of 'lesions-4'"):
        task.check_target(edited(key, index, value))
    with pytest.raises(BatchError, match="no 'instances'"):
        task.check_target({"image": torch.zeros(1), "id": []})


def test_mask_type_of_task_and_data_must_agree(trainer: MakeTrainer) -> None:
    class Merged(TinyLesionsDataModule):
        mask_type = "merge"

    class Nothing(TinyLesionsDataModule):
        mask_type = None  # type: ignore[assignment]

    with pytest.raises(UsageError, match=r"mask_type='both', the data set gives mask_type='merge'"):
        trainer().validate(small(), datamodule=Merged(), verbose=False)
    with pytest.raises(UsageError, match="no lesions as objects"):
        trainer().fit(small(), datamodule=Nothing())


@pytest.mark.parametrize(
    ("changes", "word"), [({"mask_type": "x"}, "mask_type"), ({"mask_threshold": 1.0}, "mask_thr")]
)
def test_wrong_arguments_are_one_sentence(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        small(**changes)


def test_imagenet_weights_are_taken_at_the_start_of_a_fresh_training(trainer: MakeTrainer, tmp_path: Path) -> None:
    published = tv.get_model("resnet18", weights=None).state_dict()
    torch.save(published, tmp_path / "resnet18.pth")
    task = small(weights=str(tmp_path / "resnet18.pth"), learning_rate=0.0, weight_decay=0.0)
    run = trainer(limit_train_batches=1, limit_val_batches=0)
    run.fit(task, datamodule=TinyLesionsDataModule())
    assert task.model.backbone.body.state_dict()["conv1.weight"].equal(published["conv1.weight"])
    run.save_checkpoint(tmp_path / "model.ckpt")
    (tmp_path / "resnet18.pth").unlink()
    load_task(tmp_path / "model.ckpt")
