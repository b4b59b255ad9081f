"""The element-wise map: terms of the score, zero outside the lungs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from covidct.errors import UsageError
from covidct.explain import ElementMap
from tests.explain.networks import RealSlices, inputs_of, pooling_network, pooling_task, volumes


@pytest.mark.parametrize("fusion", ["max", "mean"])
def test_is_the_positive_part_of_the_terms_of_each_slices_score(fusion: str) -> None:
    network, batch = pooling_network(fusion=fusion), volumes(2)
    found = ElementMap(network)(inputs_of(batch), torch.tensor([0, 1])).maps.numpy()
    weights = network.pooling_weights(batch["lung_mask"]).numpy()
    for index, depth in enumerate((3, 4)):
        for number in range(1, depth):
            with torch.no_grad():
                (features,) = network.feature_maps(batch["image"][index, None, :, number]).numpy()
                scores, _ = network.slice_features(*(part[index : index + 1] for part in inputs_of(batch)))
                score = network.head(scores)[0, number, index].item()
            head = network.head.weight[index].detach().numpy()
            terms = np.zeros(features.shape[1:])
            for row, column in np.ndindex(*terms.shape):
                terms[row, column] = weights[index, number, row, column] * (head @ features[:, row, column])
            bias = network.head.bias[index].item()
            assert terms.sum() + bias == pytest.approx(score, abs=1e-4)
            np.testing.assert_allclose(found[index, number], np.maximum(terms, 0), atol=1e-5)
    assert not found[:, 0].any()  # no lung
    assert not found[0, 3].any()  # padding
    assert found.any()


def test_is_zero_where_the_pooling_weights_are() -> None:
    task, batch = pooling_task(slice_size=128), volumes(1)
    batch["lung_mask"][..., 16:] = 0  # lungs in the left half of the picture only
    weights = task.model.pooling_weights(batch["lung_mask"])
    found = ElementMap(task)(batch, 1).maps
    with_lungs = (batch["lung_mask"] > 0).flatten(3).any(3)[:, 0, :, None, None]
    outside = (weights == 0) & with_lungs
    assert outside.any()
    assert not found[outside].any()
    assert found.any()


def test_explains_the_predicted_class_in_every_mode() -> None:
    task, batch = pooling_task(), volumes(2)
    found = ElementMap(task)(batch)
    assert found.target.equal(found.logits.argmax(1))
    with torch.inference_mode():
        torch.testing.assert_close(ElementMap(task)(batch).maps, found.maps)


def test_other_networks_are_sent_to_grad_cam() -> None:
    with pytest.raises(UsageError, match="use GradCAM"):
        ElementMap(RealSlices())
