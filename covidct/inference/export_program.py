"""``.pt2`` files: a network as ``torch.export`` has it, which runs with PyTorch alone."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch.export import ExportedProgram

    from covidct.inference.export_network import ExportNetwork, Signature
    from covidct.inference.export_trials import Run

__all__ = ("EXTRA_FILE", "exported_program", "write_program")

EXTRA_FILE = "covidct.json"
"""Name of the record among the extra files of a ``.pt2`` file."""

_PLACES = "stack_trace"  # in what torch notes of a step: files and lines of this machine


def write_program(network: ExportNetwork, signature: Signature, path: Path, record: Mapping[str, Any]) -> Run:
    """Write a ``.pt2`` file.

    Args:
        network: what is written.
        signature: of its inputs.
        path: the file.
        record: plain data that travels in the file.

    Returns:
        Runs the file as written.
    """
    program = exported_program(network, signature)
    program.example_inputs = None  # they would be in the file, and are large
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path, extra_files={EXTRA_FILE: json.dumps(record)})
        module = torch.export.load(path).module()
    return lambda inputs: module(**inputs)


def exported_program(network: ExportNetwork, signature: Signature) -> ExportedProgram:
    """The steps of a network on tensors, for any number of scans and slices; they name no place on this machine.

    Args:
        network: called with the inputs of the signature by name.
        signature: of its inputs; a fixed depth of it is fixed in the result.
    """
    from torch.export import Dim

    depth: Any = Dim("depth", min=signature.least)
    if signature.step > 1:
        depth = signature.step * Dim("blocks", min=signature.least // signature.step)
    free = {0: Dim("batch", min=1)}
    spatial = free | ({2: depth} if signature.volumes and signature.depth is None else {})
    shapes = {name: free if name == "contrast" else spatial for name in signature.names}
    example = signature.random(2, signature.depth or 3 * signature.least)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about parts of itself
        program = torch.export.export(network, (), example, dynamic_shapes=shapes)
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop(_PLACES, None)
    return program
