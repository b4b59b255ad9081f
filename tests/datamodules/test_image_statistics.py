"""Statistics of the training images: two passes of numpy over the stored pixels are the oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from covidct.datamodules import BaseDataModule, CTSliceDataModule, CTVolumeDataModule, CXRDataModule
from covidct.datamodules import image_statistics as streaming
from covidct.datasets import Raw
from covidct.errors import UsageError
from covidct.volume import Image
from tests.fakes.chests import FakeCXR, FakeSlices, FakeVolumes

if TYPE_CHECKING:
    from pathlib import Path


def ready(module: BaseDataModule) -> BaseDataModule:
    module.prepare_data()
    module.setup("fit")
    return module


def modules(folder: Path) -> list[BaseDataModule]:
    common: dict[str, Any] = {"size": 16, "mask_source": "file", "cache_dir": str(folder)}
    return [
        CTVolumeDataModule(FakeVolumes(12), **common),
        CTSliceDataModule(FakeSlices(12), **common),
        CXRDataModule(FakeCXR(12), masking="no_lungs", **common),
    ]


@pytest.mark.parametrize("shape", range(3))
def test_streaming_is_two_passes_over_the_training_part(tmp_path: Path, shape: int) -> None:
    module = ready(modules(tmp_path)[shape])
    pixels = []
    samples = module.samples("train")
    for sample in (samples[index] for index in range(len(samples))):
        image = sample["image"].numpy()
        pixels.append((image[:, sample["slice_mask"].numpy()] if "slice_mask" in sample else image).ravel())
    every = np.concatenate(pixels).astype(np.float64)
    mean = every.sum() / every.size
    std = np.sqrt(((every - mean) ** 2).sum() / every.size)
    np.testing.assert_allclose(module.image_statistics(), (mean, std), rtol=0, atol=1e-6)


def test_they_are_computed_once_and_anew_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (ready(modules(tmp_path)[2]) for _ in range(2))
    found = first.image_statistics()
    assert second.image_statistics() == found
    monkeypatch.setattr(streaming, "add_values", lambda *_: pytest.fail("computed twice"))
    assert first.image_statistics() == found


class Grey(FakeCXR):
    """Chequered X-rays, of one value at a fourth of their size."""

    def load(self, source: int) -> Raw:
        return Raw(Image((np.indices((64, 64)).sum(0) % 2).astype(np.float32)))


def test_constant_images_are_refused(tmp_path: Path) -> None:
    module = ready(CXRDataModule(Grey(12), size=16, cache_dir=str(tmp_path)))
    with pytest.raises(UsageError, match="training images have one value"):
        module.image_statistics()


def test_without_training_images_there_are_none(tmp_path: Path) -> None:
    module = ready(CXRDataModule(FakeCXR(12), size=16, cache_dir=str(tmp_path), val_fraction=0.0, test_fraction=1.0))
    with pytest.raises(UsageError, match="no samples for train"):
        module.image_statistics()
