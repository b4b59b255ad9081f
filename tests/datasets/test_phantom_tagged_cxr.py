from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from covidct.datasets import PhantomCXR, PhantomTaggedCXR
from covidct.datasets.base import Raw
from covidct.errors import UsageError
from covidct.io import content_digest
from covidct.sample import check_sample
from covidct.volume import Image

SHAPE = (96, 96)


def picture(raw: Raw) -> Any:  # noqa: ANN401
    assert isinstance(raw.scan, Image)
    return raw.scan.array


def test_labels_take_turns_and_lungs_are_all_normal() -> None:
    dataset = PhantomTaggedCXR(6, shape=SHAPE)
    assert dataset.class_names == ("non_covid", "covid")
    assert [record.label for record in dataset.records] == [0, 1, 0, 1, 0, 1]
    assert {dataset.diagnosis(source) for source in range(6)} == {"normal"}
    check_sample(dataset[1], "cxr")


@pytest.mark.parametrize("shape", [SHAPE, (64, 80)])
def test_only_positives_differ_and_only_beside_the_lungs(shape: tuple[int, int]) -> None:
    tagged, plain = (PhantomTaggedCXR(2, tag=tag, shape=shape) for tag in (True, False))
    mask = tagged.tag_mask()
    side = round(0.08 * min(shape))
    assert mask.sum() == side**2
    assert not mask[:, : shape[1] // 2].any()
    for source in range(2):
        one, other = tagged.load(source), plain.load(source)
        changed = picture(one) != picture(other)
        np.testing.assert_array_equal(one.lung_mask, other.lung_mask)
        assert one.lung_mask is not None
        assert not one.lung_mask[changed].any()
        assert bool(changed.any()) == (source % 2 == 1)
        assert not changed[~mask].any()
        if source % 2:
            assert (picture(one)[mask] == 1).all()
            assert (picture(other)[mask] < 0.9).all()  # a tag that can be seen


def test_diagnoses_and_keys() -> None:
    dataset = PhantomTaggedCXR(4, diagnoses=("normal", "covid"), shape=SHAPE)
    assert [dataset.diagnosis(source) for source in range(4)] == ["normal", "covid"] * 2
    keys = {
        cohort.content_key(source, digest=content_digest)
        for cohort in (dataset, PhantomTaggedCXR(4, shape=SHAPE), PhantomTaggedCXR(4, tag=False, shape=SHAPE))
        for source in (0, 1)
    }
    assert len(keys) == 4  # negatives are the same in all three cohorts
    assert PhantomCXR(1, shape=SHAPE).content_key(0, digest=content_digest) not in keys


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"diagnoses": ("normal", "flu")}, "diagnoses="),
        ({"diagnoses": ("normal",)}, "diagnoses="),
        ({"tag_share": 0.0}, r"tag_share=0\.0"),
        ({"tag_share": 0.2}, r"tag_share=0\.2"),
        ({"num_subjects": 0}, "num_subjects=0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        PhantomTaggedCXR(**arguments)
