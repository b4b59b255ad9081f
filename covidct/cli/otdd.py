"""``covidct otdd``: distances of data sets, to choose what to pre-train on and whether sets belong together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from covidct.cli.cohort_source import check_counts, list_cohort, tell_unreadable
from covidct.cli.command import run_function
from covidct.cli.console import make_table, note, research_use, results
from covidct.cli.out_folder import check_out_folder
from covidct.cli.reading import reading
from covidct.errors import UsageError
from covidct.io.faults import OnFault
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from covidct.curation import Entry, Unreadable
    from covidct.curation.labelled import Features
    from covidct.report import OtddReport

__all__ = ("compare", "run")

_TREATMENTS = {"he": "equalise_histogram", "clahe": "clahe", "both": "equalise"}


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the command."""
    return run_function(compare, argv, verb=verb, variadic={"candidates": Path})


def compare(
    source: Path | None = None,
    *,
    out: Path,
    target: Path | None = None,
    candidates: tuple[Path, ...] = (),
    experiment: Literal["equalised", "contrast"] | None = None,
    equalisation: Literal["he", "clahe", "both"] = "both",
    measure: Literal["rms", "spread"] = "rms",
    path_column: str | None = None,
    label_column: str | None = None,
    subject_column: str | None = None,
    split_column: str | None = None,
    subject_pattern: str | None = None,
    scans: bool = False,
    label_from_folder: bool = False,
    window: tuple[float, float] = LUNG_WINDOW,
    features: str = "pixels",
    weights: str | None = None,
    size: int | None = None,
    label_distance: Literal["gaussian", "exact"] = "gaussian",
    outer: Literal["auto", "exact", "entropic"] = "auto",
    epsilon: float = 0.01,
    debiased: bool = True,
    max_samples: int = 2000,
    slices_per_scan: int = 8,
    resamples: int = 50,
    confidence: float = 0.95,
    device: str = "auto",
    on_fault: OnFault = "error",
    seed: int = 0,
) -> int:
    """Measure how far labelled data sets are from each other, by optimal transport of samples and classes (OTDD).

    With --target and --candidates, ranks sets to pre-train on, nearest first. With SOURCE and --experiment, makes one
    of the comparisons of the gated ensemble's document: original against equalised images, or subjects of low against
    high contrast. Writes otdd.html, otdd.json, otdd.csv, label_distances.csv and a heat map per comparison.

    Args:
        source: cohort of an experiment, a table with a column path or a folder of pictures, DICOM series and volumes.
        out: folder of the results.
        target: cohort that the candidates are ranked for.
        candidates: cohorts to rank.
        experiment: equalised or contrast.
        equalisation: he (global), clahe, or both, one after the other; of the experiment equalised.
        measure: contrast as standard deviation (rms) or as 95th minus 5th percentile (spread) inside the body.
        path_column: column of the paths; path.
        label_column: column of the classes; label.
        subject_column: column of the patients; subject.
        split_column: column of train, val and test; split. Contrast is split on train where there is one.
        subject_pattern: regular expression whose first group is the patient, searched in file names.
        scans: in a folder, take each folder of pictures as one scan.
        label_from_folder: the first folder below a cohort is the class, whatever its name; else folders give the class
            only where they are called by a class word, since they may be called by patients.
        window: low and high in HU that become 0 and 1, such as --window -1000 400.
        features: pixels, on a small grid, or a torchvision network such as resnet18, frozen.
        weights: of the network, by name (IMAGENET1K_V1 needs a network connection) or path; random unless told.
        size: pixels per side of the grid (32) or of what the network sees (224).
        label_distance: of classes as Gaussians, or exact between their samples.
        outer: solver; auto is exact up to 2,000 samples a side.
        epsilon: weight of the entropy, as a share of the mean cost.
        debiased: subtract half of the distance of each set to itself; --no-debiased does not.
        max_samples: of each set.
        slices_per_scan: of a volume, evenly spread.
        resamples: number of halves of the subjects, for the intervals.
        confidence: of the intervals.
        device: of the network: auto, cpu, or a torch device such as cuda:1.
        on_fault: what to do with faulty geometry.
        seed: of everything that is drawn.

    Returns:
        0, 1 when some entries cannot be read.
    """
    _check(source, target, candidates, experiment, out)
    check_counts(2, resamples=resamples)
    check_counts(1, max_samples=max_samples, slices_per_scan=slices_per_scan)
    listing = {
        "columns": (path_column, label_column, subject_column, split_column),
        "subject_pattern": subject_pattern,
        "scans": scans,
        "label_from_folder": label_from_folder,
        "window": window,
    }
    distance = {
        "label_distance": label_distance,
        "debiased": debiased,
        "outer": outer,
        "epsilon": epsilon,
        "max_samples": max_samples,
        "resamples": resamples,
        "confidence": confidence,
        "seed": seed,
    }
    reading = {
        "features": _features(features, weights, size, device),
        "slices_per_scan": slices_per_scan,
        "max_scans": max_samples,
        "window": window,
        "on_fault": on_fault,
        "seed": seed,
    }
    run_facts = {**distance, "features": features, "weights": weights, "size": size, "window": list(window)}
    run_facts |= {"slices_per_scan": slices_per_scan, "on_fault": on_fault}
    cohort = _Reader(listing, reading)
    if source is not None:
        options = {"equalised": equalisation, "contrast": measure}
        report = _experiment(source, str(experiment), options[str(experiment)], cohort, distance, run_facts)
    else:
        report = _ranking(target or Path(), candidates, cohort, distance, run_facts)
    return _write(report, out)


class _Reader:
    """Cohorts read with the same options, with a progress bar and a list of what could not be read."""

    def __init__(self, listing: Mapping[str, Any], reading: Mapping[str, Any]) -> None:
        self._listing, self._reading = listing, reading
        self.unreadable: dict[str, list[Unreadable]] = {}

    def read(self, function: Callable[..., Any], source: Path, name: str, **options: object) -> Any:  # noqa: ANN401
        """What a function of entries makes of a cohort."""
        entries: tuple[Entry, ...] = list_cohort([source], **self._listing)
        unreadable = self.unreadable.setdefault(name, [])
        total = min(sum(bool(entry.label) for entry in entries), self._reading["max_scans"])
        with reading(total, name) as on_scan:
            return function(entries, unreadable=unreadable, on_scan=on_scan, **self._reading, **options)


def _ranking(
    target: Path, candidates: Sequence[Path], cohort: _Reader, distance: Mapping[str, Any], facts: Mapping[str, Any]
) -> OtddReport:
    """Candidates by their distance to the target."""
    from covidct.curation import cohort_set, rank_sources
    from covidct.curation.set_comparison import cautions
    from covidct.report import ComparedSet, OtddReport

    first, *names = _names([target, *candidates])
    goal = cohort.read(cohort_set, target, first)
    sets = {name: cohort.read(cohort_set, path, name) for name, path in zip(names, candidates, strict=True)}
    ranking = rank_sources(goal, sets, **distance)
    return OtddReport(
        f"Data sets near {first}",
        f"Which of {len(sets)} data set{'s' if len(sets) > 1 else ''} is nearest to {first}, and so the first to try "
        f"for pre-training? All are brought to {ranking.samples} samples: a distance grows the fewer they are.",
        first,
        tuple(ComparedSet(source.name, source.comparison, source.nearest) for source in ranking.sources),
        floor=ranking.floor,
        confidence=ranking.confidence,
        resamples=ranking.resamples,
        notes=cautions(first, [(source.name, source.comparison) for source in ranking.sources]),
        unreadable=cohort.unreadable,
        run=facts,
        ranked=True,
    )


def _experiment(
    source: Path, name: str, option: str, cohort: _Reader, distance: Mapping[str, Any], facts: Mapping[str, Any]
) -> OtddReport:
    """One of the two comparisons of the document."""
    from covidct import functional
    from covidct.curation import compare_sets, contrast_sets, equalised_sets
    from covidct.curation.set_comparison import cautions
    from covidct.report import ComparedSet, OtddReport

    title = _names([source])[0]
    notes: list[str] = []
    if name == "equalised":
        names, headline = ("original", "equalised"), f"{title}: original against equalised images"
        text = "Do classes stay together when images are equalised? They do where the same class is nearest in its row."
        first, second = cohort.read(equalised_sets, source, title, treatment=getattr(functional, _TREATMENTS[option]))
        facts = {**facts, "equalisation": option}
    else:
        names, headline = ("low contrast", "high contrast"), f"{title}: low against high contrast"
        text = "Do classes meet across the line of contrast? They do where the same class is nearest in its row."
        first, second, split = cohort.read(contrast_sets, source, title, measure=option)
        notes.append(
            f"The line is at a contrast of {split.threshold:.4g} ({split.measure}); it was fitted on {split.low} "
            f"subjects of low and {split.high} of high contrast."
        )
        facts = {**facts, "measure": option}
    compared = compare_sets(first, second, **distance)
    return OtddReport(
        headline,
        text,
        names[0],
        (ComparedSet(names[1], compared),),
        confidence=distance["confidence"],
        resamples=distance["resamples"],
        notes=(*notes, *cautions(names[0], [(names[1], compared)])),
        unreadable=cohort.unreadable,
        run=facts,
    )


def _write(report: OtddReport, out: Path) -> int:
    """Files, table and exit code."""
    from covidct.report import write_otdd_csvs, write_otdd_json, write_otdd_page

    out.mkdir(parents=True, exist_ok=True)
    data = out / "otdd.json"
    page, *pictures = write_otdd_page(report, out)
    write_otdd_json(report, data)
    paths = [page, data, *write_otdd_csvs(report, out), *pictures]
    columns = ["set", "distance", f"{report.confidence:.0%} interval", "subjects a class", "same class nearest"]
    table = make_table(report.title, *columns, *(["mean of halves"] if report.ranked else []))
    for one in report.sets:
        found = one.comparison
        met = found.same_class_nearest
        rows = f"{sum(met.values())} of {len(met)} rows" if met else "no common class"
        told = not math.isnan(found.high)
        cells = [f"{found.result.distance:.4g}", f"{found.low:.4g} to {found.high:.4g}" if told else "unknown"]
        cells += [f"{found.fewest_subjects} or more", rows]
        cells += [f"{found.halves_mean:.4g}" if told else "unknown"] if report.ranked else []
        table.add_row(one.name, *cells)
    results().print(table)
    if not math.isnan(report.floor):
        note(f"covidct: Halves of {report.first} are {report.floor:.4g} apart: compare the means of halves with it.")
    for sentence in report.notes:
        note(f"covidct: {sentence}")
    results().print(", ".join(map(str, paths)), markup=False, soft_wrap=True)
    research_use()
    failed = sum(map(len, report.unreadable.values()))
    tell_unreadable([item for items in report.unreadable.values() for item in items], None, page.name)
    return 1 if failed else 0


def _check(
    source: Path | None, target: Path | None, candidates: Sequence[Path], experiment: str | None, out: Path
) -> None:
    """Refuse half of a ranking or of an experiment, or both."""
    ranking = target is not None and len(candidates) > 0 and source is None and experiment is None
    study = source is not None and experiment is not None and target is None and not candidates
    if not (ranking or study):
        raise UsageError("Give --target T --candidates A B ..., or a cohort and --experiment equalised or contrast.")
    check_out_folder(out)


def _features(name: str, weights: str | None, size: int | None, device: str) -> Features:
    """The feature function of a name."""
    from functools import partial

    from covidct.curation import network_features, pixel_features
    from covidct.inference.device import find_device

    if size is not None and size < 1:
        raise UsageError(f"size={size} must be at least 1 pixel.")
    if name != "pixels":
        return network_features(name, weights=weights, size=size or 224, device=find_device(device))
    if weights is not None:
        raise UsageError("--weights belong to a network: name one with --features.")
    return partial(pixel_features, size=size or 32)


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each cohort: of its file or folder, numbered where it is not the first."""
    names: list[str] = []
    for path in paths:
        stem = path.resolve().name if path.is_dir() else path.stem
        count = sum(name == stem or name.startswith(f"{stem} (") for name in names)
        names.append(stem if not count else f"{stem} ({count + 1})")
    return names
