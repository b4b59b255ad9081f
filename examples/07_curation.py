"""Know the data before training on it: a cohort with two faults built in, and what the curation finds of them.

    python examples/07_curation.py
    python examples/07_curation.py --fast  # a trial of seconds

Simulated radiographs are written as files. Two faults of published COVID-19 sets are planted: one picture of the
training part comes again in the test part, smaller and as JPEG, and all COVID-19 pictures carry a bright mark in a
corner. Prints the pairs that are found (simulated patients resemble one another, so the weaker ones may be two
of them), how well the class is told without the lungs, and how far apart training and test part are. The same of your
own cohort: ``covidct eda``, ``audit``, ``curate`` and ``otdd``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from covidct.curation import cohort_set, find_duplicates, otdd, read_listing, shortcut_probes
from covidct.phantom import simulate_cxr

CLASSES: tuple[Literal["normal", "covid"], ...] = ("normal", "covid")


def write_cohort(folder: Path, subjects: int, size: int) -> None:
    """``<split>/<class>/p<patient>.png``, two thirds for training."""
    for subject in range(subjects):
        diagnosis = CLASSES[subject % 2]
        split = "test" if subject % 3 == 2 else "train"
        unit = simulate_cxr(subject, diagnosis=diagnosis, shape=(size, size)).image.array
        picture = np.rint(unit * 255).astype(np.uint8)
        if diagnosis == "covid":
            picture[2 : size // 12, 2 : size // 12] = 255  # the mark
        place = folder / split / diagnosis
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"p{subject:03d}.png"), picture)
        if subject == 1:  # of the training part
            again = cv2.resize(picture, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "test" / "covid" / "p900.jpg"), again)


def main() -> None:
    """Write the cohort and look at it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="a trial: fewer and smaller pictures")
    subjects, size = (12, 96) if parser.parse_args().fast else (60, 192)
    with tempfile.TemporaryDirectory() as name:
        write_cohort(Path(name), subjects, size)
        entries = read_listing(name, subject_pattern=r"^p(\d+)")
        for pair in find_duplicates(entries).pairs:
            where = f"{pair.first.id} ({pair.first.split}) and {pair.second.id} ({pair.second.split})"
            print(f"{pair.kind} duplicates: {where}, correlation {pair.details:.2f}")
        for probe in shortcut_probes(entries, targets=("label",), resamples=200):
            print(f"{probe.features}: AUROC {probe.auroc.value:.2f}", "- WARNING" if probe.warning else "")
        parts = [cohort_set([entry for entry in entries if entry.split == split]) for split in ("train", "test")]
        found = otdd(parts[0].x, parts[0].y, parts[1].x, parts[1].y)
        print(f"distance of the parts: {found.distance:.2f}")


if __name__ == "__main__":
    main()
