"""Slices of volume data sets: which ones, where they lie, whose they are."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import PhantomCTSlices, PhantomCTVolumes, SlicesOfVolumes
from covidct.errors import InputError, UsageError
from covidct.sample import check_sample
from covidct.volume import Volume

VOLUMES = PhantomCTVolumes(3, shape=(17, 32, 32))


@pytest.mark.parametrize(("count", "chosen"), [(1, [8]), (4, [2, 6, 10, 14]), (17, list(range(17)))])
def test_evenly_spaced_over_the_whole_depth(count: int, chosen: list[int]) -> None:
    whole, some = VOLUMES.load(1), SlicesOfVolumes(VOLUMES, slices_per_scan=count).load(1)
    before, after = cast("Volume", whole.scan), cast("Volume", some.scan)
    np.testing.assert_array_equal(after.array, before.array[chosen])
    for mask in ("lung_mask", "lesion_mask", "slice_label"):
        np.testing.assert_array_equal(getattr(some, mask), getattr(whole, mask)[chosen])
    for index, old in enumerate(chosen):
        np.testing.assert_allclose(after.affine @ [3, 5, index, 1], before.affine @ [3, 5, old, 1])


def test_samples_keep_the_contract_and_the_identity_of_their_scan() -> None:
    slices = SlicesOfVolumes(VOLUMES, slices_per_scan=4)
    assert len(slices) == 12
    assert (slices.name, slices.intensity, slices.class_names) == ("phantom_ct", "hu", VOLUMES.class_names)
    assert len({record.id for record in slices.records}) == 12
    for index in (0, 5, 11):
        sample, scan = slices[index], VOLUMES[index // 4]
        check_sample(sample, "ct_slice", intensity="hu")
        for key in ("subject", "scan", "label"):
            assert sample[key] == scan[key]
        place = [2, 6, 10, 14][index % 4]
        np.testing.assert_array_equal(sample["image"], scan["image"][:, place])


def test_the_key_of_the_cache_follows_the_choice() -> None:
    keys = {
        SlicesOfVolumes(VOLUMES, slices_per_scan=count).content_key(source, digest=str)
        for count in (2, 3)
        for source in (0, 1)
    }
    assert len(keys) == 4
    assert VOLUMES.content_key(0, digest=str) not in keys


def test_a_data_module_of_slices_takes_them(tmp_path: object) -> None:
    data = CTSliceDataModule(
        SlicesOfVolumes(PhantomCTVolumes(6, shape=(16, 32, 32)), slices_per_scan=3),
        size=32,
        mask_source="file",
        val_fraction=0.2,
        test_fraction=0.2,
        cache_dir=str(tmp_path),
    )
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["lung_mask"].shape == batch["image"].shape
    subjects = [{record.subject for record in data.records(part)} for part in ("train", "val", "test")]
    assert sum(map(len, subjects)) == 6


def test_what_gives_no_such_slices_is_refused() -> None:
    with pytest.raises(UsageError, match="kind ct_slice"):
        SlicesOfVolumes(PhantomCTSlices(2))
    with pytest.raises(UsageError, match="at least 1"):
        SlicesOfVolumes(VOLUMES, slices_per_scan=0)
    with pytest.raises(InputError, match="17 slices, fewer than slices_per_scan=18"):
        SlicesOfVolumes(VOLUMES, slices_per_scan=18).load(0)
