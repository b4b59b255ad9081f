"""The one door to augmentation: torchvision v2 for slices and X-rays, MONAI dictionary transforms for volumes.

A sample of the contract goes in and comes out, with plain tensors of the table's dtypes. Masks and boxes move with the
image, a mirrored image swaps the lung labels 1 and 2, and ``affine`` is dropped, since it no longer holds. Random
numbers come from the seed given with each sample alone: the number of workers, the order of the samples and a resumed
run do not matter, and nobody's global state is touched.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from covidct.sample import Kind, Sample

__all__ = ("Augment", "default_augment")

_MASKS = ("lung_mask", "lesion_mask")
_SPATIAL = ("image", *_MASKS)

# Augmentation of COVNet's published code (data set code and configuration): mirror, Gaussian noise of variance up to
# 0.015, elastic deformation (alpha up to 100 px, sigma 8 to 13 px), rotation up to 3 degrees, scale 0.9 to 1.1.
_DEGREES = 3.0
_SCALE = 0.1
_NOISE_VARIANCE = 0.015
# An elastic field of alpha 100, sigma 8 to 13 px displaces by 1 to 2 px rms (uniform noise, sd 0.58, averaged over
# 4 pi sigma^2 pixels, times alpha) in slices of 224 px. We draw offsets up to 2 px at control points 12 px apart,
# which displaces and reaches as far, works for every size and costs no convolution with a kernel of 100 px.
_OFFSET = 2.0
_CONTROL = 12


class Augment:
    """Applies a torchvision v2 or a MONAI dictionary transform to samples.

    Args:
        transform: a torchvision v2 transform (an ``nn.Module``; gets ``tv_tensors``), or a MONAI dictionary transform
            over the keys ``image``, ``lung_mask``, ``lesion_mask`` (gets ``MetaTensor`` with channel first). Use
            ``allow_missing_keys=True`` and mode ``"nearest"`` for masks in MONAI.
        labels: classes whose samples are augmented; None: all. Traces of the augmentation (interpolation, noise) then
            tell the classes apart, so this is for the reproduction of recipes that did so.
        sided: lung masks tell right from left, so that a mirrored mask of 1 alone (the right lung of a scan that shows
            no other) becomes 2. False: such a mask is taken as one without sides and stays 1.
    """

    def __init__(
        self, transform: Callable[..., Any], *, labels: Sequence[int] | None = None, sided: bool = False
    ) -> None:
        """Keep the transform; it must pickle, since it goes to worker processes."""
        self.transform = transform
        self.sided = sided
        self.labels = None if labels is None else tuple(labels)

    def __call__(self, sample: Sample, *, seed: int | Sequence[int]) -> Sample:
        """Augment one sample.

        Args:
            sample: as a data module gives it, image in [0, 1].
            seed: all random numbers follow from it.

        Returns:
            A new sample; image float32 in [0, 1], without ``affine``.

        Raises:
            UsageError: when the transform changes the depth of a volume, or gives NaN.
        """
        if self.labels is not None and int(sample["label"]) not in self.labels:
            return cast("Sample", {key: value for key, value in sample.items() if key != "affine"})
        state = int(np.random.SeedSequence(seed).generate_state(1)[0])
        apply = _torchvision if isinstance(self.transform, torch.nn.Module) else _monai
        moved, mirrored = apply(self.transform, sample, state)
        out = cast("Sample", {key: value for key, value in sample.items() if key != "affine"} | moved)
        out["image"] = out["image"].clamp(0, 1)
        if not bool(out["image"].sum().isfinite()):  # NaN outlives the clamp
            raise UsageError(f"The augmentation gives NaN for the sample {sample['id']!r}: mend the transform.")
        if mirrored and "lung_mask" in out and (self.sided or bool((out["lung_mask"] == 2).any())):
            out["lung_mask"] = torch.tensor([0, 2, 1], dtype=torch.uint8)[out["lung_mask"].long()]
        return out


def default_augment(kind: Kind) -> Augment:
    """The augmentation of COVNet's published code, on the library that suits the kind.

    Volumes: one mirror, one in-plane deformation (elastic, rotation, scale) common to all slices as in COVNet's code,
    noise. Slices: the same per slice. Chest X-rays: the same without the elastic deformation (our choice; the X-ray
    system publishes no augmentation).

    Args:
        kind: ``"ct_volume"``, ``"ct_slice"`` or ``"cxr"``.

    Returns:
        What a data module of the kind takes as ``train_transform``.
    """
    if kind == "ct_volume":
        return Augment(_volume_transform())
    return Augment(_image_transform(elastic=kind == "ct_slice"))


def _volume_transform() -> Any:  # noqa: ANN401  (MONAI has no types)
    from monai.transforms import Compose, Rand2DElasticd, RandFlipd, RandGaussianNoised

    from covidct.transforms.in_plane import InPlaned

    warp = Rand2DElasticd(
        _SPATIAL,
        spacing=(float(_CONTROL), float(_CONTROL)),
        magnitude_range=(0.0, _OFFSET),
        prob=0.5,
        rotate_range=math.radians(_DEGREES),
        scale_range=(_SCALE, _SCALE),
        mode=("bilinear", "nearest", "nearest"),
        padding_mode="zeros",
        allow_missing_keys=True,
    )
    return Compose(
        [
            RandFlipd(_SPATIAL, prob=0.5, spatial_axis=2, allow_missing_keys=True),
            InPlaned(_SPATIAL, warp),
            RandGaussianNoised("image", prob=0.5, std=math.sqrt(_NOISE_VARIANCE)),
        ]
    )


def _image_transform(*, elastic: bool) -> torch.nn.Module:
    from torchvision.transforms import v2

    from covidct.transforms.elastic import RandomElastic

    noises = [v2.GaussianNoise(sigma=math.sqrt(_NOISE_VARIANCE) * share) for share in (0.25, 0.5, 0.75, 1.0)]
    bilinear = v2.InterpolationMode.BILINEAR  # masks are always moved by nearest neighbour
    steps = [
        v2.RandomHorizontalFlip(0.5),
        v2.RandomAffine(degrees=_DEGREES, scale=(1 - _SCALE, 1 + _SCALE), interpolation=bilinear),
        *([v2.RandomApply([RandomElastic(_OFFSET, control=_CONTROL)], p=0.5)] if elastic else []),
        v2.RandomApply([v2.RandomChoice(noises)], p=0.5),
    ]
    return cast("torch.nn.Module", v2.Compose(steps))


def _torchvision(transform: Any, sample: Sample, seed: int) -> tuple[dict[str, Any], bool]:  # noqa: ANN401
    """Run a v2 transform on tv_tensors; three key points tell whether the image was mirrored."""
    from torchvision import tv_tensors

    height, width = size = sample["image"].shape[-2:]
    arms = torch.tensor([[0.5, 0.5], [0.625, 0.5], [0.5, 0.625]]) * torch.tensor([width, height])
    data: dict[str, Any] = {"image": tv_tensors.Image(sample["image"])}
    data |= {key: tv_tensors.Mask(value) for key, value in sample.items() if key in _MASKS}
    data["probe"] = tv_tensors.KeyPoints(arms, canvas_size=size)
    if "instances" in sample:
        found = sample["instances"]
        boxes = tv_tensors.BoundingBoxes(found["boxes"], format="XYXY", canvas_size=size)
        data["instances"] = {"boxes": boxes, "masks": tv_tensors.Mask(found["masks"]), "labels": found["labels"]}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        out = transform(data)
    tensors = cast("dict[str, Tensor]", sample)
    moved: dict[str, Any] = {key: _plain(out[key], tensors[key]) for key in _SPATIAL if key in sample}
    if "instances" in sample:
        moved["instances"] = _instances(out["instances"], sample["instances"])
    return moved, _is_mirror(out["probe"].as_subclass(torch.Tensor))


def _is_mirror(points: Tensor) -> bool:
    """Whether centre, right arm and lower arm turn the other way round than they did."""
    across, down = points[1] - points[0], points[2] - points[0]
    return bool(across[0] * down[1] - across[1] * down[0] < 0)


def _instances(moved: dict[str, Any], before: dict[str, Tensor]) -> dict[str, Tensor]:
    """Boxes, masks and labels of the instances that are still in the picture."""
    out = {key: _plain(moved[key], before[key]) for key in ("boxes", "masks", "labels")}
    boxes = out["boxes"]
    seen = (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
    return {key: value[seen] for key, value in out.items()}


def _monai(transform: Any, sample: Sample, seed: int) -> tuple[dict[str, Any], bool]:  # noqa: ANN401
    """Run a MONAI transform on MetaTensors; the affine they carry tells whether the image was mirrored."""
    from monai.data import MetaTensor
    from monai.transforms import Randomizable

    present = [key for key in _SPATIAL if key in sample]
    tensors = cast("dict[str, Tensor]", sample)
    data = {key: MetaTensor(tensors[key].clone(), affine=torch.eye(4)) for key in present}
    if isinstance(transform, Randomizable):
        transform.set_random_state(seed=seed)
    out = transform(data)
    axes = out["image"].affine[:3, :3]
    moved: dict[str, Any] = {key: _plain(out[key].as_tensor(), tensors[key]) for key in present}
    by_slice = [key for key in ("slice_label", "slice_mask") if key in sample]
    if by_slice and moved["image"].shape[1] != sample["image"].shape[1]:
        raise UsageError("The augmentation changes the number of slices: crop and resize in-plane only.")
    if by_slice and axes[0, 0] < 0:
        moved |= {key: tensors[key].flip(0) for key in by_slice}
    return moved, bool(torch.linalg.det(axes) < 0)


def _plain(value: Tensor, like: Tensor) -> Tensor:
    """A plain tensor of the dtype it had before."""
    plain = value.as_subclass(torch.Tensor)
    if like.dtype == torch.uint8 and plain.is_floating_point():
        plain = plain.round()
    return plain.to(like.dtype).contiguous()
