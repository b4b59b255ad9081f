from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from covidct.datamodules.prepared import PreparedSamples
from covidct.datamodules.sampling import Draw
from covidct.errors import CovidctError, InputError
from covidct.io import ArrayCache, cache_key
from tests.fakes.chests import FakeVolumes

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.sample import Sample


class Brighten:
    """Adds a number made of the seed."""

    def __call__(self, sample: Sample, *, seed: tuple[int, ...]) -> Sample:
        sample["image"] = sample["image"] * 0 + sum(part * 10**place for place, part in enumerate(reversed(seed)))
        return sample


def samples(
    folder: Path, *, depths: tuple[int, ...] = (4, 4, 4), augment: object = None, labelled: bool = False
) -> PreparedSamples:
    cache = ArrayCache(folder)
    config = {"depths": depths, "labelled": labelled}
    keys = [cache_key(str(number), config=config, version=1) for number in range(len(depths))]
    for number, (key, depth) in enumerate(zip(keys, depths, strict=True)):
        image = np.full((1, 1, depth, 2, 2), 20000 * number, dtype=np.uint16)
        arrays = {"image": image, "slice_mask": np.ones((1, depth), dtype=np.bool_)}
        arrays |= {"slice_label": np.arange(depth)[None]} if labelled else {}
        cache.get_or_build(key, lambda arrays=arrays: (arrays, {"good": [0]}))  # type: ignore[misc]
    dataset = FakeVolumes(len(depths))
    return PreparedSamples(
        cache,
        dataset=dataset,
        records=dataset.records,
        places=[(key, 0) for key in keys],
        augment=augment,  # type: ignore[arg-type]
        seed=7,
    )


def test_batch_is_the_fixed_point_as_float(tmp_path: Path) -> None:
    batch = samples(tmp_path).__getitems__([2, 0])
    assert batch["image"].dtype == torch.float32
    assert batch["image"].shape == (2, 1, 4, 2, 2)
    torch.testing.assert_close(batch["image"][:, 0, 0, 0, 0], torch.tensor([40000 / 65535, 0.0]))
    assert batch["id"] == ["scan-2", "scan-0"]
    assert batch["label"].tolist() == [2, 0]


def test_slice_labels_come_without_pixels(tmp_path: Path) -> None:
    assert samples(tmp_path).slice_labels() is None
    found = samples(tmp_path, depths=(3, 5), labelled=True).slice_labels()
    assert found is not None
    assert [one.tolist() for one in found] == [[0, 1, 2], [0, 1, 2, 3, 4]]
    found[0][:] = 7  # a copy: what is prepared stays as it is
    assert samples(tmp_path, depths=(3, 5), labelled=True)[0]["slice_label"].tolist() == [0, 1, 2]


def test_unlike_depths_are_padded(tmp_path: Path) -> None:
    batch = samples(tmp_path, depths=(3, 5)).__getitems__([0, 1])
    assert batch["image"].shape == (2, 1, 5, 2, 2)
    assert batch["slice_mask"].sum(dim=1).tolist() == [3, 5]


def test_augmentation_is_seeded_by_seed_epoch_index_and_repeat(tmp_path: Path) -> None:
    batch = samples(tmp_path, augment=Brighten()).__getitems__([Draw(2, 5, 1), Draw(2, 5, 0)])
    assert batch["image"][:, 0, 0, 0, 0].tolist() == [7521.0, 7520.0]


def test_more_entries_than_may_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covidct.datamodules.prepared._OPEN", 1)
    dataset = samples(tmp_path)
    for index in (0, 1, 2, 0):
        assert float(dataset[index]["image"].max()) == pytest.approx(20000 * index / 65535)
    assert len(dataset._open) == 1


def test_objects_need_a_lesion_mask(tmp_path: Path) -> None:
    dataset = samples(tmp_path)
    dataset.mask_type = "both"
    for ask in (lambda: dataset[1], lambda: dataset.__getitems__([1])):
        with pytest.raises(InputError, match="scan-1 has no lesion mask"):
            ask()


def test_entry_that_vanished_is_one_sentence(tmp_path: Path) -> None:
    dataset = samples(tmp_path / "a")
    dataset.cache = ArrayCache(tmp_path / "b")
    with pytest.raises(CovidctError, match="scan-1 is gone from the cache"):
        dataset[1]
