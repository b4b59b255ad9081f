from __future__ import annotations

import numpy as np
import pytest
import torch

from covidct.datasets import Raw
from covidct.errors import InputError
from covidct.sample import check_sample, stable_hash
from covidct.volume import Volume
from tests.fakes.chests import FakeCXR, FakeSlices, FakeVolumes, chest


def test_volume_sample_is_the_raw_scan() -> None:
    sample, raw = FakeVolumes()[2], chest(lesion=True, seed=1002)
    check_sample(sample, "ct_volume", intensity="hu")
    assert isinstance(raw.scan, Volume)
    np.testing.assert_array_equal(sample["image"][0].numpy(), raw.scan.array)
    np.testing.assert_array_equal(sample["lesion_mask"][0].numpy(), raw.lesion_mask)
    assert sample["spacing"].tolist() == [10.0, 10.0, 10.0]
    assert int(sample["subject"]) == stable_hash("fake", "s2")


def test_slices_share_scan_and_subject() -> None:
    dataset = FakeSlices(4, scans=2)
    samples = [dataset[index] for index in (0, 3, 4, 8)]
    for sample in samples:
        check_sample(sample, "ct_slice", intensity="hu")
    scans, subjects = ([int(sample[key]) for sample in samples] for key in ("scan", "subject"))
    assert scans[0] == scans[1] != scans[2]
    assert subjects[0] == subjects[2] != subjects[3]
    assert [float(sample["position"]) for sample in samples[:2]] == [60.0, 150.0]


def test_image_sample() -> None:
    sample = FakeCXR()[0]
    check_sample(sample, "cxr")
    assert sample["image"].shape == (1, 72, 96)
    assert torch.isnan(sample["spacing"]).all()


def test_slices_with_a_mask_type_carry_objects() -> None:
    dataset = FakeSlices()
    dataset.mask_type = "merge"
    with_spot, without = dataset[9], dataset[0]
    for sample in (with_spot, without):
        check_sample(sample, "ct_slice", intensity="hu")
    rows, columns = np.nonzero(with_spot["lesion_mask"][0].numpy())
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert with_spot["instances"]["boxes"].tolist() == [box]
    assert len(without["instances"]["boxes"]) == 0


def test_objects_need_a_lesion_mask() -> None:
    class Bare(FakeSlices):
        mask_type = "both"

        def load(self, source: int) -> Raw:
            return Raw(super().load(source).scan)

    with pytest.raises(InputError, match="scan-0-6 has no lesion mask"):
        Bare()[0]
