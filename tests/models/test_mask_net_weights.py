"""Files of the reference by today's names, and our checkpoints; no object of a file is ever run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from covidct.errors import CheckpointError, UsageError, WeightsError
from covidct.models import CovidCTMaskNet, LesionMaskRCNN
from covidct.models.mask_net_weights import read_detector
from tests.fakes.lesion_network import write_lesion_checkpoint
from tests.fakes.reference_weights import ANCHORS, anchor_class, write_reference

if TYPE_CHECKING:
    from pathlib import Path


BLOCK = "backbone.body.layer1.0."
# By hand: of the reference's models/resnet.py and models/mask_net (torchvision 0.3 and module S) to those of today.
THEIRS_TO_OURS = {
    "backbone.body.conv1.weight": "backbone.body.conv1.weight",
    "backbone.body.bn1.running_mean": "backbone.body.bn1.running_mean",
    f"{BLOCK}bn1.num_batches_tracked": f"{BLOCK}bn1.num_batches_tracked",
    f"{BLOCK}conv3.weight": f"{BLOCK}conv3.weight",
    f"{BLOCK}downsample.1.bias": f"{BLOCK}downsample.1.bias",
    "backbone.body.layer4.2.bn3.weight": "backbone.body.layer4.2.bn3.weight",
    "backbone.fpn.inner_blocks.0.weight": "backbone.fpn.inner_blocks.0.0.weight",
    "backbone.fpn.inner_blocks.3.bias": "backbone.fpn.inner_blocks.3.0.bias",
    "backbone.fpn.layer_blocks.1.weight": "backbone.fpn.layer_blocks.1.0.weight",
    "backbone.fpn.layer_blocks.3.bias": "backbone.fpn.layer_blocks.3.0.bias",
    "rpn.head.conv.weight": "rpn.head.conv.0.0.weight",
    "rpn.head.conv.bias": "rpn.head.conv.0.0.bias",
    "rpn.head.cls_logits.weight": "rpn.head.cls_logits.weight",
    "rpn.head.bbox_pred.bias": "rpn.head.bbox_pred.bias",
    "roi_heads.box_head.fc6.weight": "roi_heads.box_head.fc6.weight",
    "roi_heads.box_head.fc7.bias": "roi_heads.box_head.fc7.bias",
    "roi_heads.box_predictor.cls_score.weight": "roi_heads.box_predictor.cls_score.weight",
    "roi_heads.box_predictor.bbox_pred.bias": "roi_heads.box_predictor.bbox_pred.bias",
}
MASK_BRANCH = {
    "roi_heads.mask_head.mask_fcn1.weight": "roi_heads.mask_head.0.0.weight",
    "roi_heads.mask_head.mask_fcn4.bias": "roi_heads.mask_head.3.0.bias",
    "roi_heads.mask_predictor.conv5_mask.weight": "roi_heads.mask_predictor.conv5_mask.weight",
    "roi_heads.mask_predictor.mask_fcn_logits.bias": "roi_heads.mask_predictor.mask_fcn_logits.bias",
}
MODULE_S = {
    "s2new.fc_scores.weight": "classifier.0.weight",
    "s2new.fc_scores.bias": "classifier.0.bias",
    "s2new.fc_scores_2.weight": "classifier.2.weight",
    "s2new.fc_scores_2.bias": "classifier.2.bias",
    "s2new.fc_scores_img.weight": "classifier.4.weight",
    "s2new.fc_scores_img.bias": "classifier.4.bias",
}
LIGHT: dict[str, Any] = {"backbone": "resnet18", "truncation": 1}


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> type[torch.nn.Module]:
    """The class of the reference's lesion networks."""
    return anchor_class("models.mask_net.rpn_segmentation", monkeypatch)


@pytest.mark.parametrize(
    ("names", "more"), [(THEIRS_TO_OURS | MASK_BRANCH, {}), (THEIRS_TO_OURS | MODULE_S, MASK_BRANCH)]
)
def test_names_of_the_reference_are_todays(tmp_path: Path, names: dict[str, str], more: dict[str, str]) -> None:
    """Each tensor holds its place in the list, so that none can pass for another."""
    written = {name: torch.full((3,), float(place)) for place, name in enumerate((*names, *more))}
    torch.save({"model_weights": written, "anchor_generator": None}, tmp_path / "x.pth")
    found = read_detector(tmp_path / "x.pth")
    assert found.is_classifier == bool(more)
    assert set(found.state) == {*names.values(), "mean", "std", "backbone.body.bn1.num_batches_tracked"}
    own = CovidCTMaskNet(num_regions=2, features=2) if more else LesionMaskRCNN()
    assert set(found.state) <= set(own.state_dict()), "the networks have these names"
    for theirs, ours in names.items():
        assert found.state[ours].equal(written[theirs]), theirs


def test_a_lesion_network_of_torchvisions_own_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its anchors are of torchvision's class, its batch normalisation is frozen and counts no batches."""
    theirs, anchors = LesionMaskRCNN(**LIGHT), anchor_class("torchvision.models.detection.rpn", monkeypatch)
    state = {name: tensor for name, tensor in theirs.state_dict().items() if "num_batches" not in name}
    found = read_detector(write_reference(tmp_path / "seg.pth", theirs, anchors(**ANCHORS), state=state))
    assert found.anchors == ((4, 8, 16, 32, 64), (0.1, 0.25, 0.5, 1.0, 1.5, 2.0))
    ours = LesionMaskRCNN(**LIGHT)
    ours.load_state_dict(dict(found.state), strict=True)
    assert all(tensor.equal(state[name]) for name, tensor in ours.state_dict().items() if name in state)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "arguments", [LIGHT, {"backbone": "resnet34", "truncation": 2}, {"backbone": "resnet50", "truncation": 0}]
)
def test_stage_1_of_the_reference_loads_with_its_anchors(
    tmp_path: Path, reference: type[torch.nn.Module], arguments: dict[str, Any], zipped: bool
) -> None:
    torch.manual_seed(0)
    theirs = LesionMaskRCNN(**arguments)
    path = write_reference(tmp_path / "seg.pth", theirs, reference(**ANCHORS), zipped=zipped)
    found = read_detector(path)
    assert found.arguments == {**arguments, "mask_type": "both"}
    assert found.anchors == ((4, 8, 16, 32, 64), (0.1, 0.25, 0.5, 1.0, 1.5, 2.0))
    assert not found.is_classifier
    ours = LesionMaskRCNN(**arguments)
    ours.load_state_dict(dict(found.state), strict=True)
    assert all(tensor.equal(theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())


def test_a_classifier_of_the_reference_loads_with_module_s(tmp_path: Path, reference: type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    theirs = CovidCTMaskNet(**LIGHT, num_regions=8, features=4)
    found = read_detector(write_reference(tmp_path / "cls.pth", theirs, reference(**ANCHORS)))
    assert found.is_classifier
    ours = CovidCTMaskNet(**LIGHT, num_regions=8, features=4)
    assert ours.load_detector(found.state, source=found.source).fresh == ()
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert ours.eval()(image)["logits"].equal(theirs.eval()(image)["logits"])


def test_two_classes_do_not_tell_the_mask_type(tmp_path: Path, reference: type[torch.nn.Module]) -> None:
    found = read_detector(
        write_reference(tmp_path / "seg.pth", LesionMaskRCNN(**LIGHT, mask_type="ggo"), reference(**ANCHORS))
    )
    assert "mask_type" not in found.arguments
    found.require(mask_type="merge", backbone="resnet18")
    with pytest.raises(UsageError, match="truncation=1, the network has 2"):
        found.require(truncation=2)


def test_the_class_of_the_file_is_not_imported(tmp_path: Path, reference: type[torch.nn.Module]) -> None:
    path = write_reference(tmp_path / "seg.pth", LesionMaskRCNN(**LIGHT), reference(**ANCHORS))
    for name in [name for name in sys.modules if name.startswith("models.mask_net")]:
        del sys.modules[name]
    assert read_detector(path).anchors is not None
    assert "models.mask_net.rpn_segmentation" not in sys.modules


class Harmful:
    """Would run code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("harm",)


def test_other_objects_are_refused_and_do_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_reference(tmp_path / "seg.pth", LesionMaskRCNN(**LIGHT), Harmful())
    with pytest.raises(WeightsError, match="pickled object"):
        read_detector(path)
    assert capsys.readouterr().out == ""


def test_damaged_anchors_are_one_sentence(tmp_path: Path, reference: type[torch.nn.Module]) -> None:
    path = write_reference(tmp_path / "seg.pth", LesionMaskRCNN(**LIGHT), reference(sizes=(), aspect_ratios=()))
    with pytest.raises(WeightsError, match=r"anchor generator in seg\.pth is damaged"):
        read_detector(path)


@pytest.mark.parametrize("content", [{"weights": {}}, {"model_weights": {"a": 1}}, [1, 2]])
def test_what_is_no_file_of_the_reference_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="no 'model_weights'"):
        read_detector(tmp_path / "x.pth")


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    torch.save({"model_weights": {"fc.weight": torch.zeros(2)}}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="no lesion detector"):
        read_detector(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="not a file"):
        read_detector(tmp_path / "missing.ckpt")


def test_a_module_s_of_one_hidden_layer_is_named(tmp_path: Path) -> None:
    """The reference had it in its first version (two layers: fc_scores and fc_scores_img)."""
    state = {
        f"s2new.{layer}.{kind}": torch.zeros(3) for layer in ("fc_scores", "fc_scores_img") for kind in ("weight",)
    }
    torch.save({"model_weights": state}, tmp_path / "classification_model.pth")
    with pytest.raises(WeightsError, match=r"classification_model\.pth has a module S with one hidden layer"):
        read_detector(tmp_path / "classification_model.pth")


@pytest.mark.parametrize("sizes", [((2.5, 4.0),), ((0, 4),), (("a",),)])
def test_anchors_of_no_size_are_damage(tmp_path: Path, reference: type[torch.nn.Module], sizes: object) -> None:
    path = write_reference(
        tmp_path / "seg.pth", LesionMaskRCNN(**LIGHT), reference(sizes=sizes, aspect_ratios=((1.0,),))
    )
    with pytest.raises(WeightsError, match=r"anchor generator in seg\.pth is damaged"):
        read_detector(path)


def test_a_checkpoint_without_hyper_parameters_has_the_defaults(tmp_path: Path) -> None:
    """As it is read for inference (LesionSegmenter), so that both stages see one network."""
    path = write_lesion_checkpoint(tmp_path / "x.ckpt")
    kept = torch.load(path, weights_only=True)["hyper_parameters"]
    assert not {"anchor_sizes", "anchor_ratios"} & set(kept)
    found = read_detector(path)
    assert found.anchors == ((2, 4, 8, 16, 32), (0.1, 0.25, 0.5, 1.0, 1.5, 2.0))
    assert found.arguments == {"backbone": "resnet18", "truncation": 2, "mask_type": "both"}
    bare = read_detector(write_lesion_checkpoint(tmp_path / "bare.ckpt", hyper_parameters={}))
    assert bare.arguments == {"backbone": "resnet50", "truncation": 0, "mask_type": "both"}
    with pytest.raises(UsageError, match="trained with backbone='resnet50', the network has 'resnet18'"):
        bare.require(backbone="resnet18")


@pytest.mark.parametrize("sizes", [3, None, ["a"], [2, 0], [2.5]])
def test_damaged_anchors_of_a_checkpoint_are_one_sentence(tmp_path: Path, sizes: object) -> None:
    path = write_lesion_checkpoint(tmp_path / "x.ckpt", hyper_parameters={"anchor_sizes": sizes})
    with pytest.raises(CheckpointError, match=r"hyper-parameters in x\.ckpt are damaged"):
        read_detector(path)
