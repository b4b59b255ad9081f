"""A data set of your own as a class: files that no table describes, here arrays whose names tell patient and class.

    python examples/04_own_dataset.py --folder arrays
    python examples/04_own_dataset.py --fast  # a trial of seconds

Every data module, task, callback and study takes such a class. It lists its records without opening a file, reads a
scan on demand, and says what a prepared scan depends on. Without a folder, phantoms are written as arrays.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import BaseDataset, PhantomCTVolumes, Raw, Record
from covidct.io import cache_key
from covidct.labels import class_map
from covidct.phantom import simulate_ct
from covidct.volume import Volume


class Arrays(BaseDataset):
    """``<patient>_<class>_<scan>.npz`` with ``hu`` (D, H, W) int16, feet to head, and ``spacing`` (d, h, w) in mm."""

    name = "arrays"  # part of the hashes that stand for patients and scans
    kind = "ct_volume"
    intensity = "hu"

    def __init__(self, folder: Path) -> None:
        """List the files; none is opened."""
        super().__init__()
        self.files = sorted(folder.glob("*.npz"))
        self.classes = class_map("three")  # normal, cap, covid; or a mapping from your words to class names

    def make_records(self) -> tuple[Record, ...]:
        """A record for each file: ids go into predictions and name no patient, subjects never leave the process."""
        words = [path.stem.split("_") for path in self.files]
        return tuple(
            Record(id=f"scan-{number:04d}", subject=patient, label=self.classes.label(word), source=number)
            for number, (patient, word, _) in enumerate(words)
        )

    def load(self, source: int) -> Raw:
        """Read a scan; ``lung_mask``, ``lesion_mask`` and ``slice_label`` can go into ``Raw`` too."""
        with np.load(self.files[source]) as arrays:
            depth, height, width = arrays["spacing"].tolist()
            return Raw(Volume(arrays["hu"], np.diag([width, height, depth, 1.0])))

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """What a prepared scan depends on: the content of its file, and how it is read (``version``)."""
        return cache_key(digest(self.files[source]), config={"kind": self.kind}, version=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="your arrays")
    parser.add_argument("--fast", action="store_true", help="a trial: fewer and smaller scans")
    options = parser.parse_args()
    scans, size = (12, 32) if options.fast else (60, 128)
    with tempfile.TemporaryDirectory() as cache_dir:
        for seed in range(0 if options.folder else scans):  # two of each patient
            diagnosis = PhantomCTVolumes(scans_per_subject=2).diagnosis(seed)
            volume = simulate_ct(seed, diagnosis=diagnosis, shape=(32, 64, 64)).volume
            np.savez(f"{cache_dir}/p{seed // 2}_{diagnosis}_{seed}", hu=volume.array, spacing=volume.spacing)
        data = CTVolumeDataModule(Arrays(options.folder or Path(cache_dir)), size=size, cache_dir=cache_dir)
        data.prepare_data()
        data.setup("fit")
        print("scans:", {part: len(data.records(part)) for part in ("train", "val", "test")})
        batch = next(iter(data.train_dataloader()))
        print(f"a batch: image {tuple(batch['image'].shape)}, label {batch['label'].tolist()}, id {batch['id']}")


if __name__ == "__main__":
    main()
