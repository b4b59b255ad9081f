"""The vote of the last epochs against a count by hand, in validation and, with kept weights, in the test."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from covidct.callbacks import EpochVote
from covidct.errors import UsageError
from covidct.sample import collate
from covidct.tasks import SliceClassifierTask
from tests.fakes.two_views import TinyViews, TinyViewsDataModule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeTrainer = Callable[..., pl.Trainer]

VAL = collate([TinyViews(9, part="val")[index] for index in range(9)])


def task() -> SliceClassifierTask:
    torch.manual_seed(0)
    return SliceClassifierTask(num_classes=2, backbone="resnet18", learning_rate=1e-3)


class Predictions(pl.Callback):
    """The probabilities of each epoch and the votes that were logged."""

    def __init__(self) -> None:
        self.prob: list[NDArray[np.float32]] = []
        self.logged: list[dict[str, float]] = []

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            assert isinstance(pl_module, SliceClassifierTask)
            self.prob.append(pl_module.predict_step(VAL, 0)["prob"].numpy())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = trainer.callback_metrics
        self.logged.append({key: value.item() for key, value in found.items() if key.startswith("val_vote_")})


def by_hand(prob: list[NDArray[np.float32]]) -> dict[str, float]:
    """Majority by counting; scores by scikit-learn."""
    truth, mean = VAL["label"].numpy(), np.mean(prob, 0)
    called = []
    for case in range(len(truth)):
        votes = sum(int(epoch[case, 1] > 0.5) for epoch in prob)
        called.append(int(mean[case, 1] > 0.5) if 2 * votes == len(prob) else int(2 * votes > len(prob)))
    return {
        "val_vote_accuracy": accuracy_score(truth, called),
        "val_vote_f1_covid": f1_score(truth, called),
        "val_vote_auroc": roc_auc_score(truth, mean[:, 1]),
    }


def fitted(make_trainer: MakeTrainer, vote: EpochVote, epochs: int, **options: Any) -> tuple[Predictions, pl.Trainer]:  # noqa: ANN401
    seen = Predictions()
    trainer = make_trainer(max_epochs=epochs, callbacks=[seen, vote])
    trainer.fit(task(), datamodule=TinyViewsDataModule(9, batch_size=3), **options)
    return seen, trainer


def test_the_last_epochs_vote(make_trainer: MakeTrainer) -> None:
    seen, _ = fitted(make_trainer, EpochVote(epochs=3), 5)
    assert len(seen.logged) == 5
    assert len({epoch[0, 1].item() for epoch in seen.prob}) == 5
    for epoch, logged in enumerate(seen.logged):
        expected = by_hand(seen.prob[max(0, epoch - 2) : epoch + 1])
        assert {key: logged[key] for key in expected} == pytest.approx(expected, rel=1e-6)


def test_a_resumed_training_votes_on(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    whole, _ = fitted(make_trainer, EpochVote(), 3)
    half = make_trainer(max_epochs=3, callbacks=[EpochVote(), StopAt(2)])
    half.fit(task(), datamodule=TinyViewsDataModule(9, batch_size=3))
    half.save_checkpoint(tmp_path / "half.ckpt")
    rest, _ = fitted(make_trainer, EpochVote(), 3, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert rest.logged[-1] == pytest.approx(whole.logged[-1], rel=1e-6, nan_ok=True)


class StopAt(pl.Callback):
    """Ends a training after some epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_kept_weights_vote_in_the_test(make_trainer: MakeTrainer) -> None:
    vote = EpochVote(epochs=2, keep_weights=True)
    seen, trainer = fitted(make_trainer, vote, 3)
    made = copy.deepcopy(trainer.lightning_module)
    (found,) = trainer.test(made, datamodule=TinyViewsDataModule(9, batch_size=4), verbose=False)
    expected = by_hand(seen.prob[1:])  # the fake tests on what it validates on
    for key, value in expected.items():
        assert found[key.replace("val", "test")] == pytest.approx(value, rel=1e-6)
    state = made.state_dict()
    assert all(value.equal(state[name]) for name, value in trainer.lightning_module.state_dict().items())


def test_without_kept_weights_or_training_nothing_is_logged(make_trainer: MakeTrainer) -> None:
    vote = EpochVote(epochs=2)
    _, trainer = fitted(make_trainer, vote, 1)
    data = TinyViewsDataModule(9)
    (tested,) = trainer.test(trainer.lightning_module, datamodule=data, verbose=False)
    (validated,) = make_trainer(callbacks=[vote]).validate(task(), datamodule=data, verbose=False)
    assert not any("vote" in key for key in {**tested, **validated})


def test_other_cases_begin_a_new_vote(make_trainer: MakeTrainer) -> None:
    vote = EpochVote()
    seen, _ = fitted(make_trainer, vote, 2)
    again = make_trainer(max_epochs=1, callbacks=[vote, seen])
    again.fit(task(), datamodule=TinyViewsDataModule(6, batch_size=3))
    assert len(vote.state_dict()["prob"]) == 1
    assert len(vote.state_dict()["scan"]) == 6


def test_wrong_arguments_and_tasks(make_trainer: MakeTrainer) -> None:
    for epochs in (0, 1.5, True):
        with pytest.raises(UsageError, match="epochs"):
            EpochVote(epochs=epochs)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="votes on classes"):
        EpochVote().setup(make_trainer(), pl.LightningModule(), "fit")
