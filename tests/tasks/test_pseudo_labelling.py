"""Rounds of pseudo-labelling: whose slices, by which network, how right."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch

from covidct.functional import select_pseudo_labels
from covidct.labels import CLASSES
from covidct.tasks import TwoLevelTask, load_task
from covidct.tasks.pseudo_labelling import allowed_classes, pseudo_label_round, round_epochs
from tests.fakes.labelled_volumes import TinyLabelledVolumes, TinyLabelledVolumesDataModule, labelled_batch
from tests.tasks.test_two_level import gradients, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeTrainer = Callable[..., pl.Trainer]

UNLABELLED = (2, 3, 5)  # of the folds 0, 1, 1 and the classes 2, 0, 2; 5, 3 and 5 slices


def data_module() -> TinyLabelledVolumesDataModule:
    data = TinyLabelledVolumesDataModule()
    data.unlabelled = UNLABELLED
    return data


def test_a_slice_has_the_class_of_its_case_or_is_negative() -> None:
    label = torch.tensor([0, 1, 2])
    assert allowed_classes(label, CLASSES).tolist() == [[True, False, False], [True, True, False], [True, False, True]]
    assert allowed_classes(label[:2], ("covid", "non_covid")).tolist() == [[True, True], [False, True]]
    assert allowed_classes(label[1:2], ("a", "b")).tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("epochs", "rounds", "expected"),
    [(30, 0, set()), (30, 1, {15}), (30, 2, {10, 20}), (3, 2, {1, 2}), (5, 4, {1, 2, 3, 4})],
)
def test_stages_are_of_nearly_equal_length(epochs: int, rounds: int, expected: set[int]) -> None:
    assert round_epochs(epochs, rounds) == expected


class Round(pl.Callback):
    """Makes a round at the start of a training."""

    report: dict[str, Any]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TwoLevelTask)
        self.report = pseudo_label_round(pl_module)


@pytest.fixture(scope="module")
def rounded(trainer: MakeTrainer) -> tuple[TwoLevelTask, dict[str, Any]]:
    """A task after a round at a low threshold, its weights as before."""
    task = make(pseudo_threshold=0.34, pseudo_quota=4, optimizer=partial(torch.optim.SGD, lr=0.0))
    samples = TinyLabelledVolumes(6)
    slices = torch.cat([samples[scan]["image"].transpose(0, 1) for scan in range(6)])
    with torch.no_grad():
        for one in task.model.slice_classifiers():  # so that each finds slices of several classes
            logits = task.model.slice_logits(one, slices)
            one.head.bias.sub_(logits.mean(0)).div_(logits.std(0))
            one.head.weight.div_(logits.std(0)[:, None])
            one.head.bias[0] += 0.5
    callback = Round()
    trainer(callbacks=[callback], limit_val_batches=0).fit(task, datamodule=data_module())
    return task.eval(), callback.report


def test_each_network_looks_at_the_unlabelled_slices_that_it_may_learn_from(
    rounded: tuple[TwoLevelTask, dict[str, Any]],
) -> None:
    task, report = rounded
    assert report["pool"] == [13, 8, 5]
    assert report["epoch"] == 0
    samples = TinyLabelledVolumes(6)
    for number, scans in enumerate(([2, 3, 5], [3, 5], [2])):
        network = task.model.slice_classifiers()[number]
        with torch.no_grad():
            prob = [task.model.classify_slices(network, samples[scan]["image"].transpose(0, 1)) for scan in scans]
        allowed = [
            allowed_classes(torch.full((len(p),), scan % 3), CLASSES) for p, scan in zip(prob, scans, strict=True)
        ]
        wanted = select_pseudo_labels(torch.cat(prob), threshold=0.34, quota=4, allowed=torch.cat(allowed))
        assert list(report["taken"][number].values()) == wanted.count.tolist()
        torch.testing.assert_close(task.pseudo_bar[number], wanted.bar, rtol=0, atol=1e-5)
        torch.testing.assert_close(list(report["bar"][number].values()), wanted.bar.tolist(), rtol=0, atol=1e-5)
    assert all(any(taken.values()) for taken in report["taken"])


def test_how_right_they_are_is_told_by_subjects_that_the_network_has_not_seen(
    rounded: tuple[TwoLevelTask, dict[str, Any]],
) -> None:
    task, report = rounded
    samples, passed, right, judged = TinyLabelledVolumes(6), [0, 0, 0], [0, 0, 0], 0
    for scan in (0, 1, 4):
        number, sample = 1 + scan % 2, samples[scan]
        with torch.no_grad():
            prob = task.model.classify_slices(task.model.slice_classifiers()[number], sample["image"].transpose(0, 1))
        for row, truth in zip(prob, sample["slice_label"].tolist(), strict=True):
            judged += 1
            label = int(row.argmax())
            if row[label] >= task.pseudo_bar[number, label] and label in (0, scan % 3):
                passed[label] += 1
                right[label] += label == truth
    assert report["judged"] == judged == 11
    assert list(report["passed"].values()) == passed
    assert list(report["right"].values()) == right
    assert sum(passed)


def test_slices_above_the_bar_are_learned_from_and_others_not() -> None:
    task = make()
    batch = labelled_batch(4, unlabelled=(2, 3))
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for number, network in enumerate(task.model.slice_classifiers()):
        network.register_forward_hook(
            lambda module, inputs, _, number=number: seen[number].append(
                len(inputs[0]) if torch.is_grad_enabled() else 0
            )
        )
    gradients(task, batch)
    assert [sum(counts) for counts in seen.values()] == [7, 4, 3]  # 3 and 4 labelled slices, of the folds 0 and 1
    for counts in seen.values():
        counts.clear()
    task.pseudo_bar[1:] = torch.tensor([0.0, 2.0, 0.0])  # the networks of the folds take anything but the second class
    gradients(task, batch)
    with torch.no_grad():
        networks = task.model.slice_classifiers()
        prob = [
            task.model.classify_slices(networks[number], batch["image"][scan, :, :depth].transpose(0, 1))
            for number, scan, depth in ((1, 3, 3), (2, 2, 5))
        ]
    taken = [int((prob[0].argmax(1) == 0).sum()), int((prob[1].argmax(1) != 1).sum())]
    assert [sum(counts) for counts in seen.values()] == [7, 4 + taken[0], 3 + taken[1]]


def test_pseudo_labels_are_the_networks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    task, batch = make(), labelled_batch(3, unlabelled=(0, 1, 2))
    task.pseudo_bar[0] = 0
    seen: list[torch.Tensor] = []
    loss = task.slice_loss.forward

    def watched(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(target)
        return loss(logits, target)

    monkeypatch.setattr(task.slice_loss, "forward", watched)
    gradients(task, batch)
    wanted = []
    for scan, depth in enumerate((3, 4, 5)):
        with torch.no_grad():
            slices = batch["image"][scan, :, :depth].transpose(0, 1)
            label = task.model.classify_slices(task.model.level1, slices).argmax(1)
        wanted.append(label[(label == 0) | (label == scan)].tolist())
    assert [one.tolist() for one in seen] == [one for one in wanted if one]
    assert seen


@pytest.mark.slow
def test_a_training_makes_its_rounds_and_keeps_the_report(trainer: MakeTrainer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = TwoLevelTask(
        backbone="resnet18",
        slice_size=48,
        folds=2,
        level1_epochs=6,
        pseudo_rounds=2,
        pseudo_threshold=0.5,
        learning_rate=1e-3,
    )
    run = trainer(max_epochs=7)
    run.fit(task, datamodule=data_module())
    assert [report["epoch"] for report in task.pseudo_label_report] == [2, 4]
    assert sum(task.pseudo_label_report[-1]["taken"][0].values()) > 0
    assert {"pseudo_labels_normal", "pseudo_labels_cap", "pseudo_labels_covid", "pseudo_labels_right"} <= set(
        run.logged_metrics
    ) | set(run.callback_metrics)
    run.save_checkpoint(tmp_path / "model.ckpt")
    loaded = load_task(tmp_path / "model.ckpt")
    assert isinstance(loaded, TwoLevelTask)
    assert loaded.pseudo_label_report == task.pseudo_label_report
    assert loaded.pseudo_bar.equal(task.pseudo_bar)
    assert b"tiny-" not in (tmp_path / "model.ckpt").read_bytes()  # no record of whose slices they were
