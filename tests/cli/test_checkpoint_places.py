"""``--ckpt_path=auto`` looks where trainings of the same options write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonargparse import Namespace

from covidct.cli.checkpoint_places import checkpoint_places

space: Any = Namespace  # it has no types


def one(class_path: str, **init_args: object) -> Namespace:
    found: Namespace = space(class_path=class_path, init_args=space(**init_args))
    return found


WANDB = one("covidct.callbacks.PrivateWandbLogger", save_dir=".", project="covidct", name=None)
CSV = one("pytorch_lightning.loggers.CSVLogger", save_dir="logs", name="mine")
MLFLOW = one("pytorch_lightning.loggers.MLFlowLogger", save_dir="./mlruns", tracking_uri="https://server")
OURS = one("covidct.callbacks.Checkpoints", folder="kept")


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({}, ["lightning_logs"]),
        ({"logger": True}, ["lightning_logs"]),
        ({"logger": False}, ["checkpoints"]),
        ({"logger": False, "default_root_dir": "runs"}, ["runs"]),
        ({"default_root_dir": "runs"}, ["runs"]),
        ({"logger": WANDB}, ["lightning_logs"]),
        ({"logger": [CSV, WANDB]}, ["logs/mine"]),
        ({"logger": CSV, "default_root_dir": "runs"}, ["runs", "logs/mine"]),
        ({"logger": MLFLOW}, ["mlruns/lightning_logs", "lightning_logs"]),
        ({"logger": CSV, "callbacks": [one("x.MetricsReport"), OURS]}, ["kept"]),
    ],
)
def test_places_of_a_training(options: dict[str, Any], places: list[str]) -> None:
    trainer = space(**{"logger": None, "default_root_dir": None, "callbacks": None, **options})
    assert checkpoint_places(trainer, goes_on=True) == tuple(map(Path, places))


def test_a_network_to_apply_may_have_had_any_logger() -> None:
    trainer = space(logger=False, default_root_dir=None, callbacks=OURS)
    places = checkpoint_places(trainer, goes_on=False)
    assert places == (Path("kept"), Path("lightning_logs"), Path("checkpoints"))
