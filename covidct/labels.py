"""Class names, their canonical order, and the words that published data sets use for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = (
    "BINARY_CLASSES",
    "CLASSES",
    "LESIONS",
    "LESION_CLASSES",
    "LUNGS",
    "NEGATIVE_CLASSES",
    "WORDS",
    "ClassMap",
    "MaskType",
    "class_map",
)

CLASSES = ("normal", "cap", "covid")
"""The three diagnoses, index = label: no pneumonia, other (community-acquired) pneumonia, COVID-19."""

BINARY_CLASSES = ("non_covid", "covid")
"""COVID-19 against the rest, index = label."""

NEGATIVE_CLASSES = ("normal", "non_covid")
"""Classes that stand for the absence of the disease asked about: no place of an image speaks for them."""

LUNGS = ("background", "right_lung", "left_lung")
"""Values of a lung mask; 1 stands for "lung" where the sides are unknown."""

LESIONS = ("none", "ground_glass_opacity", "consolidation")
"""Values of a lesion mask."""

MaskType = Literal["both", "ggo", "merge"]
"""Which lesions a detector tells apart: both kinds, ground-glass opacity alone, or all of them as one class."""

LESION_CLASSES: Mapping[MaskType, tuple[str, ...]] = {
    "both": ("background", "ground_glass_opacity", "consolidation"),
    "ggo": ("background", "ground_glass_opacity"),
    "merge": ("background", "lesion"),
}
"""Classes of a lesion detector by mask type, index = label (COVID-CT-Mask-Net, published code: data set class)."""

WORDS: Mapping[str, str] = {
    "normal": "normal",
    "no_findings": "normal",
    "no finding": "normal",
    "control": "normal",
    "cap": "cap",
    "cp": "cap",
    "pneumonia": "cap",
    "non-covid": "non_covid",
    "noncovid": "non_covid",
    "ct_noncovid": "non_covid",
    "non_covid": "non_covid",
    "negative": "non_covid",
    "covid": "covid",
    "covid-19": "covid",
    "covid19": "covid",
    "ct_covid": "covid",
    "ncp": "covid",
    "positive": "covid",
}
"""Words of data sets (lower case) to canonical names: CNCB says Normal, CP, NCP; COVIDx positive, negative;
COVID-CT has folders CT_COVID, CT_NonCOVID."""


@dataclass(frozen=True, slots=True)
class ClassMap:
    """How a cohort's words become the labels of a model.

    Attributes:
        names: class names, index = label.
        merge: canonical or user word (lower case) to one of ``names``.
    """

    names: tuple[str, ...]
    merge: Mapping[str, str]

    def label(self, word: str) -> int:
        """Index of the class that ``word`` belongs to.

        Args:
            word: a class word of the cohort, in any case.

        Raises:
            UsageError: when the word is unknown; the message lists the known ones.
        """
        key = word.strip().lower()
        name = self.merge.get(key) or self.merge.get(WORDS.get(key, ""))
        if name is None:
            known = ", ".join(sorted(self.merge))
            raise UsageError(f"The label {word!r} is unknown: use one of {known}, or give an own mapping as classes=.")
        return self.names.index(name)


_MERGES: Mapping[str, ClassMap] = {
    "three": ClassMap(CLASSES, {name: name for name in CLASSES}),
    "covid_vs_rest": ClassMap(
        BINARY_CLASSES, {"normal": "non_covid", "cap": "non_covid", "non_covid": "non_covid", "covid": "covid"}
    ),
}


def class_map(classes: str | Mapping[str, str] = "three") -> ClassMap:
    """Build the map from words to labels.

    Args:
        classes: ``"three"`` (normal, cap, covid), ``"covid_vs_rest"`` (non_covid, covid), or an own mapping from the
            cohort's words to class names; then the classes are the mapping's values in order of first appearance.

    Raises:
        UsageError: for an unknown name or a mapping with fewer than two classes.
    """
    if isinstance(classes, str):
        if classes not in _MERGES:
            raise UsageError(f"classes={classes!r} is unknown: use 'three', 'covid_vs_rest' or a mapping of words.")
        return _MERGES[classes]
    names = tuple(dict.fromkeys(classes.values()))
    if len(names) < 2:
        raise UsageError(f"The class mapping leads to {len(names)} class(es): a classifier needs at least two.")
    return ClassMap(names, {str(word).strip().lower(): name for word, name in classes.items()})  # YAML's 0 and 1 too
