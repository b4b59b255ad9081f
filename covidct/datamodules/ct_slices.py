"""``CTSliceDataModule``: axial CT slices."""

from __future__ import annotations

from typing import Literal

from covidct.datamodules.base import BaseDataModule
from covidct.datamodules.lung_masks import mask_source_of
from covidct.datasets import BaseDataset
from covidct.preprocessing import Preprocessing
from covidct.transforms import Augment

__all__ = ("CTSliceDataModule",)


class CTSliceDataModule(BaseDataModule):
    """Axial CT slices, of volumes in HU or from slice images in [0, 1].

    Scans are prepared once (:func:`covidct.transforms.prepare_slices`) and kept in a cache on disk, keyed by content
    and configuration; an epoch then reads memory maps, so ``num_workers=0`` is fastest unless augmentation is dear.
    Splits go by subject. Batches follow :mod:`covidct.sample`.

    Args:
        dataset: any data set of kind ``"ct_slice"``.
        batch_size: slices per batch and process.
        num_workers: worker processes of the loaders.
        prepare_workers: worker processes that fill the cache; 0 works in the main process.
        window: HU (low, high) that becomes [0, 1]; None for data in [0, 1]. The default is COVNet's published one.
        size: pixels per side; None keeps the native size. 224 is what the published slice networks take.
        mask_source: lung mask by ``"threshold"``, the published ``"lung_field"``, from the data set (``"file"``), or
            ``"none"``.
        lung_checkpoint: a ``.ckpt`` file of a lung network, whose masks are then used and recorded as
            ``mask_source="checkpoint:<sha256>"``. It runs on the CPU, once per scan.
        enhancement: ``"none"``, ``"tone"``, ``"stochastic"``, ``"equalise"``, ``"clahe"`` or ``"equalise_clahe"``; see
            :class:`covidct.preprocessing.Preprocessing`.
        masking: ``"original"``, ``"lungs"`` (the rest becomes 0) or ``"no_lungs"``.
        contrast: measure the contrast of each subject, ``"rms"`` or ``"spread"``
            (:func:`covidct.functional.contrast_score`), before enhancement and masking; batches then have the key
            ``contrast`` that a gate decides by. ``"none"``: they have not.
        contrast_side: take the subjects of ``"low"`` or ``"high"`` contrast alone, in all parts; the line between them
            comes from the training subjects of the whole data set. None: all subjects.
        split: ``"manifest"``: the data set's own split; ``"subject"``: by the fractions; ``"auto"``: its own where it
            has one.
        val_fraction: share of the samples for validation.
        test_fraction: share of the samples for the test; 1 for a cohort that is only tested on.
        num_folds: 0, or the number of folds of a cross-validation of all but the test part.
        fold: the fold that is validated on, 0 to ``num_folds`` - 1.
        hold_out_site: a site of the data set that makes the test part, the others are for training and validation;
            refused, with the reason, where a class occurs at one site only.
        seed: decides splits, order and augmentation.
        balanced_sampling: draw all classes equally often in training.
        augment: augment training samples as COVNet's published code does; see
            :func:`covidct.transforms.default_augment`.
        train_transform: an own augmentation instead.
        cache_dir: folder of prepared scans; None: ``$COVIDCT_CACHE``, else ``~/.cache/covidct``.
        on_failure: what to do about scans that cannot be used: ``"raise"`` one error that lists them, or ``"skip"``
            them and go on.
        allow_subject_overlap: go on, with a warning, where the data set's own split has one subject in two parts;
            scores on it are too good to be true.

    Raises:
        UsageError: when an argument is wrong or does not suit the data set.
    """

    def __init__(
        self,
        dataset: BaseDataset,
        *,
        batch_size: int = 32,
        num_workers: int = 0,
        prepare_workers: int = 0,
        window: tuple[float, float] | None = (-1250.0, 250.0),
        size: int | None = 224,
        mask_source: str = "none",
        lung_checkpoint: str | None = None,
        enhancement: Literal["none", "tone", "stochastic", "equalise", "clahe", "equalise_clahe"] = "none",
        masking: Literal["original", "lungs", "no_lungs"] = "original",
        contrast: Literal["none", "rms", "spread"] = "none",
        contrast_side: Literal["low", "high"] | None = None,
        split: Literal["auto", "manifest", "subject"] = "auto",
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        num_folds: int = 0,
        fold: int = 0,
        hold_out_site: str | None = None,
        seed: int = 0,
        balanced_sampling: bool = False,
        augment: bool = True,
        train_transform: Augment | None = None,
        cache_dir: str | None = None,
        on_failure: Literal["raise", "skip"] = "raise",
        allow_subject_overlap: bool = False,
    ) -> None:
        """Check the arguments; nothing is read before ``prepare_data``."""
        super().__init__(
            dataset,
            preprocessing=Preprocessing(
                kind="ct_slice",
                classes=dataset.class_names,
                window=window,
                size=size,
                mask_source=mask_source_of(mask_source, lung_checkpoint),
                enhancement=enhancement,
                masking=masking,
                contrast=contrast,
            ),
            batch_size=batch_size,
            num_workers=num_workers,
            prepare_workers=prepare_workers,
            split=split,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            num_folds=num_folds,
            fold=fold,
            hold_out_site=hold_out_site,
            seed=seed,
            balanced_sampling=balanced_sampling,
            augment=augment,
            train_transform=train_transform,
            cache_dir=cache_dir,
            lung_checkpoint=lung_checkpoint,
            on_failure=on_failure,
            allow_subject_overlap=allow_subject_overlap,
            contrast_side=contrast_side,
        )
