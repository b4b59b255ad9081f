"""``.onnx`` files: a network by PyTorch's dynamo exporter, for ONNX Runtime and its kin."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from covidct.errors import UsageError
from covidct.inference.export_program import exported_program
from covidct.weights import RECORD_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from covidct.inference.export_network import ExportNetwork, Signature
    from covidct.inference.export_trials import Run

__all__ = ("require_onnx", "write_onnx")

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_LSTM_NAME = "covidct::bidirectional_lstm"
_NOISY = ("onnxscript", "torch.onnx")
_ERRORS_ONLY = 3  # of ONNX Runtime's levels


def require_onnx() -> None:
    """Refuse to begin without the extra.

    Raises:
        UsageError: names what is missing.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"ONNX files need {' and '.join(missing)}, not installed here: pip install 'covidct[export]', or choose "
            "another format."
        )


def write_onnx(network: ExportNetwork, signature: Signature, path: Path, record: Mapping[str, Any]) -> Run:
    """Write an ``.onnx`` file, weights inside.

    Args:
        network: what is written.
        signature: of its inputs.
        path: the file.
        record: plain data that travels in the metadata of the file, under the key ``covidct``.

    Returns:
        Runs the file as written, by ONNX Runtime on the CPU.
    """
    from onnxruntime import InferenceSession, SessionOptions

    example = signature.random(2, signature.depth or 3 * signature.least)
    with torch.no_grad():
        outputs = list(network(**example))
    network = copy.deepcopy(network)
    recurrent = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.LSTM)]
    for name, part in recurrent:
        network.set_submodule(name, _AnyLengthLSTM(part))
    axes = {
        name: {at: axis for at, axis in enumerate(signature.shape(name)) if isinstance(axis, str)}
        for name in signature.names
    }
    with _quiet():
        made: Any = torch.onnx.export(
            exported_program(network, signature),
            kwargs=example,
            output_names=outputs,
            dynamic_shapes=axes,
            dynamo=True,
            verbose=False,
            custom_translation_table={_lstm_operator(): _onnx_lstm} if recurrent else None,
        )
    _forget_places(made.model)
    made.model.metadata_props[RECORD_KEY] = json.dumps(record)
    made.save(path, external_data=False)
    options = SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = session.run(outputs, {name: value.numpy() for name, value in inputs.items()})
        return {name: torch.from_numpy(value) for name, value in zip(outputs, found, strict=True)}

    return run


class _AnyLengthLSTM(nn.Module):
    """A bidirectional LSTM as one operator of ONNX, for sequences of any length.

    ``torch.export`` writes ``nn.LSTM`` out step by step, for one length; an operator that it does not look into stays
    whole.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        """Bring the weights into the order of ONNX: input, output, forget, cell."""
        super().__init__()
        ends = ("", "_reverse")

        def both(name: str) -> Tensor:
            return torch.stack([_reordered(getattr(lstm, f"{name}_l0{end}").detach()) for end in ends])

        self.register_buffer("weight", both("weight_ih"))
        self.register_buffer("recurrence", both("weight_hh"))
        self.register_buffer("bias", torch.cat((both("bias_ih"), both("bias_hh")), 1))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """(B, N, F) to states (B, N, 2 H), and None in the place of the last state."""
        states: Tensor = _lstm_operator()(x, self.weight, self.recurrence, self.bias)
        return states, None


def _reordered(values: Tensor) -> Tensor:
    """(4 H, ...) from PyTorch's order: input, forget, cell, output."""
    into, forget, cell, out = values.chunk(4)
    return torch.cat((into, out, forget, cell))


@cache
def _lstm_operator() -> Callable[..., Tensor]:
    """The operator, which has a shape and no kernel: it is written, never run."""
    torch.library.define(_LSTM_NAME, "(Tensor x, Tensor weight, Tensor recurrence, Tensor bias) -> Tensor")

    def shape(x: Tensor, weight: Tensor, recurrence: Tensor, bias: Tensor) -> Tensor:
        return x.new_empty(x.shape[0], x.shape[1], 2 * recurrence.shape[2])

    torch.library.register_fake(_LSTM_NAME, shape)
    found: Callable[..., Tensor] = torch.ops.covidct.bidirectional_lstm.default
    return found


def _onnx_lstm(x: Any, weight: Any, recurrence: Any, bias: Any) -> Any:  # noqa: ANN401  (onnxscript traces it)
    """The operator in ONNX: sequence first, directions on an axis of their own."""
    from onnxscript import opset18

    op: Any = opset18
    first = op.Transpose(x, perm=[1, 0, 2])
    states, _, _ = op.LSTM(first, weight, recurrence, bias, direction="bidirectional", hidden_size=recurrence.shape[2])
    return op.Reshape(op.Transpose(states, perm=[2, 0, 1, 3]), op.Constant(value_ints=[0, 0, -1]))


def _forget_places(model: Any) -> None:  # noqa: ANN401  (onnx_ir has its own types)
    """Remove what the exporter notes of each step: files and lines of this machine."""
    for graph in (model.graph, *model.functions.values()):
        for node in graph:
            node.doc_string = None
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()
        for value in (*graph.inputs, *getattr(graph, "initializers", {}).values()):
            value.metadata_props.clear()
        graph.metadata_props.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from telling of itself."""
    before = {name: logging.getLogger(name).level for name in _NOISY}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
