from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from covidct.functional import clahe, equalise, equalise_histogram, stochastic_enhance, tone_map
from covidct.transforms import CLAHEd, Equalised, EqualiseHistogramd, StochasticEnhanced, ToneMapd

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


@pytest.mark.parametrize("image", [IMAGE, torch.from_numpy(IMAGE), np.asarray(IMAGE * 255, np.uint8)])
def test_equalisation_of_named_keys(image: Any) -> None:  # noqa: ANN401
    options: dict[str, Any] = {"tiles": (2, 5), "clip_limit": 3.0}
    for transform, expected in (
        (EqualiseHistogramd("image"), equalise_histogram(image)),
        (CLAHEd("image", **options), clahe(image, **options)),
        (Equalised("image", **options), equalise(image, **options)),
    ):
        out = transform({"image": image, "label": 1})
        assert (type(out["image"]), out["image"].dtype) == (type(image), image.dtype)
        np.testing.assert_array_equal(out["image"], expected)
        assert out["label"] == 1


def test_equalisation_within_a_mask_and_of_hounsfield_units() -> None:
    hu = torch.from_numpy(IMAGE * 3000 - 1500)
    mask = torch.zeros(1, 3, 8, 10, dtype=torch.uint8)
    mask[:, :, 2:6] = 1
    window = (-1000.0, 400.0)
    out = EqualiseHistogramd("image", mask_key="mask", window=window)({"image": hu, "mask": mask})["image"]
    np.testing.assert_array_equal(out, equalise_histogram(hu, mask=mask, window=window))
    assert not torch.equal(out, equalise_histogram(hu, window=window))
    np.testing.assert_array_equal(
        Equalised("image", window=window)({"image": hu})["image"], equalise(hu, window=window)
    )


@pytest.mark.parametrize(
    "transform",
    [
        ToneMapd("image"),
        StochasticEnhanced("image", walks=4, steps=3),
        EqualiseHistogramd("image"),
        CLAHEd("image"),
        Equalised("image"),
    ],
)
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
