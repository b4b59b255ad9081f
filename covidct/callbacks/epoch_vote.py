"""``EpochVote``: the last epochs of a training vote on each case, as in Self-Trans."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.func import functional_call

from covidct.errors import UsageError
from covidct.functional import fuse_probabilities
from covidct.metrics import CaseMetrics, case_scores
from covidct.sample import stable_hash
from covidct.tasks import ClassificationTask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.metrics import Cases
    from covidct.sample import Batch

__all__ = ("EpochVote",)


class EpochVote(pl.Callback):
    """Logs what a vote of the last epochs would score, as ``val_vote_<score>`` beside ``val_<score>``.

    The class that most of the epochs call is called, of equally many the one with the greater mean probability; curves
    and areas are those of the mean probabilities (fine-tuning script of Self-Trans: majority over ten consecutive
    epochs, scores averaged). The published script votes at every tenth epoch on ten epochs of its own; here every epoch
    has a vote of the last ``epochs``, of fewer at the start, so that a checkpoint can be chosen by it. Names of scores
    are those of :class:`covidct.metrics.CaseMetrics`.

    Kept are the probabilities of the last epochs, in checkpoints too, so that a resumed training votes on. With
    ``keep_weights`` the weights of these epochs are kept in main memory as well, ``epochs`` times the size of the
    network, and ``trainer.test`` of the same trainer logs ``test_vote_<score>`` of them; they are in no checkpoint.

    Args:
        epochs: how many vote (10 in the published script).
        keep_weights: keep the weights for a vote in the test.

    Raises:
        UsageError: when ``epochs`` is no positive whole number, or the task is no classifier.
    """

    def __init__(self, *, epochs: int = 10, keep_weights: bool = False) -> None:
        """Check the number."""
        if type(epochs) is not int or epochs < 1:
            raise UsageError(f"epochs={epochs!r} must be a whole number of at least 1.")
        self.epochs = epochs
        self.keep_weights = keep_weights
        self._scan: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._prob: deque[NDArray[np.float32]] = deque(maxlen=epochs)
        self._weights: deque[dict[str, Tensor]] = deque(maxlen=epochs)
        self._voters: list[tuple[dict[str, Tensor], CaseMetrics]] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse what calls no classes."""
        _classifier(pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's probabilities and log the vote."""
        task = _classifier(pl_module)
        metrics = getattr(task, "val_metrics", None)  # the task scores and drops them after this
        if trainer.state.fn != "fit" or trainer.sanity_checking or not isinstance(metrics, CaseMetrics):
            return
        cases = _cases(metrics)
        if not np.array_equal(cases.scan, self._scan):
            self._scan = cases.scan
            self._prob.clear()
        self._prob.append(cases.prob)
        if self.keep_weights:
            self._weights.append({name: v.detach().to("cpu", copy=True) for name, v in task.state_dict().items()})
        _log_vote(task, "val", list(self._prob), cases)

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring the kept weights to the device."""
        task = _classifier(pl_module)
        self._voters = [
            ({name: v.to(task.device) for name, v in state.items()}, CaseMetrics(task.class_names).to(task.device))
            for state in self._weights
        ]

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401  (Lightning's hook)
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Ask each of the kept weights."""
        task = _classifier(pl_module)
        keys = torch.tensor([stable_hash(name) for name in batch["id"]], device=task.device)
        for state, metrics in self._voters:
            with trainer.precision_plugin.forward_context():
                output = functional_call(task, state, (batch,))
            prob = task.probabilities(output["logits"] if isinstance(output, dict) else output)
            metrics.update(prob, batch["label"], scan=keys, subject=batch["subject"])

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the vote of the kept weights."""
        task, found = _classifier(pl_module), [_cases(metrics) for _, metrics in self._voters]
        self._voters = []
        if found:
            _log_vote(task, "test", [cases.prob for cases in found], found[0])

    def state_dict(self) -> dict[str, Any]:
        """The probabilities of the last epochs: plain tensors."""
        return {"scan": torch.from_numpy(self._scan), "prob": [torch.from_numpy(prob) for prob in self._prob]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up saved probabilities."""
        self._scan = state_dict["scan"].numpy()
        self._prob = deque((prob.numpy() for prob in state_dict["prob"]), maxlen=self.epochs)


def _log_vote(task: ClassificationTask, stage: str, prob: list[NDArray[np.float32]], cases: Cases) -> None:
    """Log the scores of a vote."""
    voters = torch.from_numpy(np.stack(prob))
    called = fuse_probabilities(voters, torch.ones(len(voters)), rule="vote").argmax(1).numpy()
    scores = case_scores(voters.double().mean(0).numpy(), cases.target, task.class_names, predicted=called)
    task.log_dict({f"{stage}_vote_{name}": value for name, value in scores.items()}, on_epoch=True)


def _cases(metrics: CaseMetrics) -> Cases:
    """The cases of all processes."""
    with metrics.sync_context():
        return metrics.cases()


def _classifier(task: pl.LightningModule) -> ClassificationTask:
    """The task, when it calls classes to vote on."""
    if not isinstance(task, ClassificationTask):
        raise UsageError(f"EpochVote votes on classes, {type(task).__name__} calls none: leave the callback out.")
    return task
