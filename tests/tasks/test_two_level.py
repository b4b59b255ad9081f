"""The task of two levels: what each network learns from, its recipe, its stages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from covidct.errors import BatchError, UsageError
from covidct.inference.batch_results import results_of_batch
from covidct.sample import Batch, collate
from covidct.tasks import TwoLevelTask, load_task
from tests.fakes.labelled_volumes import TinyLabelledVolumes, TinyLabelledVolumesDataModule, labelled_batch
from tests.tasks.test_conformance import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    MakeTrainer = Callable[..., pl.Trainer]


def make(*, logs: bool = False, **changes: object) -> TwoLevelTask:
    """A small task without dropout, its normalisation as in evaluation, that needs no trainer unless it logs."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"backbone": "resnet18", "slice_size": 48, "folds": 2, "level1_slices": None, **changes}
    task = TwoLevelTask(**arguments)
    if not logs:
        task.log = lambda *_, **__: None  # type: ignore[method-assign]
    frozen(task)
    return task


def batch_of(*subjects: int, unlabelled: Sequence[int] = ()) -> Batch:
    """Scans of these subjects; those of even numbers are in fold 0 of two."""
    data = TinyLabelledVolumes(12, unlabelled=unlabelled)
    return collate([data[subject] for subject in subjects])


def gradients(task: TwoLevelTask, batch: Batch) -> list[list[Tensor]]:
    """Gradients of level 1 and the network of each fold; empty where there is none."""
    task.zero_grad()
    torch.autograd.backward(task.training_step(batch, 0))
    return [[p.grad.clone() for p in one.parameters() if p.grad is not None] for one in task.model.slice_classifiers()]


def level2_inputs(task: TwoLevelTask, batch: Batch) -> Tensor:
    """The probabilities that level 2 is given in a training step."""
    seen: list[Tensor] = []
    whole = task.model.case_logits

    def watched(prob: Tensor, slice_mask: Tensor | None = None) -> Tensor:
        seen.append(prob)
        return whole(prob, slice_mask)

    task.model.case_logits = watched  # type: ignore[method-assign]
    task.training_step(batch, 0)
    task.model.case_logits = whole  # type: ignore[method-assign]
    return seen[0]


def test_recipe(trainer: MakeTrainer) -> None:
    task = TwoLevelTask(backbone="resnet18", folds=2, level1_epochs=3)
    task.trainer = trainer(max_epochs=4)
    config: Any = task.configure_optimizers()
    optimizer, scheduler = config["optimizer"], config["lr_scheduler"]["scheduler"]
    assert type(optimizer) is torch.optim.AdamW
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.01]
    counts = [sum(p.numel() for p in group["params"]) for group in optimizer.param_groups]
    assert counts[1] == 13_123
    assert sum(counts) == sum(p.numel() for p in task.parameters())
    rates = [scheduler.get_last_lr()]
    for _ in range(4):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr())
    first, second = zip(*rates, strict=True)
    assert first == pytest.approx([1e-4, 0.75e-4, 0.25e-4, 0, 0])
    assert second == pytest.approx([1e-3, 0.85355e-3, 0.5e-3, 0.14645e-3, 0], rel=1e-4)


def test_one_rate_of_another_optimizer_falls_over_all_epochs(trainer: MakeTrainer) -> None:
    task = TwoLevelTask(backbone="resnet18", folds=2, level1_epochs=1, optimizer=partial(torch.optim.SGD, lr=1.0))
    task.trainer = trainer(max_epochs=2)
    config: Any = task.configure_optimizers()
    config["optimizer"].step()
    config["lr_scheduler"]["scheduler"].step()
    assert config["lr_scheduler"]["scheduler"].get_last_lr() == [0.5]


def test_a_fold_learns_nothing_from_its_own_subjects() -> None:
    task = make()
    whole, first, second = gradients(task, batch_of(0, 2))
    assert first == []
    assert all(one.any() for one in whole + second)
    whole, first, second = gradients(task, batch_of(1))
    assert second == []
    assert all(one.any() for one in whole + first)
    _, together, _ = gradients(task, batch_of(0, 1, 2))
    torch.testing.assert_close(together, [one / 3 for one in first])  # its loss is shared by three scans


def test_level_2_sees_the_network_that_has_not_seen_the_subject() -> None:
    task, batch = make(), batch_of(0, 1, 2)
    before = level2_inputs(task, batch)
    real = batch["slice_mask"]
    torch.testing.assert_close(before[real].sum(1), torch.ones(int(real.sum())))
    with torch.no_grad():
        for one in task.model.level1.parameters():
            one.add_(0.1)
    assert level2_inputs(task, batch).equal(before)
    with torch.no_grad():
        for one in task.model.level1_folds[0].parameters():
            one.add_(0.01)
    after = level2_inputs(task, batch)
    assert after[1].equal(before[1])
    assert all((after[scan] - before[scan])[real[scan]].any() for scan in (0, 2))


def test_what_a_subjects_slices_teach_does_not_reach_its_own_inputs_of_level_2() -> None:
    def trained(slice_label: int) -> tuple[Tensor, Tensor]:
        task, batch = make(), batch_of(0, 1, 2, 3)
        batch["slice_label"][1, 1] = slice_label  # of the second subject
        optimizer = torch.optim.SGD(task.parameters(), lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            torch.autograd.backward(task.training_step(batch, 0))
            optimizer.step()
        with torch.no_grad():
            own = task.model.slice_probabilities(batch["image"], batch["slice_mask"])
        return level2_inputs(task, batch), own

    (inputs, own), (others, own_of_others) = trained(1), trained(2)
    assert inputs[[1, 3]].equal(others[[1, 3]])  # the fold of the second subject
    assert not inputs[[0, 2]].equal(others[[0, 2]])
    assert not own[1].equal(own_of_others[1])


def test_scans_without_slice_labels_teach_level_2_alone() -> None:
    task = make()
    labelled = gradients(task, batch_of(0, 1))
    mixed = gradients(task, batch_of(0, 1, 2, 3, unlabelled=(2, 3)))
    for one, other in zip(labelled, mixed, strict=True):
        torch.testing.assert_close(other, [half / 2 for half in one], rtol=1e-4, atol=1e-6)
    assert gradients(task, batch_of(2, 3, unlabelled=(2, 3))) == [[], [], []]
    assert all(p.grad is not None and p.grad.any() for p in task.model.level2.parameters())


def test_losses_of_scans_are_means_over_their_slices() -> None:
    task, batch = make(focal_gamma=2.0, slice_weights=[1.0, 2.0, 3.0]), batch_of(1, 2)
    with torch.no_grad():
        total = task.training_step(batch, 0)
        real = batch["slice_mask"]
        prob = task.model.slice_probabilities(batch["image"], real, fold=task.fold_of(batch["subject"]))
        wanted = task.loss(task.model.case_logits(prob, real), batch["label"])
        networks = task.model.slice_classifiers()
        for scan in (0, 1):
            depth = int(real[scan].sum())
            label = batch["slice_label"][scan, :depth]
            for network in (networks[0], networks[2 - (1 - scan)]):  # the fold of the other scan
                slices = batch["image"][scan, :, :depth].transpose(0, 1)
                p = task.model.classify_slices(network, slices)[torch.arange(depth), label]
                terms = -((1 - p) ** 2) * p.log() * torch.tensor([1.0, 2.0, 3.0])[label]
                wanted = wanted + terms.mean() / 2
    torch.testing.assert_close(total, wanted)


def test_level1_slices_bound_what_passes_with_gradient() -> None:
    task, seen = make(level1_slices=2), list[int]()
    hook = task.model.level1.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    task.training_step(labelled_batch(), 0)
    hook.remove()
    assert seen == [6]


def test_level_1_stays_as_it_is_after_its_epochs(trainer: MakeTrainer) -> None:
    class Keep(pl.Callback):
        states: list[dict[str, Tensor]]

        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    keep = Keep()
    keep.states = []
    task = TwoLevelTask(
        backbone="resnet18",
        slice_size=48,
        folds=2,
        level1_epochs=1,
        optimizer=partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
        lr_scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
    )
    trainer(max_epochs=2, callbacks=[keep], limit_val_batches=0).fit(task, datamodule=TinyLabelledVolumesDataModule())
    first, second = keep.states
    for name, value in first.items():
        assert second[name].equal(value) is not name.startswith("model.level2."), name


def test_validation_and_prediction_are_level_1_itself(trainer: MakeTrainer) -> None:
    task, batch = make(logs=True).eval(), labelled_batch()
    with torch.no_grad():
        for one in task.model.level1_folds.parameters():
            one.fill_(torch.nan)
        found = task.predict_step(batch, 0)
        output = task.model(batch["image"], batch["slice_mask"])
    torch.testing.assert_close(found["logits"], output["logits"])
    scores, real = found["slice_scores"], batch["slice_mask"]
    assert scores[~real].isnan().all()
    torch.testing.assert_close(scores[real], output["slice_prob"][real])
    run = trainer()
    (logged,) = run.validate(task, datamodule=TinyLabelledVolumesDataModule(), verbose=False)
    assert set(logged) >= {"val_loss", "val_auroc", "val_slice_accuracy", "val_slice_auroc", "val_slice_f1_macro"}
    every = labelled_batch(6)
    with torch.no_grad():
        prob = task.model(every["image"], every["slice_mask"])["slice_prob"]
    right = (prob.argmax(2) == every["slice_label"])[every["slice_mask"]].float().mean()
    assert logged["val_slice_accuracy"] == pytest.approx(float(right))


def test_results_have_a_score_of_each_real_slice_and_its_heat() -> None:
    task, batch = make().eval(), labelled_batch()
    task.cam_scale.fill_(1.0)
    found = task.predict_step(batch, 0)
    for number, result in enumerate(results_of_batch(task, batch)):
        scores = torch.tensor(result.slice_scores)
        assert scores.isnan().equal(~batch["slice_mask"][number])
        best = int(found["pred"][number])
        torch.testing.assert_close(scores, found["slice_scores"][number, :, best], equal_nan=True)
        assert result.preview is not None
        assert result.preview.cam is not None


def test_no_scores_of_slices_without_labels(trainer: MakeTrainer) -> None:
    data = TinyLabelledVolumesDataModule()
    data.unlabelled = range(6)
    (logged,) = trainer().validate(make(logs=True), datamodule=data, verbose=False)
    assert "val_auroc" in logged
    assert not [name for name in logged if "slice" in name]


def test_batches_without_slice_labels_are_refused() -> None:
    batch = labelled_batch()
    del batch["slice_label"]
    task = make()
    with pytest.raises(BatchError, match="'slice_label'"):
        task.training_step(batch, 0)
    task.eval().validation_step(batch, 0)  # they can be classified
    batch["slice_label"] = torch.full((3, 5), 3)
    with pytest.raises(BatchError, match="goes up to 3"):
        task.training_step(batch, 0)


@pytest.mark.parametrize(("unlabelled", "words"), [(range(6), "No training scan"), (range(1, 6), "fold 0 of 2")])
def test_training_parts_that_teach_nothing_are_refused_at_once(
    trainer: MakeTrainer, unlabelled: Sequence[int], words: str
) -> None:
    data = TinyLabelledVolumesDataModule()
    data.unlabelled = unlabelled
    task = make()
    before = task.model.level2[0].weight.clone()  # type: ignore[operator]
    with pytest.raises(UsageError, match=words):
        trainer().fit(task, datamodule=data)
    assert before.equal(task.model.level2[0].weight)  # type: ignore[arg-type]


class Hashed(TinyLabelledVolumesDataModule):
    """Subjects of which those with labelled slices have even hashes, and so one fold by them."""

    unlabelled = (1, 3, 5)


def test_subjects_are_dealt_out_evenly_and_stay_where_they_are(trainer: MakeTrainer, tmp_path: Path) -> None:
    task, subject = make(), torch.arange(6)
    trainer(limit_val_batches=0).fit(task, datamodule=Hashed())
    fold = task.fold_of(subject)
    assert sorted(fold[[0, 2, 4]].bincount().tolist()) == [1, 2]
    assert fold.bincount().tolist() == [3, 3]
    again = make()
    trainer(fast_dev_run=True).fit(again, datamodule=Hashed())
    assert again.fold_of(subject).equal(fold), "another process would do otherwise"
    run = trainer(limit_val_batches=0, max_epochs=1)
    run.strategy.connect(task)
    run.save_checkpoint(tmp_path / "last.ckpt")
    loaded = load_task(tmp_path / "last.ckpt")
    assert isinstance(loaded, TwoLevelTask)
    assert loaded.fold_of(subject).equal(fold)
    trainer(fast_dev_run=True).fit(loaded.train(), datamodule=TinyLabelledVolumesDataModule())  # others are labelled
    assert loaded.fold_of(subject).equal(fold)
    assert task.fold_of(torch.tensor([101, 102])).tolist() == [1, 0]  # who was not in the training


def test_checkpoints_from_before_subjects_were_dealt_out_keep_their_folds() -> None:
    task, checkpoint = make(), dict[str, Any]()
    make().on_save_checkpoint(checkpoint)
    task.on_load_checkpoint({**checkpoint, "state_dict": {}})
    assert "covidct_subject_folds" not in checkpoint
    assert task.fold_of(torch.arange(6)).tolist() == [0, 1, 0, 1, 0, 1]


def loader(unlabelled: Sequence[int] = ()) -> DataLoader[Any]:
    """Plain batches, without a data module that could tell."""
    return DataLoader(TinyLabelledVolumes(4, unlabelled=unlabelled), batch_size=2, collate_fn=collate)


def test_plain_loaders_without_labels_are_refused_after_an_epoch(trainer: MakeTrainer) -> None:
    with pytest.raises(UsageError, match="No training scan"):
        trainer().fit(make(), loader(range(4)))
    trainer().fit(make(), loader((0,)))
    trainer(fast_dev_run=1).fit(make(), loader((0, 1)))  # one batch says nothing of the others


def test_balanced_slice_weights_come_from_the_training_part(trainer: MakeTrainer) -> None:
    task = make(slice_weights="balanced")
    trainer(fast_dev_run=True).fit(task, datamodule=TinyLabelledVolumesDataModule())
    # depths 3, 4, 5 of the classes 0, 1, 2, twice; the lowest slice of each is normal
    share = torch.tensor([1 + 1 / 4 + 1 / 5, 3 / 4, 4 / 5]) / 3
    assert task.slice_loss.weight is not None
    torch.testing.assert_close(task.slice_loss.weight, 1 / (3 * share))


@pytest.mark.parametrize("arguments", [{"slice_weights": "balanced"}, {"pseudo_rounds": 1}])
def test_what_needs_the_whole_training_part_is_refused_without_a_data_module(
    trainer: MakeTrainer, arguments: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        trainer().fit(make(**arguments), loader())


@pytest.mark.parametrize(
    "arguments",
    [
        {"folds": 1},
        {"folds": 0},
        {"level1_epochs": 0},
        {"level1_slices": 0},
        {"pseudo_rounds": -1},
        {"pseudo_rounds": 3, "level1_epochs": 3},
        {"pseudo_threshold": 0.0},
        {"pseudo_quota": 0},
        {"slice_weights": [1.0, 1.0]},
        {"slice_weights": "many"},
        {"learning_rate": 0.1, "optimizer": torch.optim.SGD},
        {"level2_learning_rate": 0.1, "optimizer": torch.optim.SGD},
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        make(**arguments)


@pytest.mark.slow
def test_learns_six_volumes_by_heart(trainer: MakeTrainer) -> None:
    torch.manual_seed(0)
    task = TwoLevelTask(
        backbone="resnet18", slice_size=48, folds=2, level1_epochs=15, learning_rate=1e-3, level2_learning_rate=1e-2
    )
    run = trainer(max_epochs=40, check_val_every_n_epoch=40)
    run.fit(task, datamodule=TinyLabelledVolumesDataModule(12, batch_size=6))
    assert run.callback_metrics["val_slice_accuracy"] > 0.9
    assert run.callback_metrics["val_accuracy"] == 1
