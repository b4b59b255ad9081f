from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from covidct.errors import InputError, UsageError
from covidct.functional import lung_mask_2d
from covidct.transforms import RemoveBackgroundd
from tests.functional.test_background import as_picture, chest

HU, LUNGS = chest(128)


@pytest.mark.parametrize(
    "image", [HU[None], torch.from_numpy(HU)[None], as_picture(HU)[None], np.stack([HU, HU])[None]]
)
def test_morphology_on_named_keys(image: Any) -> None:  # noqa: ANN401
    out = RemoveBackgroundd("image", mask_key="lung_mask")({"image": image, "label": 1})
    assert type(out["image"]) is type(out["lung_mask"]) is type(image)
    assert out["image"].dtype == image.dtype
    mask = lung_mask_2d(np.asarray(image))
    np.testing.assert_array_equal(out["lung_mask"], mask)
    np.testing.assert_array_equal(np.asarray(out["image"])[mask > 0], np.asarray(image)[mask > 0])
    outside = np.asarray(out["image"])[mask == 0]
    assert set(np.unique(outside)) == ({0} if np.asarray(image).dtype == np.uint8 else {-1024})
    assert out["label"] == 1


def test_a_segmenter_in_place_of_morphology() -> None:
    def halves(image: NDArray[Any]) -> NDArray[np.uint8]:
        mask = np.zeros(image.shape, np.uint8)
        mask[..., : image.shape[-1] // 2] = 1
        return mask

    out = RemoveBackgroundd("image", method=halves, fill=3.0)({"image": HU[None]})
    assert set(out) == {"image"}
    np.testing.assert_array_equal(out["image"][..., :64], HU[None, :, :64])
    assert (out["image"][..., 64:] == 3).all()


def test_meta_data_stays() -> None:
    affine = torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    out = RemoveBackgroundd("image")({"image": MetaTensor(torch.from_numpy(HU)[None].float(), affine=affine)})["image"]
    assert isinstance(out, MetaTensor)
    assert torch.equal(out.affine, affine)


def test_a_patch_of_which_the_values_do_not_tell() -> None:
    patch = np.full((1, 16, 16), 40.0, np.float32)
    with pytest.raises(InputError, match="intensity='hu'"):
        RemoveBackgroundd("image")({"image": patch})
    assert (RemoveBackgroundd("image", intensity="hu")({"image": patch})["image"] == -1024).all()


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match="'magic' is unknown"):
        RemoveBackgroundd("image", method="magic")  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        RemoveBackgroundd("mask")({"image": HU})
    assert "mask" not in RemoveBackgroundd("mask", allow_missing_keys=True)({"image": HU})
