"""Each logger gets numbers, tables and pictures in its own way."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger

from covidct.callbacks.loggers import log_numbers, log_picture, log_table, write_picture

if TYPE_CHECKING:
    from pathlib import Path

PICTURE = np.random.default_rng(0).integers(0, 255, (6, 5, 3), dtype=np.uint8)
ROWS = [{"class": "covid", "f1": 0.5}, {"class": "normal", "f1": math.nan}]


class RecordingWandb(WandbLogger):
    """Keeps what it is given; starts nothing."""

    def __init__(self) -> None:
        self.given: list[tuple[Any, ...]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:  # noqa: ANN401
        self.given.append((key, images, step))

    def log_table(  # type: ignore[override]
        self, key: str, columns: list[str], data: list[list[Any]], step: int | None = None
    ) -> None:
        self.given.append((key, columns, data, step))


class Client:
    """MLflow's client, as far as it is called: run, content, file."""

    def __init__(self) -> None:
        self.given: list[tuple[Any, ...]] = []

    def log_image(self, run_id: str, image: Any, artifact_file: str) -> None:  # noqa: ANN401
        self.given.append((run_id, image, artifact_file))

    def log_table(self, run_id: str, data: Any, artifact_file: str) -> None:  # noqa: ANN401
        self.given.append((run_id, data, artifact_file))


class FakeMLFlow(MLFlowLogger):
    """Without MLflow."""

    def __init__(self) -> None:
        self.client = Client()

    @property
    def experiment(self) -> Any:  # noqa: ANN401
        return self.client

    @property
    def run_id(self) -> str:
        return "run"


def trainer(*loggers: Any) -> Any:  # noqa: ANN401
    return SimpleNamespace(loggers=list(loggers), global_step=7)


def test_wandb_and_mlflow_get_pictures_and_tables(tmp_path: Path) -> None:
    wandb, mlflow = RecordingWandb(), FakeMLFlow()
    run = trainer(wandb, mlflow, CSVLogger(tmp_path))
    assert log_picture(run, "val/roc", PICTURE)
    log_table(run, "val/classes", ROWS)
    cells = [["covid", 0.5], ["normal", None]]
    assert wandb.given == [("val/roc", [PICTURE], 7), ("val/classes", ["class", "f1"], cells, 7)]
    columns = {"class": ["covid", "normal"], "f1": [0.5, None]}
    assert mlflow.client.given == [
        ("run", PICTURE, "val/roc-step-000007.png"),
        ("run", columns, "val/classes-step-000007.json"),
    ]
    assert not log_picture(trainer(CSVLogger(tmp_path)), "val/roc", PICTURE)


def test_tensorboard_gets_numbers_pictures_and_tables(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    logger = TensorBoardLogger(tmp_path)
    run = trainer(logger)
    assert log_picture(run, "val/roc", PICTURE)
    log_table(run, "val/classes", ROWS)
    log_numbers(run, {"val_auroc_low": 0.25, "val_auroc_high": math.nan})
    logger.save()
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    (image,) = events.Images("val/roc")
    decoded = np.asarray(cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR))
    np.testing.assert_array_equal(decoded[..., ::-1], PICTURE)
    assert [event.value for event in events.Scalars("val_auroc_low")] == [0.25]
    assert "val_auroc_high" not in events.Tags()["scalars"]
    (tag,) = (tag for tag in events.Tags()["tensors"] if tag.startswith("val/classes"))
    (text,) = events.Tensors(tag)[0].tensor_proto.string_val
    assert text.decode() == "| class | f1 |\n| --- | --- |\n| covid | 0.5 |\n| normal |  |"


def test_files_hold_the_pixels(tmp_path: Path) -> None:
    write_picture(tmp_path / "a" / "b.png", PICTURE)
    found = np.asarray(cv2.imread(str(tmp_path / "a" / "b.png")))
    np.testing.assert_array_equal(found[..., ::-1], PICTURE)
