"""Panels: what is drawn is what the functions give, and the file is a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from scipy import ndimage

from covidct.errors import UsageError
from covidct.functional import clahe, equalise, equalise_histogram, window_hu
from covidct.report import contrast_pair_panel, equalisation_panel, morphology_panel, write_panel
from tests.functional.test_background import as_picture, chest

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

HU, LUNGS = chest(64)
WINDOW = (-1250.0, 250.0)


def drawn(figure: Figure) -> list[tuple[str, Any]]:
    return [(axis.get_title(), np.asarray(axis.images[0].get_array())) for axis in figure.axes if axis.images]


def test_eroded_and_dilated() -> None:
    y, x = np.mgrid[-2:3, -2:3]
    disc = y**2 + x**2 <= 4
    expected = [LUNGS, ndimage.binary_erosion(LUNGS, disc), ndimage.binary_dilation(LUNGS, disc)]
    found = drawn(morphology_panel(LUNGS, radius=2))
    for (title, picture), wanted, name in zip(found, expected, ("original", "eroded", "dilated"), strict=True):
        np.testing.assert_array_equal(picture, wanted)
        assert title == f"{name}: {wanted.sum()} px"


@pytest.mark.parametrize("kind", ["hu", "uint8", "unit"])
def test_none_he_clahe_and_both(kind: str) -> None:
    picture = as_picture(HU)
    image: Any = {"hu": HU, "uint8": picture, "unit": picture / np.float32(255)}[kind]
    window = WINDOW if kind == "hu" else None
    figure = equalisation_panel(image, window=window)
    scale = 255 if kind == "uint8" else 1
    plain = window_hu(HU, *WINDOW) if kind == "hu" else picture / np.float32(255)
    expected = [plain, *(f(image, window=window) / scale for f in (equalise_histogram, clahe, equalise))]
    found = drawn(figure)
    assert [title for title, _ in found] == ["none", "HE", "CLAHE", "HE, then CLAHE"]
    for (_, shown), wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(shown, wanted, atol=1e-6)
    bars: list[Any] = [axis for axis in figure.axes if axis.patches]
    for axis, wanted in zip(bars, expected, strict=True):
        counts, _ = np.histogram(wanted, bins=64, range=(0, 1))
        np.testing.assert_allclose([bar.get_height() for bar in axis.patches], counts / HU.size, atol=2e-3)


def test_a_pair_of_contrasts(tmp_path: Path) -> None:
    high = as_picture(HU)
    low = (0.3 * high / 255 + 0.4).astype(np.float32)
    figure = contrast_pair_panel(high, low, scores=(0.25, 0.0714))
    assert [title for title, _ in drawn(figure)] == ["high contrast, score 0.250", "low contrast, score 0.071"]
    np.testing.assert_allclose(drawn(figure)[1][1], low)
    write_panel(figure, tmp_path / "panels" / "pair.png", dpi=50)
    written = cv2.imread(str(tmp_path / "panels" / "pair.png"))
    assert written is not None
    assert written.std() > 10
    assert [path.name for path in (tmp_path / "panels").iterdir()] == ["pair.png"]


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="one mask"):
        morphology_panel(LUNGS[None])
    with pytest.raises(UsageError, match="radius"):
        morphology_panel(LUNGS, radius=0)
    with pytest.raises(UsageError, match="one slice"):
        equalisation_panel(HU[None], window=WINDOW)
    with pytest.raises(UsageError, match="window"):
        equalisation_panel(HU)
    with pytest.raises(UsageError, match="display values"):
        contrast_pair_panel(HU, HU)
