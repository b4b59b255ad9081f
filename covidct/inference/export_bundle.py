"""MONAI bundles: a folder of configurations, weights and a page, which the tools of MONAI read."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

import covidct
from covidct import RESEARCH_USE
from covidct.tasks.pretrained import plain_hyper_parameters
from covidct.weights import RECORD_KEY, load_state, load_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from covidct.inference.export_network import ExportNetwork, Signature
    from covidct.inference.export_trials import Run
    from covidct.tasks import BaseTask

__all__ = ("SCHEMA", "stacked", "write_bundle")

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
"""Where MONAI publishes the rules for ``metadata.json``; ``monai.bundle verify_metadata`` fetches them from there."""

_KINDS = {"ct_volume": "chest CT scans", "ct_slice": "axial slices of chest CT", "cxr": "chest X-rays"}
_PACKAGES = ("covidct", "pytorch-lightning", "torchvision")
_CONFIG = "configs/inference.json"
_WEIGHTS = "models/model.pt"
_FORMATS = {"prob": "probabilities", "features": "features", "mask": "segmentation"}


def write_bundle(
    task: BaseTask, exported: ExportNetwork, signature: Signature, folder: Path, record: Mapping[str, Any]
) -> Run:
    """Write a bundle: ``configs/metadata.json``, ``configs/inference.json``, ``models/model.pt``, ``docs/README.md``.

    Args:
        task: with the record of its pre-processing.
        exported: its network.
        signature: of the inputs.
        folder: the empty folder of the bundle.
        record: plain data that travels in ``metadata.json``, under the key ``covidct``.

    Returns:
        Runs the bundle as written, and gives its one output.
    """
    parameters = plain_hyper_parameters(task)
    state = {f"exported.{name}": value.clone() for name, value in exported.state_dict().items()}
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir()
    torch.save(state, folder / _WEIGHTS)
    inference = {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "covidct.inference.BundleNetwork",
            "task": type(task).__name__,
            "hyper_parameters": parameters,
        },
        "network": "$@network_def.to(@device)",
        "inferer": {"_target_": "SimpleInferer"},
    }
    _write_json(folder / _CONFIG, inference)
    with torch.no_grad():
        output = exported(**signature.random(1, max(2, signature.least)))[exported.main]
    metadata = _metadata(exported, signature, output, record)
    _write_json(folder / "configs" / "metadata.json", metadata)
    (folder / "docs" / "README.md").write_text(_page(metadata), encoding="utf-8")
    network = _read_network(folder)

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            return {exported.main: network(stacked(inputs))}

    return run


def stacked(inputs: Mapping[str, Tensor]) -> Tensor:
    """Image, mask and contrast as the channels of one tensor.

    Args:
        inputs: as :class:`covidct.inference.export_network.ExportNetwork` takes them.

    Returns:
        (B, C, ...) in the dtype of the image, as :class:`BundleNetwork` takes it.
    """
    image = inputs["image"]
    parts = [image]
    if "lung_mask" in inputs:
        parts.append(inputs["lung_mask"].to(image.dtype))
    if "contrast" in inputs:
        contrast = inputs["contrast"]
        parts.append(contrast.view(-1, *(1,) * (image.ndim - 1)).expand(-1, 1, *image.shape[2:]))
    return torch.cat(parts, 1)


def _read_network(folder: Path) -> nn.Module:
    """The network of a bundle, by MONAI's own reader of configurations."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(folder / _CONFIG))
    network: nn.Module = parser.get_parsed_content("network_def")
    load_state(network, load_weights(folder / _WEIGHTS)[0], source=_WEIGHTS)
    return network.eval()


def _metadata(
    exported: ExportNetwork, signature: Signature, output: Tensor, record: Mapping[str, Any]
) -> dict[str, Any]:
    """What ``metadata.json`` says."""
    kind, classes = _KINDS[record["preprocessing"]["kind"]], ", ".join(record["class_names"])
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by covidct {covidct.__version__}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in _PACKAGES},
        "name": record["network"],
        "task": f"{_purpose(exported, output)} of {kind}",
        "description": f"{record['network']} of covidct, classes: {classes}. {RESEARCH_USE}",
        "authors": "not recorded: name those who trained the network",
        "copyright": "not recorded: name the holder of the rights to the weights",
        "data_type": kind,
        "image_classes": "values from 0 to 1, made of scans as the record under 'covidct' tells",
        "pred_classes": classes,
        "intended_use": RESEARCH_USE,
        "network_data_format": {
            "inputs": {"image": _image_format(exported, signature)},
            "outputs": {"pred": _output_format(exported, signature, output, record["class_names"])},
        },
        RECORD_KEY: dict(record),
    }


def _purpose(exported: ExportNetwork, output: Tensor) -> str:
    """What the network is for, in a word."""
    if exported.main == "features":
        return "Features"
    return "Segmentation" if output.ndim > 2 else "Classification"


def _image_format(exported: ExportNetwork, signature: Signature) -> dict[str, Any]:
    """The one input, in MONAI's words."""
    names = [*["image"] * signature.channels, *exported.inputs[1:]]
    return {
        "type": "image",
        "format": "magnitude",
        "num_channels": len(names),
        "spatial_shape": _spatial(signature),
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {str(at): name for at, name in enumerate(names)},
    }


def _output_format(
    exported: ExportNetwork, signature: Signature, output: Tensor, classes: Sequence[str]
) -> dict[str, Any]:
    """The one output, in MONAI's words."""
    channels = output.shape[1]
    names = classes if channels == len(classes) else [exported.main]
    most = 1 if output.is_floating_point() else len(classes) - 1
    return {
        "type": _FORMATS[exported.main],
        "format": _FORMATS[exported.main],
        "num_channels": channels,
        "spatial_shape": _spatial(signature) if output.ndim > 2 else [],
        "dtype": str(output.dtype).removeprefix("torch."),
        "value_range": [] if exported.main == "features" else [0, most],
        "is_patch_data": False,
        "channel_def": {str(at): name for at, name in enumerate(names)},
    }


def _spatial(signature: Signature) -> list[int | str]:
    """Axes of the image behind the channels, in MONAI's words."""
    return ["*" if axis == "depth" else axis for axis in signature.shape("image")[2:]]


def _page(metadata: Mapping[str, Any]) -> str:
    """The page of a bundle."""
    inputs = metadata["network_data_format"]["inputs"]["image"]
    output = metadata["network_data_format"]["outputs"]["pred"]
    channels = ", ".join(inputs["channel_def"].values())
    lines = [
        f"# {metadata['name']}",
        "",
        metadata["description"],
        "",
        f"* Input: `image` of the channels {channels}, size {inputs['spatial_shape']}, values from 0 to 1. How scans "
        "become such images stands in `configs/metadata.json` under `covidct`; `covidct.transforms.prepare_volume` and "
        "its kin do it.",
        f"* Output: `pred`, {output['format']} of {output['num_channels']} channels ({metadata['pred_classes']}).",
        "* The network is `covidct.inference.BundleNetwork`: install covidct beside MONAI.",
        "",
        "Before publishing it name authors and copyright in `configs/metadata.json`, and add a licence.",
        "",
    ]
    return "\n".join(lines)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data as people read it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
