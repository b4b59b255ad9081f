"""Files of the reference as checkpoints: the same network, the reference's pre-processing, and clear refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from covidct.errors import CheckpointError, UsageError, WeightsError
from covidct.models import CovidCTMaskNet, LesionMaskRCNN, LesionSegmenter, read_detector
from covidct.preprocessing import Preprocessing
from covidct.tasks import CovidCTMaskNetTask, LesionMaskRCNNTask, convert_reference, load_task
from tests.fakes.reference_weights import ANCHORS, anchor_class, write_reference

if TYPE_CHECKING:
    from pathlib import Path

LIGHT: dict[str, Any] = {"backbone": "resnet34", "truncation": 2}
SIZES, RATIOS = [4, 8, 16, 32, 64], [0.1, 0.25, 0.5, 1.0, 1.5, 2.0]  # those of the file


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """The anchors of a file of the reference."""
    return anchor_class("models.mask_net.rpn_segmentation", monkeypatch)(**ANCHORS)


def lesions(**changes: Any) -> LesionMaskRCNN:  # noqa: ANN401
    torch.manual_seed(0)
    return LesionMaskRCNN(**{**LIGHT, "anchor_sizes": SIZES, "anchor_ratios": RATIOS, **changes}).eval()


def diagnoses(**changes: Any) -> CovidCTMaskNet:  # noqa: ANN401
    torch.manual_seed(0)
    own = {**LIGHT, "num_regions": 8, "features": 6, "anchor_sizes": SIZES, "anchor_ratios": RATIOS, **changes}
    return CovidCTMaskNet(**own).eval()


def test_a_lesion_network_of_one_class(tmp_path: Path, reference: torch.nn.Module) -> None:
    theirs, out = lesions(mask_type="merge"), tmp_path / "new" / "lesions.ckpt"
    path = write_reference(tmp_path / "seg.pth", theirs, reference)
    task = convert_reference(path, out, mask_type="merge")
    assert isinstance(task, LesionMaskRCNNTask)
    assert {**task.hparams, **LIGHT, "anchor_sizes": SIZES, "anchor_ratios": RATIOS} == dict(task.hparams)
    assert task.hparams["mask_type"] == "merge"
    assert task.preprocessing == Preprocessing(
        kind="ct_slice", classes=("background", "lesion"), window=None, size=512, mask_source="none"
    )
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        expected, found = theirs.detect(image), task.model.detect(image)
    assert sum(len(one["scores"]) for one in expected) > 0
    for one, other in zip(expected, found, strict=True):
        assert all(one[key].equal(other[key]) for key in ("boxes", "labels", "scores", "masks"))
    segmenter = LesionSegmenter.from_checkpoint(out)
    assert segmenter.thresholds == {"score": 0.05, "mask": 0.5, "nms": 0.5, "rpn_nms": 0.75}, "the reference's"
    assert segmenter.mask_type == "merge"


def test_a_classifier(tmp_path: Path, reference: torch.nn.Module) -> None:
    theirs = diagnoses()
    path = write_reference(tmp_path / "cls.pth", theirs, reference)
    task = convert_reference(path, tmp_path / "cls.ckpt", window=(-1250, 250))
    assert isinstance(task, CovidCTMaskNetTask)
    assert (task.hparams["num_regions"], task.hparams["features"], task.hparams["mask_type"]) == (8, 6, "both")
    assert task.preprocessing == Preprocessing(
        kind="ct_slice", classes=("normal", "cap", "covid"), window=(-1250.0, 250.0), size=512, mask_source="none"
    )
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected, found = theirs(image), load_task(tmp_path / "cls.ckpt").model(image)
    assert expected["region_count"].min() > 0
    assert all(expected[key].equal(found[key]) for key in expected)


def test_a_converted_detector_starts_stage_2(tmp_path: Path, reference: torch.nn.Module) -> None:
    path = write_reference(tmp_path / "seg.pth", lesions(), reference)
    convert_reference(path, tmp_path / "seg.ckpt")
    before, after = read_detector(path), read_detector(tmp_path / "seg.ckpt")
    assert (after.arguments, after.anchors, after.is_classifier) == (before.arguments, before.anchors, False)
    assert after.state.keys() == before.state.keys()
    assert all(tensor.equal(before.state[name]) for name, tensor in after.state.items())


def test_a_file_without_anchors_needs_them(tmp_path: Path) -> None:
    theirs, out = lesions(), tmp_path / "seg.ckpt"
    path = write_reference(tmp_path / "seg.pth", theirs, None)
    with pytest.raises(UsageError, match=r"seg\.pth does not say its anchors.*give anchor_sizes and anchor_ratios"):
        convert_reference(path, out)
    with pytest.raises(UsageError, match="has 30 anchors per place, 4 sizes and 6 ratios make 24"):
        convert_reference(path, out, anchor_sizes=SIZES[:4], anchor_ratios=RATIOS)
    assert not out.exists()
    task = convert_reference(path, out, anchor_sizes=SIZES, anchor_ratios=RATIOS)
    assert isinstance(task, LesionMaskRCNNTask)
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert theirs.detect(image)[0]["boxes"].equal(task.model.detect(image)[0]["boxes"])


def test_what_the_file_says_is_not_overruled(tmp_path: Path, reference: torch.nn.Module) -> None:
    both = write_reference(tmp_path / "both.pth", lesions(), reference)
    one = write_reference(tmp_path / "one.pth", lesions(mask_type="ggo"), reference)
    out = tmp_path / "x.ckpt"
    with pytest.raises(UsageError, match=r"one\.pth knows one lesion class.*'ggo'.*'merge'"):
        convert_reference(one, out)
    for path, word in ((both, "ggo"), (one, "both"), (both, "all")):
        with pytest.raises(UsageError, match=f"mask_type='{word}' does not fit"):
            convert_reference(path, out, mask_type=word)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"trained with anchor_sizes=\[4, 8, 16, 32, 64\], not \[2, 4\]"):
        convert_reference(both, out, anchor_sizes=[2, 4])
    with pytest.raises(UsageError, match="window"):
        convert_reference(both, out, window=(250, -1250))
    assert list(tmp_path.glob("*.ckpt")) == []


def test_networks_of_another_make_are_refused(tmp_path: Path, reference: torch.nn.Module) -> None:
    four = diagnoses(num_classes=4)
    with pytest.raises(WeightsError, match="takes 40 numbers and has 4 outputs"):
        convert_reference(write_reference(tmp_path / "four.pth", four, reference), tmp_path / "x.ckpt")
    state = {name: tensor[:4] if "cls_score" in name else tensor for name, tensor in lesions().state_dict().items()}
    state |= {name: torch.cat([tensor, tensor[:1]]) for name, tensor in state.items() if "cls_score" in name}
    with pytest.raises(WeightsError, match="tells 3 lesion classes apart, not 1 or 2"):
        convert_reference(
            write_reference(tmp_path / "three.pth", lesions(), reference, state=state), tmp_path / "x.ckpt"
        )
    state = {name: tensor for name, tensor in lesions().state_dict().items() if "fc7" not in name}
    with pytest.raises(WeightsError, match=r"short\.pth do not fit .*2 missing: roi_heads\.box_head\.fc7"):
        convert_reference(
            write_reference(tmp_path / "short.pth", lesions(), reference, state=state), tmp_path / "x.ckpt"
        )
    with pytest.raises(WeightsError, match="not a file"):
        convert_reference(tmp_path / "missing.pth", tmp_path / "x.ckpt")


def test_the_output_is_a_checkpoint_and_another_file(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"reference")
    for path, out in (("x.ckpt", "x.ckpt"), ("x.pth", "y.pth"), ("x.pth", "y")):
        with pytest.raises(UsageError, match=r"with the end \.ckpt"):
            convert_reference(tmp_path / path, tmp_path / out)
    assert (tmp_path / "x.ckpt").read_bytes() == b"reference"


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_the_reference_in_place_of_a_checkpoint_gets_the_way(
    tmp_path: Path, reference: torch.nn.Module, zipped: bool
) -> None:
    for anchors in (reference, None):
        path = write_reference(tmp_path / "seg.pth", lesions(), anchors, zipped=zipped)
        with pytest.raises(CheckpointError, match=r"seg\.pth is no checkpoint .* becomes one by `covidct convert`"):
            load_task(path)
