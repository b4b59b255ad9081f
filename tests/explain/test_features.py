"""Figure 6: slice, mask and feature map, with and without a lesion."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch

from covidct.errors import UsageError
from covidct.explain import FeatureRow, feature_figure, feature_row, mean_feature_map
from tests.explain.networks import inputs_of, pooling_network, pooling_task, volumes


def test_the_map_is_the_mean_over_the_channels_of_used_slices() -> None:
    network, batch = pooling_network(), volumes(2)
    found = mean_feature_map(network, inputs_of(batch))
    with torch.no_grad():
        expected = network.feature_maps(batch["image"][1].transpose(0, 1)[1:4]).mean(1)
    torch.testing.assert_close(found[1, 1:4], expected)
    assert not found[:, 0].any()  # no lung
    assert not found[0, 3].any()  # padding


def test_a_row_takes_the_slice_with_most_lesion_else_most_lung() -> None:
    task, batch = pooling_task(), volumes(1)
    batch["lesion_mask"] = torch.zeros_like(batch["lung_mask"])
    batch["lung_mask"][0, 0, 1, 8:] = 0
    lung = feature_row(task, batch, title="without")
    np.testing.assert_array_equal(lung.image, batch["image"][0, 0, 2].numpy())
    batch["lesion_mask"][0, 0, 1, 6:8, 6:9] = 1
    lesion = feature_row(task, batch, title="with")
    np.testing.assert_array_equal(lesion.image, batch["image"][0, 0, 1].numpy())
    np.testing.assert_array_equal(lesion.lung_mask, batch["lung_mask"][0, 0, 1].numpy())
    named = feature_row(task, batch, title="named", slice_index=2)
    torch.testing.assert_close(torch.from_numpy(named.features), mean_feature_map(task, batch)[0, 2])


def test_the_figure_has_the_three_pictures_of_each_row_in_one_scale() -> None:
    backend = mpl.get_backend()
    rng = np.random.default_rng(0)
    rows = [
        FeatureRow(
            title, rng.random((8, 8), np.float32), np.full((8, 8), 2, np.uint8), top * np.ones((2, 2), np.float32)
        )
        for title, top in (("with lesion", 4.0), ("without lesion", 1.0))
    ]
    figure = feature_figure(rows)
    assert [axis.get_title() for axis in figure.axes[:3]] == ["slice", "lung mask", "last feature map"]
    assert [axis.get_ylabel() for axis in figure.axes[::3]] == ["with lesion", "without lesion"]
    for row, line in zip(rows, (figure.axes[:3], figure.axes[3:]), strict=True):
        image, mask, features = (np.asarray(axis.images[0].get_array()) for axis in line)
        np.testing.assert_array_equal(image, row.image)
        np.testing.assert_array_equal(mask, row.lung_mask)
        np.testing.assert_allclose(features, row.features[0, 0])
        assert line[2].images[0].get_clim() == (0, 4)
    figure.canvas.draw()
    assert mpl.get_backend() == backend


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(UsageError, match="at least one row"):
        feature_figure([])
    task, batch = pooling_task(), volumes(1)
    with pytest.raises(UsageError, match="slice_index=9"):
        feature_row(task, batch, title="", slice_index=9)
    with pytest.raises(UsageError, match="lung_mask"):
        feature_row(task, {"image": batch["image"]}, title="")
