"""Loss, class weights and scores of the classifiers against plain formulas and scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, roc_auc_score

from covidct.errors import BatchError, UsageError
from covidct.tasks import ClassificationTask, MaskedGAPResNetTask, load_task
from tests.fakes.volumes import PREPROCESSING, TinyVolumesDataModule, tiny_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytorch_lightning as pl

    MakeTrainer = Callable[..., pl.Trainer]


def small(**changes: Any) -> MaskedGAPResNetTask:  # noqa: ANN401
    torch.manual_seed(0)
    return MaskedGAPResNetTask(**{"backbone": "resnet18", "slice_size": 48, **changes})


def test_loss_is_minus_log_softmax() -> None:
    logits = np.array([[1.0, -2.0], [0.5, 0.25], [30.0, -80.0]])
    label = np.array([0, 1, 1])
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    expected = (
        logits.max(1) + np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) - logits[range(3), label]
    ).mean()
    found = small().loss(torch.tensor(logits), torch.tensor(label))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_loss_is_float32_for_half_precision_logits() -> None:
    logits = torch.tensor([[60000.0, -60000.0]], dtype=torch.float16)
    found = small().loss(logits, torch.tensor([1]))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(119_936, rel=1e-3)


def test_scans_of_unknown_class_are_refused() -> None:
    batch = tiny_batch()
    batch["label"][:] = -1
    with pytest.raises(BatchError, match="leave out scans of unknown class"):
        small().training_step(batch, 0)


def test_class_weights_act_with_one_scan_per_batch() -> None:
    logits, label = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    weighted, plain = small(class_weights=[0.5, 3.0]), small()
    for i in range(4):
        factor = (0.5, 3.0)[int(label[i])]
        one = slice(i, i + 1)
        assert weighted.loss(logits[one], label[one]).item() == pytest.approx(
            factor * plain.loss(logits[one], label[one]).item()
        )


def test_balanced_weights_come_from_the_training_part_and_stay(trainer: MakeTrainer, tmp_path: Path) -> None:
    data = TinyVolumesDataModule()
    data.class_weights = lambda: torch.tensor([40 / 60, 40 / 20])  # type: ignore[attr-defined]
    task = small(class_weights="balanced")
    run = trainer()
    run.fit(task, datamodule=data)
    assert task.class_weight.tolist() == pytest.approx([40 / 60, 40 / 20])
    run.save_checkpoint(tmp_path / "m.ckpt")
    loaded = load_task(tmp_path / "m.ckpt")
    assert isinstance(loaded, MaskedGAPResNetTask)
    assert loaded.class_weight.equal(task.class_weight)
    data.class_weights = lambda: torch.tensor([1.0, 0.0])  # type: ignore[attr-defined]
    for unfit in (data, TinyVolumesDataModule()):
        with pytest.raises(UsageError, match="balanced"):
            trainer().fit(small(class_weights="balanced"), datamodule=unfit)


def tiny(gamma: float, **changes: Any) -> ClassificationTask:  # noqa: ANN401
    """A task of the kind itself, whose concrete tasks need not offer the focal loss."""
    return Talkative(num_classes=2, focal_gamma=gamma, **changes)


def test_focal_loss_with_class_weights() -> None:
    logits, label = torch.tensor([[2.0, -1.0], [0.5, 0.0], [-3.0, 1.0]]), torch.tensor([0, 1, 1])
    p = logits.double().softmax(1)[range(3), label]
    factor = torch.tensor([0.5, 3.0, 3.0])
    for gamma in (0.0, 2.0):
        expected = (factor * (1 - p) ** gamma * -p.log()).mean().item()
        assert tiny(gamma, class_weights=[0.5, 3.0]).loss(logits, label).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [-1.0, float("nan"), float("inf"), "2"])
def test_focal_gamma_must_fit(gamma: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match="focal_gamma"):
        tiny(gamma)


@pytest.mark.parametrize(
    "weights", [[1.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")], "blanced", 3, ["a", "b"]]
)
def test_class_weights_must_fit(weights: object) -> None:
    with pytest.raises(UsageError, match="class_weights"):
        small(class_weights=weights)


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_without_an_output_are_refused_on_the_first_batch(label: int) -> None:
    task, batch = small(), tiny_batch()
    batch["label"][1] = label
    with pytest.raises(BatchError, match="outputs 0 to 1"):
        task.training_step(batch, 0)
    task.eval()
    with torch.no_grad():
        assert task.predict_step(batch, 0)["prob"].isfinite().all()  # the class of a new scan is not known


def test_logged_scores_are_scikit_learns_over_whole_scans(trainer: MakeTrainer) -> None:
    data, task = TinyVolumesDataModule(7, batch_size=3), small()
    (logged,) = trainer().validate(task, datamodule=data, verbose=False)
    batches: Any = trainer().predict(task, datamodule=data)
    prob = torch.cat([batch["prob"] for batch in batches]).numpy()
    label = torch.cat([batch["label"] for batch in batches]).numpy()
    assert logged["val_auroc_covid"] == pytest.approx(roc_auc_score(label, prob[:, 1]))
    assert logged["val_accuracy"] == pytest.approx(accuracy_score(label, prob.argmax(1)))
    assert logged["val_sensitivity_covid"] == pytest.approx((prob.argmax(1) == 1)[label == 1].mean())
    assert logged["val_specificity_covid"] == pytest.approx((prob.argmax(1) == 0)[label == 0].mean())


def test_scores_start_anew_each_epoch_and_cover_training(trainer: MakeTrainer) -> None:
    run = trainer(max_epochs=2)
    task = small()
    run.fit(task, datamodule=TinyVolumesDataModule())
    for key in ("train_loss", "val_loss", "train_auroc", "val_auroc", "val_f1_covid"):
        assert key in run.callback_metrics
    assert not any("metrics" in key for key in task.state_dict())
    assert task.val_metrics is None


def test_three_classes_are_named_by_the_data_module(trainer: MakeTrainer) -> None:
    names = ("healthy", "other", "covid")
    data = TinyVolumesDataModule(6, preprocessing=replace(PREPROCESSING, classes=names))
    (logged,) = trainer().validate(small(num_classes=3), datamodule=data, verbose=False)
    assert {f"val_sensitivity_{name}" for name in names} <= logged.keys()


def test_class_names_without_a_data_module() -> None:
    assert small().class_names == ("non_covid", "covid")
    assert small(num_classes=3).class_names == ("normal", "cap", "covid")
    assert small(num_classes=4).class_names == ("class_0", "class_1", "class_2", "class_3")


def test_absent_class_gives_nan_and_no_crash(trainer: MakeTrainer) -> None:
    (logged,) = trainer().validate(small(), datamodule=TinyVolumesDataModule(1), verbose=False)
    assert np.isnan(logged["val_sensitivity_covid"])
    assert np.isnan(logged["val_auroc"])


def test_networks_may_know_more_than_logits() -> None:
    task, batch = Talkative(num_classes=2).eval(), tiny_batch()
    found = task.predict_step(batch, 0)
    assert found["id"] == batch["id"]
    assert found["label"].equal(batch["label"])
    assert found["pred"].tolist() == [0, 1]
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    assert task.training_step(batch, 0).isfinite()


class Brightness(torch.nn.Module):
    """Tells bright volumes from dark ones, in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(10.0))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        score = self.scale * (image.amax((1, 2, 3, 4)) - 0.5)
        return {"logits": torch.stack([-score, score], 1), "other": score}


class Talkative(ClassificationTask):
    """Its network returns a dict."""

    inputs = ("image",)
    kinds = ("ct_volume",)

    def build_model(self) -> torch.nn.Module:
        return Brightness()

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self._parameters_to_train(), lr=0.1)
