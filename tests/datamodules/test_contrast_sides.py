from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from covidct.datamodules import CTSliceDataModule, CTVolumeDataModule
from covidct.datasets import PhantomTwoContrasts, SlicesOfVolumes
from covidct.errors import UsageError
from covidct.functional import ContrastSplit, contrast_score, window_hu

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (8, 48, 48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests: each scan is simulated and prepared once."""
    return tmp_path_factory.mktemp("cache")


def cohort() -> PhantomTwoContrasts:
    return PhantomTwoContrasts(9, scans_per_subject=2, shape=SHAPE)


def volumes(folder: Path, **changes: Any) -> CTVolumeDataModule:  # noqa: ANN401
    options: dict[str, Any] = {"contrast": "rms", "size": 48, "grid": "slices", "mask_source": "none", **changes}
    module = CTVolumeDataModule(cohort(), val_fraction=0.25, test_fraction=0.25, cache_dir=str(folder), **options)
    module.prepare_data()
    module.setup("fit")
    return module


def test_batches_have_the_contrast_of_the_subject(folder: Path) -> None:
    module = volumes(folder, enhancement="equalise_clahe")
    own: dict[str, list[float]] = {}
    for record in module.dataset.records:
        array = module.dataset.load(record.source).scan.array
        own.setdefault(record.subject, []).append(contrast_score(window_hu(array, -1250.0, 250.0)))
    wanted = {record.id: median(own[record.subject]) for record in module.dataset.records}
    for loader in (module.predict_dataloader(), module.train_dataloader()):
        for batch in loader:
            assert batch["contrast"].tolist() == pytest.approx([wanted[name] for name in batch["id"]], abs=1e-6)


def test_the_line_comes_from_training_subjects_alone(folder: Path) -> None:
    module = volumes(folder)
    scores = {b["subject"].item(): b["contrast"].item() for b in module.predict_dataloader()}
    subjects = list(dict.fromkeys(module.dataset.subject_hash(record) for record in module.records("train")))
    assert module.contrast_split == ContrastSplit.fit([scores[s] for s in subjects], subjects)


def test_one_side_of_every_part(folder: Path) -> None:
    whole = volumes(folder)
    sides = {side: volumes(folder, contrast_side=side) for side in ("low", "high")}
    line = whole.contrast_split
    assert line is not None
    scores = {b["subject"].item(): b["contrast"].item() for b in whole.predict_dataloader()}
    for part in ("train", "val", "test"):
        taken = {side: module.records(part) for side, module in sides.items()}
        assert sorted(r.id for records in taken.values() for r in records) == sorted(r.id for r in whole.records(part))
        for side, records in taken.items():
            assert {scores[whole.dataset.subject_hash(record)] > line.threshold for record in records} <= {
                side == "high"
            }
    assert sides["low"].contrast_split == sides["high"].contrast_split == whole.contrast_split


def test_slices_go_the_way_of_their_subject(folder: Path) -> None:
    module = CTSliceDataModule(
        SlicesOfVolumes(cohort(), slices_per_scan=3), contrast="rms", size=32, cache_dir=str(folder), augment=False
    )
    module.prepare_data()
    module.setup("fit")
    assert module.contrast_split is not None
    by_subject: dict[int, set[float]] = {}
    for batch in module.predict_dataloader():
        for subject, contrast in zip(batch["subject"].tolist(), batch["contrast"].tolist(), strict=True):
            by_subject.setdefault(subject, set()).add(contrast)
    assert len(by_subject) == 9
    assert all(len(contrasts) == 1 for contrasts in by_subject.values())


def test_without_training_subjects_there_is_no_line(folder: Path) -> None:
    tested = CTVolumeDataModule(
        cohort(),
        contrast="rms",
        size=32,
        grid="slices",
        mask_source="none",
        test_fraction=1.0,
        val_fraction=0.0,
        cache_dir=str(folder),
    )
    tested.prepare_data()
    tested.setup("test")
    assert tested.contrast_split is None
    assert "contrast" in next(iter(tested.test_dataloader()))
    with pytest.raises(UsageError, match="training subjects"):
        CTVolumeDataModule(
            cohort(),
            contrast="rms",
            contrast_side="low",
            size=32,
            grid="slices",
            mask_source="none",
            test_fraction=1.0,
            val_fraction=0.0,
            cache_dir=str(folder),
        ).setup("test")


@pytest.mark.parametrize("changes", [{"contrast_side": "middle"}, {"contrast": "none", "contrast_side": "low"}])
def test_impossible_sides_are_refused(folder: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="contrast_side"):
        volumes(folder, **changes)
