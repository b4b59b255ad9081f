"""From a scan to what a network sees: the one path of ``fit``, ``test``, ``predict``, ``triage`` and ``export``.

Everything here is pure: plain arrays in, plain arrays out, no state and no random numbers. Intensities leave as
fixed-point numbers (uint16, 65535 = 1.0), so that a cached scan and a scan prepared on the spot give the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import torch

from covidct.errors import InputError, UsageError
from covidct.functional import (
    clahe,
    equalise,
    equalise_histogram,
    isotropic_cube,
    resample_mask,
    stochastic_enhance,
    tone_map,
    window_hu,
)
from covidct.sample import Sample
from covidct.transforms.contrast import contrast_of_slices, contrast_of_stack
from covidct.transforms.lung_source import given_lungs, lungs_of_volume
from covidct.transforms.resize import resize_affine, resize_slices, resize_spacing
from covidct.transforms.xray_checks import check_xray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.preprocessing import Preprocessing
    from covidct.volume import Image, Volume

__all__ = ("AIR_HU", "UNIT_STEP", "prepare_image", "prepare_slices", "prepare_volume", "to_sample", "to_unit")

UNIT_STEP = np.float32(1 / 65535)
"""Value of one fixed-point step; 65535 * UNIT_STEP is exactly 1 in float32."""

AIR_HU = -1024
"""HU that fills the cube outside the scan: the least value of a 12-bit CT (facts of the mask-weighted system)."""

Arrays = dict[str, "NDArray[Any]"]


def prepare_volume(
    volume: Volume,
    preprocessing: Preprocessing,
    *,
    lung_mask: NDArray[np.uint8] | None = None,
    lesion_mask: NDArray[np.uint8] | None = None,
    slice_label: NDArray[np.int64] | None = None,
) -> Arrays:
    """Lung mask at native resolution, grid, window, enhancement, masking variant: a whole scan for a volume network.

    A volume in display values of unknown spacing (a folder of PNG slices) has no isotropic cube: its slices are
    resized in-plane and its depth is kept, as with ``grid="slices"``.

    Args:
        volume: the scan on its canonical grid.
        preprocessing: what to do, of kind ``"ct_volume"``.
        lung_mask: (D, H, W) uint8 of the volume's grid; used when ``mask_source`` is a file or a checkpoint.
        lesion_mask: (D, H, W) uint8 of the volume's grid, carried along by nearest neighbour.
        slice_label: (D,) int64 class of each native slice, carried along to the nearest slice.

    Returns:
        ``image`` (1, D, H, W) uint16 fixed point, ``lung_mask`` and ``lesion_mask`` (1, D, H, W) uint8 where there
        are any, ``slice_label`` (D,) int64 (-1 outside the scan), ``slice_mask`` (D,) bool (False on slices of the
        cube outside the scan), ``spacing`` (3,) float32 mm, ``affine`` (4, 4) float64, and ``contrast`` ()
        float32 where the record asks for it.

    Raises:
        InputError: when no lungs are found, a needed mask is missing, or the values or geometry do not suit.
        UsageError: for an unknown mask source.
    """
    _check(preprocessing, "ct_volume", volume.intensity)
    lungs = lungs_of_volume(volume, preprocessing, lung_mask)
    masks = {"lung_mask": lungs, "lesion_mask": lesion_mask}
    flat = volume.intensity == "unit" and not np.isfinite(volume.spacing).all()
    if preprocessing.size is not None and (preprocessing.grid == "slices" or flat):
        return _stack(volume, preprocessing, masks, slice_label)
    if preprocessing.size is None:
        grid, index = volume, np.arange(volume.shape[0])
    else:
        grid = isotropic_cube(volume, preprocessing.size, pad_hu=AIR_HU)
        masks = {key: None if mask is None else resample_mask(mask, volume, grid) for key, mask in masks.items()}
        index = _nearest_slices(volume, grid)
    inside = (index >= 0) & (index < volume.shape[0])
    prepared = _finish(grid.array, preprocessing, masks) | _known(contrast_of_stack(grid.array, preprocessing))
    if slice_label is not None:
        prepared["slice_label"] = np.where(inside, slice_label[index.clip(0, volume.shape[0] - 1)], -1)
    prepared["slice_mask"] = inside
    prepared["spacing"] = np.asarray(grid.spacing, dtype=np.float32)
    prepared["affine"] = grid.affine.copy()
    return prepared


def prepare_slices(
    volume: Volume,
    preprocessing: Preprocessing,
    *,
    indices: Sequence[int] | None = None,
    lung_mask: NDArray[np.uint8] | None = None,
    lesion_mask: NDArray[np.uint8] | None = None,
    slice_label: NDArray[np.int64] | None = None,
) -> Arrays:
    """Axial slices of a volume for a slice network: lung mask of the whole scan, in-plane size, masking, window.

    Args:
        volume: the scan on its canonical grid.
        preprocessing: what to do, of kind ``"ct_slice"``.
        indices: slices to give, feet to head; None: all.
        lung_mask: (D, H, W) uint8 of the volume's grid; used when ``mask_source`` is a file or a checkpoint.
        lesion_mask: (D, H, W) uint8 of the volume's grid.
        slice_label: (D,) int64 class of each slice.

    Returns:
        N slices: ``image`` (N, 1, H, W) uint16 fixed point, ``lung_mask`` and ``lesion_mask`` (N, 1, H, W) uint8,
        ``slice_label`` (N,) int64, ``position`` (N,) float32 (mm above the lowest slice, else index), ``spacing``
        (N, 2) float32 mm, and ``contrast`` (N,) float32, of each slice alone, where the record asks for it.

    Raises:
        InputError: when no lungs are found, a needed mask is missing, or an index lies outside the volume.
        UsageError: for an unknown mask source.
    """
    _check(preprocessing, "ct_slice", volume.intensity)
    chosen = np.arange(volume.shape[0]) if indices is None else np.asarray(indices, dtype=np.int64)
    if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= volume.shape[0]:
        raise InputError(f"The volume has {volume.shape[0]} slices; there is no slice number {chosen.tolist()}.")
    masks = {"lung_mask": lungs_of_volume(volume, preprocessing, lung_mask), "lesion_mask": lesion_mask}
    image, masks = resize_slices(
        volume.array[chosen], {k: None if m is None else m[chosen] for k, m in masks.items()}, preprocessing.size
    )
    prepared = {key: value.swapaxes(0, 1) for key, value in _finish(image, preprocessing, masks).items()}
    prepared |= _known(contrast_of_slices(image, preprocessing))
    if slice_label is not None:
        prepared["slice_label"] = slice_label[chosen]
    step = volume.spacing[0] if volume.spacing[0] > 0 else 1.0
    prepared["position"] = (chosen * step).astype(np.float32)
    spacing = resize_spacing(volume.spacing[1:], volume.shape[1:], image.shape[1:])
    prepared["spacing"] = np.tile(spacing, (len(chosen), 1))
    return prepared


def prepare_image(
    image: Image,
    preprocessing: Preprocessing,
    *,
    lung_mask: NDArray[np.uint8] | None = None,
    lesion_mask: NDArray[np.uint8] | None = None,
    slice_label: int | None = None,
) -> Arrays:
    """A chest X-ray or a single slice in display values: one grey channel, size, masking.

    Args:
        image: grey or colour image in [0, 1]; colour becomes luminance (ITU-R BT.601).
        preprocessing: what to do, of kind ``"cxr"`` or ``"ct_slice"``; its window must be None.
        lung_mask: (H, W) uint8; used when ``mask_source`` is a file or a checkpoint.
        lesion_mask: (H, W) uint8, slices only.
        slice_label: class of the slice, slices only.

    Returns:
        Like :func:`prepare_slices` with N = 1; ``position`` is 0 and absent for X-rays.

    Raises:
        InputError: when a needed mask is missing, has another size, or there is no lung in it, and for an X-ray that
            is too small or of one value.
        ModalityError: for another kind of image in the place of an X-ray.
        UsageError: for an unknown mask source, or a window.
    """
    _check(preprocessing, preprocessing.kind, "unit")
    if preprocessing.kind == "ct_volume":
        raise UsageError("A single image is no volume: use preprocessing of kind 'ct_slice' or 'cxr'.")
    grey = image.array if image.array.ndim == 2 else cv2.cvtColor(image.array, cv2.COLOR_RGB2GRAY)
    lungs = given_lungs(preprocessing, lung_mask, "This image")
    if preprocessing.kind == "cxr":
        check_xray(image, grey)
    if lungs is not None and lungs.shape != grey.shape:
        raise InputError(f"The lung mask has {lungs.shape} pixels, the image {grey.shape}: give a mask of this image.")
    masks = {"lung_mask": lungs, "lesion_mask": lesion_mask}
    stack, resized = resize_slices(
        grey[None], {k: None if m is None else m[None] for k, m in masks.items()}, preprocessing.size
    )
    prepared = {key: value.swapaxes(0, 1) for key, value in _finish(stack, preprocessing, resized).items()}
    prepared |= _known(contrast_of_slices(stack, preprocessing))
    prepared["spacing"] = resize_spacing(image.spacing, grey.shape, stack.shape[1:])[None]
    if preprocessing.kind == "ct_slice":
        prepared["position"] = np.zeros(1, dtype=np.float32)
        if slice_label is not None:
            prepared["slice_label"] = np.array([slice_label], dtype=np.int64)
    return prepared


def to_sample(prepared: Mapping[str, NDArray[Any]], **identity: Tensor | str) -> Sample:
    """Tensors of the contract from prepared arrays.

    Args:
        prepared: as :func:`prepare_volume` gives it, or one slice of the others (index every array first).
        **identity: further keys of the sample: ``id``, a text, and ``subject``, ``scan``, ``label``, each () int64.

    Returns:
        A sample with ``image`` float32 in [0, 1], that shares no memory with ``prepared``.
    """
    sample: dict[str, Any] = {key: torch.tensor(value) for key, value in prepared.items() if key != "image"}
    sample["image"] = torch.from_numpy(to_unit(prepared["image"]))
    return cast("Sample", sample | identity)


def to_unit(fixed: NDArray[np.uint16], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Fixed point to float32 in [0, 1], into ``out`` where given."""
    unit = np.empty(fixed.shape, dtype=np.float32) if out is None else out
    np.copyto(unit, fixed)  # converting first, then scaling in place: half the time of one converting product
    return np.multiply(unit, UNIT_STEP, out=unit)


def _check(preprocessing: Preprocessing, kind: str, intensity: str) -> None:
    """Refuse what the record cannot mean for this input."""
    if preprocessing.kind != kind:
        raise UsageError(f"This pre-processing is made for {preprocessing.kind}, the input is a {kind}.")
    if intensity == "unit" and preprocessing.window is not None:
        low, high = preprocessing.window
        raise InputError(
            f"The window [{low:g}, {high:g}] HU cannot be applied to display values in [0, 1]: give the original "
            "DICOM or NIfTI scan, or use window=null."
        )
    if intensity == "hu" and preprocessing.window is None:
        raise UsageError("A scan in Hounsfield units needs a window: give window=(low, high).")


def _finish(array: NDArray[Any], preprocessing: Preprocessing, masks: Mapping[str, NDArray[np.uint8] | None]) -> Arrays:
    """Window, enhancement, masking variant, fixed point; adds the channel axis in front."""
    unit = _enhanced(array, preprocessing)
    lungs = masks["lung_mask"]
    if preprocessing.masking != "original" and lungs is not None:
        unit[(lungs == 0) == (preprocessing.masking == "lungs")] = 0.0
    unit *= 65535
    fixed = np.rint(unit, out=unit).astype(np.uint16)
    prepared: Arrays = {"image": fixed[None]}
    for key, mask in masks.items():
        if mask is not None:
            prepared[key] = np.ascontiguousarray(mask, dtype=np.uint8)[None]
    return prepared


def _known(contrast: NDArray[np.float32] | None) -> Arrays:
    """The key ``contrast``, where there is one."""
    return {} if contrast is None else {"contrast": contrast}


def _enhanced(array: NDArray[Any], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """(N, H, W) slices, windowed to [0, 1] and enhanced by a published method; a new array."""
    window, name = preprocessing.window, preprocessing.enhancement
    values = np.clip(array, 0.0, 1.0).astype(np.float32, copy=False) if window is None else array
    equalisers: dict[str, Any] = {"equalise": equalise_histogram, "clahe": clahe, "equalise_clahe": equalise}
    if name in equalisers:  # they apply the window, to leave out what it clips
        return np.asarray(equalisers[name](values, window=window), dtype=np.float32)
    unit = values if window is None else window_hu(values, *window)
    if name == "tone":
        return tone_map(unit)
    if name == "stochastic":
        return stochastic_enhance(unit)
    return unit


def _stack(
    volume: Volume,
    preprocessing: Preprocessing,
    masks: Mapping[str, NDArray[np.uint8] | None],
    slice_label: NDArray[np.int64] | None,
) -> Arrays:
    """Every slice of the scan at its in-plane size."""
    image, resized = resize_slices(volume.array, masks, preprocessing.size)
    prepared = _finish(image, preprocessing, resized) | _known(contrast_of_stack(image, preprocessing))
    if slice_label is not None:
        prepared["slice_label"] = slice_label.copy()
    before, after = volume.shape[1:], image.shape[1:]
    prepared["slice_mask"] = np.ones(volume.shape[0], dtype=np.bool_)
    in_plane = resize_spacing(volume.spacing[1:], before, after)
    prepared["spacing"] = np.array([volume.spacing[0], *in_plane], dtype=np.float32)
    prepared["affine"] = resize_affine(volume.affine, before, after)
    return prepared


def _nearest_slices(volume: Volume, grid: Volume) -> NDArray[np.int64]:
    """Index of the native slice nearest to each slice of ``grid``; outside the scan when below 0 or beyond the last.

    Both grids have parallel axes, so the centre line of ``grid`` decides for the whole slice.
    """
    depth, height, width = grid.shape
    line = np.stack([np.full(depth, (width - 1) / 2), np.full(depth, (height - 1) / 2), np.arange(depth)])
    world = grid.affine[:3, :3] @ line + grid.affine[:3, 3:]
    native = np.linalg.solve(volume.affine[:3, :3], world - volume.affine[:3, 3:])
    return np.asarray(np.floor(native[2] + 0.5 + 1e-6), dtype=np.int64)  # the rounding of resample_mask
