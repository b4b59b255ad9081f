"""CNCB lesion segmentation: CT slices of COVID-19 patients with lungs, ground-glass opacity and consolidation drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.datasets.layout import find_folder, list_scans
from covidct.datasets.published_tables import check_split_files, read_split_files
from covidct.errors import InputError, ManifestError, UsageError
from covidct.functional import MIN_OBJECT_AREA, keep_large_objects
from covidct.io import cache_key, read_image
from covidct.io.names import natural_key
from covidct.io.pixels import read_pixels
from covidct.io.raster import IMAGE_SUFFIXES
from covidct.labels import LESION_CLASSES, class_map
from covidct.sample import stable_hash

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from covidct.datasets.base import Split
    from covidct.labels import MaskType

__all__ = ("CNCBLesions",)

_LESIONS = np.array([0, 0, 1, 2], dtype=np.uint8)
"""Mask value (0 background, 1 lung, 2 ground-glass opacity, 3 consolidation) to ours (COVID-CT-Mask-Net, README)."""

_DATASET = "the CNCB lesion set"
_FOLDERS = {"image": ("imgs", "images", "image"), "mask": ("masks", "mask")}


@dataclass(frozen=True, slots=True)
class _Slice:
    """Files of one slice; ``name`` is ``<patient>_<slice>``."""

    name: str
    image: Path
    mask: Path
    split: Split | None

    @property
    def patient(self) -> str:
        """The part of the name in front of the slice."""
        return self.name.rpartition("_")[0]


class CNCBLesions(BaseDataset):
    """Slices of the CC-CCII cohort (Zhang et al., Cell 2020) with drawn lesions, as COVID-CT-Mask-Net uses them.

    The folder holds ``imgs`` and ``masks`` with images of the same names but for the suffix: ``110_104.jpg`` is slice
    104 of patient 110 (or ``110/104.jpg``, in a folder per patient). Names decide which mask belongs to an image; the
    published code relies on the order of both folders.

    Mask values are mapped by a fixed table, whatever a slice shows: 0 background, 1 lung, 2 ground-glass opacity,
    3 consolidation. ``lung_mask`` is everything but the background and has no sides. Lesions of at most ``min_area``
    pixels are no objects and are taken out of ``lesion_mask``. Slices without lesions are negatives of a detector.

    All patients have COVID-19, so that is the label; ``slice_label`` is covid where the mask shows any lesion, else
    normal. Records are called by the published names, which are pseudonyms.
    """

    name = "cncb_lesions"
    kind = "ct_slice"
    intensity = "unit"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        mask_type: MaskType = "both",
        min_area: int = MIN_OBJECT_AREA,
        split_files: dict[str, str] | None = None,
        classes: str | dict[str, str] = "three",
    ) -> None:
        """Name the folder; it is listed at the first use of :attr:`records`.

        Args:
            root: folder with ``imgs`` and ``masks``.
            mask_type: which lesions are objects, ``"both"``, ``"ggo"`` or ``"merge"``; see
                :func:`covidct.functional.lesion_instances`.
            min_area: an object has more pixels than this (of the 512 x 512 of the published slices).
            split_files: ``"train"``, ``"val"`` or ``"test"`` to a text file with one image name per line, such as the
                published ``train_split_segmentation.txt`` and ``test_split_segmentation.txt``; only listed images are
                then used. None: all images, without a split.
            classes: ``"three"``, ``"covid_vs_rest"`` or a mapping from normal and covid to class names.

        Raises:
            UsageError: when an argument is wrong.
        """
        super().__init__()
        if mask_type not in LESION_CLASSES:
            raise UsageError(f"mask_type={mask_type!r} is unknown: use one of {', '.join(LESION_CLASSES)}.")
        if min_area < 0:
            raise UsageError(f"min_area={min_area} must be at least 0 pixels.")
        self.root = Path(root)
        self.mask_type = mask_type
        self.min_area = min_area
        self.split_files = check_split_files(split_files)
        self.classes = class_map(classes)

    @cached_property
    def slices_found(self) -> tuple[_Slice, ...]:
        """Image, mask and part of every source, in natural order of the names."""
        files = {part: self._named(names) for part, names in _FOLDERS.items()}
        for one, other in (("image", "mask"), ("mask", "image")):
            alone = [name for name in files[one] if name not in files[other]]
            if alone:
                raise ManifestError(
                    f"{len(alone)} {one}(s) of {_DATASET} have no {other} of the same name, the first is "
                    f"{files[one][alone[0]].name}: add the missing files, or remove these."
                )
        lines = {Path(name).stem: line for name, line in read_split_files(self.split_files).items()}
        missing = [name for name in lines if name not in files["image"]]
        if missing:
            raise ManifestError(
                f"{len(missing)} image(s) of the split are not in {_DATASET}, the first is {missing[0]} "
                f"({lines[missing[0]].place}): unpack it completely, or leave them out of the split."
            )
        return tuple(
            _Slice(name, image, files["mask"][name], lines[name].split if lines else None)
            for name, image in files["image"].items()
            if not lines or name in lines
        )

    def _named(self, folders: tuple[str, ...]) -> dict[str, Path]:
        """Published name to file."""
        folder = find_folder(self.root, folders, dataset=_DATASET)
        named: dict[str, Path] = {}
        for path in list_scans(folder, suffixes=tuple(IMAGE_SUFFIXES)):
            name = "_".join(path.relative_to(folder).with_suffix("").parts)
            patient, _, number = name.rpartition("_")
            if not patient or not number:
                raise ManifestError(
                    f"The file {path.name} in {folder.name} has no name like 110_104.jpg (patient, slice): remove it, "
                    "or give it its published name."
                )
            if named.setdefault(name, path) != path:
                raise ManifestError(f"{folder.name} holds {name} twice: keep one of the files.")
        if not named:
            raise ManifestError(f"There is no image in {folder}: unpack {_DATASET} there.")
        return dict(sorted(named.items(), key=lambda item: natural_key(item[0])))

    def make_records(self) -> tuple[Record, ...]:
        """One record per slice.

        Raises:
            ManifestError: when folders, images, masks and split files do not fit together.
        """
        covid = self.classes.label("covid")
        return tuple(
            Record(id=one.name, subject=one.patient, label=covid, source=source, split=one.split)
            for source, one in enumerate(self.slices_found)
        )

    def load(self, source: int) -> Raw:
        """Read slice ``source`` with its masks.

        Raises:
            InputError: when a file cannot be read, the mask holds an unknown value, or image and mask differ in size.
        """
        one = self.slices_found[source]
        image, codes = read_image(one.image), _codes(one.mask)
        if codes.shape != image.array.shape[:2]:
            raise InputError(
                f"The mask {one.mask.name} has {codes.shape[0]} x {codes.shape[1]} pixels, the image {one.image.name} "
                f"{image.array.shape[0]} x {image.array.shape[1]}: give the mask of this image."
            )
        lesions = _LESIONS[codes]
        word = "covid" if lesions.any() else "normal"
        return Raw(
            image,
            lung_mask=(codes > 0).astype(np.uint8),
            lesion_mask=keep_large_objects(lesions, mask_type=self.mask_type or "both", min_area=self.min_area),
            slice_label=np.array([self.classes.label(word)], dtype=np.int64),
        )

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of image and mask, and of the arguments that change what is read."""
        one = self.slices_found[source]
        config: Mapping[str, object] = {
            "name": self.name,
            "mask_type": self.mask_type,
            "min_area": self.min_area,
            "classes": dict(self.classes.merge),
        }
        return cache_key(digest(one.image), digest(one.mask), config=config, version=1)

    def scan_hash(self, record: Record) -> int:
        """Stable hash of (data set, patient): the slices of a patient are of one scan."""
        return stable_hash(self.name, record.subject)


def _codes(path: Path) -> NDArray[np.uint8]:
    """The stored values of a mask image, 0 to 3."""
    values = read_pixels(path).array
    if values.ndim == 3:
        raise InputError(f"The mask {path.name} is coloured: save its labels 0, 1, 2 and 3 as grey values.")
    unknown = np.unique(values[(values < 0) | (values > 3) | (values != np.rint(values))])
    if unknown.size:
        listed = ", ".join(f"{value:g}" for value in unknown[:5]) + (", ..." if unknown.size > 5 else "")
        raise InputError(
            f"The mask {path.name} holds the value(s) {listed}: 0 (background), 1 (lung), 2 (ground-glass opacity) and "
            "3 (consolidation) are known; save the mask without loss, as PNG."
        )
    return values.astype(np.uint8)
