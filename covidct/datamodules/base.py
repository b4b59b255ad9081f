"""``BaseDataModule``: splits, the prepared cache, sampling and loaders, for every shape of data."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any, Literal, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerStatus
from torch.utils.data import DataLoader

from covidct.cache_folder import default_cache_dir
from covidct.datamodules.building import build_blocks
from covidct.datamodules.contrast_sides import one_side, split_of_training
from covidct.datamodules.entries import Entries
from covidct.datamodules.fingerprint import cohort_fingerprint
from covidct.datamodules.image_statistics import image_statistics
from covidct.datamodules.lung_masks import LungMasks
from covidct.datamodules.parts import Parts, divide
from covidct.datamodules.prepared import PreparedSamples
from covidct.datamodules.sampling import EpochSampler, EvaluationSampler, ResumableLoader
from covidct.datasets import BaseDataset, check_no_overlap
from covidct.errors import InputError, UsageError
from covidct.io import ArrayCache
from covidct.transforms import Augment, default_augment

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from covidct.datasets import Record
    from covidct.datasets.base import Split
    from covidct.errors import CovidctError
    from covidct.functional import ContrastSplit
    from covidct.functional.contrast import Side
    from covidct.labels import MaskType
    from covidct.preprocessing import Preprocessing

__all__ = ("BaseDataModule",)

_log = logging.getLogger(__name__)
_SHOWN = 5  # failures that the error message spells out


class BaseDataModule(pl.LightningDataModule):
    """What the data modules share. ``prepare_data`` fills the cache, ``setup`` splits, the loaders read memory maps.

    Attributes:
        dataset: the injected data set; it is no hyper-parameter.
        preprocessing: what is done to every scan; tasks keep it in their checkpoints.
        failures: record of a source that could not be prepared in this process, to the error; with
            ``on_failure="skip"`` these samples are left out.
        contrast_side: the side whose subjects are taken alone; None: both sides.
        contrast_split: the line between subjects of low and of high contrast, by Otsu over the training subjects; None
            before :meth:`setup`, without training subjects, and where no contrast is measured.
        train_transform: the augmentation of training samples; None: they stay as they are.
    """

    def __init__(
        self,
        dataset: BaseDataset,
        *,
        preprocessing: Preprocessing,
        batch_size: int,
        num_workers: int,
        prepare_workers: int,
        split: Literal["auto", "manifest", "subject"],
        val_fraction: float,
        test_fraction: float,
        num_folds: int,
        fold: int,
        hold_out_site: str | None,
        seed: int,
        balanced_sampling: bool,
        augment: bool,
        train_transform: Augment | None,
        cache_dir: str | None,
        on_failure: Literal["raise", "skip"],
        allow_subject_overlap: bool = False,
        lung_checkpoint: str | None = None,
        contrast_side: Side | None = None,
    ) -> None:
        """Check the arguments, which the subclasses describe."""
        super().__init__()
        if dataset.kind != preprocessing.kind:
            raise UsageError(
                f"{type(self).__name__} takes data sets of kind {preprocessing.kind}, {type(dataset).__name__} is of "
                f"kind {dataset.kind}."
            )
        if dataset.intensity == "unit" and preprocessing.window is not None:
            raise UsageError(
                f"{type(dataset).__name__} holds display values in [0, 1], to which no window in HU applies: set "
                "window=null."
            )
        if contrast_side not in (None, "low", "high") or (contrast_side and preprocessing.contrast == "none"):
            raise UsageError(
                f"contrast_side={contrast_side!r} with contrast={preprocessing.contrast!r} is not usable: use 'low', "
                "'high' or null, with contrast='rms' or 'spread'."
            )
        _check_loading(batch_size, num_workers, prepare_workers, on_failure)
        # Paths, objects and the name of a hospital stay out: checkpoints are plain data and travel to other machines.
        self.save_hyperparameters(
            ignore=["dataset", "preprocessing", "cache_dir", "train_transform", "lung_checkpoint", "hold_out_site"]
        )
        self.dataset = dataset
        self.preprocessing = preprocessing
        self.failures: dict[str, CovidctError] = {}
        self.contrast_split: ContrastSplit | None = None
        self._lung_masks = LungMasks(lung_checkpoint, source=preprocessing.mask_source, kind=preprocessing.kind)
        self._batch_size, self._num_workers, self._prepare_workers = batch_size, num_workers, prepare_workers
        self._seed, self._balanced, self._on_failure = seed, balanced_sampling, on_failure
        self._allow_overlap = allow_subject_overlap
        self._contrasts: dict[int, float] = {}
        self.contrast_side: Side | None = contrast_side
        self._division = Parts(
            split=split,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            num_folds=num_folds,
            fold=fold,
            hold_out_site=hold_out_site,
            seed=seed,
        )
        self.train_transform = train_transform or (default_augment(preprocessing.kind) if augment else None)
        self._cache = ArrayCache(cache_dir or default_cache_dir())
        self._max_slices: int | None = None
        self._entries = Entries(self._cache, dataset, preprocessing, skip_failures=on_failure == "skip")
        self._parts: dict[Split, list[Record]] = {}
        self._statistics: tuple[float, float] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, index = label."""
        return self.preprocessing.classes

    @property
    def mask_type(self) -> MaskType | None:
        """Which lesions are objects in ``instances``, and how they are classed; None: batches have no such key."""
        return self.dataset.mask_type

    @property
    def holds_out_site(self) -> bool:
        """Whether a site makes the test part; which one is told to no checkpoint, logger or manifest of the run."""
        return self._division.hold_out_site is not None

    def prepare_data(self) -> None:
        """Prepare every scan that is not in the cache; called by one process of a machine.

        Raises:
            InputError: when scans fail and ``on_failure`` is ``"raise"``; it counts all, and spells out the first
                five. What could be prepared stays in the cache.
            CheckpointError: when ``lung_checkpoint`` is no lung network.
            ManifestError: when the table of the data set is wrong.
        """
        self.prepare_data_on(None)

    def prepare_data_on(self, executor: Executor | None, *, workers: int | None = None) -> None:
        """As :meth:`prepare_data`, by the workers of an executor: processes of this machine, or those of a cluster.

        Args:
            executor: any of ``concurrent.futures``, or Dask's (:func:`covidct.inference.on_dask`); its workers must see
                the files of the data set and ``cache_dir`` under the same paths. None is this process and
                ``prepare_workers``.
            workers: how many it has; None: not known, which costs some sending.

        Raises:
            CovidctError: as :meth:`prepare_data`.
        """
        self._lung_masks.load()  # a wrong file is one error, not one of every scan
        failed = build_blocks(
            self._cache,
            self.dataset,
            self._entries.plan(),
            self.preprocessing,
            lung_masks=self._lung_masks,
            keep_partial=self._on_failure == "skip",
            num_workers=self._prepare_workers,
            executor=executor,
            workers=workers,
        )
        names = self._entries.names()
        self.failures = {names[source]: error for source, error in sorted(failed.items())}
        if self.failures and self._on_failure == "raise":
            shown = " ".join(f"[{name}] {error}" for name, error in list(self.failures.items())[:_SHOWN])
            total = len(names)
            raise InputError(
                f"{len(self.failures)} of {total} scans cannot be used: {shown} Mend or remove them, or leave them "
                "out with on_failure='skip'; the others are prepared and kept."
            )

    def setup(self, stage: str) -> None:
        """Find the prepared scans and, unless it is for prediction alone, split the samples by subject.

        Samples of unknown class (-1) are left out of the parts, unless the trainer's task needs no class (its
        ``target`` is another key than ``label``), or the data set knows none at all.

        Raises:
            UsageError: when :meth:`prepare_data` was not called, or the split cannot be made.
            ManifestError: when one subject is in two parts and ``allow_subject_overlap`` is not set.
        """
        self._entries.find()
        self._contrasts = self._entries.contrasts()
        if not self._parts and stage != "predict":
            usable = [record for record in self.dataset.records if record.source in self._entries.sources]
            labelled = [record for record in usable if record.label >= 0]
            records = labelled if labelled and self._needs_class() else usable
            self._parts = divide(records, self._division, class_names=self.class_names)
            check_no_overlap(self._parts, allow=self._allow_overlap or self.dataset.allow_subject_overlap)
            self._take_side()
            _log.info("split: %s", {part: len(records) for part, records in self._parts.items()})

    def on_side(self, side: Side) -> Self:
        """The same cohort, split and line, with the subjects of one side alone; known after :meth:`setup`.

        Args:
            side: ``"low"`` or ``"high"``.

        Returns:
            A copy; this data module stays as it is.

        Raises:
            UsageError: when no contrast is measured or there are no training subjects.
        """
        other = copy.copy(self)
        other.contrast_side, other.trainer, other._statistics = side, None, None
        other._parts = one_side(self.dataset, self._parts, self._contrasts, split=self.contrast_split, side=side)
        return other

    def records(self, part: Split) -> list[Record]:
        """The samples of a ``part``, ``"train"``, ``"val"`` or ``"test"``, known after :meth:`setup`."""
        return list(self._parts.get(part, ()))

    def samples(self, part: Split) -> PreparedSamples:
        """The samples of a ``part`` as a data set, in the order of :meth:`records` and without augmentation.

        Raises:
            UsageError: when there are none.
        """
        return self._samples(self._require(part), augment=None)

    def class_weights(self) -> torch.Tensor:
        """Weights for a loss, inverse to the frequency of the classes in the training part.

        Returns:
            (C,) float32, n / (C n_c); 0 for a class without samples. They average to one over the training samples
            when no class is absent.
        """
        labels = [record.label for record in self._parts["train"] if record.label >= 0]
        counts = torch.bincount(torch.tensor(labels, dtype=torch.int64), minlength=len(self.class_names)).float()
        weights = counts.sum() / (len(counts) * counts.clamp(min=1))
        return torch.where(counts > 0, weights, 0.0)

    def image_statistics(self) -> tuple[float, float]:
        """Mean and population standard deviation over all pixels of the training part, without augmentation.

        Computed once, from the prepared images as they are on disk: the same on every process.

        Returns:
            Mean in [0, 1] and standard deviation > 0.

        Raises:
            UsageError: when there is nothing to train on, or all pixels have one value.
        """
        if self._statistics is None:
            self._statistics = image_statistics(self.samples("train"))
        return self._statistics

    def fingerprint(self) -> str:
        """Digest of the cohort's records and of the contents of its files: another one is other data.

        Raises:
            CovidctError: when the table of the data set is wrong or a file cannot be read.
        """
        return cohort_fingerprint(self.dataset, self._cache)

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled or balanced batches of the training part, with augmentation.

        Raises:
            UsageError: when there is nothing to train on.
        """
        records = self._require("train")
        world, rank = self._processes()
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        sampler = EpochSampler(
            [record.label for record in records],
            balanced=self._balanced,
            seed=self._seed,
            num_replicas=world,
            rank=rank,
        )
        sampler.set_epoch(epoch)
        return ResumableLoader(
            self._samples(records, augment=self.train_transform, max_slices=self._max_slices),
            batch_size=self._batch_size,
            sampler=sampler,
            num_workers=self._num_workers,
            persistent_workers=self._num_workers > 0,
            collate_fn=_as_it_is,
            generator=_own_generator(),
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Batches of the validation part in their own order; an empty list when there is none.

        The processes of a running trainer share the samples, none twice; scores are gathered by key.
        """
        return self._evaluation_loader(self._parts["val"]) if self._parts.get("val") else []

    def test_dataloader(self) -> DataLoader[Any]:
        """Batches of the test part in their own order, shared by the processes of a running trainer.

        Raises:
            UsageError: when there is no test part.
        """
        return self._evaluation_loader(self._require("test"))

    def predict_dataloader(self) -> DataLoader[Any]:
        """Batches of all samples that can be used, labelled or not, in the data set's order, shared by processes."""
        there = self._entries.sources
        return self._evaluation_loader([record for record in self.dataset.records if record.source in there])

    def _needs_class(self) -> bool:
        """Whether the task of the trainer learns classes; so does whoever uses the data module without one."""
        task = getattr(self.trainer, "lightning_module", None)
        return getattr(task, "target", "label") == "label"

    def _require(self, part: Split) -> list[Record]:
        """The samples of a part that must not be empty."""
        records = self._parts.get(part)
        if not records:
            raise UsageError(
                f"There are no samples for {part}: give more subjects, a split column with {part}, or another "
                f"{'val' if part == 'train' else part}_fraction."
            )
        return records

    def _processes(self) -> tuple[int, int]:
        """How many processes there are, and which one this is."""
        return (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)

    def _evaluation_loader(self, records: list[Record]) -> DataLoader[Any]:
        """Batches of this process's share of the samples while a trainer runs; of all, for whoever asks elsewhere."""
        running = self.trainer is not None and self.trainer.state.status == TrainerStatus.RUNNING
        world, rank = self._processes() if running else (1, 0)
        return self._plain_loader(records, EvaluationSampler(len(records), num_replicas=world, rank=rank))

    def _plain_loader(self, records: list[Record], sampler: EvaluationSampler | None = None) -> DataLoader[Any]:
        return DataLoader(
            self._samples(records, augment=None),
            batch_size=self._batch_size,
            sampler=sampler,
            num_workers=self._num_workers,
            persistent_workers=self._num_workers > 0,
            collate_fn=_as_it_is,
            generator=_own_generator(),
        )

    def _samples(
        self, records: list[Record], *, augment: Augment | None, max_slices: int | None = None
    ) -> PreparedSamples:
        contrasts = (
            [self._contrasts[self.dataset.subject_hash(record)] for record in records] if self._contrasts else None
        )
        return PreparedSamples(
            self._cache,
            dataset=self.dataset,
            records=records,
            places=self._entries.places(records),
            contrasts=contrasts,
            augment=augment,
            masking=self.preprocessing.masking,
            max_slices=max_slices,
            seed=self._seed,
        )

    def _take_side(self) -> None:
        """Draw the line between the sides, where contrast is measured, and keep one side where that is asked for."""
        measure = self.preprocessing.contrast
        if measure == "none":
            return
        self.contrast_split = split_of_training(self.dataset, self._parts["train"], self._contrasts, measure=measure)
        if self.contrast_side is not None:
            self._parts = one_side(
                self.dataset, self._parts, self._contrasts, split=self.contrast_split, side=self.contrast_side
            )


def _check_loading(batch_size: int, num_workers: int, prepare_workers: int, on_failure: str) -> None:
    """Refuse what the loaders would refuse later, and less clearly."""
    least = {"batch_size": (batch_size, 1), "num_workers": (num_workers, 0), "prepare_workers": (prepare_workers, 0)}
    for name, (value, lowest) in least.items():
        if not isinstance(value, int) or value < lowest:
            raise UsageError(f"{name}={value!r} must be a whole number of at least {lowest}.")
    if on_failure not in ("raise", "skip"):
        raise UsageError(f"on_failure={on_failure!r} is unknown: use 'raise' or 'skip'.")


def _own_generator() -> torch.Generator:
    """Whence a loader draws seeds for its workers, which use none; the random numbers of the process are the task's."""
    return torch.Generator().manual_seed(0)


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401  (the loader thinks it is a list of samples)
    """Batches come collated from the data set."""
    return batch
