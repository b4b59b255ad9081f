"""A trained network applied to a folder of scans from Python: results as plain data, on several processes.

    python examples/06_cohort.py --scans scans/ --checkpoint best.ckpt --processes 4 --out cohort
    python examples/06_cohort.py --fast  # a trial of seconds

A scan that cannot be used is a failed result that says why; the others go on. Without scans, phantoms and a damaged
file are looked at; without a checkpoint, by a network of random weights, whose probabilities mean nothing. In this
process alone, ``covidct.inference.triage([folder], checkpoint=...)`` is the same in one call; ``covidct triage`` writes
a page for each scan besides. Research use, not a diagnosis.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from covidct.datasets import PhantomCTVolumes
from covidct.inference import PredictorSettings, Pseudonyms, examine_many, local_processes
from covidct.io import discover
from covidct.phantom import simulate_ct
from covidct.preprocessing import Preprocessing
from covidct.report import write_cohort_csv
from covidct.result import CohortResult
from covidct.tasks import MaskedGAPResNetTask, save_task


def write_phantoms(folder: Path, count: int) -> Path:
    """NIfTI files, the last of them cut short."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        made = simulate_ct(seed, diagnosis=PhantomCTVolumes().diagnosis(seed), shape=(48, 64, 64))
        image: Any = sitk.GetImageFromArray(made.volume.array)
        image.SetSpacing(made.volume.spacing[::-1])
        sitk.WriteImage(image, str(path := folder / f"{seed}.nii"))
    path.write_bytes(path.read_bytes()[:20_000])
    return folder


def untrained(path: Path) -> Path:
    """A checkpoint of random weights."""
    task = MaskedGAPResNetTask(num_classes=3, backbone="resnet18", slice_size=None)
    task.preprocessing = Preprocessing(kind="ct_volume", classes=("normal", "cap", "covid"), size=40)
    save_task(task, path)
    return path


def main() -> None:
    """Look at all scans, print a line for each, leave a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=Path, help="your scans: DICOM, NIfTI, NRRD, MetaImage, pictures")
    parser.add_argument("--checkpoint", type=Path, help="of a classifier")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("cohort"), help="folder of the results")
    parser.add_argument("--fast", action="store_true", help="a trial: three scans in this process")
    options = parser.parse_args()
    scans = options.scans or write_phantoms(options.out / "phantoms", 3 if options.fast else 9)
    checkpoint = options.checkpoint or untrained(options.out / "untrained.ckpt")
    names = Pseudonyms(options.out / "inputs.csv")  # the local key from ids to files
    found = discover([scans])
    names.write(found)
    work = [(scan, names.id_of(scan)) for scan in found]
    count = 1 if options.fast else options.processes
    workers = ThreadPoolExecutor(1) if options.fast else local_processes(count)  # a cluster: covidct.inference.on_dask
    with workers as pool:
        results = examine_many(PredictorSettings(str(checkpoint)), work, pool, workers=count)
        cohort = CohortResult(tuple(results))
    for result in cohort.scans:
        shares = {name: round(value, 3) for name, value in result.probabilities.items()}
        print(result.id, result.status, result.predicted, shares, result.lungs_ml, result.error)  # or result.to_dict()
    write_cohort_csv(cohort, options.out / "cohort.csv")


if __name__ == "__main__":
    main()
