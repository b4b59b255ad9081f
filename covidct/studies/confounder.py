"""``confounder_study``: what plain and mask-weighted pooling let through of a marker beside the body.

The features are fixed: a ResNet with random weights, in evaluation mode. A trunk that is trained end to end can carry
the marker to the cells of the lungs, because its receptive field is wider than the slice; pooling weights cannot guard
against that: with the whole network trained on such phantoms, both poolings leaned on the marker in most settings.
"""

from __future__ import annotations

import time
from itertools import chain, product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

import covidct
from covidct.datasets import PhantomConfounded
from covidct.errors import UsageError
from covidct.functional import mask_weighted_gap, mask_weights, window_hu
from covidct.metrics import compare_cohorts
from covidct.models import MaskedGAPResNet
from covidct.report import Study, StudySection
from covidct.result import Preview
from covidct.studies.masked_gap import POOLING_TITLES, SOURCE, published_reports
from covidct.studies.runs import RunStore, TestPredictions, describe_options
from covidct.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from covidct.datasets.base import Raw
    from covidct.metrics import PairedComparison

__all__ = ("CONFOUNDER_PHANTOMS", "confounder_study", "pooled_features")

CONFOUNDER_PHANTOMS: Mapping[str, Any] = {
    "num_subjects": 80,
    "test_fraction": 0.4,
    "shape": (2, 112, 112),
    "spacing": (22.0, 3.7, 3.7),
    "haze_hu": 50.0,
    "marker_mm": (150.0, -180.0),
    "marker_radius_mm": 14.0,
}
"""Arguments of :class:`covidct.datasets.PhantomConfounded`: few, coarse scans, so that a CPU needs seconds."""

_WINDOW = (-1000.0, 0.0)  # HU; a lung window, in which haze stands out
_STATISTICS = 32  # slices of the training part that give batch normalisation its statistics
_CHUNK = 8  # slices per pass of the trunk
_RIDGE = 0.01  # C of the linear head: far more features than scans
_STEPS = 2000  # of its solver, which stops when it has converged
_POOLINGS: tuple[Literal["mean", "mask"], ...] = ("mean", "mask")
_TEXT = (
    "Does it help a network to average its last feature map over the lungs alone? A marker lies on the bed beside some "
    "patients. In one training it says nothing, in the other it goes with the class; in the test it says nothing. What "
    "a pooling loses between the two is what it leaned on the marker."
)
_NOTE = (
    "Shown for fixed features: a network with random weights that is not trained, and a linear head fitted to the end "
    "on what each pooling leaves of the same feature maps. A network trained end to end can carry the marker to the "
    "cells of the lungs, because its receptive field is wider than the slice, and pooling weights cannot guard against "
    "that: with the whole network trained on such phantoms, both poolings leaned on the marker in most settings."
)


def confounder_study(
    phantoms: Mapping[str, Any] | None = None,
    *,
    out: Path,
    seeds: Sequence[int] = (0, 1, 2),
    backbone: Literal["resnet18", "resnet34", "resnet50"] = "resnet18",
    slice_size: int = 224,
    resamples: int = 1000,
    on_run: Callable[[str], None] | None = None,
) -> Study:
    """Compare the poolings on phantoms with a marker beside the body that tells the class in training alone.

    Each seed has phantoms, a split and random weights of its own. Two linear heads (logistic regression on standardised
    features) are fitted per pooling, on the same training scans: with a marker that says nothing (``"plain"``), and
    with one that goes with the class (``"confounded"``). All are tested on the same scans, whose markers say nothing.
    One pass of the middle slice through the network serves both poolings, which differ in the weights alone.

    This shows what pooling does to features that are given. It does not show that mask-weighted pooling guards a
    network that is trained end to end: its receptive field is wider than the slice and can carry the marker to the
    cells of the lungs. With the whole network trained, both poolings leaned on the marker in most settings.

    Args:
        phantoms: arguments of :class:`covidct.datasets.PhantomConfounded` without ``seed``, over
            :data:`CONFOUNDER_PHANTOMS`; ``train_correlation`` is that of the second training, the first has 0.
        out: folder of the study; finished runs in it are taken over.
        seeds: at least one, all different.
        backbone: of :class:`covidct.models.MaskedGAPResNet`.
        slice_size: pixels of the longer side of a slice in the network; 224 gives the paper's 7 x 7 cells.
        resamples: of the bootstraps over subjects.
        on_run: called with the name of each run, ``seed<k>``, when it is done.

    Returns:
        The study with two sections, for :func:`covidct.studies.write_study`; its AUROCs are means over the seeds, and
        those of each seed stand in the sections' ``comparison.seed_reports``.

    Raises:
        UsageError: for arguments that make no study.
    """
    settings = {**CONFOUNDER_PHANTOMS, **(phantoms or {})}
    _check(settings, seeds)
    store = RunStore(out / "runs")
    found: dict[int, dict[str, TestPredictions]] = {}
    for seed in seeds:
        configuration = {
            "study": "confounder",
            "phantoms": describe_options({**settings, "seed": seed}),
            "network": {"backbone": backbone, "slice_size": slice_size, "seed": seed},
        }
        predictions = store.take(f"seed{seed}", configuration)
        if predictions is None:
            start = time.perf_counter()
            predictions = _judged(settings, seed, backbone=backbone, slice_size=slice_size)
            store.keep(f"seed{seed}", predictions, seconds=time.perf_counter() - start)
        found[seed] = predictions
        if on_run is not None:
            on_run(f"seed{seed}")
    dataset = PhantomConfounded(**settings, seed=seeds[0])
    run = {"phantoms": settings, "backbone": backbone, "slice_size": slice_size, "seeds": list(seeds)}
    return _study(found, dataset, resamples, run)


def pooled_features(
    net: MaskedGAPResNet, images: Tensor, masks: Tensor
) -> dict[Literal["mean", "mask"], NDArray[np.float32]]:
    """Features of slices under both poolings, from one pass of the trunk.

    Args:
        net: in evaluation mode; its own ``pooling`` does not matter.
        images: (N, 1, H, W) float32 in [0, 1].
        masks: (N, 1, H, W) uint8, 0 outside the lungs.

    Returns:
        Pooling to (N, F).
    """
    rows: dict[Literal["mean", "mask"], list[Tensor]] = {"mean": [], "mask": []}
    with torch.inference_mode():
        for image, mask in zip(torch.split(images, _CHUNK), torch.split(masks, _CHUNK), strict=True):
            maps = net.feature_maps(image)
            weights = mask_weights(mask, (maps.shape[-2], maps.shape[-1]), net.sigma)
            rows["mean"].append(maps.mean((-2, -1)))
            rows["mask"].append(mask_weighted_gap(maps, weights))
    return {pooling: torch.cat(found).numpy() for pooling, found in rows.items()}


def _check(phantoms: Mapping[str, Any], seeds: Sequence[int]) -> None:
    """Refuse what is no study of a confounder."""
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"seeds={list(seeds)} must be different whole numbers of at least 0, at least one.")
    if "seed" in phantoms:
        raise UsageError("The seeds of the study are those of the phantoms too: leave 'seed' out of their arguments.")
    if phantoms.get("train_correlation") == 0:
        raise UsageError("train_correlation=0 is no confounder: give the correlation of marker and class in training.")


def _judged(
    phantoms: Mapping[str, Any], seed: int, *, backbone: Literal["resnet18", "resnet34", "resnet50"], slice_size: int
) -> dict[str, TestPredictions]:
    """One seed: ``<training>-<pooling>`` to the predictions for the test part."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = MaskedGAPResNet(backbone=backbone, slice_size=slice_size)
    confounded = PhantomConfounded(**phantoms, seed=seed)
    plain = PhantomConfounded(**{**phantoms, "train_correlation": 0.0}, seed=seed)
    train = [record for record in confounded.records if record.split != "test"]
    test = [record for record in confounded.records if record.split == "test"]
    trainings = {
        name: [(record.source, dataset.has_marker(record.source)) for record in train]
        for name, dataset in (("plain", plain), ("confounded", confounded))
    }
    tested = [(record.source, confounded.has_marker(record.source)) for record in test]
    # each scan with or without its marker passes the trunk once, whichever trainings and poolings it serves
    row = {key: index for index, key in enumerate(dict.fromkeys(chain(*trainings.values(), tested)))}
    images, masks = _slices(confounded, list(row))
    _take_statistics(net, images[:_STATISTICS])
    features = pooled_features(net, images, masks)
    found = {}
    for name, pooling in product(trainings, _POOLINGS):
        seen, judged = ([features[pooling][row[key]] for key in keys] for keys in (trainings[name], tested))
        prob = _linear_head(np.stack(seen), [record.label for record in train], np.stack(judged))
        found[f"{name}-{pooling}"] = TestPredictions(
            class_names=tuple(confounded.class_names),
            id=tuple(record.id for record in test),
            label=tuple(record.label for record in test),
            group=tuple(range(len(test))),  # one scan of each subject
            prob=tuple(tuple(case) for case in prob.tolist()),
        )
    return found


def _slices(dataset: PhantomConfounded, keys: Sequence[tuple[int, bool]]) -> tuple[Tensor, Tensor]:
    """Middle slices (N, 1, H, W) in a lung window and their masks, of scans (source, whether it has the marker)."""
    images, masks = [], []
    raw: dict[int, Raw] = {}
    for source, marked in keys:
        if source not in raw:
            raw[source] = dataset.load_unmarked(source)
        image, mask = _middle(dataset.add_marker(raw[source]) if marked else raw[source])
        images.append(torch.from_numpy(window_hu(image, *_WINDOW))[None])
        masks.append(torch.from_numpy(mask)[None])
    return torch.stack(images), torch.stack(masks)


def _middle(raw: Raw) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """The middle slice (H, W) in HU, the lower of two, and its mask."""
    if not isinstance(raw.scan, Volume) or raw.lung_mask is None:
        raise UsageError("The study needs volumes with lung masks.")
    middle = (raw.scan.shape[0] - 1) // 2
    return raw.scan.array[middle].copy(), raw.lung_mask[middle].copy()


def _take_statistics(net: MaskedGAPResNet, images: Tensor) -> None:
    """Give batch normalisation the statistics of some slices, and turn to evaluation mode."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # plain averages instead of running ones
    with torch.inference_mode():
        net.train().feature_maps(images)
    net.eval()


def _linear_head(
    features: NDArray[np.float32], labels: Sequence[int], tested: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Probabilities (N, 2) of logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    head = make_pipeline(StandardScaler(), LogisticRegression(C=_RIDGE, max_iter=_STEPS)).fit(features, labels)
    prob: NDArray[np.float64] = head.predict_proba(tested)
    return prob


def _study(
    found: Mapping[int, Mapping[str, TestPredictions]],
    dataset: PhantomConfounded,
    resamples: int,
    run: Mapping[str, Any],
) -> Study:
    """Everything the files show."""
    r, s = dataset.train_correlation, dataset.test_correlation
    return Study(
        title="GAP against mask-weighted GAP, with a confounder",
        text=_TEXT,
        sections=(
            StudySection(
                "plain",
                "Marker says nothing in training",
                "The reference: a fair training on the same scans.",
                _compared(found, "plain", resamples),
            ),
            StudySection(
                "confounded",
                "Marker goes with the class in training",
                f"Correlation of marker and class {r:g} in training, {s:g} in the test: what leans on the marker "
                "loses.",
                _compared(found, "confounded", resamples),
            ),
        ),
        titles=POOLING_TITLES,
        published=published_reports(resamples=resamples),
        source=SOURCE,
        preview=_preview(dataset),
        preview_text="Two scans of the training part, outlines of the lungs: the marker lies on the bed beside one.",
        note=_NOTE,
        run={"covidct": covidct.__version__, "data": type(dataset).__name__, **describe_options(run)},
        phantoms=True,
    )


def _compared(found: Mapping[int, Mapping[str, TestPredictions]], training: str, resamples: int) -> PairedComparison:
    """Both poolings after one of the trainings."""
    first = {seed: runs[f"{training}-{_POOLINGS[0]}"] for seed, runs in found.items()}
    prob: dict[str, dict[int, ArrayLike]] = {
        pooling: {seed: np.array(runs[f"{training}-{pooling}"].prob) for seed, runs in found.items()}
        for pooling in _POOLINGS
    }
    return compare_cohorts(
        prob,
        {seed: cases.label for seed, cases in first.items()},
        {seed: cases.group for seed, cases in first.items()},
        next(iter(first.values())).class_names,
        resamples=resamples,
    )


def _preview(dataset: PhantomConfounded) -> Preview:
    """The slice that the network sees, of a scan without and of one with the marker."""
    training = [record.source for record in dataset.records if record.split != "test"]
    plain = next((source for source in training if not dataset.has_marker(source)), training[0])
    marked = next((source for source in training if dataset.has_marker(source)), training[-1])
    images, masks = _slices(dataset, [(source, dataset.has_marker(source)) for source in (plain, marked)])
    return Preview(
        np.rint(255 * images[:, 0].numpy()).astype(np.uint8),
        masks[:, 0].numpy(),
        None,
        (plain, marked),
        words=tuple(
            f"slice of scan {source}" + (", with the marker" if dataset.has_marker(source) else "")
            for source in (plain, marked)
        ),
    )
