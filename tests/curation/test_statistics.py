"""One pass over a cohort gives what numpy gives on everything at once."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from covidct.curation import Entry, cohort_statistics, read_listing
from covidct.curation.file_facts import coarse_months
from covidct.curation.statistics import Counts
from covidct.errors import InputError, UsageError
from covidct.functional import contrast_score
from covidct.io.dicom_files import Item
from covidct.io.dicom_series import Fault, Series, find_all
from tests.fakes.dicom import body, edit, write_series


def picture(rng: np.random.Generator, shape: tuple[int, int] = (48, 48)) -> NDArray[np.uint8]:
    """A bright disc with noise in a dark frame."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = (y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2 < (0.4 * min(shape)) ** 2
    pixels = rng.integers(0, 40, shape) + inside * rng.integers(60, 210)
    return np.asarray(pixels, np.uint8)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """24 pictures of 10 subjects and unknown ones in three classes, two splits and two sites; one file is missing."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        name = f"Miller_{number}.png"
        cv2.imwrite(str(tmp_path / name), picture(rng))
        label = ("covid", "normal", "odd")[number % 3] if number < 22 else ""
        subject = f"P{number // 2}" if number < 20 else ""
        rows.append([name, label, subject, "train" if number < 15 else "test", ("A", "B")[number % 2]])
    rows.append(["Miller_gone.png", "covid", "P99", "train", "A"])
    with (tmp_path / "cohort.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "subject", "split", "site"], *rows])
    return tmp_path / "cohort.csv"


def test_images_grey_values_and_contrast_are_numpys(table: Path) -> None:
    entries = read_listing(table)
    found = cohort_statistics(entries, size=48, probes=False)
    assert found.labels == ("normal", "covid", "odd", "")  # diagnoses in their order, others, unknown last
    for label in found.labels:
        files = [e.path for e in entries if e.label == label and e.path.exists()]
        images = [np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)) for file in files]
        stack = np.stack(images).astype(np.float32) / np.float32(255)
        one = found.images[label]
        assert one.slices == len(files)
        np.testing.assert_allclose(one.mean, stack.astype(np.float64).mean(0), rtol=1e-9)
        np.testing.assert_allclose(one.std, stack.astype(np.float64).std(0), rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(one.grey, np.histogram(stack, 256, (0, 1))[0] / stack.size, atol=2e-4)
        assert one.grey.sum() == pytest.approx(1)
        scores = [r.contrast for r in found.records if r.entry.label == label]
        assert scores == [contrast_score(image[None]) for image in stack]
    mean, std = found.differences()["covid", "normal"]
    np.testing.assert_array_equal(mean, found.images["covid"].mean - found.images["normal"].mean)
    np.testing.assert_array_equal(std, found.images["covid"].std - found.images["normal"].std)
    assert len(found.differences()) == 6
    assert set(found.differences(["covid", "normal"])) == {("covid", "normal")}
    examples = found.examples()
    assert examples is not None
    ordered = sorted(record.contrast for record in found.records)
    assert [record.contrast for record in examples] == [ordered[1], ordered[12], ordered[22]]


def test_subjects_are_counted_once_and_unknown_ones_apart(table: Path) -> None:
    found = cohort_statistics(read_listing(table), size=16, probes=False)
    assert found.counts() == {(): Counts(subjects=10, scans=24, slices=24, unknown=4)}
    by_split = found.counts("split")
    assert by_split["train",] == Counts(8, 15, 15, 0)
    assert by_split["test",] == Counts(3, 9, 9, 4)  # one of them in train too
    cross = found.counts("label", "split", "site")
    assert sum(counts.scans for counts in cross.values()) == 24
    assert cross["", "test", "A"].scans == 1


def test_what_cannot_be_read_is_kept_apart(table: Path) -> None:
    seen: list[str] = []
    found = cohort_statistics(read_listing(table), size=16, probes=False, on_scan=seen.append)
    assert [item.entry.id for item in found.unreadable] == ["row-00025"]
    assert seen == [f"row-{number:05d}" for number in range(1, 25)]
    with pytest.raises(InputError, match=r"none can be read.* The first: row-00001: there"):
        cohort_statistics([Entry(1, table.parent / "gone.png")])


def test_the_line_is_fitted_on_training_subjects(table: Path) -> None:
    entries = read_listing(table)
    found = cohort_statistics(entries, size=16, probes=False)
    assert found.contrast is not None
    assert found.contrast_basis == "training subjects"
    assert found.contrast.low + found.contrast.high == 8
    for entry in entries[15:24]:  # other test pictures: the same line
        cv2.imwrite(str(entry.path), np.tile(np.arange(0, 240, 5, dtype=np.uint8), (48, 1)))
    again = cohort_statistics(entries, size=16, probes=False)
    assert again.contrast == found.contrast
    assert [r.contrast for r in again.records] != [r.contrast for r in found.records]
    without = [Entry(e.number, e.path, e.label, e.subject) for e in entries]
    assert cohort_statistics(without, size=16, probes=False).contrast_basis == "all subjects"


def test_a_cohort_without_contrast_has_no_line(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((20, 20), 50 * number, np.uint8))
    found = cohort_statistics(read_listing(tmp_path), size=8, probes=False)
    assert found.contrast is None
    assert found.examples() is None
    assert "cannot be split" in found.contrast_note
    assert all(math.isnan(record.contrast) for record in found.records)
    assert found.probes == ()


def test_shortcuts_are_looked_for_in_the_same_pass(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        label = "ill" if number % 2 else "well"
        (tmp_path / label).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / label / f"{number}.png"), picture(rng, (48, 52) if number % 2 else (48, 48)))
    entries = read_listing(tmp_path, label_from_folder=True)
    probes = {probe.features: probe for probe in cohort_statistics(entries, resamples=50).probes}
    assert probes["image size"].auroc.value == 1.0
    assert probes["image size"].warning


def test_months_are_counted_before_reading_touches_the_files(table: Path) -> None:
    entries = read_listing(table)
    for entry in entries[:24]:
        os.utime(entry.path, (946_684_800, 951_782_400))  # accessed 2000-01, changed 2000-02-29
    found = cohort_statistics(entries, size=16, probes=False)
    assert {month for month, _ in found.months["accessed"]} == {"2000-01"}
    assert {month for month, _ in found.months["modified"]} == {"2000-02"}
    assert sum(found.months["modified"].values()) == 24


def test_volumes_count_their_slices_and_dates_can_be_left_out(tmp_path: Path) -> None:
    for number, kernel in enumerate(("B30f", "B60f")):
        for path in write_series(tmp_path / f"s{number}", body(seed=number), spacing=(2.0, 0.75, 0.5)):
            edit(path, ConvolutionKernel=kernel, Manufacturer="SIEMENS", AcquisitionDate=f"2020030{number + 1}")
    entries = [Entry(k + 1, tmp_path / f"s{k}", "ill", f"p{k}") for k in range(2)]
    found = cohort_statistics(entries, size=16, probes=False)
    assert found.counts()[()].slices == 24
    assert [record.facts.kernel for record in found.records] == ["B30f", "B60f"]
    assert found.records[0].spacing == pytest.approx((2.0, 0.75, 0.5))
    assert found.acquired == {("2020", "ill"): 2}  # so few in a month could be told from it
    assert sum(found.months["modified"].values()) == 24
    assert cohort_statistics(entries, size=16, probes=False, dates=False).acquired == {}


def test_wrong_options_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    gone = [Entry(1, tmp_path / "gone.png")]
    with pytest.raises(UsageError, match="at least one pixel"):
        cohort_statistics(gone, size=0)
    with pytest.raises(UsageError, match="'rms' or 'spread'"):
        cohort_statistics(gone, measure="x")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="window"):
        cohort_statistics(gone, window=(400.0, -1000.0))
    with pytest.raises(UsageError, match="resamples"):
        cohort_statistics(gone, resamples=-3)


def test_months_of_few_series_are_years() -> None:
    counts = {("2020-03", "a"): 5, ("2020-04", "a"): 4, ("2020-05", "a"): 1, ("2005-11", "b"): 1}
    assert coarse_months(counts) == {("2020-03", "a"): 5, ("2020", "a"): 5, ("2005", "b"): 1}


def test_headers_of_dicom_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "s", body(), series_uid="1.2.3.1")
    for path in write_series(
        tmp_path / "s", body((6, 44, 36)), series_uid="1.2.3.2", names=[f"o{k}.dcm" for k in range(6)]
    ):
        edit(path, ConvolutionKernel="B60f")
    calls: list[object] = []

    def counted(items: list[Item]) -> tuple[list[Series], list[Fault]]:
        calls.append(items)
        return find_all(items)

    monkeypatch.setattr("covidct.io.dicom.find_all", counted)
    found = cohort_statistics([Entry(1, tmp_path / "s", series="1.2.3.2")], size=16, probes=False)
    assert len(calls) == 1
    assert found.records[0].facts.kernel == "B60f"  # of the series that was read, not of the largest
    assert found.records[0].facts.files == 6
