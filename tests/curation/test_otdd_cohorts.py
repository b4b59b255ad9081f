"""Cohorts as features: which slices, which labels and subjects, and the two comparisons of the document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidct.curation import (
    Unreadable,
    cohort_set,
    compare_sets,
    contrast_sets,
    equalised_sets,
    pixel_features,
    read_listing,
)
from covidct.errors import CovidctError, InputError, UsageError
from covidct.functional import contrast_score, equalise
from tests.fakes.contrast_pictures import grey, picture, write


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """24 patients with two pictures each: half ill, half of low contrast."""
    rng = np.random.default_rng(0)
    rows = ["path,label,subject,split"]
    for number in range(48):
        patient = number // 2
        name = f"{number:02d}.png"
        contrast = 0.2 if patient // 2 % 2 else 0.8
        write(tmp_path / name, picture(rng, ill=bool(patient % 2), contrast=contrast))
        rows.append(f"{name},{('well', 'ill')[patient % 2]},P{patient},{'train' if patient < 16 else 'test'}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    return tmp_path / "t.csv"


def test_features_labels_and_subjects_of_every_picture(cohort: Path) -> None:
    seen: list[str] = []
    entries = read_listing(cohort)
    found = cohort_set(entries, on_scan=seen.append)
    assert found.x.shape == (48, 32 * 32)
    assert found.y == [entry.label for entry in entries]
    assert found.subjects is not None
    assert found.subjects[0] == found.subjects[1] != found.subjects[2]
    assert seen == [entry.id for entry in entries]
    image = grey(entries[5].path)
    np.testing.assert_allclose(found.x[5], pixel_features(image[None])[0], atol=1e-6)


def test_slices_of_a_volume_are_spread_over_it(tmp_path: Path) -> None:
    for scan in ("a", "b"):
        folder = tmp_path / "data" / "ill" / scan
        for k in range(10):
            write(folder / f"{k}.png", np.full((32, 32), 20 * k, np.uint8))
    entries = read_listing(tmp_path / "data", scans=True, label_from_folder=True)
    found = cohort_set(entries, slices_per_scan=2, features=lambda stack: stack.mean((1, 2))[:, None])
    np.testing.assert_allclose(found.x[:, 0] * 255, [40, 140] * 2, atol=0.5)  # middles of the halves: slices 2 and 7
    assert found.subjects == ["row-00001", "row-00001", "row-00002", "row-00002"]
    few = cohort_set(entries, slices_per_scan=99, features=lambda stack: stack.mean((1, 2))[:, None])
    assert few.x.shape == (20, 1)


def test_at_most_so_many_scans_are_read_by_class(cohort: Path) -> None:
    found = cohort_set(read_listing(cohort), max_scans=10)
    assert sorted(found.y) == ["ill"] * 5 + ["well"] * 5


def test_original_and_equalised_are_the_same_slices(cohort: Path) -> None:
    entries = read_listing(cohort)
    original, equalised = equalised_sets(entries)
    assert original.y == equalised.y
    assert original.subjects == equalised.subjects
    np.testing.assert_array_equal(original.x, cohort_set(entries).x)
    image = grey(entries[7].path)
    np.testing.assert_allclose(equalised.x[7], pixel_features(equalise(image)[None])[0], atol=1e-5)
    compared = compare_sets(original, equalised, resamples=4)
    assert compared.result.distance > 0.1
    with_nothing = equalised_sets(entries, treatment=lambda stack: stack)
    assert compare_sets(*with_nothing, resamples=2).result.distance == pytest.approx(0, abs=1e-9)


def test_low_and_high_contrast_part_the_subjects(cohort: Path) -> None:
    entries = read_listing(cohort)
    low, high, split = contrast_sets(entries)
    assert (split.low, split.high) == (8, 8)  # of the 16 training subjects
    assert len(low.y) == len(high.y) == 24
    assert set(low.subjects or ()) & set(high.subjects or ()) == set()
    for entry in entries:
        image = np.asarray(grey(entry.path)[None] / 255, np.float32)
        side = low if contrast_score(image) <= split.threshold else high
        row = pixel_features(image)[0]
        assert np.abs(side.x - row).max(1).min() < 1e-5


def test_what_cannot_be_read_is_listed_or_raised(cohort: Path) -> None:
    (cohort.parent / "03.png").write_bytes(b"no picture")
    write(cohort.parent / "04.png", np.zeros((5, 5), np.uint8))  # too small for 8 x 8 tiles, no body
    entries = read_listing(cohort)
    unreadable: list[Unreadable] = []
    original, _ = equalised_sets(entries, unreadable=unreadable)
    assert len(original.y) == 46
    assert [item.entry.number for item in unreadable] == [4, 5]
    unreadable.clear()
    low, high, _ = contrast_sets(entries, unreadable=unreadable)
    assert len(low.y) + len(high.y) == 46
    assert sorted(item.entry.number for item in unreadable) == [4, 5]
    with pytest.raises(CovidctError):
        equalised_sets(entries)


def test_cohorts_that_cannot_be_compared_are_refused(cohort: Path, tmp_path: Path) -> None:
    entries = read_listing(cohort)
    with pytest.raises(UsageError, match="at least 1"):
        cohort_set(entries, slices_per_scan=0)
    with pytest.raises(UsageError, match="one row of numbers per image"):
        cohort_set(entries, features=lambda stack: stack)
    (tmp_path / "bare.csv").write_text("path\n00.png\n")
    with pytest.raises(InputError, match="has a label"):
        cohort_set(read_listing(tmp_path / "bare.csv"))
    (tmp_path / "gone.csv").write_text("path,label\nnone.png,ill\n")
    with pytest.raises(InputError, match=r"nothing to compare. The first: row-00001: there is no such file"):
        cohort_set(read_listing(tmp_path / "gone.csv"), unreadable=[])
    for number in (0, 1):  # they can be read, but show no body
        write(tmp_path / f"Meyer{number}.png", np.zeros((40, 40), np.uint8))
    (tmp_path / "black.csv").write_text("path,label\nMeyer0.png,ill\nMeyer1.png,well\n")
    with pytest.raises(InputError, match=r"nothing to compare. The first: .*body") as caught:
        contrast_sets(read_listing(tmp_path / "black.csv"), unreadable=[])
    assert "Meyer" not in str(caught.value)


def test_classes_that_the_drawn_scans_lack_are_named(cohort: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = (cohort.parent / "t.csv").read_text()
    (cohort.parent / "three.csv").write_text(text.replace("00.png,well", "00.png,odd"))
    found = cohort_set(read_listing(cohort.parent / "three.csv"), max_scans=4)
    assert sorted(found.y) == ["ill", "ill", "well", "well"]
    assert "none is of the rare classes odd" in caplog.text
