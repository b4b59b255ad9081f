"""``ImageFiles``: what the published sets of single X-ray images share."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.errors import InputError, ManifestError
from covidct.io import cache_key, read_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.datasets.base import Split

__all__ = ("ImageFiles", "XrayFile", "read_lungs")


@dataclass(frozen=True, slots=True)
class XrayFile:
    """What is known of one image.

    Attributes:
        id: free of patient identity; unique, or with the suffix of ``path`` after it.
        path: the image.
        word: its class in the data set's words.
        subject: the data set's own key of the patient.
        split: the part that the data set puts it into; None without one.
        site: the collection it comes from, empty where unknown.
        mask: its lung mask; None without one.
    """

    id: str
    path: Path
    word: str
    subject: str
    split: Split | None = None
    site: str = ""
    mask: Path | None = None


class ImageFiles(BaseDataset):
    """Single X-rays in files; a subclass lists them."""

    kind = "cxr"
    intensity = "unit"

    @abstractmethod
    def list_files(self) -> tuple[XrayFile, ...]:
        """List the images that are used; called once.

        Raises:
            ManifestError: when folders and lists are not those of the data set.
        """

    @cached_property
    def files(self) -> tuple[XrayFile, ...]:
        """The images that are used, in the order of :attr:`records`."""
        return self.list_files()

    def make_records(self) -> tuple[Record, ...]:
        """One record per image; the id of files that differ by their suffix alone has it too.

        Raises:
            ManifestError: when folders and lists are not those of the data set, or an id would stand for two images.
        """
        often = Counter(one.id for one in self.files)
        ids = [one.id if often[one.id] == 1 else f"{one.id}{one.path.suffix}" for one in self.files]
        twice = next((name for name, count in Counter(ids).items() if count > 1), None)
        if twice is not None:
            raise ManifestError(f"The id {twice} would stand for two images of {self.name}: keep one of the files.")
        return tuple(
            Record(
                id=name,
                subject=one.subject,
                label=self.classes.label(one.word),
                source=source,
                split=one.split,
                site=one.site,
            )
            for source, (name, one) in enumerate(zip(ids, self.files, strict=True))
        )

    def load(self, source: int) -> Raw:
        """Read image ``source`` with its lung mask, where it has one.

        Raises:
            InputError: when one of them cannot be read, or they differ in size.
        """
        one = self.files[source]
        image = read_image(one.path)
        mask = None if one.mask is None else read_lungs(one.mask)
        if mask is not None and mask.shape != image.array.shape[:2]:
            raise InputError(
                f"The mask of {one.id} has {mask.shape} pixels, the image {image.array.shape[:2]}: download both again."
            )
        return Raw(image, lung_mask=mask)

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the image and its mask."""
        one = self.files[source]
        files = [digest(one.path), "" if one.mask is None else digest(one.mask)]
        return cache_key(*files, config={"name": self.name}, version=1)


def read_lungs(path: Path) -> NDArray[np.uint8]:
    """Read the lung mask of a single image.

    Args:
        path: 8-bit grey with the values 0, 1 and 2, or dark outside and bright inside.

    Returns:
        (H, W) uint8, 0 background, 1 lung (right lung where there is a 2), 2 left lung.

    Raises:
        InputError: when it cannot be read.
    """
    pixels = read_image(path).array
    grey = pixels if pixels.ndim == 2 else pixels.max(axis=-1)
    labels = np.rint(grey * 255)  # read_image gives shares of 255
    return np.asarray(labels if labels.max() <= 2 else labels > 127, dtype=np.uint8)
