from __future__ import annotations

import torch
from monai.data import MetaTensor
from monai.transforms import Rotate90d

from covidct.transforms import InPlaned


def test_every_slice_is_turned_alike_and_the_affine_stays() -> None:
    volume = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    affine = torch.diag(torch.tensor([3.0, 2.0, 1.0, 1.0]))
    turn = InPlaned(("image", "absent"), Rotate90d("image", k=1))
    out = turn({"image": MetaTensor(volume, affine=affine), "id": "x"})
    assert torch.equal(out["image"].as_tensor(), torch.rot90(volume, 1, (2, 3)))
    assert torch.equal(out["image"].affine.float(), affine)
    assert out["id"] == "x"


def test_plain_tensors_stay_plain() -> None:
    out = InPlaned("image", Rotate90d("image", k=2))({"image": torch.rand(1, 2, 4, 4)})
    assert type(out["image"]) is torch.Tensor
