from __future__ import annotations

import pickle
import shutil
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import CNCBSlices, CNCBVolumes
from covidct.errors import GeometryError, ManifestError
from covidct.io import content_digest
from covidct.sample import check_batch, check_sample
from covidct.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SCANS = {"NCP/96/1328": 4, "NCP/96/1330": 3, "NCP/9/1": 3, "CP/10/3153": 3, "Normal/10/7": 5}


def grey(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (20, 24), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five scans, whose slices are called 8, 9, 10, ...; the slices 9 of NCP and CP are listed with lesions."""
    for number, (scan, count) in enumerate(SCANS.items()):
        (tmp_path / scan).mkdir(parents=True)
        for place in range(count):
            assert cv2.imwrite(str(tmp_path / scan / f"{8 + place}.png"), grey(10 * number + place))
    lines = [f"{scan}/{slice_}.png" for scan in list(SCANS)[:4] for slice_ in ("9", "99")]
    (tmp_path / "lesions_slices.csv").write_text("imgpath\n" + "\n".join([*lines, "NCP/5/5/0001.jpg"]) + "\n")
    rows = [f"x.zip,{p},{s},4,{word}" for word, p, s in (scan.split("/") for scan in SCANS)]
    header = "zip_file,patient_id,scan_id,n_slice,label"
    (tmp_path / "unzip_filenames.csv").write_text("\n".join([header, *rows, "y.zip,11,12,9,CP"]) + "\n")
    return tmp_path


def test_volumes_are_scans_in_natural_order(root: Path) -> None:
    dataset = CNCBVolumes(root)
    assert [record.id for record in dataset.records] == [
        "NCP_9_1",
        "NCP_96_1328",
        "NCP_96_1330",
        "CP_10_3153",
        "Normal_10_7",
    ]
    assert [record.label for record in dataset.records] == [2, 2, 2, 1, 0]
    assert [record.subject for record in dataset.records] == ["NCP_9", "NCP_96", "NCP_96", "CP_10", "Normal_10"]
    raw = dataset.load(1)
    assert isinstance(raw.scan, Volume)
    assert raw.scan.intensity == "unit"
    assert not np.isfinite(raw.scan.spacing).any()
    np.testing.assert_allclose(raw.scan.array, np.stack([grey(place) for place in range(4)]) / 255, atol=1e-6)
    labels = [dataset.load(source).slice_label for source in range(5)]
    assert [[] if one is None else one.tolist() for one in labels] == [
        [-1, 2, -1],
        [-1, 2, -1, -1],
        [-1, 2, -1],
        [-1, 1, -1],
        [0, 0, 0, 0, 0],
    ]
    check_sample(dataset[1], "ct_volume")
    assert len(pickle.loads(pickle.dumps(dataset))) == 5  # noqa: S301


def test_slices_share_scans_and_subjects_with_volumes(root: Path) -> None:
    slices, volumes = CNCBSlices(root), CNCBVolumes(root)
    assert len(slices) == sum(SCANS.values())
    assert [record.id for record in slices.records[3:7]] == [f"NCP_96_1328_{number}" for number in (8, 9, 10, 11)]
    for record in slices.records:
        whole = next(one for one in volumes.records if record.id.startswith(one.id + "_"))
        assert slices.scan_hash(record) == volumes.scan_hash(whole)
        assert slices.subject_hash(record) == volumes.subject_hash(whole)
        assert record.label == whole.label
    assert len({slices.scan_hash(record) for record in slices.records}) == 5
    sample = slices[4]
    check_sample(sample, "ct_slice")
    assert int(sample["slice_label"]) == 2
    assert int(slices[3]["slice_label"]) == -1
    torch.testing.assert_close(sample["image"][0], torch.from_numpy(grey(1) / 255).float())


def test_only_slices_with_lesions(root: Path) -> None:
    dataset = CNCBSlices(root, lesion_slices_only=True, classes="covid_vs_rest")
    names = [record.id for record in dataset.records]
    assert names[:4] == ["NCP_9_1_9", "NCP_96_1328_9", "NCP_96_1330_9", "CP_10_3153_9"]
    assert names[4:] == [f"Normal_10_7_{number}" for number in range(8, 13)]
    assert [int(dataset[index]["slice_label"]) for index in (0, 3, 4)] == [1, 0, 0]
    (root / "lesions_slices.csv").write_text("imgpath\nNCP/96/0032.png\n")
    with pytest.raises(ManifestError, match=r"Row 1 of lesions_slices\.csv .*NCP/96/0032\.png"):
        len(CNCBSlices(root, lesion_slices_only=True))
    (root / "lesions_slices.csv").unlink()
    with pytest.raises(ManifestError, match=r"no lesions_slices\.csv"):
        len(CNCBSlices(root, lesion_slices_only=True))
    assert len(CNCBSlices(root)) == 18
    assert int(CNCBSlices(root)[4]["slice_label"]) == -1
    shutil.rmtree(root / "Normal")
    (root / "lesions_slices.csv").write_text("imgpath\nNCP/5/5/0001.jpg\n")
    with pytest.raises(ManifestError, match="No slice"):
        len(CNCBSlices(root, lesion_slices_only=True))


def test_keys_depend_on_slices_and_their_classes(root: Path) -> None:
    def keys() -> list[str]:
        volumes, slices = CNCBVolumes(root), CNCBSlices(root)
        return [volumes.content_key(1, digest=content_digest), slices.content_key(4, digest=content_digest)]

    before = keys()
    (root / "lesions_slices.csv").unlink()
    assert not set(before) & set(keys())
    assert len({CNCBSlices(root).content_key(source, digest=content_digest) for source in range(18)}) == 18


def test_what_was_not_downloaded_is_known(root: Path) -> None:
    assert CNCBVolumes(root).missing == ("CP/11/12",)
    (root / "unzip_filenames.csv").write_text("label,patient_id\nCP,11\n")
    with pytest.raises(ManifestError, match="no column 'scan_id'"):
        _ = CNCBVolumes(root).missing


def test_part_of_the_download_will_do(root: Path) -> None:
    shutil.rmtree(root / "NCP")
    (root / "CP").rename(root / "cp")
    assert [record.id for record in CNCBVolumes(root).records] == ["CP_10_3153", "Normal_10_7"]
    for folder in (root / "nowhere", root / "Normal"):
        with pytest.raises(ManifestError, match="give the folder"):
            len(CNCBVolumes(folder))


def test_scans_that_are_none_are_refused_when_read(root: Path) -> None:
    (root / "CP" / "10" / "3153" / "8.png").unlink()
    with pytest.raises(GeometryError, match="too_few_slices"):
        CNCBVolumes(root).load(3)
    assert cv2.imwrite(str(root / "NCP" / "9" / "1" / "8.png"), np.zeros((30, 30), np.uint8))
    with pytest.raises(GeometryError, match="mixed_size"):
        CNCBVolumes(root).load(0)


def test_volumes_of_unlike_depth_in_one_batch(root: Path) -> None:
    module = CTVolumeDataModule(
        CNCBVolumes(root),
        window=None,
        size=16,
        mask_source="none",
        batch_size=5,
        val_fraction=0.0,
        test_fraction=1.0,
        cache_dir=str(root / "cache"),
    )
    module.prepare_data()
    module.setup("test")
    (batch,) = list(module.test_dataloader())
    check_batch(batch, "ct_volume")
    assert batch["image"].shape == (5, 1, 5, 16, 16)
    assert batch["slice_mask"].sum(dim=1).tolist() == [3, 4, 3, 3, 5]
