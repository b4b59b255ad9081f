"""Mean and standard-deviation images of classes and their differences, in colour scales that can be read off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.report.pictures import data_uri
from covidct.report.words import class_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.curation import CohortStatistics

__all__ = ("ImageRow", "Scale", "StatisticImage", "image_rows")

_MOST = 6  # classes whose images are shown: 15 differences
_STOPS = 16  # of the gradient of a colour bar
_DIVERGING = "RdBu_r"  # ColorBrewer's: red above, white at, blue below 0; told apart by every colour vision


@dataclass(frozen=True, slots=True)
class Scale:
    """A colour bar: CSS gradient from low to high, and what stands below it."""

    gradient: str
    ticks: Sequence[str]


@dataclass(frozen=True, slots=True)
class StatisticImage:
    """One image: data URI, what it is, and a word about its values."""

    image: str
    title: str
    note: str


@dataclass(frozen=True, slots=True)
class ImageRow:
    """Images of one scale."""

    title: str
    images: Sequence[StatisticImage]
    scale: Scale


def image_rows(found: CohortStatistics) -> list[ImageRow]:
    """Mean images in [0, 1], deviations from 0 to the largest, and differences around 0, each kind in one scale.

    Args:
        found: its six most frequent classes are shown.
    """
    labels = found.labels[:_MOST]
    images = {label: found.images[label] for label in labels}
    spread = max(float(one.std.max()) for one in images.values())
    rows = [
        ImageRow("Mean", [_grey(label_title(k), v.mean, 1.0) for k, v in images.items()], _grey_scale(1.0)),
        ImageRow(
            "Standard deviation",
            [_grey(label_title(k), v.std, spread) for k, v in images.items()],
            _grey_scale(spread),
        ),
    ]
    pairs = found.differences(labels)
    for kind, title in enumerate(("Difference of means", "Difference of standard deviations")):
        if pairs:
            most = max(float(np.abs(values[kind]).max()) for values in pairs.values()) or 1e-6
            shown = [_difference(pair, values[kind], most) for pair, values in pairs.items()]
            rows.append(ImageRow(title, shown, _diverging_scale(most)))
    return rows


def label_title(label: str) -> str:
    """A label as people call it."""
    return class_title(label) if label else "no label"


def diverging(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours of values in [-1, 1], white at 0: the shape with (blue, green, red) uint8 at the end."""
    from matplotlib import colormaps

    colours: NDArray[np.uint8] = colormaps[_DIVERGING]((np.clip(values, -1, 1) + 1) / 2, bytes=True)
    return np.ascontiguousarray(colours[..., 2::-1])


def _grey(title: str, values: NDArray[np.float64], top: float) -> StatisticImage:
    """Black at 0, white at ``top``."""
    pixels = np.rint(255 * np.clip(values / max(top, 1e-12), 0, 1)).astype(np.uint8)
    return StatisticImage(data_uri(pixels), title, f"{values.min():.3f} to {values.max():.3f}")


def _difference(pair: tuple[str, str], values: NDArray[np.float64], most: float) -> StatisticImage:
    """White at 0, the strongest colours at ``most`` and its negative."""
    title = f"{label_title(pair[0])} \N{MINUS SIGN} {label_title(pair[1])}"
    note = f"{_signed(float(values.min()))} to {_signed(float(values.max()))}"
    return StatisticImage(data_uri(diverging(values / most)), title, note)


def _grey_scale(top: float) -> Scale:
    """From black to white."""
    return Scale("#000, #fff", ["0", f"{top / 2:.2f}", f"{top:.2f}"])


def _diverging_scale(most: float) -> Scale:
    """From blue over white to red."""
    stops = diverging(np.linspace(-1, 1, _STOPS + 1)).tolist()
    gradient = ", ".join(f"rgb({red} {green} {blue})" for blue, green, red in stops)
    return Scale(gradient, [_signed(-most), "0", _signed(most)])


def _signed(value: float) -> str:
    """A number with its sign, the minus as a minus."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")
