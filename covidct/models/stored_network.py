"""A network and its pre-processing from the checkpoint of a task, for classes that apply it without the task."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeVar

from covidct.errors import CheckpointError
from covidct.preprocessing import Preprocessing
from covidct.weights import RECORD_KEY, load_state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from torch import nn

__all__ = ("network_arguments", "stored_network", "stored_preprocessing")

_PREFIX = "model."  # of the network in the state of a task
_BEFORE = {"weights"}  # arguments that fetch what a training starts from

Network = TypeVar("Network", bound="nn.Module")


def network_arguments(network_class: type[nn.Module], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those hyper-parameters of a task that are arguments of its network, without ``weights``, which fetches them.

    Args:
        network_class: of the task.
        parameters: hyper-parameters of the task.
    """
    known = inspect.signature(network_class).parameters.keys() - _BEFORE
    return {name: value for name, value in parameters.items() if name in known}


def stored_preprocessing(checkpoint: Mapping[str, Any], *, task: str, what: str, file: str) -> Preprocessing:
    """The pre-processing of a training.

    Args:
        checkpoint: from :func:`covidct.weights.load_checkpoint`.
        task: name of the task that it must be of.
        what: the network in words, for messages ("a lung network").
        file: its name, for messages.

    Raises:
        CheckpointError: when it is of another task, or has no record of the pre-processing.
    """
    record = checkpoint[RECORD_KEY]
    if record.get("task") != task:
        raise CheckpointError(
            f"{file} belongs to {record.get('task', 'no task of covidct')}, not to {task}: give a checkpoint of {what}."
        )
    if record.get("preprocessing") is None:
        raise CheckpointError(
            f"{file} has no recorded pre-processing, so what the network has to see is unknown: train it with a data "
            "module of covidct."
        )
    return Preprocessing.from_dict(record["preprocessing"])


def stored_network(network_class: type[Network], checkpoint: Mapping[str, Any], *, file: str) -> Network:
    """The network of a task with its weights.

    Args:
        network_class: built from those hyper-parameters of the task that are arguments of it.
        checkpoint: from :func:`covidct.weights.load_checkpoint`.
        file: its name, for messages.

    Raises:
        CheckpointError: when hyper-parameters or weights do not fit.
    """
    state = checkpoint["state_dict"]
    try:
        network = network_class(**network_arguments(network_class, checkpoint["hyper_parameters"]))
    except (TypeError, ValueError, RuntimeError) as error:  # UsageError is a ValueError
        raise CheckpointError(f"The hyper-parameters in {file} are damaged ({error}): train again.") from error
    weights = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    load_state(network, weights, source=file, error=CheckpointError)
    return network
