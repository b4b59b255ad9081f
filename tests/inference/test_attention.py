"""Slice attention on its way from the network into results: shares, never probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from covidct.inference.batch_results import results_of_batch
from covidct.tasks import ResNeXtPlusTask
from tests.fakes.volumes import tiny_batch


def task(variant: str = "proposed") -> ResNeXtPlusTask:
    torch.manual_seed(0)
    return ResNeXtPlusTask(backbone="resnet10", slice_size=48, variant=variant).eval()  # type: ignore[arg-type]


def test_results_carry_shares_of_the_real_slices_and_no_slice_scores() -> None:
    network, batch = task(), tiny_batch(3)
    with torch.no_grad():
        wanted = network.model(batch["image"], batch["lung_mask"], batch["slice_mask"])["attention"]
    for index, result in enumerate(results_of_batch(network, batch)):
        real = batch["slice_mask"][index].numpy()
        found = np.array(result.attention)
        assert np.array_equal(np.isfinite(found), real)
        np.testing.assert_allclose(found[real], wanted[index].numpy()[real], atol=1e-6)
        assert found[real].sum() == pytest.approx(1)
        assert result.slice_scores == ()
        assert result.preview is not None
        assert result.to_dict()["attention"] == result.attention


def test_without_slice_attention_there_is_none() -> None:
    assert all(result.attention == () for result in results_of_batch(task("N-SLA"), tiny_batch()))
