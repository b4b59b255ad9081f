"""What the distance sees of an image: the mean of pixels, and a network's features by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet18

from covidct.curation import network_features, pixel_features
from covidct.errors import UsageError, WeightsError


def test_pixels_of_the_grids_size_are_taken_as_they_are() -> None:
    images = np.random.default_rng(0).random((3, 2, 32, 32), dtype=np.float32)
    np.testing.assert_allclose(pixel_features(images), images.reshape(3, -1), atol=1e-6)
    np.testing.assert_allclose(partial(pixel_features, size=32)(images[:, 0]), images[:, 0].reshape(3, -1), atol=1e-6)


def test_a_ramp_stays_a_ramp_on_the_small_grid() -> None:
    ramp = np.tile(np.arange(128, dtype=np.float64) / 127, (1, 128, 1))
    small = pixel_features(ramp, size=16).reshape(16, 16)
    middles = (8 * np.arange(16) + 3.5) / 127
    np.testing.assert_allclose(small[:, 1:-1], np.tile(middles[1:-1], (16, 1)), atol=1e-5)


def test_noise_is_averaged_not_picked() -> None:
    images = np.random.default_rng(1).normal(size=(4, 256, 256)).astype(np.float32)
    assert pixel_features(images, size=32).std() < 0.25  # 8 x 8 pixels, and neighbours under the triangle


def test_bytes_are_shares_of_255_and_the_kind_stays() -> None:
    images = np.random.default_rng(2).integers(0, 256, (2, 40, 50), dtype=np.uint8)
    rows = pixel_features(images)
    np.testing.assert_allclose(rows, pixel_features(images / 255.0), atol=1e-6)
    of_tensor = pixel_features(torch.from_numpy(images))
    assert isinstance(of_tensor, torch.Tensor)
    np.testing.assert_array_equal(of_tensor.numpy(), rows)
    np.testing.assert_array_equal(pixel_features(images[:, ::-1]), pixel_features(images[:, ::-1].copy()))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all weights of a ResNet-18."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_file(resnet18(num_classes=2).state_dict(), path)
    return path


def test_features_are_the_pooled_ones_of_the_weights_given(weights: Path) -> None:
    torch.manual_seed(7)
    network = resnet18(num_classes=2).eval()
    grey = torch.rand(3, 64, 64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    caught: list[torch.Tensor] = []
    network.avgpool.register_forward_hook(lambda *parts: caught.append(parts[2]))
    with torch.no_grad():
        network((grey[:, None] - mean) / std)
    features = network_features("resnet18", weights=str(weights), size=None, batch_size=2)
    np.testing.assert_allclose(features(grey), caught[0].flatten(1), rtol=1e-4, atol=1e-5)
    colour = grey[:, None].expand(-1, 3, -1, -1).numpy()
    np.testing.assert_allclose(features(colour), caught[0].flatten(1), rtol=1e-4, atol=1e-5)


def test_random_weights_are_those_of_the_seed_and_leave_the_generator_alone() -> None:
    images = np.random.default_rng(3).random((2, 64, 64), dtype=np.float32)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one = network_features("resnet18", size=64)(images)
    assert torch.rand(1) == expected
    assert one.shape == (2, 512)
    np.testing.assert_array_equal(one, network_features("resnet18", size=64)(images))
    assert (one != network_features("resnet18", size=64, seed=1)(images)).any()


def test_a_module_is_frozen_and_given_the_images_as_they_are() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.AvgPool2d(2))
    module.train()
    images = torch.rand(5, 1, 4, 4)
    rows = network_features(module, size=None, batch_size=2)(images)
    np.testing.assert_allclose(rows, nn.AvgPool2d(2)(images).flatten(1))
    assert not rows.requires_grad


def test_what_gives_no_features_is_refused(weights: Path) -> None:
    with pytest.raises(UsageError, match="no torchvision network"):
        network_features("resnet19")
    with pytest.raises(UsageError, match="no head called 'fc'"):
        network_features("squeezenet1_1")
    with pytest.raises(UsageError, match="leave them out"):
        network_features(nn.Identity(), weights="IMAGENET1K_V1")
    with pytest.raises(WeightsError, match="do not fit"):
        network_features("resnet34", weights=str(weights))
    for shape in ((4, 4), (0, 4, 4), (1, 1, 1, 4, 4)):
        with pytest.raises(UsageError, match="give"):
            pixel_features(np.zeros(shape))
