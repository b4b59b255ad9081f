"""The trainings of the X-ray study: every combination of network, normalisation, channels and image variant."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, get_args

from covidct.errors import UsageError
from covidct.studies.comparison import Variant
from covidct.tasks import DarkCovidNetTask, SliceClassifierTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ("DARKCOVID", "Channels", "ImageVariant", "Normalisation", "XRayTraining", "plan_xray_trainings")

Normalisation = Literal["imagenet", "dataset"]
Channels = Literal["grey", "rgb"]
ImageVariant = Literal["original", "lungs", "no_lungs"]

DARKCOVID = "dark_covidnet"
"""Name of the network that takes images as they are, in three channels: it has neither of the other choices."""

_NORMALISATIONS: Mapping[Normalisation, str] = {"imagenet": "ImageNet statistics", "dataset": "data set statistics"}
_CHANNELS: Mapping[Channels, int] = {"grey": 1, "rgb": 3}
_IMAGES: Mapping[ImageVariant, str] = {"original": "whole image", "lungs": "lungs alone", "no_lungs": "without lungs"}


@dataclass(frozen=True, slots=True)
class XRayTraining:
    """One training of the study.

    Attributes:
        network: ``"dark_covidnet"``, or a backbone of :class:`covidct.tasks.SliceClassifierTask`.
        normalisation: ``"imagenet"`` or ``"dataset"``; None for DarkCovidNet.
        channels: ``"grey"`` or ``"rgb"``; None for DarkCovidNet.
        image: ``"original"``, ``"lungs"`` or ``"no_lungs"``.
    """

    network: str
    normalisation: Normalisation | None
    channels: Channels | None
    image: ImageVariant

    @property
    def reader(self) -> str:
        """Name of what reads the image; the same for the three variants of it."""
        return "-".join(part for part in (self.network, self.normalisation, self.channels) if part)

    @property
    def name(self) -> str:
        """Part of file names."""
        return f"{self.reader}-{self.image}"

    @property
    def reader_title(self) -> str:
        """What people call that which reads the image."""
        if self.normalisation is None or self.channels is None:
            return "DarkCovidNet"
        return f"{self.network}, {_NORMALISATIONS[self.normalisation]}, {'RGB' if self.channels == 'rgb' else 'grey'}"

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.reader_title}: {_IMAGES[self.image]}"

    def variant(self, num_classes: int, task_options: Mapping[str, Any]) -> Variant:
        """The training as one of a comparison.

        Args:
            num_classes: outputs.
            task_options: further arguments of :class:`covidct.tasks.SliceClassifierTask`; DarkCovidNet has a recipe of
                its own and takes ``class_weights`` alone.

        Returns:
            Of the same name: task, its arguments and those of the data (``masking``; for DarkCovidNet ``size`` too, 256
            pixels).
        """
        data = {"masking": self.image}
        if self.normalisation is None or self.channels is None:
            weights = task_options.get("class_weights")
            options = {"num_classes": num_classes, **({} if weights is None else {"class_weights": weights})}
            return Variant(self.name, DarkCovidNetTask, options, {**data, "size": 256})
        own = {"backbone": self.network, "normalisation": self.normalisation, "in_channels": _CHANNELS[self.channels]}
        return Variant(self.name, SliceClassifierTask, {**task_options, "num_classes": num_classes, **own}, data)


def plan_xray_trainings(
    *,
    networks: Sequence[str] = ("densenet121",),
    normalisations: Sequence[str] = get_args(Normalisation),
    channels: Sequence[str] = get_args(Channels),
    images: Sequence[str] = get_args(ImageVariant),
) -> tuple[XRayTraining, ...]:
    """Every combination, image variants of one reader next to each other.

    Args:
        networks: ``"dark_covidnet"`` and backbones of :class:`covidct.tasks.SliceClassifierTask`.
        normalisations: of ``"imagenet"`` and ``"dataset"``.
        channels: of ``"grey"`` and ``"rgb"``.
        images: of ``"original"``, ``"lungs"`` and ``"no_lungs"``.

    Returns:
        Each training once. Normalisation and channels are not varied for DarkCovidNet, which has neither choice.

    Raises:
        UsageError: for an empty list, a word that is given twice, or an unknown one.
    """
    lists = {"networks": networks, "normalisations": normalisations, "channels": channels, "images": images}
    known: dict[str, Mapping[Any, Any]] = {"normalisations": _NORMALISATIONS, "channels": _CHANNELS, "images": _IMAGES}
    for name, given in lists.items():
        words = known.get(name)
        if not given or len(set(given)) < len(given) or (words is not None and set(given) - set(words)):
            choices = f" of {', '.join(words)}" if words is not None else ""
            raise UsageError(f"{name}={list(given)} is not usable: give each{choices} once, at least one.")
    found: list[XRayTraining] = []
    for network in networks:
        ways = [(None, None)] if network == DARKCOVID else list(product(normalisations, channels))
        found += [XRayTraining(network, *way, image) for way, image in product(ways, images)]  # type: ignore[arg-type]
    return tuple(found)
