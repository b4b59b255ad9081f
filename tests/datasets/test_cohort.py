from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import (
    BaseDataset,
    Cohort,
    COVID19CTSeg,
    PhantomCTSlices,
    PhantomCTVolumes,
    PhantomCXR,
    Record,
    TianchiLung,
)
from covidct.errors import InputError, ManifestError, UsageError
from covidct.sample import check_batch, check_sample
from covidct.volume import Volume
from tests.fakes.chests import FakeSlices, FakeVolumes, chest
from tests.fakes.cohort import save_nifti
from tests.fakes.metaimage import save_mhd

if TYPE_CHECKING:
    from pathlib import Path


def named(name: str, *arguments: Any, kind: type[FakeVolumes] = FakeVolumes, **options: Any) -> FakeVolumes:  # noqa: ANN401
    """A fake data set with a name of its own."""
    dataset = kind(*arguments, **options)
    dataset.name = name
    return dataset


@pytest.fixture
def paper(tmp_path: Path) -> Cohort:
    """Three negatives and three positives, as the ResNeXt+ paper joined them."""
    for seed in range(3):
        negative: Any = chest(seed=seed)
        save_mhd(tmp_path / "negatives" / f"{seed}.mhd", negative.scan.array, negative.scan.affine)
        raw: Any = chest(seed=10 + seed, lesion=True)
        codes = np.array([0, 2, 1], dtype=np.uint8)[raw.lung_mask]
        for folder, values in (
            ("COVID-19-CT-Seg_20cases", raw.scan.array),
            ("Lung_Mask", codes),
            ("Infection_Mask", raw.lesion_mask),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            save_nifti(values, raw.scan.affine, tmp_path / folder / f"coronacases_{seed:03d}.nii.gz")
    return Cohort([TianchiLung(tmp_path / "negatives"), COVID19CTSeg(tmp_path)], annotations=["slice_label"])


def test_records_keep_their_subjects_and_get_a_site(paper: Cohort) -> None:
    records = paper.records
    assert [record.id for record in records] == [
        "tianchi_lung-tianchi-0001",
        "tianchi_lung-tianchi-0002",
        "tianchi_lung-tianchi-0003",
        "covid19_ct_seg-coronacases_000",
        "covid19_ct_seg-coronacases_001",
        "covid19_ct_seg-coronacases_002",
    ]
    assert [record.source for record in records] == list(range(6))
    assert [record.label for record in records] == [0, 0, 0, 1, 1, 1]
    assert [record.site for record in records] == ["tianchi_lung"] * 3 + ["coronacases"] * 3
    positives = paper.datasets[1]
    assert [paper.subject_hash(r) for r in records[3:]] == [positives.subject_hash(r) for r in positives.records]
    assert [paper.scan_hash(r) for r in records[3:]] == [positives.scan_hash(r) for r in positives.records]
    assert len({paper.scan_hash(record) for record in records}) == 6


def test_scans_come_from_their_data_set_with_like_keys(paper: Cohort) -> None:
    for source, seed in ((2, 2), (3, 10), (5, 12)):
        raw, expected = paper.load(source), chest(seed=seed, lesion=source > 2)
        assert isinstance(raw.scan, Volume)
        assert isinstance(expected.scan, Volume)
        np.testing.assert_array_equal(raw.scan.array, expected.scan.array)
        assert expected.slice_label is not None
        np.testing.assert_array_equal(raw.slice_label, expected.slice_label > 0)
    samples = [paper[index] for index in range(6)]
    assert {tuple(sorted(sample)) for sample in samples} == {tuple(sorted(samples[0]))}
    check_sample(samples[4], "ct_volume", intensity="hu")
    pickle.loads(pickle.dumps(paper))  # noqa: S301


def test_a_promised_annotation_must_be_there(paper: Cohort) -> None:
    cohort = Cohort(paper.datasets, annotations=["lesion_mask"])
    assert cohort.load(3).lesion_mask is not None
    assert cohort.load(3).slice_label is None
    with pytest.raises(InputError, match="scan of tianchi_lung has no lesion mask"):
        cohort.load(0)


def test_keys_depend_on_content_and_annotations(paper: Cohort) -> None:
    def digest(path: Path) -> str:
        return path.name

    keys = [paper.content_key(source, digest=digest) for source in range(6)]
    keys.append(Cohort(paper.datasets).content_key(0, digest=digest))
    assert len(set(keys)) == 7
    turned = Cohort(paper.datasets[::-1], annotations=["slice_label"])
    assert turned.content_key(0, digest=digest) == keys[3]


def test_batches_of_a_data_module_mix_the_data_sets(paper: Cohort, tmp_path: Path) -> None:
    data = CTVolumeDataModule(
        paper, batch_size=6, size=16, mask_source="none", test_fraction=1.0, val_fraction=0.0, cache_dir=str(tmp_path)
    )
    data.prepare_data()
    data.setup("test")
    (batch,) = list(data.test_dataloader())
    check_batch(batch, "ct_volume")
    assert batch["label"].tolist() == [0, 0, 0, 1, 1, 1]
    assert len(batch["subject"].unique()) == 6
    assert (batch["slice_label"][:3] <= 0).all()  # -1 above and below the scan
    assert (batch["slice_label"][3:] == 1).any(dim=1).all()
    held_out = CTVolumeDataModule(
        paper, size=16, mask_source="none", hold_out_site="coronacases", cache_dir=str(tmp_path)
    )
    with pytest.raises(UsageError, match=r"class non_covid occurs at the site tianchi_lung only.*source"):
        held_out.setup("fit")


def test_cohorts_can_be_written_in_yaml(paper: Cohort) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataset, "dataset")
    members = [
        {"class_path": f"covidct.datasets.{type(member).__name__}", "init_args": {"root": str(paper.datasets[1].root)}}  # type: ignore[attr-defined]
        for member in paper.datasets
    ]
    members.append({"class_path": "covidct.datasets.LUNA16", "init_args": {"root": "nowhere", "subsets": [0, 1]}})
    init = {"datasets": members, "annotations": ["slice_label"]}
    node = {"dataset": {"class_path": "covidct.datasets.Cohort", "init_args": init}}
    cohort = parser.instantiate(parser.parse_object(node))["dataset"]
    assert isinstance(cohort, Cohort)
    assert cohort.name == "tianchi_lung+covid19_ct_seg+luna16"
    assert cohort.annotations == ("slice_label",)


def test_slices_of_several_data_sets() -> None:
    cohort = Cohort([named("one", 2, kind=FakeSlices), named("two", 3, scans=3, kind=FakeSlices)])
    assert len(cohort) == 20
    assert cohort.slices == {source: [6, 9, 12, 15] for source in range(5)}
    records = cohort.records[8:]
    assert [record.id for record in records[:2]] == ["two-scan-0-6", "two-scan-0-9"]
    assert {record.subject for record in records} == {"two/s0"}
    assert len({int(cohort[index]["subject"]) for index in range(0, 20, 4)}) == 3
    assert torch.equal(cohort[9]["image"], named("two", 3, scans=3, kind=FakeSlices)[1]["image"])


def test_unlike_data_sets_are_refused() -> None:
    volumes = PhantomCTVolumes(3)
    for other, what in (
        (PhantomCTSlices(3), "kind"),
        (PhantomCXR(3), "kind"),
        (PhantomCTVolumes(3, classes="covid_vs_rest"), "class names"),
    ):
        with pytest.raises(UsageError, match=f"unlike {what}"):
            Cohort([volumes, other])
    with pytest.raises(UsageError, match="'phantom_ct'"):
        Cohort([volumes, PhantomCTVolumes(3, seed=1)])
    with pytest.raises(UsageError, match="empty"):
        Cohort([])
    with pytest.raises(UsageError, match="'masks' is unknown"):
        Cohort([volumes], annotations=["masks"])  # type: ignore[list-item]


def test_objects_of_a_cohort_are_of_one_kind() -> None:
    first, second = named("one", kind=FakeSlices), named("two", kind=FakeSlices)
    first.mask_type = second.mask_type = "merge"
    cohort = Cohort([first, second], annotations=["lesion_mask"])
    assert cohort.mask_type == "merge"
    assert torch.equal(cohort[33]["instances"]["boxes"], second[9]["instances"]["boxes"])
    assert len(cohort[33]["instances"]["boxes"]) == 1
    second.mask_type = None
    with pytest.raises(UsageError, match=r"one and two are of unlike mask type \(merge and None\)"):
        Cohort([first, second], annotations=["lesion_mask"])
    plain = Cohort([first, second])
    assert plain.mask_type is None
    assert "instances" not in plain[0]


def test_ids_stay_unique() -> None:
    class Numbered(FakeVolumes):
        def record(self, source: int) -> Record:
            return Record("x-scan-0", "s", 0, source)

    cohort = Cohort([named("y-x", 1), named("y", 1, kind=Numbered)])
    with pytest.raises(ManifestError, match="y-x-scan-0 would stand for two"):
        len(cohort)
