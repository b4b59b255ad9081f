"""Data modules whose lung masks come from a trained network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from covidct.datamodules import CTSliceDataModule, CTVolumeDataModule, CXRDataModule
from covidct.datasets import Raw, Record
from covidct.errors import CheckpointError, InputError, UsageError
from covidct.models import LungSegmenter, XRayLungSegmenter
from covidct.transforms import prepare_image, prepare_slices, prepare_volume
from covidct.volume import Image, Volume
from covidct.weights import sha256_file
from tests.fakes.chests import FakeVolumes
from tests.fakes.lung_network import two_tone, write_lung_checkpoint
from tests.fakes.xray_lung_network import two_boxes, write_xray_lung_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


class TwoTone(FakeVolumes):
    """Scans for the network of known weights, darker by ``source`` HU; their own masks are wrong."""

    name = "two-tone"

    def load(self, source: int) -> Raw:
        volume, lungs = two_tone()
        return Raw(replace(volume, array=volume.array - source), lung_mask=np.zeros_like(lungs))


class TwoToneSlices(TwoTone):
    """Every second slice of them."""

    kind = "ct_slice"

    def make_records(self) -> tuple[Record, ...]:
        return tuple(
            replace(record, id=f"{record.id}-{index}", slice=index)
            for record in super().make_records()
            for index in range(6, 18, 2)
        )


@pytest.fixture(scope="module")
def lungs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lung_checkpoint(tmp_path_factory.mktemp("lungs") / "lungs.ckpt")


def volumes(cache: Path, **options: Any) -> CTVolumeDataModule:  # noqa: ANN401
    return CTVolumeDataModule(TwoTone(6), size=16, cache_dir=str(cache), **options)


def slices(cache: Path, **options: Any) -> CTSliceDataModule:  # noqa: ANN401
    return CTSliceDataModule(TwoToneSlices(2), size=16, batch_size=12, cache_dir=str(cache), **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_volumes_get_the_masks_of_the_network(tmp_path: Path, lungs: Path, workers: int) -> None:
    data = volumes(tmp_path, lung_checkpoint=str(lungs), prepare_workers=workers)
    assert data.preprocessing.mask_source == f"checkpoint:{sha256_file(lungs)}"
    data.prepare_data()
    data.setup("predict")
    segmenter = LungSegmenter.from_checkpoint(lungs)
    record = replace(data.preprocessing, mask_source="file")
    for source, batch in enumerate(data.predict_dataloader()):
        scan = data.dataset.load(source).scan
        assert isinstance(scan, Volume)
        wanted = prepare_volume(scan, record, lung_mask=segmenter(scan))
        np.testing.assert_array_equal(batch["lung_mask"][0], wanted["lung_mask"])
        assert set(np.unique(wanted["lung_mask"])) == {0, 1, 2}


def test_slices_get_the_masks_of_the_whole_scan(tmp_path: Path, lungs: Path) -> None:
    data = slices(tmp_path, lung_checkpoint=str(lungs))
    data.prepare_data()
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    segmenter = LungSegmenter.from_checkpoint(lungs)
    scan = data.dataset.load(0).scan
    assert isinstance(scan, Volume)
    indices = list(data.dataset.slices[0])
    record = replace(data.preprocessing, mask_source="file")
    wanted = prepare_slices(scan, record, indices=indices, lung_mask=segmenter(scan))["lung_mask"]
    np.testing.assert_array_equal(batch["lung_mask"][: len(indices)], wanted)
    assert wanted.any((1, 2, 3)).all()


def test_another_network_gives_other_entries_of_the_cache(tmp_path: Path, lungs: Path) -> None:
    other = write_lung_checkpoint(tmp_path / "other.ckpt", epoch=7)
    fingerprints = {
        volumes(tmp_path, **options).preprocessing.fingerprint()
        for options in ({}, {"lung_checkpoint": str(lungs)}, {"lung_checkpoint": str(other)})
    }
    assert len(fingerprints) == 3


def test_the_path_is_no_hyper_parameter(tmp_path: Path, lungs: Path) -> None:
    for data in (volumes(tmp_path, lung_checkpoint=str(lungs)), slices(tmp_path, lung_checkpoint=str(lungs))):
        assert str(lungs) not in str(dict(data.hparams))


def test_contradictions_are_refused(tmp_path: Path, lungs: Path) -> None:
    source = f"checkpoint:{sha256_file(lungs)}"
    assert volumes(tmp_path, mask_source=source, lung_checkpoint=str(lungs)).preprocessing.mask_source == source
    with pytest.raises(UsageError, match="lung_checkpoint"):
        volumes(tmp_path, mask_source=source)
    advice = {"file": "leave out", "lung_field": "leave out", "checkpoint:c0ffee": "give the file of that network"}
    for mask_source, words in advice.items():
        with pytest.raises(UsageError, match=f"contradict each other: {words}"):
            volumes(tmp_path, mask_source=mask_source, lung_checkpoint=str(lungs))


def test_a_wrong_file_is_one_error(tmp_path: Path, lungs: Path) -> None:
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(lungs.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="damaged"):
        volumes(tmp_path, lung_checkpoint=str(broken), on_failure="skip").prepare_data()
    other = write_lung_checkpoint(tmp_path / "other.ckpt", covidct={"task": "COVNetTask"})
    with pytest.raises(CheckpointError, match="not to UNet3dTask"):
        volumes(tmp_path, lung_checkpoint=str(other), on_failure="skip").prepare_data()
    data = volumes(tmp_path, lung_checkpoint=str(other))
    write_lung_checkpoint(other)
    with pytest.raises(UsageError, match="has changed"):
        data.prepare_data()


def test_scans_without_lungs_are_failures_of_their_own(tmp_path: Path, lungs: Path) -> None:
    class WithWater(TwoTone):
        def load(self, source: int) -> Raw:
            raw = super().load(source)
            assert isinstance(raw.scan, Volume)
            water = replace(raw.scan, array=np.full_like(raw.scan.array, -500))
            return Raw(water) if source == 2 else raw

    data = CTVolumeDataModule(
        WithWater(6), size=16, cache_dir=str(tmp_path), lung_checkpoint=str(lungs), on_failure="skip"
    )
    data.prepare_data()
    assert len(data.failures) == 1
    assert "no lungs" in str(next(iter(data.failures.values())))


def test_a_task_trained_with_them_records_the_network(tmp_path: Path, lungs: Path) -> None:
    import pytorch_lightning as pl

    from covidct.inference import Predictor
    from covidct.tasks import MaskedGAPResNetTask, load_task

    trainer = pl.Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    data = volumes(tmp_path, lung_checkpoint=str(lungs), val_fraction=0.34, test_fraction=0.34)
    trainer.fit(MaskedGAPResNetTask(num_classes=3, backbone="resnet18", slice_size=None), datamodule=data)
    trainer.save_checkpoint(tmp_path / "t.ckpt", weights_only=True)
    record = load_task(tmp_path / "t.ckpt").preprocessing
    assert record is not None
    assert record.mask_source == f"checkpoint:{sha256_file(lungs)}"
    with pytest.raises(UsageError, match=sha256_file(lungs)):
        Predictor(tmp_path / "t.ckpt", device="cpu")
    assert Predictor(tmp_path / "t.ckpt", lung_checkpoint=lungs, device="cpu").mask_source == record.mask_source


class TwoBoxes(FakeVolumes):
    """X-rays for the network of known weights, wider each, by no whole byte of bits; their own masks are wrong."""

    name = "two-boxes"
    kind = "cxr"
    intensity = "unit"

    def load(self, source: int) -> Raw:
        image, lungs = two_boxes(width=160 + 9 * source)
        return Raw(image, lung_mask=np.zeros_like(lungs))


@pytest.fixture(scope="module")
def shadows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_xray_lung_checkpoint(tmp_path_factory.mktemp("shadows") / "lungs.ckpt")


def test_xrays_get_the_masks_of_their_network(tmp_path: Path, shadows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def xrays(**options: Any) -> CXRDataModule:  # noqa: ANN401
        arguments: dict[str, Any] = {"size": 64, "cache_dir": str(tmp_path), "lung_checkpoint": str(shadows)}
        return CXRDataModule(TwoBoxes(3), **{**arguments, **options})

    data = xrays()
    segmenter = XRayLungSegmenter.from_checkpoint(shadows)
    assert data.preprocessing.mask_source == segmenter.mask_source
    data.prepare_data()
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    record = replace(data.preprocessing, mask_source="file")
    for source, found in enumerate(batch["lung_mask"]):
        scan = data.dataset.load(source).scan
        assert isinstance(scan, Image)
        wanted = prepare_image(scan, record, lung_mask=segmenter(scan))["lung_mask"][0]
        np.testing.assert_array_equal(found, wanted)
        assert wanted.any()

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(XRayLungSegmenter, "__call__", refuse)
    sizes = [file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()]
    pixels = two_boxes(width=160)[1].size
    assert any(pixels / 8 <= size < pixels / 2 for size in sizes), "masks are kept in bits"
    xrays().prepare_data()  # everything is in the cache
    for variant in ({"masking": "lungs"}, {"masking": "no_lungs", "size": 72}):
        xrays(**variant).prepare_data()  # the masks are


def test_single_slices_have_no_scan_for_a_network(tmp_path: Path, lungs: Path) -> None:
    class Pictures(FakeVolumes):
        kind = "ct_slice"
        intensity = "unit"

        def load(self, source: int) -> Raw:
            return Raw(two_boxes(width=160 + source)[0])

    data = CTSliceDataModule(Pictures(2), size=16, window=None, cache_dir=str(tmp_path), lung_checkpoint=str(lungs))
    with pytest.raises(InputError, match="without a lung mask"):
        data.prepare_data()


def test_networks_of_another_kind_are_refused(tmp_path: Path, lungs: Path, shadows: Path) -> None:
    data = CXRDataModule(TwoBoxes(2), size=64, cache_dir=str(tmp_path), lung_checkpoint=str(lungs))
    with pytest.raises(CheckpointError, match="lung network of X-rays"):
        data.prepare_data()
    with pytest.raises(CheckpointError, match="FPNDenseNetTask"):
        volumes(tmp_path, lung_checkpoint=str(shadows)).prepare_data()
