"""``export_checkpoint``: the network of a checkpoint as a file that other programs run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import covidct
from covidct import RESEARCH_USE
from covidct.atomic import atomic_folder, atomic_path
from covidct.errors import ExportError, UsageError
from covidct.inference.export_bundle import write_bundle
from covidct.inference.export_network import ExportNetwork, draws_boxes, fixes_depth, normalisation, signature_of
from covidct.inference.export_onnx import require_onnx, write_onnx
from covidct.inference.export_program import write_program
from covidct.inference.export_trials import Trials
from covidct.tasks import BaseTask, load_task
from covidct.weights import sha256_file

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from covidct.inference.export_network import Signature
    from covidct.inference.export_trials import Run

    Record = Mapping[str, Any]

__all__ = ("ExportFormat", "Exported", "export_checkpoint")

ExportFormat = Literal["pt2", "onnx", "monai-bundle", "safetensors"]
"""The formats of :func:`export_checkpoint`."""

_LIMITS: dict[ExportFormat, float] = {"pt2": 1e-5, "onnx": 1e-4, "monai-bundle": 1e-5, "safetensors": 1e-5}
_LOOSER = 10  # logits and what else there is, whose scale is not that of probabilities
_FILES = ("pt2", "onnx")  # the other formats are folders


@dataclass(frozen=True)
class Exported:
    """What :func:`export_checkpoint` wrote.

    Attributes:
        path: the file or folder.
        format: as asked for.
        network: name of its class.
        inputs: axes of each input; words are free.
        outputs: axes of each output; words are free.
        differences: the largest difference of each output from that of the checkpoint's network, on random inputs;
            relative to the largest value of the output where that is above 1.
        tried: (scans, slices) of the random inputs; 0 slices for images.
        notes: what a user has to know, in sentences.
    """

    path: Path
    format: ExportFormat
    network: str
    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: Mapping[str, tuple[int | str, ...]]
    differences: Mapping[str, float]
    tried: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]


def export_checkpoint(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: ExportFormat = "pt2",
    depth: int | None = None,
    size: int | None = None,
) -> Exported:
    """Write the network of a checkpoint in another format, and prove that it computes the same.

    ``"pt2"`` (``torch.export``) and ``"onnx"`` are one file each, which runs without covidct. ``"monai-bundle"`` and
    ``"safetensors"`` (``config.json`` and ``model.safetensors``, for :meth:`covidct.tasks.BaseTask.from_pretrained`)
    are folders for programs that have it. The number of scans is free, of volumes the number of slices too. The record
    of the pre-processing, class names, mean and standard deviation travel along; nothing of a subject or of this
    machine does. What was written is read again and compared with the checkpoint's network on random inputs of two
    sizes, before it gets its name.

    Args:
        checkpoint: a ``.ckpt`` file of any task.
        out: a file that ends in ``.pt2`` or ``.onnx``, which is replaced, or a folder, which must be absent or empty.
        format: as above.
        depth: slices of a scan. Where ``torch.export`` fixes it (``"pt2"`` of networks with ``nn.LSTM``) it must be
            given, and the file takes this number alone. Elsewhere one more number to be tried.
        size: pixels per side, of networks that were trained on images of any size.

    Returns:
        What was written, and by how much it differs.

    Raises:
        CheckpointError: when the checkpoint cannot be read, or has no record of its pre-processing.
        UsageError: when the format cannot hold the network, an argument is missing or does not fit, the extra
            ``export`` is not installed, or ``out`` cannot be the place.
        ExportError: when what was written does not compute the same; nothing is left of it then.
    """
    out = Path(out)
    _check_out(out, format)
    if format == "onnx":
        require_onnx()
    task = load_task(checkpoint)
    _require_fixed_shapes(task, format)
    signature = _with_depth(signature_of(task, size=size), task, format, depth)
    network = ExportNetwork(task)
    trials = Trials(network, signature, depth=depth)
    notes = _notes(format, task, signature, network)
    record = _record(task, network, signature, trials)
    record |= {"notes": list(notes), "checkpoint_sha256": sha256_file(checkpoint)}
    with (atomic_path if format in _FILES else atomic_folder)(out) as temporary:
        differences = trials.differences(_write(format, task, network, signature, temporary, record))
        _require_same(differences, network.main, format)
    return Exported(
        path=out,
        format=format,
        network=type(task.model).__name__,
        inputs={name: signature.shape(name) for name in signature.names},
        outputs=trials.axes,
        differences=differences,
        tried=trials.shapes,
        notes=notes,
    )


def _check_out(out: Path, format: ExportFormat) -> None:
    """Refuse a place that cannot be written, before anything is computed."""
    if format in _FILES:
        if out.suffix != f".{format}" or out.is_dir():
            raise UsageError(f"{out} cannot be the file: let it end in .{format}, or choose another --format.")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already, and {format} makes a folder: name a new one, or an empty one.")


def _require_fixed_shapes(task: BaseTask, format: ExportFormat) -> None:
    """Refuse what torch.export cannot hold."""
    if format in _FILES and draws_boxes(task):
        raise UsageError(
            f"{type(task.model).__name__} cannot be written as {format}: it goes by boxes, whose number is another in "
            "each slice (non-maximum suppression), and torch.export wants all sizes to follow from those of the input: "
            "use --format safetensors or --format monai-bundle."
        )


def _with_depth(signature: Signature, task: BaseTask, format: ExportFormat, depth: int | None) -> Signature:
    """The signature, with one depth alone where there is no other way."""
    if depth is not None and (not signature.volumes or depth < signature.least or depth % signature.step):
        wanted = "images have no depth: leave it out"
        if signature.volumes:
            wanted = f"give a multiple of {signature.step}, {signature.least} or more"
        raise UsageError(f"--depth {depth} does not fit {type(task.model).__name__}: {wanted}.")
    if format != "pt2" or not fixes_depth(task.model):
        return signature
    if depth is None:
        raise UsageError(
            f"{type(task.model).__name__} has an nn.LSTM, of which torch.export fixes the number of slices: give it "
            "by --depth, or use --format onnx, where any number goes."
        )
    return signature.fixed(depth)


def _write(
    format: ExportFormat, task: BaseTask, network: ExportNetwork, signature: Signature, place: Path, record: Record
) -> Run:
    """Write and read again."""
    if format == "pt2":
        return write_program(network, signature, place, record)
    if format == "onnx":
        return write_onnx(network, signature, place, record)
    if format == "monai-bundle":
        return write_bundle(task, network, signature, place, record)
    task.save_pretrained(place)
    again = ExportNetwork(BaseTask.from_pretrained(place))
    return lambda inputs: again(**inputs)


def _require_same(differences: Mapping[str, float], main: str, format: ExportFormat) -> None:
    """Refuse what computes something else."""
    for name, difference in differences.items():
        limit = _LIMITS[format] * (1 if name == main else _LOOSER)
        if difference > limit:
            raise ExportError(
                f"The {format} file gives {name!r} that differs from the checkpoint's network by {difference:.2g}, "
                f"more than {limit:.0e}, and was not kept: report it, with the versions that covidct doctor shows."
            )


def _record(task: BaseTask, network: ExportNetwork, signature: Signature, trials: Trials) -> dict[str, Any]:
    """What travels with the network, as plain data."""
    return {
        "covidct": covidct.__version__,
        "research_use": RESEARCH_USE,
        "task": type(task).__name__,
        "network": type(task.model).__name__,
        "class_names": list(task.class_names),
        "preprocessing": None if task.preprocessing is None else task.preprocessing.to_dict(),
        "normalisation": normalisation(network),
        "inputs": {name: list(signature.shape(name)) for name in signature.names},
        "outputs": {name: list(axes) for name, axes in trials.axes.items()},
    }


def _notes(format: ExportFormat, task: BaseTask, signature: Signature, network: ExportNetwork) -> tuple[str, ...]:
    """What a user has to know."""
    notes = []
    if signature.volumes and "slice_mask" in task.inputs and format != "safetensors":
        notes.append("There is no padding: leave out the slices of a cube beside the scan (slice_mask False).")
    if signature.depth is not None:
        notes.append(
            f"Scans must have {signature.depth} slices, no more and no fewer: torch.export writes nn.LSTM out slice by "
            "slice. An ONNX file takes any number."
        )
    if signature.step > 1:
        notes.append(f"The number of slices must be a multiple of {signature.step}, {signature.least} or more.")
    if "contrast" in signature.names and format in _FILES:
        notes.append("Both sides of the gate are computed; a scan whose contrast is not finite gets NaN.")
    if network.main == "features":
        notes.append("The file gives features; what was trained with them does not diagnose.")
    return tuple(notes)
