from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from covidct.errors import UsageError
from covidct.sample import Sample, check_sample
from covidct.transforms import TwoViews, moco_views


def textured(size: int = 48) -> Sample:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, 6, 6, generator=generator)
    return Sample(
        image=torch.nn.functional.interpolate(coarse, size, mode="bilinear")[0].clamp(0, 1),
        lung_mask=torch.ones(1, size, size, dtype=torch.uint8),
        subject=torch.tensor(1),
        scan=torch.tensor(2),
        label=torch.tensor(-1),
        id="x",
    )


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_views_follow_the_contract_and_leave_the_rest(version: str) -> None:
    sample, views = textured(), moco_views(version, size=48)  # type: ignore[arg-type]
    for seed in range(20):
        out = views(sample, seed=(0, seed))
        check_sample(out, "ct_slice")
        assert out["views"].shape == (2, 1, 48, 48)
        assert all(out[key] is sample[key] for key in sample)  # type: ignore[literal-required]
        assert not out["views"][0].equal(out["views"][1])


def test_views_follow_from_the_seed_alone() -> None:
    sample, views = textured(), moco_views(size=48)
    state = torch.get_rng_state()
    first = views(sample, seed=(3, 1, 4))["views"]
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(99)
    again = pickle.loads(pickle.dumps(views))  # noqa: S301
    assert again(sample, seed=(3, 1, 4))["views"].equal(first)
    assert not views(sample, seed=(3, 1, 5))["views"].equal(first)
    assert views(sample, seed=7)["views"].equal(views(sample, seed=(7,))["views"])


def test_the_two_views_are_independent() -> None:
    flips = TwoViews(v2.RandomHorizontalFlip(0.5))
    sample = textured()
    mirrored = np.array(
        [[not view.equal(sample["image"]) for view in flips(sample, seed=seed)["views"]] for seed in range(400)]
    )
    assert 0.4 < mirrored.mean() < 0.6
    assert abs(np.corrcoef(mirrored.T)[0, 1]) < 0.15


def test_crops_cover_a_fifth_to_all_of_the_image() -> None:
    size = 64
    ramp = torch.linspace(0, 1, size)
    sample = Sample(
        image=torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size), torch.zeros(size, size)]),
        subject=torch.tensor(1),
        scan=torch.tensor(2),
        id="x",
    )
    views = moco_views("v1", size=size)
    crop = TwoViews(v2.Compose([views.transform.transforms[0]]))  # type: ignore[attr-defined]
    shares = []
    for seed in range(200):
        for view in crop(sample, seed=seed)["views"]:
            spans = [float(view[channel].max() - view[channel].min()) * (size - 1) + 1 for channel in (0, 1)]
            shares.append(spans[0] * spans[1] / size**2)
    assert 0.15 < min(shares) < 0.3
    assert 0.9 < max(shares) <= 1.01


def test_brightness_varies_as_published() -> None:
    flat = textured()
    flat["image"] = torch.full((1, 16, 16), 0.5)
    first, second = moco_views("v1", size=16), moco_views("v2", size=16)
    means = np.array([first(flat, seed=seed)["views"].mean((1, 2, 3)).numpy() for seed in range(99)])
    assert means.min() >= 0.5 * 0.6 - 1e-3
    assert means.max() <= 0.5 * 1.4 + 1e-3
    assert means.std() == pytest.approx(0.5 * 0.8 / np.sqrt(12), rel=0.15)
    means = np.array([second(flat, seed=seed)["views"][:, 0, 0, 0].numpy() for seed in range(99)])
    assert (np.abs(means - 0.5) < 1e-6).mean() == pytest.approx(0.2, abs=0.08)  # a fifth is left as it is


def test_only_the_second_version_blurs() -> None:
    sample = textured()
    sample["image"] = torch.zeros(1, 48, 48)
    sample["image"][..., 20:28] = 0.6
    sharp = {"v1": 0, "v2": 0}
    for version in ("v1", "v2"):
        steps = moco_views(version, size=48).transform.transforms[1:]  # type: ignore[attr-defined]
        views = TwoViews(v2.Compose(steps))
        for seed in range(60):
            for view in views(sample, seed=seed)["views"]:
                sharp[version] += int(view.mul(500).round().unique().numel() == 2)  # jitter leaves two values
    assert sharp["v1"] == 120
    assert 48 <= sharp["v2"] <= 84  # half, and the weakest blurs change nothing


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UsageError, match="'v3'"):
        moco_views("v3")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="size=4"):
        moco_views(size=4)
    with pytest.raises(UsageError, match=r"\(1, 32, 32\), the image is \(1, 48, 48\)"):
        moco_views(size=32)(textured(), seed=0)
