"""Mask-weighted pooling against double loops, scipy and torch's own pooling."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from covidct.errors import UsageError
from covidct.functional import mask_weighted_gap, mask_weights


def _masks(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.rand(n, 1, height, width, generator=generator)
    return (blobs > 0.7).to(torch.uint8) * torch.randint(1, 3, (n, 1, height, width), generator=generator).to(
        torch.uint8
    )


def _brute_force(mask: np.ndarray, size: tuple[int, int], sigma: float, mode: str) -> np.ndarray:
    """Area averages by loops over adaptive windows, Gaussian by scipy, then the sum."""
    height, width = mask.shape
    cells = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            rows = slice(i * height // size[0], -(-(i + 1) * height // size[0]))
            columns = slice(j * width // size[1], -(-(j + 1) * width // size[1]))
            cells[i, j] = np.mean(mask[rows, columns] > 0)
    if sigma > 0:
        cells = ndimage.gaussian_filter(cells, sigma, mode=mode, cval=0.0)
    return np.asarray(cells / cells.sum())


@pytest.mark.parametrize("shape", [(224, 224), (100, 37), (5, 9), (7, 7)])
@pytest.mark.parametrize("size", [(7, 7), (4, 6), (1, 1)])
@pytest.mark.parametrize(("sigma", "padding"), [(0.0, "zero"), (1.0, "zero"), (1.0, "reflect"), (4.0, "reflect")])
def test_equals_brute_force(
    shape: tuple[int, int], size: tuple[int, int], sigma: float, padding: Literal["zero", "reflect"]
) -> None:
    mask = _masks(3, *shape)
    weights = mask_weights(mask, size, sigma, padding)
    assert weights.shape == (3, 1, *size)
    assert weights.dtype == torch.float32
    mode = "constant" if padding == "zero" else "reflect"
    for got, one in zip(weights, mask, strict=True):
        np.testing.assert_allclose(got[0].numpy(), _brute_force(one[0].numpy(), size, sigma, mode), atol=2e-6)


def test_weights_are_a_distribution_and_an_empty_lung_is_uniform() -> None:
    mask = _masks(4, 64, 64)
    mask[2] = 0
    weights = mask_weights(mask)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum((1, 2, 3)), torch.ones(4))
    torch.testing.assert_close(weights[2], torch.full((1, 7, 7), 1 / 49))


def test_one_voxel_is_enough() -> None:
    mask = torch.zeros(1, 1, 512, 512)
    mask[..., 0, 0] = 2
    weights = mask_weights(mask, sigma=0)
    assert weights[0, 0, 0, 0] == 1.0


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_any_dtype(dtype: torch.dtype) -> None:
    mask = _masks(2, 50, 50)
    torch.testing.assert_close(mask_weights(mask.to(dtype)), mask_weights(mask))


def test_uniform_weights_are_average_pooling_and_one_hot_picks_a_cell() -> None:
    features = torch.randn(3, 16, 7, 7)
    uniform = torch.full((3, 1, 7, 7), 1 / 49)
    torch.testing.assert_close(
        mask_weighted_gap(features, uniform), nn.AdaptiveAvgPool2d(1)(features).flatten(1), atol=1e-6, rtol=0
    )
    one_hot = torch.zeros(3, 1, 7, 7)
    one_hot[:, :, 2, 5] = 1
    torch.testing.assert_close(mask_weighted_gap(features, one_hot), features[:, :, 2, 5])


def test_gap_equals_loops_is_linear_and_ignores_cells_without_weight() -> None:
    features, other = torch.randn(2, 5, 7, 7), torch.randn(2, 5, 7, 7)
    weights = mask_weights(_masks(2, 28, 28), sigma=0)
    weights[:, :, :3] = 0
    loops = np.zeros((2, 5))
    for n, k, i, j in np.ndindex(2, 5, 7, 7):
        loops[n, k] += float(weights[n, 0, i, j]) * float(features[n, k, i, j])
    np.testing.assert_allclose(mask_weighted_gap(features, weights).numpy(), loops, atol=1e-6)
    torch.testing.assert_close(
        mask_weighted_gap(2 * features - other, weights),
        2 * mask_weighted_gap(features, weights) - mask_weighted_gap(other, weights),
    )
    torch.testing.assert_close(
        mask_weighted_gap(features * (weights > 0), weights), mask_weighted_gap(features, weights)
    )


def test_flipping_image_and_mask_changes_nothing() -> None:
    features, mask = torch.randn(2, 5, 7, 7), _masks(2, 56, 56)
    flipped = mask_weighted_gap(features.flip(-1), mask_weights(mask.flip(-1)))
    torch.testing.assert_close(flipped, mask_weighted_gap(features, mask_weights(mask)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_under_autocast(dtype: torch.dtype) -> None:
    mask, features = _masks(2, 112, 112), torch.randn(2, 8, 7, 7).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        weights = mask_weights(mask)
        pooled = mask_weighted_gap(features, weights)
    assert weights.dtype == pooled.dtype == torch.float32
    torch.testing.assert_close(weights, mask_weights(mask), rtol=0, atol=0)
    torch.testing.assert_close(pooled, mask_weighted_gap(features.float(), weights), rtol=0, atol=0)


def test_gradients() -> None:
    features = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mask_weighted_gap, (features, weights))


class _Pool(nn.Module):
    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        return mask_weighted_gap(features, mask_weights(mask))


@pytest.mark.parametrize("side", [224, 100])
def test_exports_with_a_free_number_of_slices(side: int) -> None:
    batch = torch.export.Dim("slices", min=1)
    program = torch.export.export(
        _Pool(), (torch.randn(3, 8, 7, 7), _masks(3, side, side)), dynamic_shapes=({0: batch}, {0: batch})
    )
    features, mask = torch.randn(5, 8, 7, 7), _masks(5, side, side, seed=1)
    mask[1] = 0
    torch.testing.assert_close(program.module()(features, mask), _Pool()(features, mask))


@pytest.mark.slow
def test_exports_to_onnx(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "pool.onnx"
    features, mask = torch.randn(2, 8, 7, 7), _masks(2, 224, 224)
    torch.onnx.export(_Pool().eval(), (features, mask), path, input_names=["features", "mask"], dynamo=True)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (pooled,) = session.run(None, {"features": features.numpy(), "mask": mask.numpy()})
    np.testing.assert_allclose(pooled, _Pool()(features, mask).numpy(), atol=1e-5)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\(N, 1, H, W\)"):
        mask_weights(torch.zeros(2, 3, 8, 8))
    with pytest.raises(UsageError, match="sigma"):
        mask_weights(torch.zeros(2, 1, 8, 8), sigma=-1)
    with pytest.raises(UsageError, match="weights"):
        mask_weighted_gap(torch.zeros(2, 3, 7, 7), torch.zeros(2, 1, 6, 7))
