"""Triage by a network with slice attention: native slices, positive slices, montage, and why there is none."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.seed import isolate_rng

from covidct.__main__ import main
from covidct.explain import fade
from covidct.functional import lung_field, window_hu
from covidct.inference import Predictor
from covidct.inference.attention import attention_montage, native_slices, positive_slices, shown_slices
from covidct.phantom import simulate_ct
from covidct.preprocessing import Preprocessing
from covidct.tasks import ResNeXtPlusTask
from tests.fakes.checkpoint import write_nifti
from tests.fakes.volumes import TinyVolumesDataModule

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.phantom import PhantomCT

SHAPE = (20, 48, 48)
RECORD = Preprocessing(
    kind="ct_volume",
    classes=("non_covid", "covid"),
    window=(-1200.0, 600.0),
    size=32,
    grid="slices",
    mask_source="lung_field",
)


def write_task(path: Path, variant: str, *, positive: bool) -> Path:
    """A task whose every scan is of one class, with the attention of its random weights."""
    with isolate_rng():
        pl.seed_everything(0, verbose=False)
        task = ResNeXtPlusTask(backbone="resnet10", slice_size=32, variant=variant)  # type: ignore[arg-type]
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
        trainer.fit(task, datamodule=TinyVolumesDataModule(2, preprocessing=RECORD))
        head = task.model.head
        assert isinstance(head, torch.nn.Linear)
        with torch.no_grad():
            head.bias.copy_(torch.tensor([-9.0, 9.0] if positive else [9.0, -9.0]))
        trainer.save_checkpoint(path, weights_only=True)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attention")
    write_task(folder / "positive.ckpt", "proposed", positive=True)
    write_task(folder / "mean.ckpt", "N-SLA", positive=False)
    write_nifti(folder / "in" / "scan.nii.gz", chest())
    return folder


def chest() -> PhantomCT:
    return simulate_ct(3, diagnosis="covid", shape=SHAPE)


def test_a_scan_keeps_its_slices(folder: Path) -> None:
    volume = chest().volume
    predictor = Predictor(folder / "positive.ckpt", device="cpu")
    result = predictor.apply(volume, id="x")
    shares = np.array(result.attention)
    assert shares.shape == (SHAPE[0],)
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert result.predicted == "covid"
    assert result.positive_slices == tuple(np.flatnonzero(shares * SHAPE[0] >= 1 - 1e-5).tolist())
    assert result.mask_source == "lung_field"
    assert result.lungs_ml == {}  # the field has no sides and is wider than the lungs
    assert result.preview is not None
    field = lung_field(volume.array, volume.spacing).mask
    for index, mask in zip(result.preview.indices, result.preview.lung_mask, strict=True):
        assert mask.shape == (128, 128)
        assert mask.mean() == pytest.approx(field[index].mean(), abs=0.02)


def test_montage_shows_the_most_attended_slice_whole_and_others_darker(folder: Path) -> None:
    volume = chest().volume
    result = Predictor(folder / "positive.ckpt", device="cpu").apply(volume, id="x")
    montage, shares = result.montage, np.array(result.attention)
    assert montage is not None
    assert montage.slices.shape == montage.faded.shape == (12, 128, 128)
    assert list(montage.indices) == sorted(set(montage.indices))
    best = montage.indices.index(int(shares.argmax()))
    assert np.abs(montage.faded[best].astype(int) - montage.slices[best]).max() <= 1
    assert (montage.faded <= montage.slices.astype(int) + 1).all()
    for index, slice_ in zip(montage.indices, montage.slices, strict=True):
        seen = window_hu(volume.array[index], -1200.0, 600.0)
        assert slice_.mean() / 255 == pytest.approx(seen.mean(), abs=0.02)


def test_montage_fades_by_the_maximum_of_the_whole_scan() -> None:
    rng = np.random.default_rng(0)
    slices, shares = rng.integers(0, 256, (6, 4, 4)).astype(np.uint8), rng.dirichlet(np.ones(6))
    part = [0, 2, 3, 5]
    found = attention_montage(slices[part], shares.tolist(), part)
    wanted = np.rint(fade(slices / 255, shares)[part] * 255)
    np.testing.assert_array_equal(found.faded, wanted)


def test_shown_slices_are_even_but_for_the_best() -> None:
    shares = [float("nan"), *[0.05] * 9, 0.55, float("nan")]
    assert shown_slices(shares, count=4) == [1, 4, 7, 10]
    assert shown_slices([0.1, 0.1, 0.6, 0.1, 0.1], count=3) == [0, 2, 4]
    assert shown_slices([0.1, 0.6, 0.1, 0.1, 0.1], count=3) == [1, 2, 4]
    assert shown_slices([0.5, 0.5], count=9) == [0, 1]
    assert shown_slices([float("nan")]) == []


def test_positive_slices_have_at_least_an_even_share_of_the_real_ones() -> None:
    shares = [float("nan"), 0.2, 0.3, 0.5]  # of 3 real slices: even is 1/3
    assert positive_slices(shares, diagnosed=True) == (3,)
    assert positive_slices(shares, diagnosed=False) == ()
    assert positive_slices([0.25] * 4, diagnosed=True) == (0, 1, 2, 3)


def test_native_slices_are_whole(folder: Path) -> None:
    scan = chest()
    masked = Preprocessing(
        kind="ct_volume", classes=RECORD.classes, size=48, grid="slices", mask_source="file", masking="lungs"
    )
    slices, mask = native_slices(scan.volume, masked, [7, 9], size=48, lung_mask=scan.lung_mask)
    wanted = np.rint(window_hu(scan.volume.array[[7, 9]], -1250.0, 250.0) * 255)
    assert np.abs(slices - wanted).max() <= 1
    np.testing.assert_array_equal(mask, scan.lung_mask[[7, 9]])


def test_triage_writes_attention_and_takes_it_over(folder: Path) -> None:
    out = folder / "out"
    command = ["triage", str(folder / "in"), "--checkpoint", str(folder / "positive.ckpt"), "--out", str(out)]
    assert main([*command, "--device", "cpu"]) == 0
    (record,) = [json.loads(path.read_text()) for path in (out / "scans").glob("*.json")]
    assert len(record["attention"]) == SHAPE[0]
    assert "montage" not in record
    page = next((out / "scans").glob("*.html")).read_text()
    assert page.count('id="attention-') == 12
    with (out / "slices.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["attention"]) for row in table] == record["attention"]
    assert [int(row["slice"]) for row in table if row["positive"] == "1"] == record["positive_slices"]
    before = (out / "slices.csv").read_bytes(), (out / "cohort.csv").read_bytes()
    (out / "slices.csv").unlink()
    assert main([*command, "--device", "cpu", "--resume"]) == 0
    assert ((out / "slices.csv").read_bytes(), (out / "cohort.csv").read_bytes()) == before


def test_without_slice_attention_the_page_says_so(folder: Path) -> None:
    result = Predictor(folder / "mean.ckpt", device="cpu").apply(chest().volume, id="x")
    assert result.attention == result.positive_slices == ()
    assert result.montage is None
    assert "'N-SLA'" in result.slice_note
    assert "cannot give slice scores" in result.slice_note
