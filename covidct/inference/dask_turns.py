"""Which of the Dask workers of a machine is which, so that each takes a GPU of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin

from covidct.inference.workers import take_turn

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Turns", "turns_of")


def turns_of(workers: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """A number for each worker, from 0 on each machine.

    Args:
        workers: of ``Client.scheduler_info()``: by address, with ``host`` and the address of the ``nanny``, if any.

    Returns:
        By address of the nanny, which stays when it starts its worker anew; else by that of the worker.
    """
    turns: dict[str, int] = {}
    seen: dict[str, int] = {}
    for address, worker in sorted(workers.items()):
        host = str(worker.get("host"))
        turns[worker.get("nanny") or address] = seen.get(host, 0)
        seen[host] = seen.get(host, 0) + 1
    return turns


class Turns(WorkerPlugin):
    """Tells each worker its number, those that are started anew as well.

    Args:
        turns: see :func:`turns_of`; a worker that came later is number 0.
    """

    name = "covidct-turns"

    def __init__(self, turns: dict[str, int]) -> None:
        """Take the numbers along."""
        self.turns = turns

    def setup(self, worker: Any) -> None:  # noqa: ANN401  (Dask's, without types)
        """In the worker, when it begins."""
        take_turn(self.turns.get(worker.nanny or worker.address, 0))
