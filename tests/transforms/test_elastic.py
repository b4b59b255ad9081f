from __future__ import annotations

import pytest
import torch
from torchvision import tv_tensors

from covidct.errors import UsageError
from covidct.transforms.elastic import RandomElastic


@pytest.mark.parametrize("size", [(8, 8), (20, 33), (224, 224)])
def test_displacement_is_bounded_and_smooth(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    image = tv_tensors.Image(torch.zeros(1, *size))
    warp = RandomElastic(2.0, control=12)
    for _ in range(10):
        field = warp.make_params([image])["displacement"]
        pixels = field * torch.tensor([size[1] / 2, size[0] / 2])
        assert field.shape == (1, *size, 2)
        assert pixels.abs().max() <= 2.0 * 1.5  # bicubic interpolation overshoots the control points
        if min(size) > 1:
            assert pixels.diff(dim=1).abs().max() < 1.0  # less than a pixel per pixel: nothing folds over


def test_no_offset_changes_nothing() -> None:
    image = tv_tensors.Image(torch.rand(1, 30, 30))
    torch.testing.assert_close(RandomElastic(0.0)(image), image, rtol=0, atol=1e-5)


def test_a_shift_moves_image_and_mask_by_the_same_pixels() -> None:
    warp = RandomElastic(2.0)
    plane = torch.zeros(1, 32, 32)
    plane[:, 10:20, 10:20] = 1
    shift = torch.zeros(1, 32, 32, 2)
    shift[..., 0] = 2 * 3 / 32  # take the value 3 px further right
    for value in (tv_tensors.Image(plane), tv_tensors.Mask(plane.to(torch.uint8))):
        moved = warp.transform(value, {"displacement": shift})
        torch.testing.assert_close(moved.as_subclass(torch.Tensor).float(), plane.roll(-3, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("offset", "control"), [(-1.0, 12), (1.0, 0)])
def test_impossible_settings_are_refused(offset: float, control: int) -> None:
    with pytest.raises(UsageError):
        RandomElastic(offset, control=control)
