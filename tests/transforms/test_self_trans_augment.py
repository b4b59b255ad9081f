from __future__ import annotations

import pickle

import pytest
import torch
from torchvision.transforms import v2

from covidct.errors import UsageError
from covidct.sample import check_sample
from covidct.transforms import Augment, self_trans_augment
from tests.transforms.test_two_views import textured


def test_gives_slices_of_the_contract_by_the_seed() -> None:
    sample, augment = textured(), pickle.loads(pickle.dumps(self_trans_augment(size=48)))  # noqa: S301
    out = augment(sample, seed=(0, 1))
    check_sample(out, "ct_slice")
    assert out["image"].shape == sample["image"].shape
    assert not out["image"].equal(sample["image"])
    assert out["image"].equal(augment(sample, seed=(0, 1))["image"])


def test_brightness_and_contrast_stay_within_a_fifth() -> None:
    flat = textured(16)
    flat["image"] = torch.full((1, 16, 16), 0.5)
    means = [float(self_trans_augment(size=16)(flat, seed=seed)["image"].mean()) for seed in range(200)]
    assert 0.4 - 1e-3 <= min(means) < 0.42
    assert 0.58 < max(means) <= 0.6 + 1e-3


def test_crops_cover_half_to_all_of_the_image() -> None:
    size = 64
    ramp = torch.linspace(0, 1, size)
    sample = textured(size)
    sample["image"] = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size), torch.zeros(size, size)])
    crop = Augment(v2.Compose([self_trans_augment(size=size).transform.transforms[0]]))  # type: ignore[attr-defined]
    shares = []
    for seed in range(200):
        image = crop(sample, seed=seed)["image"]
        spans = [float(image[channel].max() - image[channel].min()) * (size - 1) + 1 for channel in (0, 1)]
        shares.append(spans[0] * spans[1] / size**2)
    assert 0.45 < min(shares) < 0.6
    assert 0.9 < max(shares) <= 1.01


def test_a_wrong_size_is_named() -> None:
    with pytest.raises(UsageError, match="size=2"):
        self_trans_augment(size=2)
