"""The layout of COVID-CT-MD, in miniature: labels follow the slice they belong to, whatever the files are called."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
import torch

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import COVIDCTMDSlices, COVIDCTMDVolumes
from covidct.datasets.covid_ct_md_labels import LOBES, label_rows
from covidct.errors import GeometryError, InputError, ManifestError, UsageError
from covidct.io import content_digest
from covidct.sample import check_batch, check_sample
from covidct.volume import Volume
from tests.fakes.dicom import body, edit, write_series

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH = 8  # entries of a row of the arrays
INFECTED = {"P001": (0, 1), "P003": (2,), "cap001": (0, 3)}  # slices by place, from the head down
DEPTH = {"P001": 5, "P002": 3, "P003": 4, "cap001": 4, "cap002": 3, "normal001": 3}
FOLDERS = {"P": "COVID-19 subjects", "c": "Cap subjects", "n": "Normal subjects"}
MARK = 1234


def write_case(root: Path, name: str, *, seed: int = 0) -> None:
    """A scan with files in any order of names; infected slices carry a mark, and slice k from the feet the value k."""
    depth = DEPTH[name]
    hu = body((depth, 44, 36), seed=seed)
    hu[:, 20, 20] = np.arange(depth)
    for place in INFECTED.get(name, ()):
        hu[depth - 1 - place, 20, 21] = MARK
    names = [f"IM{number:04d}.dcm" for number in np.random.default_rng(seed).permutation(depth) + 1]
    files = write_series(root / FOLDERS[name[0]] / name, hu, names=names)
    for number, file in enumerate(files):
        edit(file, SliceLocation=f"{-300 + 2 * number}")


def write_labels(
    root: Path, rows: Mapping[int, tuple[str, str]], *, count: int, row_of: Mapping[str, int], suffix: str = ""
) -> NDArray[np.int64]:
    lines = [f"{index},{word},./{word}/,{name}" for index, (word, name) in rows.items()]
    (root / "Index.csv").write_text("\n".join(["Label Index,Diagnosis,Relative Path,Folder/ID", *lines]) + "\n")
    slices = np.zeros((count, WIDTH), dtype=np.int64)
    lobes = np.zeros((count, WIDTH, 5))
    for name, row in row_of.items():
        slices[row, list(INFECTED[name])] = 1
        lobes[row, INFECTED[name][0], 1] = lobes[row, INFECTED[name][-1], 2] = 1  # LUL above, RLL below
    np.save(root / f"Slice-level-labels{suffix}.npy", slices)
    np.save(root / f"Lobe-level-labels{suffix}.npy", lobes)
    return slices


ROWS = {41: ("COVID-19", "P001"), 42: ("COVID-19", "P003"), 44: ("CAP", "cap001")}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate(DEPTH):
        write_case(folder, name, seed=seed)
    return folder


@pytest.fixture
def root(scans: Path, tmp_path: Path) -> Path:
    """Six scans; three have labels, with indices that skip 43 and arrays without a row for it."""
    shutil.copytree(scans, tmp_path, dirs_exist_ok=True)
    write_labels(tmp_path, ROWS, count=3, row_of={"P001": 0, "P003": 1, "cap001": 2})
    return tmp_path


def marked(raw: Any) -> list[bool]:  # noqa: ANN401
    return [bool(value == MARK) for value in raw.scan.array[:, 20, 21]]


def test_records(root: Path) -> None:
    dataset = COVIDCTMDVolumes(root)
    names = [record.id for record in dataset.records]
    assert names == ["covid_P001", "covid_P002", "covid_P003", "cap_cap001", "cap_cap002", "normal_normal001"]
    assert [record.label for record in dataset.records] == [2, 2, 2, 1, 1, 0]
    assert [record.label for record in COVIDCTMDVolumes(root, classes="covid_vs_rest").records] == [1, 1, 1, 0, 0, 0]
    assert len({record.subject for record in dataset.records}) == 6
    assert {record.split for record in dataset.records} == {None}
    assert len(pickle.loads(pickle.dumps(dataset))) == 6  # noqa: S301


def test_labels_follow_their_slices(root: Path) -> None:
    dataset = COVIDCTMDVolumes(root)
    for source, (name, depth) in enumerate(DEPTH.items()):
        raw = dataset.load(source)
        assert isinstance(raw.scan, Volume)
        assert raw.scan.intensity == "hu"
        np.testing.assert_array_equal(raw.scan.array[:, 20, 20], np.arange(depth))  # feet to head
        assert raw.slice_label is not None
        if name in INFECTED:
            own = dataset.records[source].label
            assert raw.slice_label.tolist() == [own if infected else 0 for infected in marked(raw)]
            assert sum(marked(raw)) == len(INFECTED[name])
        else:
            assert set(raw.slice_label.tolist()) == ({0} if name.startswith("normal") else {-1})
        check_sample(dataset[source], "ct_volume", intensity="hu")
    assert COVIDCTMDVolumes(root, classes="covid_vs_rest").load(3).slice_label.tolist() == [0, 0, 0, 0]  # type: ignore[union-attr]


def test_lobes_follow_their_slices(root: Path) -> None:
    dataset = COVIDCTMDVolumes(root)
    lobes = dataset.lobe_labels(0)
    assert lobes is not None
    assert lobes.shape == (5, len(LOBES))
    expected = np.zeros((5, 5))
    expected[4, LOBES.index("LUL")] = expected[3, LOBES.index("RLL")] = 1  # entries 0 and 1 from the head
    np.testing.assert_array_equal(lobes, expected)
    assert dataset.lobe_labels(1) is None
    (root / "Lobe-level-labels.npy").unlink()
    assert COVIDCTMDVolumes(root).lobe_labels(0) is None


def test_a_row_for_the_withdrawn_subject(root: Path) -> None:
    expected = [COVIDCTMDVolumes(root).load(source).slice_label for source in (0, 2, 3)]
    slices = write_labels(root, ROWS, count=45, row_of={"P001": 41, "P003": 42, "cap001": 44})
    assert slices.shape == (45, WIDTH)
    dataset = COVIDCTMDVolumes(root)
    for source, labels in zip((0, 2, 3), expected, strict=True):
        np.testing.assert_array_equal(dataset.load(source).slice_label, labels)


def test_ascending_order_and_what_the_lobes_say_of_it(root: Path) -> None:
    with pytest.raises(ManifestError, match=r"upper lobes come before .*slice_order='descending'"):
        len(COVIDCTMDVolumes(root, slice_order="ascending"))
    (root / "Lobe-level-labels.npy").unlink()
    raw = COVIDCTMDVolumes(root, slice_order="ascending").load(0)
    assert raw.slice_label is not None
    assert (raw.slice_label == 2).tolist() == [True, True, False, False, False]
    write_labels(root, ROWS, count=3, row_of={"P001": 0, "P003": 1, "cap001": 2})
    np.save(root / "Lobe-level-labels.npy", np.load(root / "Lobe-level-labels.npy")[..., [1, 0, 4, 3, 2]])
    with pytest.raises(ManifestError, match="slice_order='ascending'"):
        len(COVIDCTMDVolumes(root))


def test_updated_labels(root: Path) -> None:
    with pytest.raises(ManifestError, match=r"Slice-level-labels-updated-1\.npy"):
        len(COVIDCTMDVolumes(root, updated_labels=True))
    labels = np.load(root / "Slice-level-labels.npy")
    labels[0, 4] = 1
    np.save(root / "Slice-level-labels-updated-1.npy", labels)
    found = COVIDCTMDVolumes(root, updated_labels=True).load(0).slice_label
    assert found is not None
    assert found.tolist() == [2, 0, 0, 2, 2]


def test_slices_share_scans_and_subjects_with_volumes(root: Path) -> None:
    slices, volumes = COVIDCTMDSlices(root, labels="scan"), COVIDCTMDVolumes(root)
    assert len(slices) == sum(DEPTH.values())
    assert [record.id for record in slices.records[4:6]] == ["covid_P001-s0004", "covid_P002-s0000"]
    for record in slices.records:
        whole = volumes.records[record.source]
        assert slices.scan_hash(record) == volumes.scan_hash(whole)
        assert slices.subject_hash(record) == volumes.subject_hash(whole)
        assert record.label == whole.label
    sample = slices[4]
    check_sample(sample, "ct_slice", intensity="hu")
    assert (int(sample["label"]), int(sample["slice_label"])) == (2, 2)
    assert float(sample["image"][0, 20, 20]) == 4
    assert [int(slices[index]["slice_label"]) for index in (0, 5)] == [0, -1]


def test_a_slice_has_its_own_class(root: Path) -> None:
    dataset = COVIDCTMDSlices(root)
    expected = {0: [0, 0, 0, 2, 2], 1: [-1] * 3, 2: [0, 2, 0, 0], 3: [1, 0, 0, 1], 4: [-1] * 3, 5: [0] * 3}
    for source, labels in expected.items():
        mine = [record for record in dataset.records if record.source == source]
        assert [record.slice for record in mine] == list(range(len(labels)))
        assert [record.label for record in mine] == labels
        raw = dataset.load(source).slice_label
        assert raw is not None
        assert raw.tolist() == labels
    change(root, "P001", SliceLocation=None)
    (root / FOLDERS["P"] / "P003" / "localizer.dcm").write_bytes(b"")
    unclear = [record.label for record in COVIDCTMDSlices(root).records if record.source in (0, 2)]
    assert unclear == [-1] * 10, "what load refuses is unknown, and spares the other scans"
    with pytest.raises(UsageError, match="labels='volume'"):
        COVIDCTMDSlices(root, labels="volume")  # type: ignore[arg-type]


def test_labelled_slices_only(root: Path) -> None:
    dataset = COVIDCTMDSlices(root, labelled_only=True)
    assert Counter(record.subject for record in dataset.records) == {
        "covid_P001": 5,
        "covid_P003": 4,
        "cap_cap001": 4,
        "normal_normal001": 3,
    }
    assert Counter(record.label for record in dataset.records) == {2: 3, 1: 2, 0: 11}


def test_without_label_files_only_normal_slices_are_known(scans: Path) -> None:
    dataset = COVIDCTMDVolumes(scans)
    assert [set(dataset.load(source).slice_label.tolist()) for source in (0, 3, 5)] == [{-1}, {-1}, {0}]  # type: ignore[union-attr]
    assert len(COVIDCTMDSlices(scans, labels="scan", labelled_only=True)) == 3
    with pytest.raises(ManifestError, match=r"No subject .* has slice labels.*labels='scan'"):
        len(COVIDCTMDSlices(scans))


def test_early_release_and_other_folders(root: Path) -> None:
    (root / "Cap subjects" / "cap001").rename(root / "Cap subjects" / "p001")
    (root / "Cap subjects").rename(root / "CAP cases")
    (root / "COVID-19 subjects").rename(root / "COVID-19")
    lines = ["0,COVID-19,./COVID-19 subjects/,P001", "1,COVID-19,x,P003", "2,CAP,./Cap subjects/,p001"]
    (root / "Index.csv").write_text("\n".join(["Label Index,Diagnosis,Path,Folder", *lines]) + "\n")
    dataset = COVIDCTMDVolumes(root)
    assert [record.id for record in dataset.records][3:5] == ["cap_cap002", "cap_p001"]
    assert dataset.load(4).slice_label.tolist() == [1, 0, 0, 1]  # type: ignore[union-attr]
    shutil.rmtree(root / "COVID-19")
    assert [record.id for record in COVIDCTMDVolumes(root).records][:2] == ["cap_cap002", "cap_p001"]


def test_published_counts(tmp_path: Path) -> None:
    """171, 60 and 76 subjects; label indices 0 to 42 and 44 to 79, the last 25 of them CAP (README, Index.csv)."""
    for folder, form, count in (
        ("COVID-19 subjects", "P{:03d}", 171),
        ("Cap subjects", "cap{:03d}", 60),
        ("Normal subjects", "normal{:03d}", 76),
    ):
        for number in range(1, count + 1):
            (tmp_path / folder / form.format(number)).mkdir(parents=True)
            (tmp_path / folder / form.format(number) / "IM0001.dcm").touch()
    indices = [index for index in range(80) if index != 43]
    names = [f"P{number:03d}" for number in range(1, 55)] + [f"cap{number:03d}" for number in range(1, 26)]
    words = ["COVID-19"] * 54 + ["CAP"] * 25
    lines = [f"{index},{word},./{word}/,{name}" for index, word, name in zip(indices, words, names, strict=True)]
    (tmp_path / "Index.csv").write_text("\n".join(["Label Index,Diagnosis,Relative Path,Folder/ID", *lines]) + "\n")
    np.save(tmp_path / "Slice-level-labels.npy", np.zeros((79, 2), dtype=bool))
    dataset = COVIDCTMDVolumes(tmp_path)
    assert len(dataset) == 307
    assert Counter(record.label for record in dataset.records) == {2: 171, 1: 60, 0: 76}
    labelled = COVIDCTMDSlices(tmp_path, labels="scan", labelled_only=True)
    assert Counter(record.label for record in labelled.records) == {2: 54, 1: 25, 0: 76}
    for count, of_cap in ((79, 54), (80, 55)):
        rows = label_rows(tmp_path / "Index.csv", count)
        assert (rows["covid", "p043"], rows["covid", "p044"], rows["cap", "cap001"]) == (42, of_cap - 11, of_cap)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("Slice-level-labels.npy", b"\x93NUMPY damaged", "no plain array of numbers"),
        ("Slice-level-labels.npy", None, "no file"),
        ("Slice-level-labels.npy", np.array([[{"a": 1}]], dtype=object), "pickled objects are not read"),
        ("Slice-level-labels.npy", np.full((3, WIDTH), 2), "should hold 0 and 1 in 2 dimensions"),
        ("Slice-level-labels.npy", np.zeros(3), "should hold 0 and 1 in 2 dimensions"),
        ("Slice-level-labels.npy", np.zeros((44, WIDTH)), "3 subjects with label indices up to 44.* 44 rows"),
        ("Lobe-level-labels.npy", np.zeros((3, WIDTH, 4)), "files of one version"),
        ("Index.csv", None, "no file"),
        ("Index.csv", b"Label Index,Diagnosis,Path,Folder\n", "0 subjects"),
        ("Index.csv", b"Label Index,Diagnosis,Path,Folder\n1,CAP,x,a\n1,CAP,x,b\n", "Row 2 .* of its own"),
        ("Index.csv", b"Label Index,Diagnosis,Path,Folder\n1,flu,x,a\n", "'flu'"),
        ("Index.csv", b"Label Index,Diagnosis\n1,CAP\n", "no column 'folder'"),
    ],
)
def test_label_files_that_are_wrong(root: Path, file: str, content: bytes | NDArray[Any] | None, message: str) -> None:
    if file.startswith("Slice") and not isinstance(content, bytes) and content is not None:
        (root / "Lobe-level-labels.npy").unlink()
    if content is None:
        (root / file).unlink()
    elif isinstance(content, bytes):
        (root / file).write_bytes(content)
    else:
        np.save(root / file, content, allow_pickle=True)
    with pytest.raises(ManifestError, match=message):
        len(COVIDCTMDVolumes(root))


def change(root: Path, name: str, **elements: object) -> None:
    edit(min((root / FOLDERS[name[0]] / name).iterdir()), **elements)


def test_labels_that_cannot_be_assigned_are_refused(root: Path) -> None:
    change(root, "P001", SliceLocation=None)
    with pytest.raises(InputError, match=r"covid_P001 has no SliceLocation"):
        COVIDCTMDVolumes(root).load(0)
    change(root, "cap002", SliceLocation=None)  # which has no labels
    COVIDCTMDVolumes(root).load(4)
    labels = np.load(root / "Slice-level-labels.npy")
    np.save(root / "Slice-level-labels.npy", labels[:, :3])
    (root / "Lobe-level-labels.npy").unlink()
    with pytest.raises(ManifestError, match=r"covid_P003 are of 3 slices, the folder has 4"):
        COVIDCTMDVolumes(root).load(2)
    labels[1, 6] = 1
    np.save(root / "Slice-level-labels.npy", labels)
    with pytest.raises(ManifestError, match=r"covid_P003 are of more slices, the folder has 4"):
        COVIDCTMDVolumes(root).load(2)


def test_locations_that_run_against_the_body_axis(root: Path) -> None:
    """Entries follow the slice location, whatever its sign means: here the smallest is at the head."""
    before = COVIDCTMDVolumes(root).load(0)
    folder = root / FOLDERS["P"] / "P001"
    labels = np.load(root / "Slice-level-labels.npy")
    labels[0, :5] = labels[0, :5][::-1]
    np.save(root / "Slice-level-labels.npy", labels)
    for file in folder.iterdir():
        edit(file, SliceLocation=str(-pydicom.dcmread(file).SliceLocation))
    after = COVIDCTMDVolumes(root).load(0)
    np.testing.assert_array_equal(before.slice_label, after.slice_label)
    np.testing.assert_array_equal(before.scan.array, after.scan.array)


def test_a_missing_slice_is_unknown_and_the_others_keep_their_labels(root: Path) -> None:
    folder = root / FOLDERS["P"] / "P001"
    at = {float(pydicom.dcmread(file).SliceLocation): file for file in folder.iterdir()}
    at[-296.0].unlink()  # the third of five, clean
    labels = np.load(root / "Slice-level-labels.npy")
    labels[0] = [1, 1, 0, 0, 0, 0, 0, 0]  # of the four that are left
    np.save(root / "Slice-level-labels.npy", labels)
    with pytest.raises(GeometryError, match="missing_slices"):
        COVIDCTMDVolumes(root).load(0)
    raw = COVIDCTMDVolumes(root, on_fault="repair").load(0)
    assert raw.slice_label is not None
    assert raw.slice_label.tolist() == [0, 0, -1, 2, 2]
    assert marked(raw)[3:] == [True, True]
    with pytest.raises(InputError, match="5 slices in 4 files"):
        COVIDCTMDSlices(root, on_fault="repair").load(0)


def test_keys_depend_on_scans_labels_and_arguments(root: Path) -> None:
    def keys(**options: Any) -> list[str]:  # noqa: ANN401
        return [COVIDCTMDVolumes(root, **options).content_key(source, digest=content_digest) for source in (0, 1)]

    plain = keys()
    assert keys() == plain
    assert not set(keys(classes="covid_vs_rest")) & set(plain)
    assert not set(keys(on_fault="repair")) & set(plain)
    labels = np.load(root / "Slice-level-labels.npy")
    labels[0, 3] = 1
    np.save(root / "Slice-level-labels.npy", labels)
    assert keys()[0] != plain[0]
    assert keys()[1] == plain[1]


def test_what_is_no_such_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ManifestError, match="give the folder"):
            len(COVIDCTMDVolumes(folder))
    with pytest.raises(UsageError, match="slice_order"):
        COVIDCTMDVolumes(tmp_path, slice_order="random")  # type: ignore[arg-type]


def data_module(root: Path, **options: Any) -> CTSliceDataModule:  # noqa: ANN401
    dataset = COVIDCTMDSlices(root, **options)
    module = CTSliceDataModule(
        dataset,
        size=32,
        mask_source="none",
        batch_size=32,
        val_fraction=0.0,
        test_fraction=0.0,
        balanced_sampling=True,
        augment=False,
        cache_dir=str(root / "cache"),
    )
    module.prepare_data()
    module.setup("fit")
    return module


def test_a_data_module_of_slices_trains_on_their_own_classes(root: Path) -> None:
    module = data_module(root)
    (batch,) = list(module.train_dataloader())
    check_batch(batch, "ct_slice")
    assert batch["label"].equal(batch["slice_label"])
    assert set(batch["label"].tolist()) == {0, 1, 2}
    counts = torch.tensor([11.0, 2.0, 3.0])  # the 6 slices of unknown class are left out
    torch.testing.assert_close(module.class_weights(), 16 / (3 * counts))
    assert len(module.predict_dataloader().dataset) == 22  # type: ignore[arg-type]


def test_a_data_module_of_slices_with_the_class_of_their_scans(root: Path) -> None:
    module = data_module(root, labels="scan")
    found = [
        (record.label, int(module.samples("train")[i]["slice_label"]))
        for i, record in enumerate(module.records("train"))
    ]
    assert Counter(label for label, _ in found) == {2: 12, 1: 7, 0: 3}
    assert Counter(own for _, own in found) == {-1: 6, 0: 11, 1: 2, 2: 3}
