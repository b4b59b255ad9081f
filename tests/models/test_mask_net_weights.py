"""Files of the reference by today's names, and our checkpoints; no object of a file is ever run."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
import torch

from covidct.errors import CheckpointError, UsageError, WeightsError
from covidct.models import CovidCTMaskNet, LesionMaskRCNN
from covidct.models.mask_net_weights import read_detector

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

LIGHT: dict[str, Any] = {"backbone": "resnet18", "truncation": 1}
ANCHORS = {"sizes": ((4, 8, 16, 32, 64),) * 5, "aspect_ratios": ((0.1, 0.25, 0.5, 1, 1.5, 2),) * 5}


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> type[torch.nn.Module]:
    """A class of the reference's name, as far as its pickles go: a module with the anchors as attributes."""
    module = types.ModuleType("models.mask_net.rpn_segmentation")

    class AnchorGenerator(torch.nn.Module):
        def __init__(self, sizes: object, aspect_ratios: object) -> None:
            super().__init__()
            self.sizes, self.aspect_ratios = sizes, aspect_ratios
            self.cell_anchors, self._cache = None, {}  # type: ignore[var-annotated]

    AnchorGenerator.__module__ = module.__name__
    AnchorGenerator.__qualname__ = "AnchorGenerator"
    module.AnchorGenerator = AnchorGenerator  # type: ignore[attr-defined]
    for name in ("models", "models.mask_net"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return AnchorGenerator


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state of ours by the names of torchvision in 2020 and of the reference's module S."""
    renamed = {}
    for name, tensor in state.items():
        old = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for index in range(4):
            old = old.replace(f"fpn.inner_blocks.{index}.0.", f"fpn.inner_blocks.{index}.")
            old = old.replace(f"fpn.layer_blocks.{index}.0.", f"fpn.layer_blocks.{index}.")
            old = old.replace(f"mask_head.{index}.0.", f"mask_head.mask_fcn{index + 1}.")
        for ours, theirs in (("0", "fc_scores"), ("2", "fc_scores_2"), ("4", "fc_scores_img")):
            old = old.replace(f"classifier.{ours}.", f"s2new.{theirs}.")
        if old not in ("mean", "std"):
            renamed[old] = tensor
    return renamed


def save(path: Path, network: torch.nn.Module, anchors: object, *, zipped: bool = True) -> Path:
    content = {
        "epoch": "100",
        "model_name": None,
        "model_weights": old_names(network.state_dict()),
        "optimizer_state": torch.optim.Adam(network.parameters()).state_dict(),
        "lrate": 1e-5,
        "anchor_generator": anchors,
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "arguments", [LIGHT, {"backbone": "resnet34", "truncation": 2}, {"backbone": "resnet50", "truncation": 0}]
)
def test_stage_1_of_the_reference_loads_with_its_anchors(
    tmp_path: Path, reference: type[torch.nn.Module], arguments: dict[str, Any], zipped: bool
) -> None:
    torch.manual_seed(0)
    theirs = LesionMaskRCNN(**arguments)
    path = save(tmp_path / "seg.pth", theirs, reference(**ANCHORS), zipped=zipped)
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
    found = read_detector(save(tmp_path / "cls.pth", theirs, reference(**ANCHORS)))
    assert found.is_classifier
    ours = CovidCTMaskNet(**LIGHT, num_regions=8, features=4)
    assert ours.load_detector(found.state, source=found.source).fresh == ()
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert ours.eval()(image)["logits"].equal(theirs.eval()(image)["logits"])


def test_two_classes_do_not_tell_the_mask_type(tmp_path: Path, reference: type[torch.nn.Module]) -> None:
    found = read_detector(save(tmp_path / "seg.pth", LesionMaskRCNN(**LIGHT, mask_type="ggo"), reference(**ANCHORS)))
    assert "mask_type" not in found.arguments
    found.require(mask_type="merge", backbone="resnet18")
    with pytest.raises(UsageError, match="truncation=1, the network has 2"):
        found.require(truncation=2)


def test_the_class_of_the_file_is_not_imported(tmp_path: Path, reference: type[torch.nn.Module]) -> None:
    path = save(tmp_path / "seg.pth", LesionMaskRCNN(**LIGHT), reference(**ANCHORS))
    for name in [name for name in sys.modules if name.startswith("models.mask_net")]:
        del sys.modules[name]
    assert read_detector(path).anchors is not None
    assert "models.mask_net.rpn_segmentation" not in sys.modules


class Harmful:
    """Would run code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("harm",)


def test_other_objects_are_refused_and_do_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "seg.pth", LesionMaskRCNN(**LIGHT), Harmful())
    with pytest.raises(WeightsError, match="pickled object"):
        read_detector(path)
    assert capsys.readouterr().out == ""


def test_damaged_anchors_are_one_sentence(tmp_path: Path, reference: type[torch.nn.Module]) -> None:
    path = save(tmp_path / "seg.pth", LesionMaskRCNN(**LIGHT), reference(sizes=(), aspect_ratios=()))
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
