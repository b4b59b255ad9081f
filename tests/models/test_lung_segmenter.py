"""A network with known weights on scans: masks in closed form, and files that are no lung network."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from covidct.errors import CheckpointError, InputError, UsageError
from covidct.models import LungSegmenter
from covidct.volume import Volume, unknown_affine
from tests.fakes.lung_network import LEFT_ABOVE, PARAMETERS, RECORD, RIGHT_BELOW, two_tone, write_lung_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lung_checkpoint(tmp_path_factory.mktemp("lungs") / "lungs.ckpt")


@pytest.fixture(scope="module")
def segmenter(path: Path) -> LungSegmenter:
    return LungSegmenter.from_checkpoint(path, dtype=torch.float32)


def dice(found: NDArray[np.uint8], wanted: NDArray[np.uint8], side: int) -> float:
    return float(2 * np.sum((found == side) & (wanted == side)) / (np.sum(found == side) + np.sum(wanted == side)))


def ramp() -> Volume:
    """HU that rise along a slanting direction in a cubic volume of unlike spacings: kept exactly inside the cube."""
    d, h, w = np.meshgrid(np.arange(20), np.arange(40), np.arange(50), indexing="ij")
    hu = -1193.7 + 25.0 * w + 3.0 * h - 7.0 * d
    return Volume(hu.astype(np.float32), np.diag([4.0, 5.0, 10.0, 1.0]))


def test_planes_lie_between_the_voxels_of_the_network(segmenter: LungSegmenter) -> None:
    volume = ramp()
    wanted = np.where(volume.array < RIGHT_BELOW, 1, np.where(volume.array > LEFT_ABOVE, 2, 0))
    found = segmenter(volume)
    assert found.dtype == np.uint8
    inside = np.s_[3:-3, 6:-6, 7:-7]  # away from the border, where the scan goes on as a constant
    assert set(np.unique(wanted[inside])) == {0, 1, 2}
    np.testing.assert_array_equal(found[inside], wanted[inside])


@pytest.mark.parametrize("shape", [(24, 32, 32), (60, 50, 44)])
def test_lungs_of_a_scan_of_any_form(path: Path, shape: tuple[int, int, int]) -> None:
    path = write_lung_checkpoint(path.parent / "finer.ckpt", record=replace(RECORD, size=32))
    volume, wanted = two_tone(shape, (280 / shape[0], 320 / shape[1], 300 / shape[2]))
    found = LungSegmenter.from_checkpoint(path)(volume)
    assert found.shape == shape
    assert dice(found, wanted, 1) > 0.93
    assert dice(found, wanted, 2) > 0.93


def test_the_way_the_patient_lies_changes_nothing(segmenter: LungSegmenter) -> None:
    volume, _ = two_tone()
    turned = volume.affine.copy()
    turned[:3, :3] = Rotation.from_euler("xyz", [8, -5, 12], degrees=True).as_matrix() @ turned[:3, :3]
    turned[:3, 3] = (-170, 33, 912)
    np.testing.assert_array_equal(segmenter(volume), segmenter(replace(volume, affine=turned)))


@pytest.mark.parametrize(("size", "window", "least"), [(None, 16, 1.0), (None, 64, 1.0), (32, 16, 0.9)])
def test_scans_beyond_the_windows_of_the_network(path: Path, size: int | None, window: int, least: float) -> None:
    """The network looks at one voxel, so windows change nothing; the lungs are one part each."""
    record = replace(RECORD, size=size)
    parameters = {**PARAMETERS, "window_size": window, "overlap": 0.25}
    path = write_lung_checkpoint(path.parent / "windows.ckpt", record=record, hyper_parameters=parameters)
    volume, wanted = two_tone((30, 36, 32))
    found = LungSegmenter.from_checkpoint(path)(volume)
    assert dice(found, wanted, 1) >= least
    assert dice(found, wanted, 2) >= least


def test_islands_go_and_holes_are_filled(path: Path) -> None:
    path = write_lung_checkpoint(path.parent / "finest.ckpt", record=replace(RECORD, size=32))
    segmenter = LungSegmenter.from_checkpoint(path)
    volume, wanted = two_tone((32, 32, 32))
    clean = segmenter(volume)
    spotted = volume.array.copy()
    spotted[14:17, 14:17, 8:11] = -500  # inside the right lung
    spotted[2:5, 2:5, 2:5] = -1000  # far from both
    assert wanted[15, 15, 9] == 1
    np.testing.assert_array_equal(segmenter(replace(volume, array=spotted)), clean)


@pytest.mark.parametrize("spacing", [(10.0, 10.0, 10.0), (2.0, 2.0, 2.0)])
def test_no_lungs_and_tiny_ones_give_an_empty_mask(
    segmenter: LungSegmenter, spacing: tuple[float, float, float]
) -> None:
    volume, wanted = two_tone(spacing=spacing)
    if spacing[0] < 5:
        assert np.count_nonzero(wanted) * 8 < 0.68e6  # mm3
    else:
        volume = replace(volume, array=np.full_like(volume.array, -500))
    assert not segmenter(volume).any()


def test_scans_without_units_or_millimetres_are_refused(segmenter: LungSegmenter) -> None:
    volume, _ = two_tone()
    with pytest.raises(InputError, match="Hounsfield"):
        segmenter(replace(volume, intensity="unit"))
    with pytest.raises(InputError, match="spacing"):
        segmenter(replace(volume, affine=unknown_affine()))


def test_the_file_is_known_by_its_digest(segmenter: LungSegmenter, path: Path) -> None:
    assert segmenter.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert segmenter.mask_source == f"checkpoint:{segmenter.sha256}"
    assert segmenter.preprocessing == RECORD


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"covidct": {"task": "MaskedGAPResNetTask"}}, "belongs to MaskedGAPResNetTask, not to UNet3dTask"),
        ({"covidct": {"task": "UNet3dTask", "preprocessing": {"size": 4}}}, "pre-processing record"),
        ({"state_dict": {}}, "missing"),
        ({"hyper_parameters": {**PARAMETERS, "channels": [2, 4]}}, "of another shape"),
        ({"hyper_parameters": {**PARAMETERS, "channels": "wide"}}, "hyper-parameters"),
        ({"hyper_parameters": {**PARAMETERS, "num_classes": 1}}, "hyper-parameters"),
        ({"hyper_parameters": {**PARAMETERS, "window_size": "x"}}, "window_size='x'"),
        ({"hyper_parameters": {**PARAMETERS, "overlap": 3.0}}, r"overlap=3\.0"),
        ({"record": None}, "no recorded pre-processing"),
        ({"record": replace(RECORD, masking="lungs")}, "cannot find lungs"),
        ({"record": replace(RECORD, window=None)}, "cannot find lungs"),
    ],
)
def test_what_is_no_lung_network_is_refused(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    path = write_lung_checkpoint(tmp_path / "x.ckpt", **changes)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=sentence) as caught:
        LungSegmenter.from_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_other_numbers_of_classes_are_refused(tmp_path: Path) -> None:
    from covidct.models import UNet3d

    state = {f"model.{k}": v for k, v in UNet3d(num_classes=2, channels=(2, 2), norm=None).state_dict().items()}
    path = write_lung_checkpoint(
        tmp_path / "x.ckpt", state_dict=state, hyper_parameters={**PARAMETERS, "num_classes": 2}
    )
    with pytest.raises(CheckpointError, match="2 classes"):
        LungSegmenter.from_checkpoint(path)


def test_damaged_and_pickled_files_are_refused(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[whole.index(np.float32(-10).tobytes())] ^= 0xFF  # a weight of the head
    (tmp_path / "flipped.ckpt").write_bytes(flipped)
    torch.save({"state_dict": {}, "covidct": {}, "hyper_parameters": {"x": Volume}}, tmp_path / "pickled.ckpt")
    for name in ("cut", "flipped", "pickled", "absent"):
        with pytest.raises(CheckpointError):
            LungSegmenter.from_checkpoint(tmp_path / f"{name}.ckpt")


def test_a_network_in_memory_has_to_know_its_window() -> None:
    from tests.fakes.lung_network import grey_value_network

    with pytest.raises(UsageError, match="Hounsfield"):
        LungSegmenter(grey_value_network(), replace(RECORD, kind="ct_slice"))


@pytest.mark.parametrize("window", [8, None])
def test_the_network_of_a_real_training(tmp_path: Path, window: int | None) -> None:
    """The file that the task itself writes, not one made by hand."""
    import pytorch_lightning as pl
    from pytorch_lightning.utilities.seed import isolate_rng

    from covidct.datamodules import CTVolumeDataModule
    from covidct.tasks import UNet3dTask
    from tests.fakes.chests import FakeVolumes

    with isolate_rng():
        pl.seed_everything(0, verbose=False)
        task = UNet3dTask(channels=[2, 4], window_size=window)
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
        data = CTVolumeDataModule(FakeVolumes(6), size=16, mask_source="file", augment=False, cache_dir=str(tmp_path))
        trainer.fit(task, datamodule=data)
        trainer.save_checkpoint(tmp_path / "lungs.ckpt", weights_only=True)
    segmenter = LungSegmenter.from_checkpoint(tmp_path / "lungs.ckpt", dtype=torch.float32)
    assert segmenter.preprocessing == task.preprocessing
    assert segmenter.window_size == (window or 16), "None is the size of the cubes"
    image = torch.rand(1, 1, *[window or 16] * 3)
    task.eval()
    with torch.inference_mode():
        wanted = task.model(image)[0]
    torch.testing.assert_close(torch.from_numpy(segmenter._logits(image)), wanted, rtol=0, atol=1e-4)


def test_bfloat16_moves_few_voxels(path: Path) -> None:
    record = write_lung_checkpoint(path.parent / "half.ckpt", record=replace(RECORD, size=32))
    volume, _ = two_tone((32, 32, 32))
    full, half = (LungSegmenter.from_checkpoint(record, dtype=d)(volume) for d in (torch.float32, torch.bfloat16))
    assert min(dice(half, full, 1), dice(half, full, 2)) > 0.99
