from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from covidct.datasets import PhantomCTVolumes, PhantomTwoContrasts
from covidct.errors import UsageError
from covidct.functional import contrast_score, window_hu
from covidct.labels import CLASSES
from covidct.phantom import simulate_ct
from covidct.volume import Volume

SHAPE = (8, 48, 48)


def digest(_: Path) -> str:
    raise AssertionError


def test_every_diagnosis_is_on_both_sides_alike() -> None:
    cohort = PhantomTwoContrasts(24, shape=SHAPE)
    found = Counter((record.label, cohort.contrast_of(record.source)) for record in cohort.records)
    assert found == {(label, side): 4 for label in range(3) for side in ("high", "low")}
    twice = PhantomTwoContrasts(6, scans_per_subject=2, shape=SHAPE)
    assert all(twice.contrast_of(2 * subject) == twice.contrast_of(2 * subject + 1) for subject in range(6))


def test_low_scans_have_less_contrast() -> None:
    cohort = PhantomTwoContrasts(6, shape=SHAPE)
    scores: dict[str, list[float]] = {"high": [], "low": []}
    for record in cohort.records:
        scan = cohort.load(record.source).scan
        assert isinstance(scan, Volume)
        scores[cohort.contrast_of(record.source)].append(contrast_score(window_hu(scan.array, -1250, 250)))
    assert max(scores["low"]) < min(scores["high"])


@pytest.mark.parametrize("look", ["same", "swapped"])
def test_lesions_of_low_scans_mean_another_class_when_swapped(look: str) -> None:
    cohort = PhantomTwoContrasts(6, low_look=look, shape=SHAPE)  # type: ignore[arg-type]
    drawn = {"normal": "normal", "cap": "covid", "covid": "cap"}
    for record in cohort.records:
        raw, diagnosis, side = cohort.load(record.source), CLASSES[record.label], cohort.contrast_of(record.source)
        shown = drawn[diagnosis] if look == "swapped" and side == "low" else diagnosis
        expected = simulate_ct(cohort._draw(record.source), diagnosis=shown, shape=SHAPE, contrast=side)  # type: ignore[arg-type]
        assert np.array_equal(raw.lesion_mask, expected.lesion_mask)  # type: ignore[arg-type]
        assert raw.slice_label is not None
        assert set(raw.slice_label[expected.slice_label > 0].tolist()) <= {record.label}
        assert not raw.slice_label[expected.slice_label == 0].any()


def test_keys_tell_the_looks_and_the_sides_apart() -> None:
    same, swapped, plain = (
        cohort
        for cohort in (
            PhantomTwoContrasts(6, shape=SHAPE),
            PhantomTwoContrasts(6, low_look="swapped", shape=SHAPE),
            PhantomCTVolumes(6, shape=SHAPE),
        )
    )
    assert len({cohort.content_key(3, digest=digest) for cohort in (same, swapped, plain)}) == 3
    assert same.content_key(3, digest=digest) == PhantomTwoContrasts(60, shape=SHAPE).content_key(3, digest=digest)


def test_unknown_look_is_refused() -> None:
    with pytest.raises(UsageError, match="swapped"):
        PhantomTwoContrasts(6, low_look="other")  # type: ignore[arg-type]
