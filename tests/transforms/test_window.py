from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureTyped, ScaleIntensityRange

from covidct.errors import InputError
from covidct.transforms import LungMaskd, WindowHUd
from covidct.volume import Volume
from tests.fakes.chests import chest


def test_window_equals_monais() -> None:
    hu = torch.linspace(-2000, 2000, 401)[None]
    ours = WindowHUd("image", -1000, 400)({"image": hu})["image"]
    theirs = ScaleIntensityRange(-1000, 400, 0.0, 1.0, clip=True)(hu)
    torch.testing.assert_close(ours, torch.as_tensor(theirs), rtol=0, atol=1e-6)


def test_lung_mask_in_a_monai_pipeline() -> None:
    raw = chest((24, 32, 40), spacing=(12.0, 8.0, 8.0))
    assert isinstance(raw.scan, Volume)
    assert raw.lung_mask is not None
    pipeline = Compose([EnsureTyped("image"), LungMaskd(), WindowHUd("image")])
    pipeline = pickle.loads(pickle.dumps(pipeline))  # noqa: S301
    out = pipeline({"image": raw.scan.array[None], "spacing": torch.tensor(raw.scan.spacing)})
    assert isinstance(out["lung_mask"], torch.Tensor)
    found = out["lung_mask"][0].numpy()
    assert 2 * ((found == 1) & (raw.lung_mask == 1)).sum() / ((found == 1).sum() + (raw.lung_mask == 1).sum()) > 0.9
    assert out["image"].max() <= 1


def test_array_gives_an_array() -> None:
    raw = chest()
    assert isinstance(raw.scan, Volume)
    out = LungMaskd()({"image": raw.scan.array[None], "spacing": raw.scan.spacing})
    assert isinstance(out["lung_mask"], np.ndarray)


def test_slice_is_refused() -> None:
    with pytest.raises(InputError, match=r"must be \(1, D, H, W\)"):
        LungMaskd()({"image": np.zeros((1, 8, 8)), "spacing": (1, 1, 1)})
