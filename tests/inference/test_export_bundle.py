"""MONAI bundles, judged by MONAI's own tools; the schema is its published one in short, read from disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from covidct.inference import BundleNetwork, export_checkpoint
from covidct.tasks import load_task
from tests.fakes.small_tasks import SMALL, write_small_task

if TYPE_CHECKING:
    from pathlib import Path

TENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
        "dtype": {"type": "string"},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object"},
    },
}
WORDS = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description")
RULES: dict[str, Any] = {
    "type": "object",
    "required": [*WORDS, "authors", "copyright", "required_packages_version", "network_data_format"],
    "properties": {
        **{word: {"type": "string"} for word in (*WORDS, "authors", "copyright", "data_type", "intended_use")},
        "required_packages_version": {"type": "object"},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {side: {"type": "object", "additionalProperties": TENSOR} for side in ("inputs", "outputs")},
        },
    },
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name == "MaskedGAPResNetTask" else pytest.mark.slow) for name in sorted(SMALL)
    ],
)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle and its checkpoint."""
    folder = tmp_path_factory.mktemp("bundle")
    checkpoint = write_small_task(request.param, folder)
    return export_checkpoint(checkpoint, folder / "bundle", format="monai-bundle").path, checkpoint


def test_monai_accepts_it(bundle: tuple[Path, Path], tmp_path: Path) -> None:
    from monai.bundle import verify_metadata, verify_net_in_out

    pytest.importorskip("jsonschema")
    out, _ = bundle
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(RULES))  # MONAI fetches it only where it is not there
    metadata, config = (str(out / "configs" / name) for name in ("metadata.json", "inference.json"))
    verify_metadata(meta_file=metadata, filepath=str(schema))
    verify_net_in_out("network_def", meta_file=metadata, config_file=config, device="cpu", n=2, any=5)
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert written == {"configs/inference.json", "configs/metadata.json", "docs/README.md", "models/model.pt"}


def test_monai_loads_it_with_its_weights(bundle: tuple[Path, Path]) -> None:
    from monai.bundle import load

    out, checkpoint = bundle
    network = load(out.name, bundle_dir=str(out.parent), workflow_type="inference", device="cpu")
    assert isinstance(network, BundleNetwork)
    task = load_task(checkpoint)
    trained = {key: value for key, value in task.model.state_dict().items() if not key.startswith("level1_folds")}
    inside = network.exported.network.state_dict()
    shared = trained.keys() & inside.keys()
    if shared:
        torch.testing.assert_close({k: inside[k] for k in shared}, {k: trained[k] for k in shared}, rtol=0, atol=0)
    else:
        assert type(task).__name__ == "SelfTransTask"  # its trunk alone is in the bundle


def test_mask_and_contrast_are_channels() -> None:
    expert = {"name": "MaskedGAPResNet", "arguments": {"backbone": "resnet18", "slice_size": 32}}
    torch.manual_seed(0)
    network = BundleNetwork(
        "GatedEnsembleTask", {"low": [expert], "high": [expert], "num_classes": 2, "threshold": 0.2}
    ).eval()
    image, mask = torch.rand(2, 1, 3, 32, 32), (torch.rand(2, 1, 3, 32, 32) < 0.5).float()
    contrast = torch.tensor([0.1, 0.3])
    stacked = torch.cat([image, mask * 2, contrast.view(2, 1, 1, 1, 1).expand_as(image)], 1)
    gate = network.exported.network
    with torch.no_grad():
        wanted = gate(image, contrast, None, mask.to(torch.uint8))["logits"].softmax(1)
        torch.testing.assert_close(network(stacked), wanted)
    assert network.extra_channels == ("lung_mask", "contrast")
