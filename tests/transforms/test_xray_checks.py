"""What is given in the place of a chest X-ray, straight to the preparation that every command goes through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from covidct.errors import InputError, ModalityError
from covidct.io import read_image
from covidct.preprocessing import Preprocessing
from covidct.transforms import prepare_image
from covidct.volume import Image

if TYPE_CHECKING:
    from pathlib import Path

CXR = Preprocessing(kind="cxr", classes=("a", "b"), size=32, mask_source="none", window=None)
NOISE = np.random.default_rng(0).random((80, 64), dtype=np.float32)


@pytest.mark.parametrize("modality", ["CT", "MR", "PT", "NM", "US"])
def test_other_modalities_are_refused(modality: str) -> None:
    with pytest.raises(ModalityError, match=rf"\({modality}\), not an X-ray"):
        prepare_image(Image(NOISE, modality=modality), CXR)


@pytest.mark.parametrize("modality", ["", "CR", "DX", "OT", "SC"])
def test_xrays_and_files_that_do_not_say_are_taken(modality: str) -> None:
    assert prepare_image(Image(NOISE, modality=modality), CXR)["image"].shape == (1, 1, 32, 32)


def test_a_single_ct_slice_in_display_values_stays_usable_for_ct() -> None:
    slices = Preprocessing(kind="ct_slice", classes=("a", "b"), size=32, mask_source="none", window=None)
    assert prepare_image(Image(NOISE[:20, :20], modality="CT"), slices)["image"].shape == (1, 1, 32, 32)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((80, 80), np.float32), "All pixels of the X-ray have the value 0"),
        (np.ones((80, 80, 3), np.float32), "All pixels of the X-ray have the value 1"),
        (NOISE[:63], "63 x 64 pixels, fewer than 64"),
        (NOISE[:, :10], "80 x 10 pixels, fewer than 64"),
    ],
)
def test_empty_and_tiny_images_are_refused(array: Any, says: str) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match=says):
        prepare_image(Image(array), CXR)


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.ones((64, 80), np.uint8), r"has \(64, 80\) pixels, the image \(80, 64\)"),
        (np.zeros((80, 64), np.uint8), "empty lung mask"),
        (None, "comes without a lung mask"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask: Any, says: str) -> None:  # noqa: ANN401
    own = Preprocessing(kind="cxr", classes=("a", "b"), size=32, mask_source="file", window=None)
    with pytest.raises(InputError, match=says):
        prepare_image(Image(NOISE), own, lung_mask=mask)


@pytest.mark.real
def test_monochrome1_is_turned_and_a_ct_slice_refused(real_data: Path) -> None:
    folder = real_data / "dicom_reader"
    one, two = (
        prepare_image(read_image(path), CXR)["image"].astype(int) for path in sorted((folder / "cxr").glob("*.dcm"))
    )
    assert np.abs(one + two - 65535).max() <= 257  # the same stored pixels, tagged the other way round
    with pytest.raises(ModalityError, match="not an X-ray"):
        prepare_image(read_image(next(folder.rglob("693_J2KR*"))), CXR)
