from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covidct.datasets import PhantomConfounded
from covidct.errors import UsageError
from covidct.sample import check_sample
from covidct.volume import Volume

SHAPE = (4, 48, 48)
SPACING = (20.0, 8.0, 8.0)


def cohort(**options: Any) -> PhantomConfounded:  # noqa: ANN401
    return PhantomConfounded(**{"num_subjects": 40, "shape": SHAPE, "spacing": SPACING, **options})


def phi(dataset: PhantomConfounded, part: str) -> float:
    """Pearson's correlation of marker and class within a part, by numpy."""
    records = [record for record in dataset.records if (record.split == "test") == (part == "test")]
    marker = [float(dataset.has_marker(record.source)) for record in records]
    return float(np.corrcoef(marker, [record.label for record in records])[0, 1])


@pytest.mark.parametrize(("train", "test"), [(1.0, 0.0), (0.0, 0.0), (-1.0, 1.0), (0.5, -0.5)])
def test_marker_and_class_correlate_as_asked_part_by_part(train: float, test: float) -> None:
    dataset = cohort(num_subjects=80, train_correlation=train, test_correlation=test, test_fraction=0.5)
    assert Counter((record.split, record.label) for record in dataset.records) == {
        (part, label): 20 for part in ("train", "test") for label in (0, 1)
    }
    assert phi(dataset, "train") == pytest.approx(train, abs=1e-9)
    assert phi(dataset, "test") == pytest.approx(test, abs=1e-9)


def test_other_correlations_are_the_same_scans_with_other_markers() -> None:
    one, other = cohort(), cohort(train_correlation=0.0)
    assert one.records == other.records
    source = next(r.source for r in one.records if one.has_marker(r.source) and not other.has_marker(r.source))
    marked, plain = one.load(source), other.load(source)
    assert isinstance(marked.scan, Volume)
    assert isinstance(plain.scan, Volume)
    changed = marked.scan.array != plain.scan.array
    h, w = np.meshgrid((np.arange(48) - 23.5) * 8, (np.arange(48) - 23.5) * 8, indexing="ij")
    distance = np.hypot(h - 150, w + 175)
    assert changed[:, distance < 8].all()  # within the rod of 12 mm, whatever the edge of a pixel does
    assert not changed[:, distance > 12 + 8].any()
    assert int(marked.scan.array.max()) == 3000
    assert plain.lung_mask is not None
    assert not plain.lung_mask[changed].any()
    assert np.array_equal(marked.lung_mask, plain.lung_mask)  # type: ignore[arg-type]


def test_haze_lies_on_the_lungs_of_positive_scans_alone() -> None:
    plain, hazy = cohort(train_correlation=0.0), cohort(train_correlation=0.0, haze_hu=60.0)
    for source, changes in ((0, False), (1, True)):
        one, other = plain.load(source), hazy.load(source)
        assert isinstance(one.scan, Volume)
        assert isinstance(other.scan, Volume)
        assert one.lung_mask is not None
        difference = other.scan.array - one.scan.array
        assert not difference[one.lung_mask == 0].any()
        air = (one.lung_mask > 0) & (one.scan.array < -300)
        assert set(np.unique(difference[air])) == ({60} if changes else {0})
        assert other.scan.array[one.lung_mask > 0].max() <= max(50, int(one.scan.array[one.lung_mask > 0].max()))


def test_the_marker_covers_its_area() -> None:
    dataset = cohort(shape=(2, 256, 256), spacing=(20.0, 1.6, 1.6))
    volume = dataset.load(0).scan
    assert isinstance(volume, Volume)
    assert dataset.marker_share(volume).sum() * 1.6**2 == pytest.approx(np.pi * 12**2, rel=0.01)


def test_samples_keep_the_contract_and_keys_follow_the_marker() -> None:
    def digest(path: Path) -> str:
        raise AssertionError(path)

    one, other = cohort(), cohort(train_correlation=0.0)
    check_sample(one[1], "ct_volume", intensity="hu")
    for source in range(40):
        same = one.has_marker(source) == other.has_marker(source)
        assert (one.content_key(source, digest=digest) == other.content_key(source, digest=digest)) == same
    wider = cohort(marker_radius_mm=20.0)
    for source in range(40):
        same = not one.has_marker(source)
        assert (wider.content_key(source, digest=digest) == one.content_key(source, digest=digest)) == same
    again = pickle.loads(pickle.dumps(one))  # noqa: S301
    assert again.records == one.records


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train_correlation": 1.5}, "train_correlation"),
        ({"diagnoses": ["flu"]}, "flu"),
        ({"marker_radius_mm": 0.0}, "marker_radius_mm"),
        ({"marker_hu": 9000.0}, "marker_hu"),
        ({"haze_hu": -5.0}, "haze_hu"),
    ],
)
def test_impossible_arguments_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        cohort(**options)


def test_a_marker_on_the_lungs_is_refused() -> None:
    with pytest.raises(UsageError, match="lies on lung"):
        cohort(marker_mm=(0.0, -80.0)).load(0)
