"""``CXRDataModule``: chest X-rays."""

from __future__ import annotations

from typing import Literal

from covidct.datamodules.base import BaseDataModule
from covidct.datamodules.lung_areas import lung_areas, small_lungs
from covidct.datamodules.lung_masks import mask_source_of
from covidct.datasets import BaseDataset
from covidct.errors import UsageError
from covidct.preprocessing import Preprocessing
from covidct.transforms import Augment

__all__ = ("CXRDataModule",)


class CXRDataModule(BaseDataModule):
    """Chest X-rays in [0, 1], one grey channel.

    Scans are prepared once (:func:`covidct.transforms.prepare_image`) and kept in a cache on disk, keyed by content
    and configuration; an epoch then reads memory maps, so ``num_workers=0`` is fastest unless augmentation is dear.
    Splits go by subject. Batches follow :mod:`covidct.sample`.

    Args:
        dataset: any data set of kind ``"cxr"``.
        batch_size: images per batch and process.
        num_workers: worker processes of the loaders.
        prepare_workers: worker processes that fill the cache; 0 works in the main process.
        size: pixels per side; None keeps the native size. 224 is what the published classifier takes.
        mask_source: lung mask from the data set (``"file"``), or ``"none"``.
        lung_checkpoint: a ``.ckpt`` file of a lung network of X-rays, whose masks are then used and recorded as
            ``mask_source="checkpoint:<sha256>"``. It runs on the CPU, once per X-ray.
        masking: ``"original"``, ``"lungs"`` (the rest becomes 0) or ``"no_lungs"``; at the final size, so that the two
            parts add up to the original to the bit.
        min_lung_area: images of which lungs cover a smaller share, by the prepared mask, are listed in
            :attr:`small_lungs` and in training left out; 0: none. The published system leaves out images under 15 %
            (from which part it does not say); without a mask source there is nothing to measure.
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

    Attributes:
        small_lungs: id of each image of the parts whose lungs are too small, to the share that they cover; empty
            before :meth:`setup`.

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
        size: int | None = 224,
        mask_source: str = "none",
        lung_checkpoint: str | None = None,
        masking: Literal["original", "lungs", "no_lungs"] = "original",
        min_lung_area: float = 0.15,
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
        if not 0 <= min_lung_area < 1:
            raise UsageError(f"min_lung_area={min_lung_area} must be a share from 0 to below 1.")
        super().__init__(
            dataset,
            preprocessing=Preprocessing(
                kind="cxr",
                classes=dataset.class_names,
                window=None,
                size=size,
                mask_source=mask_source_of(mask_source, lung_checkpoint),
                masking=masking,
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
        )
        self.small_lungs: dict[str, float] = {}
        self._min_lung_area = min_lung_area

    def setup(self, stage: str) -> None:
        """As for every data module; then images with hardly any lung are listed and taken out of the training part.

        Raises:
            UsageError: when :meth:`prepare_data` was not called, the split cannot be made, or none is left to train on.
            ManifestError: when one subject is in two parts and ``allow_subject_overlap`` is not set.
        """
        divided = bool(self._parts)
        super().setup(stage)
        if divided or not self._parts or not self._min_lung_area or self.preprocessing.mask_source == "none":
            return
        records = [record for part in self._parts.values() for record in part]
        shares = lung_areas(self._cache, self._entries.places(records))
        areas = {record.id: float(share) for record, share in zip(records, shares, strict=True)}
        trained = len(self._parts["train"])
        self.small_lungs, self._parts["train"] = small_lungs(self._parts, areas, least=self._min_lung_area)
        if stage == "fit" and trained and not self._parts["train"]:
            raise UsageError(
                f"Lungs cover less than {100 * self._min_lung_area:.3g} % of each of the {trained} training images: "
                "look at the masks, or set a smaller min_lung_area."
            )
