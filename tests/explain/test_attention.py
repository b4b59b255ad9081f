from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct.errors import UsageError
from covidct.explain import attention_curves, attention_figure, enhancement_figure, fade
from covidct.functional import stochastic_enhance, tone_map

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

SLICES = np.random.default_rng(0).uniform(0.1, 0.9, (6, 8, 10)).astype(np.float32)
SHARES = np.array([0.05, 0.05, 0.5, 0.3, 0.1, 0.0])


def pictures(figure: Figure) -> list[np.ndarray]:
    """The pixels of every panel."""
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes]


def test_fading_is_a_power_of_the_relative_share() -> None:
    faded = fade(SLICES, SHARES)
    for index, share in enumerate(SHARES[:-1]):
        np.testing.assert_allclose(faded[index], SLICES[index].astype(float) ** (0.001 + 0.5 / share), rtol=1e-5)
    np.testing.assert_allclose(faded[2], SLICES[2], rtol=3e-3)  # the slice of highest attention stays
    assert not faded[5].any()
    means = faded.mean(axis=(1, 2))
    assert means[2] > means[3] > means[4] > means[0]


def test_the_printed_power_blackens_everything() -> None:
    shares = np.full(50, 1 / 50)
    slices = np.full((50, 2, 2), 0.8)
    assert fade(slices, shares, literal=True).max() < 1e-4
    np.testing.assert_allclose(fade(slices, shares), 0.8, rtol=1e-3)


@pytest.mark.parametrize("shares", [np.ones(5), np.zeros(6), np.array([1, 1, 1, 1, 1, -1.0])])
def test_bad_shares(shares: np.ndarray) -> None:
    with pytest.raises(UsageError, match="do not fit"):
        fade(SLICES, shares)


def test_attention_figure_shows_slices_masks_and_attention(tmp_path: Path) -> None:
    figure = attention_figure(SLICES, SLICES > 0.5, SHARES, count=3)
    assert len(figure.axes) == 12
    shown = pictures(figure)
    np.testing.assert_array_equal(shown[2], SLICES[5])
    np.testing.assert_allclose(shown[7], fade(SLICES, SHARES)[2])
    np.testing.assert_allclose(shown[10], 1.0)
    assert figure.axes[1].get_title() == "2: 3.00"  # 6 x 0.5
    figure.savefig(tmp_path / "figure.png")
    with pytest.raises(UsageError, match="mask"):
        attention_figure(SLICES, SLICES[:2], SHARES)


def test_attention_curves_compare_scans_of_unlike_length() -> None:
    figure = attention_curves({"a": np.full(4, 0.25), "b": np.array([0.5, 0.25, 0.25])})
    first, second, rule = figure.axes[0].lines
    np.testing.assert_allclose(np.asarray(first.get_ydata()), 1.0)
    np.testing.assert_allclose(np.asarray(second.get_ydata()), [1.5, 0.75, 0.75])
    np.testing.assert_array_equal(np.asarray(rule.get_ydata()), 1.0)
    with pytest.raises(UsageError, match="at least one scan"):
        attention_curves({})


def test_enhancement_figure_shows_all_three() -> None:
    figure = enhancement_figure(SLICES[0], seed=3)
    shown = pictures(figure)
    np.testing.assert_array_equal(shown[0], SLICES[0])
    np.testing.assert_allclose(shown[1], stochastic_enhance(SLICES[0], seed=3))
    np.testing.assert_allclose(shown[2], tone_map(SLICES[0]))
