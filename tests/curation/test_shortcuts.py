"""Probes of shortcuts: what is planted is found, what is random is not, and subjects do not leak between folds."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from covidct.curation import Entry, Scan, features_of, shortcut_probes
from covidct.curation.file_facts import FileFacts, file_facts, file_months
from covidct.curation.shortcut_features import FEATURES
from covidct.curation.shortcuts import held_out, macro_auroc
from covidct.errors import InputError, UsageError
from tests.fakes.dicom import body, edit, write_series

if TYPE_CHECKING:
    from numpy.typing import NDArray

PNG = FileFacts("png", 1, 1000, 8, 1)


def cohort(
    count: int, *, per_subject: int = 1, seed: int = 0, white_corner: str = "", sites: bool = False
) -> tuple[list[Entry], list[dict[str, NDArray[np.float64]]]]:
    """Noise, half of it called ill; one label may have a white corner."""
    rng = np.random.default_rng(seed)
    entries, features = [], []
    for number in range(count):
        subject = number // per_subject
        label = "ill" if subject % 2 else "well"
        site = f"hospital {(subject // 2) % 2}" if sites else ""
        image = rng.random((1, 40, 40), dtype=np.float32)
        if label == white_corner:
            image[0, :4, -4:] = 1.0
        entry = Entry(number + 1, Path("x.png"), label, f"p{subject}", site=site)
        entries.append(entry)
        features.append(features_of(Scan(entry, image), PNG))
    return entries, features


def test_a_white_corner_is_found_and_warned_of() -> None:
    entries, features = cohort(60, white_corner="ill")
    probes = {probe.features: probe for probe in shortcut_probes(entries, features, resamples=200)}
    assert list(probes) == [*FEATURES, "all together"]
    for name in ("corners", "all together"):
        assert probes[name].auroc.value > 0.99
        assert probes[name].auroc.low > 0.95
    assert "corners alone" in probes["corners"].warning
    assert "instead of the lungs" in probes["corners"].warning
    for name in ("image size", "file metadata"):  # the same for all
        assert probes[name].auroc.value == pytest.approx(0.5)
        assert not probes[name].warning
    assert probes["corners"].n == probes["corners"].groups == 60


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_cohort_is_not_warned_of(seed: int) -> None:
    entries, features = cohort(120, seed=seed, sites=True)
    probes = shortcut_probes(entries, features, resamples=200)
    assert {probe.target for probe in probes} == {"label", "site"}
    for probe in probes:
        assert probe.auroc.low < 0.5 + 1e-9
        assert not probe.warning


def test_a_subject_is_not_recognised_across_folds() -> None:
    """Features that name the subject, whose label is random: with subjects in one fold they tell nothing."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 6)
    table = rng.normal(size=(40, 50))[group] + rng.normal(size=(len(group), 50)) * 0.05
    honest, leaky = [], []
    for _ in range(6):
        target = rng.permutation(np.arange(40) % 2)[group]
        split = StratifiedKFold(5, shuffle=True, random_state=0)  # images of one subject in several folds
        with threadpool_limits(limits=1):
            model = LogisticRegression(max_iter=5000)
            seen = cross_val_predict(model, table, target, cv=split, method="predict_proba")
        leaky.append(roc_auc_score(target, seen[:, 1]))
        prob = held_out(table, target, group, folds=5, seed=0)
        honest.append(macro_auroc(prob, target, group, resamples=0, seed=0)[0].value)
    assert min(leaky) > 0.95
    assert abs(np.mean(honest) - 0.5) < 0.1


def test_the_area_is_scikit_learns_and_one_class_can_stand_out() -> None:
    rng = np.random.default_rng(1)
    target = np.arange(90) % 3
    prob = rng.random((90, 3)) + 2.0 * (np.eye(3)[target] * np.array([0, 0, 1]))
    prob /= prob.sum(1, keepdims=True)
    mean, each = macro_auroc(prob, target, np.arange(90), resamples=300, seed=0)
    for k, found in enumerate(each):
        assert found.value == pytest.approx(roc_auc_score(target == k, prob[:, k]))
        assert found.low <= found.value <= found.high
    assert mean.value == pytest.approx(roc_auc_score(target, prob, multi_class="ovr", average="macro"))


def test_of_three_classes_the_one_that_stands_out_is_named() -> None:
    entries, features = cohort(90)
    labels = ["a", "b", "c"]
    mixed = [Entry(e.number, e.path, labels[e.number % 3], e.subject) for e in entries]
    for entry, values in zip(mixed, features, strict=True):
        values["image size"][0] = 512 if entry.label == "c" else 256
    probe = next(p for p in shortcut_probes(mixed, features, resamples=200) if p.features == "image size")
    assert probe.by_class["c"].value == pytest.approx(1.0)
    assert probe.warning.startswith("The label c can be told from image size alone")
    rows = probe.rows()
    assert [row["class"] for row in rows] == ["all", "a", "b", "c"]
    assert [bool(row["warning"]) for row in rows] == [True, False, False, False]
    assert json.loads(json.dumps(probe.to_dict()))["by_class"]["c"]["value"] == pytest.approx(1.0)


def test_rare_classes_and_unknown_subjects_are_said() -> None:
    entries, features = cohort(40)
    entries = [Entry(e.number, e.path, "rare" if e.number <= 3 else e.label, "") for e in entries]
    probe = shortcut_probes(entries, features, resamples=0)[0]
    assert (probe.n, probe.left_out, probe.by_subject) == (37, 1, False)
    assert np.isnan(probe.auroc.low)
    assert not probe.warning
    assert shortcut_probes(entries[:6], features[:6]) == ()
    assert shortcut_probes([], []) == ()


@pytest.mark.parametrize("change", [{"targets": ("lungs",)}, {"folds": 1}, {"folds": 6}])
def test_wrong_use_is_refused(change: dict[str, object]) -> None:
    entries, features = cohort(12)
    with pytest.raises(UsageError):
        shortcut_probes(entries, features, **change)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="one per entry"):
        shortcut_probes(entries, features[1:])


def write_images(folder: Path, count: int = 24) -> list[Entry]:
    rng = np.random.default_rng(0)
    entries = []
    for number in range(count):
        ill = number % 2
        path = folder / f"s{number}{'.jpg' if ill else '.png'}"
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (32, 32), np.uint8))
        entries.append(Entry(number + 1, path, "ill" if ill else "well", f"p{number}"))
    return entries


def test_a_cohort_is_read_and_its_format_gives_the_label_away(tmp_path: Path) -> None:
    entries = write_images(tmp_path / "c")
    probes = {probe.features: probe for probe in shortcut_probes(entries, resamples=100)}
    assert probes["file metadata"].auroc.value == 1.0
    assert "file metadata" in probes["file metadata"].warning
    broken = [*entries, Entry(99, tmp_path / "none.png", "ill", "p99")]
    with pytest.raises(InputError, match="row-00099"):
        shortcut_probes(broken, resamples=0)
    lost: list[object] = []
    assert shortcut_probes(broken, resamples=0, unreadable=lost)[0].n == 24  # type: ignore[arg-type]
    assert len(lost) == 1


def test_features_are_what_they_are_called(tmp_path: Path) -> None:
    image = np.full((2, 20, 40), 0.5, np.float32)
    image[:, 0] = 1.0  # top border of 5 % of 20 rows
    image[:, -2:, :4] = 0.0  # bottom left corner of 10 %
    found = features_of(Scan(Entry(1, tmp_path), image), PNG)
    for group, names in FEATURES.items():
        assert found[group].shape == (len(names),)
        assert np.isfinite(found[group]).all()
    value = {name: v for group, names in FEATURES.items() for name, v in zip(names, found[group], strict=True)}
    assert value["top border: mean"] == 1.0
    assert value["top border: share of white"] == 1.0
    assert value["bottom left corner: share of black"] == 1.0
    assert value["bottom right corner: mean"] == 0.5
    assert value["left border: standard deviation"] == pytest.approx(image[:, :, 0].std())
    assert (value["rows"], value["columns"], value["slices"], value["aspect ratio"]) == (20, 40, 2, 2)
    assert value["mean"] == pytest.approx(image.mean())
    assert value["format: png"] == 1
    assert value["log of bytes per pixel"] == pytest.approx(np.log(1000 / 1600))


def test_facts_of_pictures_and_series(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", quality=30, dpi=(72, 72))
    Image.new("RGB", (8, 6)).save(tmp_path / "b.jpg", quality=95)
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(tmp_path / "c.png")

    def facts(name: str) -> FileFacts:
        return file_facts(Scan(Entry(1, tmp_path / name), np.zeros((1, 6, 8), np.float32)))

    rough, fine, deep = facts("a.jpg"), facts("b.jpg"), facts("c.png")
    assert (rough.format, rough.channels, rough.bits, rough.bytes) == (
        "jpeg",
        3,
        8,
        (tmp_path / "a.jpg").stat().st_size,
    )
    assert rough.quantisation > 5 * fine.quantisation > 0
    assert "resolution" in rough.flags
    assert (deep.format, deep.channels, deep.bits, deep.quantisation) == ("png", 1, 16, 0)
    for path in write_series(tmp_path / "ct", body(), spacing=(2.0, 0.75, 0.5)):
        edit(path, ConvolutionKernel="B30f", AcquisitionDate="20200317")
    from covidct.curation import read_stack

    series = file_facts(read_stack(Entry(1, tmp_path / "ct")))
    assert (series.format, series.files, series.kernel, series.acquired) == ("dicom", 12, "B30f", "2020-03")
    assert series.spacing == pytest.approx((2.0, 0.75, 0.5))
    assert {"kernel", "date"} <= series.flags
    assert "SENTINEL" not in repr(series)
    assert "2020" not in repr(series)


def test_headers_of_pictures_are_read_without_their_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image, ImageFile, PngImagePlugin

    words = PngImagePlugin.PngInfo()
    words.add_text("Description", "figure 3")
    exif = Image.Exif()
    exif[0x010E] = "figure"
    Image.new("L", (8, 6)).save(tmp_path / "plain.png")
    Image.new("L", (8, 6)).save(tmp_path / "text.png", pnginfo=words)
    Image.new("L", (8, 6)).save(tmp_path / "exif.png", exif=exif)
    Image.new("L", (8, 6)).save(tmp_path / "exif.jpg", exif=exif)
    Image.new("P", (8, 6)).save(tmp_path / "palette.png")
    Image.new("L", (8, 6)).save(tmp_path / "plain.tif")

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    stack = np.zeros((1, 6, 8), np.float32)
    found = {p.name: set(file_facts(Scan(Entry(1, p), stack)).flags) for p in tmp_path.iterdir()}
    assert found == {
        "plain.png": set(),
        "text.png": {"text"},
        "exif.png": {"exif"},
        "exif.jpg": {"exif", "resolution"},
        "palette.png": {"palette"},
        "plain.tif": {"resolution"},
    }


def test_months_of_files_are_counted_by_label(tmp_path: Path) -> None:
    import os

    entries = write_images(tmp_path / "c", 6)
    march, april = 1_583_107_200, 1_585_785_600  # 2 March and 2 April 2020, UTC
    for entry, when in zip(entries, [march] * 4 + [april] * 2, strict=True):
        os.utime(entry.path, (april, when))
    found = file_months([*entries, Entry(9, tmp_path / "gone.png", "ill")])
    assert found["modified"] == {
        ("2020-03", "well"): 2, ("2020-03", "ill"): 2, ("2020-04", "well"): 1, ("2020-04", "ill"): 1,
    }  # fmt: skip
    assert found["accessed"] == {("2020-04", "well"): 3, ("2020-04", "ill"): 3}
    folder = file_months([Entry(1, tmp_path / "c", "scan")])
    assert folder["modified"] == {("2020-03", "scan"): 4, ("2020-04", "scan"): 2}
    assert all(earlier <= later for earlier, later in pairwise(sorted(m for m, _ in found["created"])))
