from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from covidct.functional import stochastic_enhance, tone_map
from covidct.transforms import StochasticEnhanced, ToneMapd

IMAGE = np.random.default_rng(0).random((1, 3, 8, 10), dtype=np.float32)


@pytest.mark.parametrize("image", [IMAGE, torch.from_numpy(IMAGE)])
def test_tone_map_of_named_keys(image: Any) -> None:  # noqa: ANN401
    out = ToneMapd("image", gamma=2.0)({"image": image, "label": 1})
    assert type(out["image"]) is type(image)
    np.testing.assert_array_equal(out["image"], tone_map(image, gamma=2.0))
    assert out["label"] == 1


@pytest.mark.parametrize("image", [IMAGE, torch.from_numpy(IMAGE)])
def test_walks_go_over_each_slice(image: Any) -> None:  # noqa: ANN401
    transform = StochasticEnhanced("image", seed=4, walks=5, steps=3, gain=0.5)
    out = transform({"image": image})["image"]
    assert (type(out), out.shape) == (type(image), image.shape)
    alone = stochastic_enhance(IMAGE[0, 2], seed=4, walks=5, steps=3, gain=0.5)
    np.testing.assert_array_equal(np.asarray(out)[0, 2], alone)


@pytest.mark.parametrize("transform", [ToneMapd("image"), StochasticEnhanced("image", walks=4, steps=3)])
def test_meta_data_stays(transform: Any) -> None:  # noqa: ANN401
    affine = torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    out = transform({"image": MetaTensor(torch.from_numpy(IMAGE).double(), affine=affine)})["image"]
    assert isinstance(out, MetaTensor)
    assert out.dtype == torch.float32
    assert torch.equal(out.affine, affine)


def test_absent_keys() -> None:
    with pytest.raises(KeyError):
        ToneMapd("mask")({"image": IMAGE})
    assert "mask" not in StochasticEnhanced("mask", allow_missing_keys=True)({"image": IMAGE})
