"""THE contract between data sets, data modules, networks and metrics: keys, shapes, dtypes, units.

Axis order is channel, depth (towards the head), height (towards the back), width (towards the patient's left). Shapes
below are those of one sample; a batch adds B in front, ``instances`` and ``id`` become lists.

=============  ============  ==============  ============  =======  ====================================================
key            CT slice      CT volume       CXR           dtype    meaning, unit
=============  ============  ==============  ============  =======  ====================================================
image          (C,H,W)       (C,D,H,W)       (C,H,W)       float32  [0, 1] in a batch; a data set may hold HU
label          ()            ()              ()            int64    index in the order of :mod:`covidct.labels`
lung_mask      (1,H,W)       (1,D,H,W)       (1,H,W)       uint8    0 background, 1 right lung, 2 left lung
lesion_mask    (1,H,W)       (1,D,H,W)       -             uint8    0 none, 1 ground-glass opacity, 2 consolidation
instances      dict          -               -             -        boxes (N,4) float32 xyxy px, labels (N,) int64,
                                                                    masks (N,H,W) uint8 (torchvision's form)
slice_label    ()            (D,)            -             int64    class of the slice, -1 unknown
slice_mask     -             (D,)            -             bool     True = real slice, False = padding
scan           ()            ()              ()            int64    stable hash of (data set, scan)
position       ()            -               -             float32  place along the body axis (mm, else index)
views          (2,C,H,W)     -               (2,C,H,W)     float32  two augmented views (contrastive tasks only)
spacing        (2,)          (3,)            (2,)          float32  mm in the order of the image axes, NaN unknown
affine         -             (4,4)           -             float64  voxel (w,h,d) to LPS mm
contrast       ()            ()              -             float32  of the scan before enhancement (gated tasks only)
subject        ()            ()              ()            int64    stable hash of (data set, patient)
id             str           str             str           -        unique in the data set, free of patient identity
=============  ============  ==============  ============  =======  ====================================================

A key that does not apply is absent, never None.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import torch
from torch.nn import functional as F
from torch.utils.data import default_collate

from covidct.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

__all__ = ("Batch", "Kind", "Sample", "check_batch", "check_sample", "collate", "stable_hash")

Kind = Literal["ct_slice", "ct_volume", "cxr"]


class Sample(TypedDict, total=False):
    """One sample as a plain dict; see the table in :mod:`covidct.sample`."""

    image: Tensor
    label: Tensor
    lung_mask: Tensor
    lesion_mask: Tensor
    instances: dict[str, Tensor]
    slice_label: Tensor
    slice_mask: Tensor
    scan: Tensor
    position: Tensor
    views: Tensor
    spacing: Tensor
    affine: Tensor
    contrast: Tensor
    subject: Tensor
    id: str


Batch = dict[str, Any]
"""What :func:`collate` makes of samples: tensors with B in front, lists for ``instances`` and ``id``."""

_FORM: Mapping[str, tuple[torch.dtype, Mapping[Kind, str]]] = {
    "image": (torch.float32, {"ct_slice": "CHW", "ct_volume": "CDHW", "cxr": "CHW"}),
    "label": (torch.int64, {"ct_slice": "", "ct_volume": "", "cxr": ""}),
    "lung_mask": (torch.uint8, {"ct_slice": "1HW", "ct_volume": "1DHW", "cxr": "1HW"}),
    "lesion_mask": (torch.uint8, {"ct_slice": "1HW", "ct_volume": "1DHW"}),
    "slice_label": (torch.int64, {"ct_slice": "", "ct_volume": "D"}),
    "slice_mask": (torch.bool, {"ct_volume": "D"}),
    "scan": (torch.int64, {"ct_slice": "", "ct_volume": "", "cxr": ""}),
    "position": (torch.float32, {"ct_slice": ""}),
    "views": (torch.float32, {"ct_slice": "2CHW", "cxr": "2CHW"}),
    "spacing": (torch.float32, {"ct_slice": "2", "ct_volume": "3", "cxr": "2"}),
    "affine": (torch.float64, {"ct_volume": "44"}),
    "contrast": (torch.float32, {"ct_slice": "", "ct_volume": ""}),
    "subject": (torch.int64, {"ct_slice": "", "ct_volume": "", "cxr": ""}),
}
_REQUIRED = ("image", "id", "subject", "scan")
_PADDED_AXIS: Mapping[str, int] = {"image": 1, "lung_mask": 1, "lesion_mask": 1, "slice_label": 0, "slice_mask": 0}
_PAD_VALUE: Mapping[str, int] = {"slice_label": -1}


def stable_hash(*parts: str) -> int:
    """Hash strings to a non-negative int64 that is the same in every process and on every machine.

    Args:
        parts: for example (data set name, patient id).

    Returns:
        63 bits of BLAKE2b over the parts, each preceded by its length (so that ("a", "bc") differs from ("ab", "c")).
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return int.from_bytes(digest.digest(), "little") >> 1


def check_sample(sample: Mapping[str, Any], kind: Kind, *, intensity: Literal["hu", "unit"] = "unit") -> None:
    """Verify keys, dtypes, shapes and ranges of one sample.

    Args:
        sample: what a data set or a data module gives.
        kind: which column of the table applies.
        intensity: ``"unit"``: the image must lie in [0, 1]; ``"hu"``: any finite values.

    Raises:
        BatchError: names the first key that breaks the contract, and how.
    """
    for key in _REQUIRED:
        if key not in sample:
            raise BatchError(f"The sample has no key {key!r}; every sample needs {', '.join(_REQUIRED)}.")
    sizes: dict[str, int] = {}
    for key, value in sample.items():
        if key == "id":
            if not isinstance(value, str):
                raise BatchError(f"'id' must be a str, it is {type(value).__name__}.")
        elif key != "instances":
            _check_tensor(key, value, kind, sizes)
    if "instances" in sample:
        _check_instances(sample, kind)  # behind the image, whose size it takes
    _check_range(sample, intensity)


def _check_tensor(key: str, value: object, kind: Kind, sizes: dict[str, int]) -> None:
    """Check one tensor against its row, sharing named sizes (C, D, H, W) with the other keys."""
    dtype, forms = _FORM.get(key, (None, {}))
    if dtype is None or kind not in forms:
        raise BatchError(f"The key {key!r} does not belong into a {kind} sample; leave it out.")
    if not isinstance(value, torch.Tensor) or value.dtype != dtype:
        found = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise BatchError(f"{key!r} must be a {dtype} tensor, it is {found}.")
    form = forms[kind]
    if value.ndim != len(form):
        raise BatchError(f"{key!r} must have the axes ({','.join(form)}), its shape is {tuple(value.shape)}.")
    for axis, size in zip(form, value.shape, strict=True):
        wanted = int(axis) if axis.isdigit() else sizes.setdefault(axis, size)
        if size != wanted:
            raise BatchError(f"{key!r} has {size} along {axis}, {wanted} is needed; its shape is {tuple(value.shape)}.")


def _check_instances(sample: Mapping[str, Any], kind: Kind) -> None:
    """Check boxes, labels and masks of a detection target; faults of one object are named by its number."""
    if kind != "ct_slice":
        raise BatchError(f"The key 'instances' does not belong into a {kind} sample; leave it out.")
    instances, place = sample["instances"], f"'instances' of sample {sample['id']!r}"
    if not isinstance(instances, dict) or set(instances) != {"boxes", "labels", "masks"}:
        raise BatchError(f"{place} must be a dict of boxes, labels and masks.")
    height, width = sample["image"].shape[-2:]
    forms = {"boxes": ((4,), torch.float32), "labels": ((), torch.int64), "masks": ((height, width), torch.uint8)}
    for key, (rest, dtype) in forms.items():
        value = instances[key]
        if not isinstance(value, torch.Tensor) or value.dtype != dtype or value.shape[1:] != rest or value.ndim == 0:
            form = f"(N{''.join(f', {size}' for size in rest)}{'' if rest else ','}) {dtype}"
            found = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, torch.Tensor) else type(value).__name__
            raise BatchError(f"{place}: {key} must be {form}, it is {found}.")
    counts = {key: len(value) for key, value in instances.items()}
    if len(set(counts.values())) > 1:
        raise BatchError(f"{place} has unlike numbers of boxes, labels and masks: {counts}.")
    _check_objects(instances, place, height, width)


def _check_objects(instances: Mapping[str, Tensor], place: str, height: int, width: int) -> None:
    """Name the first object whose box has no area or leaves the image, whose label is 0, or that has no pixel."""
    boxes, labels, masks = instances["boxes"], instances["labels"], instances["masks"]
    size = boxes.new_tensor([width, height, width, height])
    faults = {
        "has a box without area; drop it in the data set": ~(boxes[:, 2:] > boxes[:, :2]).all(dim=1),
        f"has a box outside the image of {height} x {width} pixels": ~((boxes >= 0) & (boxes <= size)).all(dim=1),
        "has a label below 1; 0 is the background": labels < 1,
        "has a mask without a pixel, or of other values than 0 and 1": masks.flatten(1).sum(dim=1).eq(0)
        | masks.gt(1).flatten(1).any(dim=1),
    }
    for fault, found in faults.items():
        if bool(found.any()):
            number = int(found.nonzero()[0])
            box = ", ".join(f"{edge:g}" for edge in boxes[number].tolist())
            raise BatchError(f"{place}: object number {number} (box {box}; label {int(labels[number])}) {fault}.")


def _check_range(sample: Mapping[str, Any], intensity: str) -> None:
    """Check the values of images and masks."""
    image: Tensor = sample["image"]
    low, high = image.aminmax()
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        raise BatchError(f"'image' of sample {sample['id']!r} holds NaN or infinity.")
    if intensity == "unit" and (low < 0 or high > 1):
        raise BatchError(
            f"'image' of sample {sample['id']!r} must lie in [0, 1], it spans [{low:.4g}, {high:.4g}]: apply a window."
        )
    if "views" in sample:
        low, high = sample["views"].aminmax()
        if not (low >= 0 and high <= 1):  # NaN is neither
            raise BatchError(
                f"'views' of sample {sample['id']!r} must lie in [0, 1], they span [{low:.4g}, {high:.4g}]."
            )
    for key in ("lung_mask", "lesion_mask"):
        if key in sample and int(sample[key].max()) > 2:
            raise BatchError(f"{key!r} of sample {sample['id']!r} must hold 0, 1 and 2 only.")


def check_batch(batch: Mapping[str, Any], kind: Kind, needed: Sequence[str] = ()) -> None:
    """Verify a collated batch, sample by sample; done once per fit, on the first batch.

    Args:
        batch: what the loader gives.
        kind: which column of the table applies.
        needed: keys that the network takes.

    Raises:
        BatchError: names the key and the fault.
    """
    for key in needed:
        if key not in batch:
            raise BatchError(
                f"The network needs the key {key!r}, the batch has {', '.join(batch)}: configure the data module "
                "to deliver it."
            )
    for index in range(len(batch["id"])):
        check_sample({key: value[index] for key, value in batch.items()}, kind)


def collate(samples: Sequence[Mapping[str, Any]]) -> Batch:
    """Join samples to a batch; volumes of unlike depth are padded at the end and marked in ``slice_mask``.

    Args:
        samples: samples of one data set, with the same keys.

    Returns:
        The batch. Padding is 0 (``slice_label``: -1, ``slice_mask``: False).

    Raises:
        BatchError: when the samples have unlike keys or in-plane sizes.
    """
    keys = samples[0].keys()
    if any(sample.keys() != keys for sample in samples):
        raise BatchError(f"Samples of one batch have unlike keys: {[sorted(sample) for sample in samples]}.")
    batch: Batch = {}
    is_volume = samples[0]["image"].ndim == 4
    depth = max(sample["image"].shape[1] for sample in samples) if is_volume else 0
    for key in keys:
        values = [sample[key] for sample in samples]
        if key in ("id", "instances"):
            batch[key] = values
            continue
        if is_volume and key in _PADDED_AXIS:
            values = [_pad(value, _PADDED_AXIS[key], depth, _PAD_VALUE.get(key, 0)) for value in values]
        if any(value.shape != values[0].shape for value in values):
            shapes = sorted({tuple(value.shape) for value in values})
            raise BatchError(f"{key!r} has unlike shapes {shapes} in one batch: set a common size in the data module.")
        batch[key] = default_collate(values)
    if is_volume and "slice_mask" not in batch:
        depths = torch.tensor([sample["image"].shape[1] for sample in samples])
        batch["slice_mask"] = torch.arange(depth)[None, :] < depths[:, None]
    return batch


def _pad(value: Tensor, axis: int, size: int, fill: int) -> Tensor:
    """Pad ``value`` at the end of ``axis`` to ``size``."""
    missing = size - value.shape[axis]
    if not missing:
        return value
    widths = [0, 0] * (value.ndim - axis - 1) + [0, missing]
    return F.pad(value, widths, value=fill)
