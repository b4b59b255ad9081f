from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from covidct.errors import CheckpointError, InputError, UsageError
from covidct.functional import contrast_score, window_hu
from covidct.preprocessing import Preprocessing
from covidct.transforms import prepare_image, prepare_slices, prepare_volume
from covidct.volume import Image, Volume
from tests.fakes.chests import chest

if TYPE_CHECKING:
    from numpy.typing import NDArray

RAW = chest((24, 32, 40), spacing=(12.0, 8.0, 8.0), lesion=True)
VOLUME = cast("Volume", RAW.scan)
STACK = Preprocessing(
    kind="ct_volume", classes=("a", "b"), size=None, grid="slices", mask_source="file", contrast="rms"
)
SLICES = Preprocessing(kind="ct_slice", classes=("a", "b"), size=None, mask_source="file", contrast="spread")


def prepared(**changes: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401
    return prepare_volume(VOLUME, replace(STACK, **changes), lung_mask=RAW.lung_mask)


def test_a_scan_has_the_contrast_of_its_windowed_slices() -> None:
    found = prepared()["contrast"]
    assert found.dtype == np.float32
    assert found.shape == ()
    assert float(found) == pytest.approx(contrast_score(window_hu(VOLUME.array, -1250.0, 250.0)), abs=1e-6)


@pytest.mark.parametrize(
    "changes",
    [{"enhancement": "equalise_clahe"}, {"enhancement": "tone"}, {"masking": "lungs"}, {"masking": "no_lungs"}],
)
@pytest.mark.parametrize("size", [None, 16])
def test_it_is_measured_before_enhancement_and_masking(changes: dict[str, Any], size: int | None) -> None:
    plain, changed = prepared(size=size), prepared(size=size, **changes)
    assert not np.array_equal(plain["image"], changed["image"])
    assert plain["contrast"] == changed["contrast"]
    assert "contrast" not in prepared(size=size, contrast="none", **changes)


def test_slices_have_one_each() -> None:
    some = prepare_slices(VOLUME, SLICES, indices=[5, 12, 20], lung_mask=RAW.lung_mask)["contrast"]
    unit = window_hu(VOLUME.array, -1250.0, 250.0)
    expected = [contrast_score(unit[index][None], measure="spread") for index in (5, 12, 20)]
    np.testing.assert_allclose(some, expected, atol=1e-6)


def test_a_picture_has_one() -> None:
    picture = window_hu(VOLUME.array[12], -1250.0, 250.0)
    record = replace(SLICES, window=None, mask_source="none")
    found = prepare_image(Image(picture), record)
    assert found["contrast"].tolist() == pytest.approx([contrast_score(picture[None], measure="spread")], abs=1e-6)


def test_a_scan_without_a_body_is_refused() -> None:
    empty = Volume(np.full((4, 16, 16), -1000, np.int16), VOLUME.affine)
    with pytest.raises(InputError, match="body"):
        prepare_volume(empty, replace(STACK, mask_source="none"))


def test_records_keep_the_field() -> None:
    record = STACK.to_dict()
    assert Preprocessing.from_dict(record) == STACK
    with pytest.raises(CheckpointError, match="contrast"):
        Preprocessing.from_dict({**record, "contrast": "michelson"})


def test_x_rays_have_none() -> None:
    with pytest.raises(UsageError, match="X-ray"):
        Preprocessing(kind="cxr", classes=("a", "b"), window=None, mask_source="none", contrast="rms")
