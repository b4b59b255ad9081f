"""``PhantomTwoContrasts``: phantoms of high and of low contrast in one cohort, for the gated ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from covidct import __version__
from covidct.datasets.base import Raw
from covidct.datasets.phantom import PhantomCTVolumes
from covidct.errors import UsageError
from covidct.io import cache_key
from covidct.labels import CLASSES
from covidct.phantom import simulate_ct

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from covidct.datasets.phantom import Diagnosis

__all__ = ("PhantomTwoContrasts",)

LowLook = Literal["same", "swapped"]
_SWAPPED: dict[Diagnosis, Diagnosis] = {"normal": "normal", "cap": "covid", "covid": "cap"}


class PhantomTwoContrasts(PhantomCTVolumes):
    """Simulated CT volumes, half of the subjects of high and half of low contrast, over the three diagnoses alike.

    The document finds that the same class looks unlike on the two sides ("chaotic" distances between data sets, its
    section 3.2.4), so that one model for both "will not work well". With ``low_look="swapped"`` that is so by
    construction: in scans of low contrast, community-acquired pneumonia has the lesions of COVID-19 and the other way
    round. With ``"same"`` the sides differ in image quality alone.
    """

    name = "phantom_two_contrasts"

    def __init__(
        self,
        num_subjects: int = 60,
        *,
        low_look: LowLook = "same",
        scans_per_subject: int = 1,
        shape: tuple[int, int, int] = (96, 128, 128),
        classes: str | dict[str, str] = "three",
        seed: int = 0,
    ) -> None:
        """Describe the cohort; nothing is simulated yet.

        Args:
            num_subjects: number of subjects; a multiple of six is balanced over diagnoses and contrasts.
            low_look: lesions in scans of low contrast: ``"same"`` or ``"swapped"``.
            scans_per_subject: scans of each subject, all of one contrast.
            shape: voxels along (depth, height, width).
            classes: ``"three"``, ``"covid_vs_rest"`` or a mapping from normal, cap and covid to class names.
            seed: another seed is another cohort.

        Raises:
            UsageError: when a number is below 1, or the classes or the look are unknown.
        """
        if low_look not in get_args(LowLook):
            raise UsageError(f"low_look={low_look!r} is unknown: use 'same' or 'swapped'.")
        super().__init__(num_subjects, scans_per_subject=scans_per_subject, shape=shape, classes=classes, seed=seed)
        self.low_look = low_look

    def contrast_of(self, source: int) -> Literal["high", "low"]:
        """Contrast of scan ``source``: three subjects high, the next three low."""
        return "low" if self._subject(source) // len(CLASSES) % 2 else "high"

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the arguments and of the release that draws the phantom; no file is involved."""
        config = {
            "draw": super().content_key(source, digest=digest),
            "contrast": self.contrast_of(source),
            "look": self.low_look,
        }
        return cache_key(config=config, version=__version__)

    def load(self, source: int) -> Raw:
        """Simulate scan ``source``."""
        diagnosis, contrast = self.diagnosis(source), self.contrast_of(source)
        drawn = _SWAPPED[diagnosis] if contrast == "low" and self.low_look == "swapped" else diagnosis
        phantom = simulate_ct(self._draw(source), diagnosis=drawn, shape=self.shape, contrast=contrast)
        healthy, own = self.classes.label("normal"), self.classes.label(diagnosis)
        return Raw(
            phantom.volume,
            lung_mask=phantom.lung_mask,
            lesion_mask=phantom.lesion_mask,
            slice_label=np.where(phantom.slice_label > 0, own, healthy).astype(np.int64),
        )
