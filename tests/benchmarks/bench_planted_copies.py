"""Copies planted among all images of a cohort: how many the search finds, and which images it takes for one another.

Of each kind (exact, compressed, rescaled, cropped by 5 % of width and height, all of that) copies are made of images
drawn by chance, and listed as a test part beside all images. A partner is false when it is of another article or case.
Where that is unknown an image counts as an article of its own, so that two slices of one unknown patient count, too:
``--pictures`` writes the pairs, to look at them.

    python -m tests.benchmarks.bench_planted_copies DATA [--cohort covid_ct] [--planted 200] [--pictures DIR]

``DATA`` holds ``covid_ct`` and ``cxr_darkcovid`` as the tests have them. Ends with 1 when an exact copy is missed, or
more than 5 % of another kind.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from covidct.curation import DuplicatePair, Entry, find_duplicates, read_listing
from tests.curation.planted import KINDS, copies

COHORTS = {
    "covid_ct": ("index.csv", {"label": "class"}),
    "cxr_darkcovid": ("split.csv", {"label": "class", "subject": "group"}),
}
LEAST = {"exact": 1.0, **dict.fromkeys(KINDS[1:], 0.95)}


def article(entry: Entry) -> tuple[str, bool]:
    """What an image is from, and whether that is known.

    COVID-CT has the preprint, or the number of a case before an underscore, in its names; single numbers tell nothing.
    The radiographs have a column, in which images without a telling name are groups of their own.
    """
    if entry.subject:
        return entry.subject, not re.match(r"[0-9A-F]{8}-|\d+\.", entry.path.name)
    found = re.match(r"\d{4}\.\d\d\.\d\d\.\d+|\d+(?=_)", entry.path.name)
    return (found.group(), True) if found else (entry.path.name, False)


def planted(entries: list[Entry], count: int, folder: Path) -> tuple[list[Entry], dict[int, tuple[int, str]]]:
    """Copies of each kind of ``count`` images each, and number of a copy to (number of its original, kind)."""
    rng = np.random.default_rng(0)
    made: list[Entry] = []
    truth = {}
    for kind in KINDS:
        for index in rng.choice(len(entries), min(count, len(entries)), replace=False):
            original = entries[index]
            picture = np.asarray(cv2.imread(str(original.path), cv2.IMREAD_GRAYSCALE))
            number = len(entries) + len(made) + 1
            assert cv2.imwrite(str(folder / f"{number}.png"), copies(picture, rng)[kind])
            made.append(replace(original, number=number, path=folder / f"{number}.png", split="test"))
            truth[number] = (original.number, kind)
    return made, truth


def rates(pairs: tuple[DuplicatePair, ...], truth: dict[int, tuple[int, str]], count: int) -> dict[str, float]:
    """Share of the copies of each kind that are tied to their original, directly or through other pictures."""
    group = list(range(count + 1))

    def root(number: int) -> int:
        while group[number] != number:
            number = group[number]
        return number

    for pair in pairs:
        group[root(pair.first.number)] = root(pair.second.number)
    return {
        kind: float(np.mean([root(copy) == root(original) for copy, (original, one) in truth.items() if one == kind]))
        for kind in KINDS
    }


def side_by_side(pair: DuplicatePair, path: Path) -> None:
    """Both pictures of a pair, of one height."""
    both = [np.asarray(cv2.imread(str(entry.path), cv2.IMREAD_GRAYSCALE)) for entry in (pair.first, pair.second)]
    both = [np.asarray(cv2.resize(one, (round(360 * one.shape[1] / one.shape[0]), 360))) for one in both]
    assert cv2.imwrite(str(path), np.concatenate(both, axis=1))


def report(name: str, data: Path, count: int, pictures: Path | None) -> bool:
    """Print what is found in one cohort; whether enough copies are."""
    table, columns = COHORTS[name]
    entries = list(read_listing(data / name / table, columns=columns))
    known = {entry.number: article(entry)[1] for entry in entries}
    entries = [replace(entry, subject=article(entry)[0], split="train") for entry in entries]
    with tempfile.TemporaryDirectory() as folder:
        made, truth = planted(entries, count, Path(folder))
        start = time.perf_counter()
        search = find_duplicates([*entries, *made])
        seconds = time.perf_counter() - start
    found = rates(search.pairs, truth, len(entries) + len(made))
    false = [pair for pair in search.pairs if pair.same_subject is False]
    print(f"{name}: {len(entries)} images and {len(made)} copies, {seconds:.0f} s, {search.compared} candidates")
    print("  found " + ", ".join(f"{kind} {share:.1%}" for kind, share in found.items()))
    origin = {number: original for number, (original, _) in truth.items()}
    for what, both in (("between known articles", True), ("with one that is unknown", False)):
        some = [
            pair
            for pair in false
            if all(known[origin.get(e.number, e.number)] for e in (pair.first, pair.second)) is both
        ]
        images = {e.number for pair in some for e in (pair.first, pair.second)}
        originals = [pair for pair in some if pair.first.split == pair.second.split == "train"]
        share = len(images) / (len(entries) + len(made))
        print(f"  false partners {what}: {share:.1%} of the entries; {len(originals)} pairs of images as they came")
        for number, pair in enumerate(originals if pictures else [], start=1):
            path = Path(str(pictures)) / f"{name}_{'known' if both else 'unknown'}_{number}_{pair.details:.3f}.png"
            side_by_side(pair, path)
    return all(found[kind] >= least for kind, least in LEAST.items())


def main() -> int:
    """Print recall and false partners of each cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cohort", choices=list(COHORTS), nargs="+", default=list(COHORTS))
    parser.add_argument("--planted", type=int, default=200)
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    return int(not all([report(name, args.data, args.planted, args.pictures) for name in args.cohort]))


if __name__ == "__main__":
    raise SystemExit(main())
