"""What plain and mask-weighted pooling let through of a marker beside the body, for features that are not trained.

The features are those of a ResNet-18 with random weights at 224 pixels (7 x 7 cells, as in the paper); a logistic
regression of scikit-learn reads them. A trunk that is trained can carry the marker to the lungs' cells, since its
receptive field is wider than the slice: pooling weights cannot guard against that, and this test does not say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from covidct.datasets import PhantomConfounded
from covidct.functional import window_hu
from covidct.models import MaskedGAPResNet

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCANS = {
    "num_subjects": 160,
    "test_fraction": 0.4,
    "shape": (2, 112, 112),
    "spacing": (22.0, 3.7, 3.7),
    "haze_hu": 40.0,
    "marker_mm": (150.0, -180.0),
    "marker_radius_mm": 14.0,
}


def network(seed: int, images: torch.Tensor) -> MaskedGAPResNet:
    """Random weights, and the statistics of batch normalisation from some slices."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = MaskedGAPResNet(backbone="resnet18", slice_size=224).train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.inference_mode():
        net.feature_maps(images[:, :, 0])
    return net.eval()


def tensors(dataset: PhantomConfounded, parts: set[str]) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """Source to the lower slice (1, 1, H, W) in a lung window, and its mask."""
    found = {}
    for index, record in enumerate(dataset.records):
        if record.split in parts:
            sample = dataset[index]
            image = torch.from_numpy(window_hu(sample["image"][:, :1].numpy(), -1000.0, 0.0))
            found[record.source] = (image, sample["lung_mask"][:, :1])
    return found


def pooled(
    net: MaskedGAPResNet, scans: dict[int, tuple[torch.Tensor, torch.Tensor]], pooling: Literal["mean", "mask"]
) -> dict[int, NDArray[np.float32]]:
    """Source to its features."""
    net.pooling = pooling
    sources = list(scans)
    with torch.inference_mode():
        rows = [net.slice_features(scans[s][0][None], scans[s][1][None])[0][0, 0].numpy() for s in sources]
    return dict(zip(sources, rows, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mask_weighted_pooling_keeps_its_auroc_where_plain_pooling_leans_on_the_marker() -> None:
    confounded = PhantomConfounded(**SCANS)  # type: ignore[arg-type]
    plain = PhantomConfounded(**{**SCANS, "train_correlation": 0.0})  # type: ignore[arg-type]
    test, marked = tensors(confounded, {"test"}), tensors(confounded, {"train"})
    changed = {s for s in marked if plain.has_marker(s) != confounded.has_marker(s)}
    fair = marked | {s: scan for s, scan in tensors(plain, {"train"}).items() if s in changed}
    net = network(0, torch.stack([image for image, _ in list(fair.values())[:32]]))
    label = {record.source: record.label for record in confounded.records}
    found: dict[tuple[str, str], float] = {}
    poolings: tuple[Literal["mean", "mask"], ...] = ("mean", "mask")
    for pooling in poolings:
        tested = pooled(net, test, pooling)
        once = pooled(net, marked, pooling)
        again = once | pooled(net, {s: fair[s] for s in changed}, pooling)
        for name, trained in (("plain", again), ("confounded", once)):
            reader = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
            reader.fit(np.stack(list(trained.values())), [label[s] for s in trained])
            score = reader.decision_function(np.stack(list(tested.values())))
            found[pooling, name] = roc_auc_score([label[s] for s in tested], score)
    assert found["mask", "plain"] > 0.75
    assert found["mask", "confounded"] > found["mask", "plain"] - 0.05
    assert found["mean", "confounded"] < found["mean", "plain"] - 0.1
    assert found["mask", "confounded"] > found["mean", "confounded"] + 0.08
