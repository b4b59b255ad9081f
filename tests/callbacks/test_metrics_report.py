"""What a validation or test leaves behind, against scikit-learn and what the task logs."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.loggers import CSVLogger
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score

from covidct import RESEARCH_USE
from covidct.callbacks import FigureLogger, MetricsReport, PredictionWriter
from covidct.errors import UsageError
from covidct.sample import collate
from covidct.tasks import LesionMaskRCNNTask, ResNeXtPlusTask, TwoLevelTask, UNet2dTask, UNet3dTask
from tests.callbacks.test_prediction_writer import flat_task, loader
from tests.fakes.flat_task import FlatTask
from tests.fakes.labelled_volumes import TinyLabelledVolumesDataModule
from tests.fakes.lesions import TinyLesionsDataModule
from tests.fakes.lung_slices import TinyLungSlicesDataModule
from tests.fakes.lungs import TinyLungsDataModule
from tests.fakes.xrays import TinyXRays, TinyXRaysDataModule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeTrainer = Callable[..., pl.Trainer]

COUNT = 9


@pytest.fixture
def task() -> FlatTask:
    torch.manual_seed(0)
    return FlatTask(num_classes=2)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def predicted(task: FlatTask) -> tuple[Any, Any]:
    """Probabilities and classes of what :class:`TinyXRaysDataModule` tests on."""
    batch = collate([TinyXRays(COUNT)[index] for index in range(COUNT)])
    return task.eval().predict_step(batch, 0)["prob"].detach().numpy(), batch["label"].numpy()


def test_a_test_leaves_scores_tables_and_pictures(make_trainer: MakeTrainer, task: FlatTask, tmp_path: Path) -> None:
    trainer = make_trainer(callbacks=[MetricsReport(resamples=30)])
    (logged,) = trainer.test(task, datamodule=TinyXRaysDataModule(COUNT), verbose=False)
    folder = tmp_path / "metrics" / "test"
    assert {path.name for path in folder.iterdir()} == {
        "metrics.json",
        "metrics.csv",
        "classes.csv",
        "confusion.csv",
        "confusion.png",
        "roc.png",
        "precision_recall.png",
        "calibration.png",
    }
    prob, label = predicted(task)
    record = json.loads((folder / "metrics.json").read_text())
    assert record["cases"] == record["subjects"] == COUNT
    assert record["resamples"] == 30
    assert record["scores"]["accuracy"]["overall"]["value"] == pytest.approx(accuracy_score(label, prob.argmax(1)))
    assert record["scores"]["auroc"]["covid"]["value"] == pytest.approx(roc_auc_score(label, prob[:, 1]))
    assert record["confusion"]["counts"] == confusion_matrix(label, prob.argmax(1)).tolist()
    assert record["run"] | {"covidct": ""} == {
        "covidct": "",
        "task": "FlatTask",
        "stage": "test",
        "epoch": 0,
        "step": 0,
    }
    assert logged["test_auroc"] == pytest.approx(record["scores"]["auroc"]["macro"]["value"])


def test_a_training_leaves_the_latest_validation_and_logs_intervals(
    make_trainer: MakeTrainer, task: FlatTask, tmp_path: Path
) -> None:
    logger = CSVLogger(tmp_path, name="", version="run")
    callback = MetricsReport(val_resamples=20, every_n_epochs=2, figures=False)
    trainer = make_trainer(callbacks=[callback], max_epochs=3, logger=logger)
    trainer.fit(task, datamodule=TinyXRaysDataModule(COUNT))
    folder = tmp_path / "run" / "metrics" / "val"
    assert not list(folder.glob("*.png"))
    record = json.loads((folder / "metrics.json").read_text())
    assert record["run"]["epoch"] == 1
    assert record["run"]["step"] == 10
    rows = read(tmp_path / "run" / "metrics.csv")
    logged = [row for row in rows if row["val_auroc_low"]]
    assert [row["step"] for row in logged] == ["10"]
    assert float(logged[0]["val_auroc_low"]) == pytest.approx(record["scores"]["auroc"]["macro"]["low"])
    assert float(logged[0]["val_f1_covid_high"]) == pytest.approx(record["scores"]["f1"]["covid"]["high"])
    scored = {key.removesuffix("_low") for key in logged[0] if key.endswith("_low")}
    assert scored <= set(rows[0])  # the interval of a score stands beside it
    assert "val_calibration_error" in scored


def test_wandb_offline_gets_all_without_identity(make_trainer: MakeTrainer, task: FlatTask, tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb")
    from pytorch_lightning.loggers import WandbLogger

    logger = WandbLogger(save_dir=tmp_path, offline=True, project="covidct")
    trainer = make_trainer(callbacks=[MetricsReport(val_resamples=5)], logger=logger)
    trainer.validate(task, datamodule=TinyXRaysDataModule(3), verbose=False)
    wandb.finish()
    stored = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "wandb").rglob("*") if path.is_file()}
    for name in ("confusion", "roc", "precision_recall", "calibration"):
        assert any(f"media/images/val/{name}_" in path for path in stored), name
    (table,) = (path for path in stored if "media/table/val/classes_" in path)
    assert "covid" in (tmp_path / table).read_text()
    for path in stored:
        assert b"xray-1" not in (tmp_path / path).read_bytes()  # ids of samples stay in prediction files


def test_broken_probabilities_leave_no_report(
    make_trainer: MakeTrainer, task: FlatTask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with torch.no_grad():
        task.model.head.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    trainer = make_trainer(callbacks=[MetricsReport()])
    trainer.validate(task, datamodule=TinyXRaysDataModule(3), verbose=False)
    assert "3 of 3 cases" in caplog.text
    assert not (tmp_path / "metrics").exists()


def test_a_trial_and_a_sanity_check_leave_nothing(make_trainer: MakeTrainer, task: FlatTask, tmp_path: Path) -> None:
    make_trainer(callbacks=[MetricsReport()], fast_dev_run=True).fit(task, datamodule=TinyXRaysDataModule(4))
    options = {"num_sanity_val_steps": 1, "limit_train_batches": 0}
    make_trainer(callbacks=[MetricsReport()], **options).fit(task, datamodule=TinyXRaysDataModule(4))
    assert not (tmp_path / "metrics").exists()


def test_subjects_are_scored_where_one_has_several_cases(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(callbacks=[MetricsReport(resamples=0, figures=False)]).test(flat_task(), loader(7), verbose=False)
    folder = tmp_path / "metrics" / "test"
    record = json.loads((folder / "metrics.json").read_text())
    assert (record["cases"], record["subject_classes"]["cases"]) == (7, 4)
    support = {(row["level"], row["class"]): int(row["support"]) for row in read(folder / "classes.csv")}
    # the second X-ray of each pair is of the second class, the last subject has the first alone
    assert support["subject", "non_covid"] == 1
    assert support["subject", "covid"] == 3


def test_slices_are_scored_where_the_task_does(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    attending = ResNeXtPlusTask(num_classes=3, backbone="resnet10", slice_size=32)
    trainer = make_trainer(callbacks=[MetricsReport(resamples=5, figures=False)])
    (logged,) = trainer.test(attending, datamodule=TinyLabelledVolumesDataModule(6), verbose=False)
    record = json.loads((tmp_path / "metrics" / "test" / "metrics.json").read_text())
    assert record["slices"]["scores"]["auroc"]["pooled"]["value"] == pytest.approx(logged["test_slice_auroc"])
    rows = read(tmp_path / "metrics" / "test" / "metrics.csv")
    assert {(row["level"], row["scope"]) for row in rows} >= {("slice", "pooled"), ("case", "covid")}
    calling = TwoLevelTask(num_classes=3, backbone="resnet18", slice_size=32, folds=2)
    trainer = make_trainer(callbacks=[MetricsReport(val_resamples=0, figures=False)])
    (logged,) = trainer.validate(calling, datamodule=TinyLabelledVolumesDataModule(6), verbose=False)
    record = json.loads((tmp_path / "metrics" / "val" / "metrics.json").read_text())
    accuracy = record["slice_classes"]["scores"]["accuracy"]["overall"]["value"]
    assert accuracy == pytest.approx(logged["val_slice_accuracy"])


def test_other_tasks_leave_their_scores_and_cases(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {"backbone": "resnet18", "truncation": 2, "max_detections": 5}
    runs: list[tuple[Any, Any, str, str]] = [
        (UNet3dTask(channels=[4, 8]), TinyLungsDataModule(2), "dice", "dice_right_lung"),
        (UNet2dTask(channels=[4, 8]), TinyLungSlicesDataModule(2), "dice_slice", "dice"),
        (LesionMaskRCNNTask(**small), TinyLesionsDataModule(2), "reference_map", "reference_ap"),  # type: ignore[arg-type]
    ]
    for task, data, score, column in runs:
        (logged,) = make_trainer(callbacks=[MetricsReport()]).test(task, datamodule=data, verbose=False)
        folder = tmp_path / "metrics" / "test"
        record = json.loads((folder / "metrics.json").read_text())
        assert record["scores"][score] == pytest.approx(logged[f"test_{score}"], nan_ok=True)
        assert record["cases"] == 2
        cases = read(folder / "cases.csv")
        assert [row["case"] for row in cases] == ["c00001", "c00002"]
        assert cases[0]["research_use"] == RESEARCH_USE
        values = [float(row[column]) for row in cases if row[column]]
        if score != "dice":
            assert np.mean(values) == pytest.approx(logged[f"test_{score}"])
        assert {row["metric"] for row in read(folder / "metrics.csv")} == set(record["scores"])


def test_wrong_arguments_and_modules(make_trainer: MakeTrainer) -> None:
    for arguments in ({"resamples": -1}, {"val_resamples": 1.5}, {"every_n_epochs": 0}):
        with pytest.raises(UsageError, match=next(iter(arguments))):
            MetricsReport(**arguments)
    with pytest.raises(UsageError, match="reads the metrics"):
        MetricsReport().setup(make_trainer(), pl.LightningModule(), "fit")


def test_the_callbacks_are_made_of_yaml() -> None:
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(pl.Trainer, "trainer")
    config = parser.parse_string(
        """
        trainer:
          logger: false
          callbacks:
          - class_path: covidct.callbacks.MetricsReport
            init_args: {val_resamples: 50}
          - class_path: covidct.callbacks.PredictionWriter
            init_args: {stages: [val, predict]}
          - class_path: covidct.callbacks.FigureLogger
        """
    )
    report, writer, figures = parser.instantiate_classes(config).trainer.callbacks
    assert isinstance(report, MetricsReport)
    assert report.val_resamples == 50
    assert isinstance(writer, PredictionWriter)
    assert writer.stages == ("val", "predict")
    assert isinstance(figures, FigureLogger)
