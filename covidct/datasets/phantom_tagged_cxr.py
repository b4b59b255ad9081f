"""``PhantomTaggedCXR``: X-ray phantoms whose class stands beside the lungs and not in them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from covidct.datasets.base import Raw, Record
from covidct.datasets.phantom import PhantomCXR
from covidct.errors import UsageError
from covidct.io import cache_key
from covidct.labels import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.datasets.phantom import Diagnosis

__all__ = ("PhantomTaggedCXR",)


class PhantomTaggedCXR(PhantomCXR):
    """Simulated chest X-rays, the positive ones with a bright tag in the corner at the patient's left shoulder.

    The tag stands for what differs between sources: letters, laterality markers, borders. Subject i is negative
    (non_covid) for even i and positive (covid) for odd i. Unless diagnoses are given, all lungs are normal, so that the
    tag alone tells the class: a classifier of the X-ray without its lungs is right where it is trained on the tag, and
    one of the lungs alone can only guess (facts of the X-ray system, check 8).
    """

    name = "phantom_tagged_cxr"

    def __init__(
        self,
        num_subjects: int = 60,
        *,
        diagnoses: tuple[Diagnosis, Diagnosis] = ("normal", "normal"),
        tag: bool = True,
        tag_share: float = 0.08,
        shape: tuple[int, int] = (256, 256),
        seed: int = 0,
    ) -> None:
        """Describe the cohort; nothing is simulated yet.

        Args:
            num_subjects: number of subjects, one X-ray each.
            diagnoses: what the lungs of negative and of positive subjects show.
            tag: whether positive X-rays have the tag; False is the same cohort without.
            tag_share: side of the square tag as a share of the shorter side of the picture, up to 0.15.
            shape: pixels along (height, width).
            seed: another seed is another cohort.

        Raises:
            UsageError: when an argument is out of range.
        """
        super().__init__(num_subjects, shape=shape, classes="covid_vs_rest", seed=seed)
        if len(diagnoses) != 2 or not set(diagnoses) <= set(CLASSES):
            raise UsageError(f"diagnoses={diagnoses!r} is not usable: give two of {', '.join(CLASSES)}.")
        if not 0 < tag_share <= 0.15:
            raise UsageError(f"tag_share={tag_share} must lie above 0 and not above 0.15.")
        self.diagnoses = (diagnoses[0], diagnoses[1])  # YAML gives lists
        self.tag, self.tag_share = tag, float(tag_share)

    def is_positive(self, source: int) -> bool:
        """Whether X-ray ``source`` is of the class covid."""
        return source % 2 == 1

    def diagnosis(self, source: int) -> Diagnosis:
        """What the lungs of X-ray ``source`` show."""
        return self.diagnoses[self.is_positive(source)]

    def _record(self, source: int) -> Record:
        return replace(super()._record(source), label=int(self.is_positive(source)))

    def load(self, source: int) -> Raw:
        """Simulate X-ray ``source``.

        Raises:
            UsageError: when the tag would lie on lung.
        """
        raw = super().load(source)
        if not (self.tag and self.is_positive(source)):
            return raw
        tag = self.tag_mask()
        if raw.lung_mask is None or bool(raw.lung_mask[tag].any()):
            raise UsageError(f"The tag lies on lung in X-ray {source}: make tag_share smaller.")
        return replace(raw, scan=replace(raw.scan, array=np.where(tag, np.float32(1), raw.scan.array)))

    def tag_mask(self) -> NDArray[np.bool_]:
        """Pixels of the tag, (H, W); a margin of half its side is left to the border of the picture."""
        side = max(1, round(self.tag_share * min(self.shape)))
        mask = np.zeros(self.shape, dtype=bool)
        mask[side // 2 : side // 2 + side, -(side // 2) - side : self.shape[1] - side // 2] = True
        return mask

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """As for the other phantoms, and whether and how the tag is drawn."""
        tagged = self.tag and self.is_positive(source)
        config = {
            "plain": super().content_key(source, digest=digest),
            "tag": self.tag_share if tagged else None,
        }
        return cache_key(config=config, version=1)
