from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torchvision import models as tv

from covidct.datasets import COVIDCT
from covidct.errors import UsageError
from covidct.explain import FeatureMaps, LayerMaps, feature_grid, feature_maps
from tests.explain.networks import settled

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def pixels(axis: Any) -> NDArray[np.float64]:  # noqa: ANN401  (matplotlib has no types)
    """What an axis shows, NaN where it shows nothing."""
    return np.asarray(np.ma.filled(np.ma.asarray(axis.images[0].get_array(), dtype=float), np.nan))


def cell(model: str, layer: str, *, top: float, count: int = 3, size: tuple[int, int] = (4, 6)) -> LayerMaps:
    maps = np.random.default_rng(0).random((count, *size), np.float32)
    maps[0, 0, 0], maps[-1, -1, -1] = -1, top
    return LayerMaps(model, layer, maps, np.arange(10, 10 + count), maps.mean(0) / 10, 64)


def features() -> FeatureMaps:
    rows = tuple(
        tuple(cell(model, layer, top=top) for model, top in (("random", 2.0), ("trained", 4.0)))
        for layer in ("layer1", "layer2")
    )
    return FeatureMaps(np.random.default_rng(1).random((8, 12), np.float32), rows)


@pytest.mark.parametrize(
    ("scale", "highest"), [("model", {"random": 2, "trained": 4}), ("layer", {"random": 4, "trained": 4})]
)
def test_tiles_share_the_scale_that_is_printed(scale: str, highest: dict[str, int]) -> None:
    shown = features()
    figure = feature_grid(shown, scale=scale)  # type: ignore[arg-type]
    assert len(figure.axes) == 2 * 3
    np.testing.assert_array_equal(pixels(figure.axes[0]), shown.image)
    for row, line in zip(shown.rows, (figure.axes[1:3], figure.axes[4:6]), strict=True):
        for one, axis in zip(row, line, strict=True):
            canvas = pixels(axis)
            assert canvas.shape == (2 * 4 + 1, 2 * 6 + 1)
            assert axis.images[0].get_clim() == (0, 1)
            mean, first, second, third = canvas[:4, :6], canvas[:4, 7:], canvas[5:, :6], canvas[5:, 7:]
            assert np.isnan(canvas[4]).all()
            assert np.isnan(canvas[:, 6]).all()
            assert (mean.min(), mean.max()) == (0, 1)  # a scale of its own
            top = highest[one.model]
            for tile, values in zip((first, second, third), one.maps, strict=True):
                np.testing.assert_allclose(tile, (values + 1) / (top + 1), rtol=1e-5)
            title = axis.get_title()
            assert title.startswith(f"{one.model}: {one.layer}\n3 of 64 channels, 4 x 6: -1 to {top}\n")
            assert f"mean of all channels: {one.mean.min():.3g} to {one.mean.max():.3g}" in title
            assert [text.get_text() for text in axis.texts] == ["mean", "10", "11", "12"]


def test_each_map_by_itself_and_constant_maps() -> None:
    backend = mpl.get_backend()
    flat = LayerMaps("m", "layer", np.ones((1, 3, 3), np.float32), np.array([5]), np.ones((3, 3), np.float32), 1)
    wide = cell("m", "layer", top=9, count=1)
    figure = feature_grid(FeatureMaps(np.zeros((3, 3), np.float32), ((flat,), (wide,))), scale="map")
    canvas = pixels(figure.axes[1])
    assert np.nanmax(canvas) == np.nanmin(canvas) == 0
    tile = pixels(figure.axes[3])[:, 7:]
    assert (tile.min(), tile.max()) == (0, 1)
    assert "each its own range" in figure.axes[3].get_title()
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    assert mpl.get_backend() == backend
    with pytest.raises(UsageError, match="scale='row'"):
        feature_grid(features(), scale="row")  # type: ignore[arg-type]


@pytest.mark.real
def test_three_sets_of_weights_on_a_published_slice(real_data: Path) -> None:
    image = COVIDCT(real_data / "covid_ct")[0]["image"]
    image = torch.nn.functional.interpolate(image[None], (64, 64), mode="area").expand(-1, 3, -1, -1)
    models = {f"seed {seed}": settled(tv.resnet18(num_classes=2), seed) for seed in range(3)}
    found = feature_maps(models, image, channels=3)
    assert [len(row) for row in found.rows] == [3] * 4
    assert all(np.isfinite(one.maps).all() and one.maps.std() > 0 for row in found.rows for one in row)
    assert len(feature_grid(found).axes) == 4 * 4
