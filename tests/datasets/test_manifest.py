from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from covidct.datasets import ManifestCXR, ManifestSlices, ManifestVolumes
from covidct.errors import InputError, ManifestError, UsageError
from covidct.io import content_digest
from covidct.sample import check_sample, collate
from covidct.volume import Image, Volume
from tests.fakes.cohort import chest_of, write_images, write_table, write_volumes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volumes(tmp_path_factory.mktemp("volumes"), 3)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), 3)


def test_constructor_reads_nothing() -> None:
    dataset = ManifestVolumes("nowhere.csv")
    with pytest.raises(ManifestError, match="does not exist"):
        len(dataset)


def test_volumes_come_as_they_were_written(volumes: Path) -> None:
    dataset = ManifestVolumes(volumes)
    assert len(dataset) == 3
    assert [record.label for record in dataset.records] == [0, 1, 2]
    raw, expected = dataset.load(2), chest_of(2)
    assert isinstance(raw.scan, Volume)
    assert isinstance(expected.scan, Volume)
    np.testing.assert_array_equal(raw.scan.array, expected.scan.array)
    np.testing.assert_allclose(raw.scan.affine, expected.scan.affine)
    np.testing.assert_array_equal(raw.lung_mask, expected.lung_mask)
    np.testing.assert_array_equal(raw.lesion_mask, expected.lesion_mask)
    np.testing.assert_array_equal(raw.slice_label, expected.slice_label)


def test_samples_keep_the_contract_and_no_identity(volumes: Path, images: Path) -> None:
    for dataset in (
        ManifestVolumes(volumes),
        ManifestSlices(volumes, intensity="hu"),
        ManifestSlices(images),
        ManifestCXR(images),
    ):
        sample = dataset[1]
        check_sample(sample, dataset.kind, intensity=dataset.intensity)
        assert "lung_mask" in sample
        assert "Doe" not in str(sample)
        assert len({record.id for record in dataset.records}) == len(dataset)


def test_slices_of_volumes(volumes: Path) -> None:
    dataset = ManifestSlices(volumes, intensity="hu")
    assert len(dataset) == 3 * 24
    raw = chest_of(2)
    assert isinstance(raw.scan, Volume)
    assert raw.slice_label is not None
    index = int(np.flatnonzero(raw.slice_label)[0])
    sample = dataset[2 * 24 + index]
    np.testing.assert_array_equal(sample["image"][0].numpy(), raw.scan.array[index])
    assert (int(sample["label"]), int(sample["slice_label"]), float(sample["position"])) == (2, 2, 10.0 * index)
    assert int(sample["scan"]) == int(dataset[2 * 24]["scan"]) != int(dataset[0]["scan"])
    assert int(dataset[2 * 24]["slice_label"]) == 0


def test_a_slice_has_its_own_class_or_that_of_its_volume(volumes: Path) -> None:
    own = ManifestSlices(volumes, intensity="hu")
    expected = [int(label) for index in range(3) for label in chest_of(index).slice_label]  # type: ignore[union-attr]
    assert [record.label for record in own.records] == expected
    assert expected.count(2) < 24, "a clean slice of a covid volume"
    whole = ManifestSlices(volumes, intensity="hu", labels="scan")
    assert [record.label for record in whole.records] == [0] * 24 + [1] * 24 + [2] * 24
    with pytest.raises(UsageError, match="labels='volume'"):
        ManifestSlices(volumes, labels="volume")  # type: ignore[arg-type]


def test_slices_of_unknown_class_are_no_samples_to_learn_from(tmp_path: Path) -> None:
    table = write_volumes(tmp_path, 3)
    infected = [int(i) for i in np.flatnonzero(chest_of(2).slice_label)]  # type: ignore[arg-type]
    entries = ["1" if index in infected else "0" for index in range(24)]
    entries[infected[0]] = "-1"
    (tmp_path / "2.txt").write_text("\n".join(entries))
    labels = [record.label for record in ManifestSlices(table, intensity="hu").records if record.source == 2]
    assert labels == [{"1": 2, "0": 0, "-1": -1}[entry] for entry in entries]


def test_images_and_their_masks(images: Path) -> None:
    raw = ManifestCXR(images).load(1)
    assert isinstance(raw.scan, Image)
    assert raw.scan.array[0, 0] == pytest.approx(41 / 255)
    assert raw.lung_mask is not None
    assert np.argwhere(raw.lung_mask).min(axis=0).tolist() == [10, 4]
    assert set(np.unique(raw.lung_mask)) == {0, 1}
    assert int(ManifestSlices(images)[2]["slice_label"]) == 2


def test_classes_are_merged(volumes: Path) -> None:
    dataset = ManifestVolumes(volumes, classes="covid_vs_rest")
    assert dataset.class_names == ("non_covid", "covid")
    assert [record.label for record in dataset.records] == [0, 0, 1]
    assert set(dataset[2]["slice_label"].tolist()) == {0, 1}


def test_pickles_under_spawn(volumes: Path) -> None:
    dataset = ManifestVolumes(volumes)
    assert dataset.records
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert torch.equal(again[0]["image"], dataset[0]["image"])


def test_content_key_follows_content_not_names(volumes: Path, tmp_path: Path) -> None:
    copy = write_volumes(tmp_path, 3)
    here, there = ManifestVolumes(volumes), ManifestVolumes(copy)
    assert here.content_key(0, digest=content_digest) == there.content_key(0, digest=content_digest)
    keys = {there.content_key(i, digest=content_digest) for i in range(3)}
    assert len(keys) == 3
    (tmp_path / "0-lungs.nii.gz").write_bytes((tmp_path / "1-lungs.nii.gz").read_bytes() + b"\0")
    assert here.content_key(0, digest=content_digest) != there.content_key(0, digest=content_digest)
    repair = ManifestVolumes(volumes, on_fault="repair")
    assert here.content_key(0, digest=content_digest) != repair.content_key(0, digest=content_digest)


def test_declared_intensity_must_be_true(volumes: Path, images: Path) -> None:
    with pytest.raises(InputError, match=r"Row 1 holds Hounsfield units.*set intensity='hu'"):
        ManifestVolumes(volumes, intensity="unit").load(0)
    with pytest.raises(ManifestError, match="Row 1 has no slice_labels"):
        len(ManifestSlices(images, intensity="hu"))


def test_slices_of_rows_without_labels_are_unknown_where_other_rows_have_some(volumes: Path, tmp_path: Path) -> None:
    rows = [
        {"path": volumes.parent / f"{number}.nii.gz", "label": "covid", "subject": f"p{number}", "slice_labels": file}
        for number, file in enumerate((volumes.parent / "0.txt", ""))
    ]
    mixed = ManifestVolumes(write_table(tmp_path / "mixed.csv", rows))
    batch = collate([mixed[0], mixed[1]])
    assert (batch["slice_label"][0] >= 0).all()
    assert (batch["slice_label"][1] == -1).all()
    alone = ManifestVolumes(write_table(tmp_path / "alone.csv", rows[1:]))
    assert "slice_label" not in alone[0]
    keys = [one.content_key(source, digest=content_digest) for one, source in ((mixed, 1), (alone, 0))]
    assert keys[0] != keys[1]  # what is prepared of one has a key more than of the other


def test_wrong_number_of_slice_labels_is_refused(volumes: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("0\n1\n")
    row = {"path": volumes.parent / "0.nii.gz", "label": "covid", "subject": "p", "slice_labels": "short.txt"}
    table = write_table(tmp_path / "t.csv", [row])
    with pytest.raises(ManifestError, match="Row 1 has 2 slice labels, the scan has 24 slices"):
        ManifestVolumes(table).load(0)


def test_mask_of_another_picture_is_refused(images: Path, tmp_path: Path) -> None:
    write_images(tmp_path, 1, shape=(30, 30))
    row = {"path": images.parent / "0.png", "label": "covid", "subject": "p", "mask": "0-lungs.png"}
    with pytest.raises(ManifestError, match="Row 1: the mask has"):
        ManifestCXR(write_table(tmp_path / "t.csv", [row])).load(0)


def test_unknown_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="classes='four'"):
        ManifestVolumes("x.csv", classes="four")
