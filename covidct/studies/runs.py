"""Finished runs of a study on disk: what determines them, and what they predicted."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from covidct import RESEARCH_USE, __version__
from covidct.atomic import atomic_path, atomic_write_text
from covidct.errors import UsageError
from covidct.weights import sha256_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from pytorch_lightning import Trainer

    from covidct.datamodules import BaseDataModule

__all__ = ("RunStore", "TestPredictions", "describe_cohort", "describe_options", "digest_of", "digest_of_weights")

_VERSION = 1  # raise when the form of a kept run changes
_NO_MATTER = ("cache_dir", "num_workers", "prepare_workers")  # of a data module: they change no number


@dataclass(frozen=True, slots=True)
class TestPredictions:
    """What one run predicted for one test part; free of patient identity.

    Attributes:
        class_names: C names.
        id: of each case.
        label: of each case.
        group: number of each case's subject, in order of first appearance.
        prob: (N, C) probabilities.
        attention: of each case the share of its slices, None on those that are none of the scan's; empty for networks
            without slice attention.
    """

    __test__ = False  # no test class, whatever pytest thinks of the name

    class_names: tuple[str, ...]
    id: tuple[str, ...]
    label: tuple[int, ...]
    group: tuple[int, ...]
    prob: tuple[tuple[float, ...], ...]
    attention: tuple[tuple[float | None, ...], ...] = ()

    @classmethod
    def join(cls, batches: Sequence[Any], class_names: tuple[str, ...]) -> Self:
        """From what the task's ``predict_step`` gave."""
        subjects = [subject for batch in batches for subject in batch["subject"].tolist()]
        number = {subject: index for index, subject in enumerate(dict.fromkeys(subjects))}
        return cls(
            class_names,
            tuple(name for batch in batches for name in batch["id"]),
            tuple(label for batch in batches for label in batch["label"].tolist()),
            tuple(number[subject] for subject in subjects),
            tuple(tuple(row) for batch in batches for row in batch["prob"].tolist()),
            tuple(
                tuple(share if math.isfinite(share) else None for share in row)
                for batch in batches
                if "attention" in batch
                for row in batch["attention"].tolist()
            ),
        )

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """From what :func:`dataclasses.asdict` made, after JSON."""
        values: dict[str, Any] = {name: tuple(record[name]) for name in ("class_names", "id", "label", "group")}
        attention = tuple(tuple(row) for row in record.get("attention", ()))
        return cls(**values, prob=tuple(tuple(row) for row in record["prob"]), attention=attention)

    def ordered(self, like: TestPredictions, *, what: str) -> NDArray[np.float64]:
        """Probabilities (N, C) in the order of the cases of ``like``.

        Raises:
            UsageError: when the cases or their classes are not the same.
        """
        place = {name: index for index, name in enumerate(self.id)}
        mine = {name: self.label[index] for name, index in place.items()}
        if mine != dict(zip(like.id, like.label, strict=True)) or self.class_names != like.class_names:
            raise UsageError(
                f"{what} was tested on other cases than the first run: give all variants one split, by one seed."
            )
        return np.array(self.prob, dtype=np.float64)[[place[name] for name in like.id]]


class RunStore:
    """The folder of finished runs: ``<run>-<digest>.json``, each written in one piece.

    Args:
        folder: made when the first run is kept.
    """

    def __init__(self, folder: Path) -> None:
        """Remember the folder."""
        self.folder = folder
        self._configurations: dict[str, dict[str, Any]] = {}

    def take(self, run: str, configuration: Mapping[str, Any]) -> dict[str, TestPredictions] | None:
        """Predictions of a run that was finished under the same configuration; None when there is none.

        Args:
            run: its name.
            configuration: everything that determines it, as plain data; :meth:`keep` writes it beside the predictions.
        """
        self._configurations[run] = {"covidct": __version__, **configuration}
        try:
            record = json.loads(self._path(run, "json").read_text(encoding="utf-8"))
            return {name: TestPredictions.from_dict(cases) for name, cases in record["tests"].items()}
        except (OSError, ValueError, KeyError, TypeError):  # absent or damaged: it is run again
            return None

    def keep(self, run: str, tests: Mapping[str, TestPredictions], *, seconds: float) -> None:
        """Write a finished run.

        Args:
            run: its name, known from :meth:`take`.
            tests: name of the test to what was predicted.
            seconds: that training and tests took.
        """
        record = {
            "kind": "covidct.study_run",
            "version": _VERSION,
            "research_use": RESEARCH_USE,
            "run": run,
            "configuration": self._configurations[run],
            "seconds": round(seconds, 1),
            "tests": {name: asdict(cases) for name, cases in tests.items()},
        }
        atomic_write_text(self._path(run, "json"), json.dumps(record) + "\n")

    def keep_checkpoint(self, run: str, trainer: Trainer) -> None:
        """Write the trained task."""
        with atomic_path(self._path(run, "ckpt")) as temporary:
            trainer.save_checkpoint(temporary, weights_only=True)

    def _path(self, run: str, suffix: str) -> Path:
        """File of a run, apart from runs of the same name under another configuration."""
        record = {"version": _VERSION, **self._configurations[run]}
        return self.folder / f"{run}-{digest_of(record)[:12]}.{suffix}"


def describe_cohort(data: BaseDataModule) -> dict[str, Any]:
    """What of a data module determines a training: its options, and a digest of the records and their contents."""
    options = {name: value for name, value in data.hparams.items() if name not in _NO_MATTER}
    return {
        "module": type(data).__name__,
        "options": describe_options(options),
        "preprocessing": data.preprocessing.to_dict(),
        "dataset": type(data.dataset).__name__,
        "scans": len(data.dataset),
        "content": data.fingerprint(),
    }


def describe_options(value: object) -> Any:  # noqa: ANN401  (JSON data)
    """Arguments as plain data, callables by name and ``functools.partial`` by its parts.

    Raises:
        UsageError: for anything that has no name and is no plain data, since it could not be told from another.
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): describe_options(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [describe_options(entry) for entry in value]
    if isinstance(value, partial):
        return [describe_options(value.func), describe_options(value.args), describe_options(value.keywords)]
    name = getattr(value, "__qualname__", "<")  # of classes and functions, not of their instances
    if callable(value) and "<" not in name:
        return f"{value.__module__}.{name}"
    raise UsageError(
        f"{value!r} cannot be an argument of a study, whose runs are found again by their arguments: use plain data, a "
        "named function or class, or functools.partial of one."
    )


def digest_of_weights(options: Mapping[str, Any]) -> str | None:
    """Digest of the file that a training starts from: another one may have its name by now.

    Args:
        options: arguments of a task.

    Returns:
        None for published weights, which have names, and for random ones.
    """
    weights = options.get("weights")
    return sha256_file(weights) if isinstance(weights, str) and Path(weights).is_file() else None


def digest_of(record: object) -> str:
    """Hex digest of plain data."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
