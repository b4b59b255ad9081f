"""Many scans on several processes or machines: each worker keeps the networks, each result comes back when it is there.

Any ``concurrent.futures.Executor`` does the work, so that one path serves the processes of this machine and a cluster:
Dask's client is one (``Client.get_executor``). Dask was taken and not Ray since it speaks that interface, is plain
Python under the BSD licence, and starts on SLURM, PBS and Kubernetes by its own job queues.
"""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from covidct.errors import UsageError
from covidct.inference.predictor import Predictor
from covidct.inference.triage import examine
from covidct.result import ScanResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from covidct.io.discover import ScanInput

__all__ = ("PredictorSettings", "examine_many", "local_processes", "on_dask")

_AHEAD = 2  # scans handed out per worker: one being read while the other is classified elsewhere
_DIED = (
    "The process that examined this scan ended, perhaps for lack of memory: use fewer processes or a larger machine."
)

Work = tuple["ScanInput", str]
Examined = tuple[ScanResult, str]


@dataclass(frozen=True, slots=True)
class PredictorSettings:
    """Arguments of :class:`Predictor` as plain data, which travel to other processes and machines.

    Attributes:
        checkpoint: as there; paths must lead to the same files on every machine.
        lung_checkpoint: as there.
        device: as there; ``"auto"`` deals out the GPUs of a machine to its processes in turn.
        on_fault: as there.
        explain: as there.
        lesion_checkpoint: as there.
        lesion_thresholds: as there, as pairs.
        display_values: as there.
        viewer: as there.
        masks: as there.
        dicom: as there.
    """

    checkpoint: str
    lung_checkpoint: str | None = None
    device: str = "auto"
    on_fault: Literal["error", "repair", "warn"] = "error"
    explain: bool = True
    lesion_checkpoint: str | None = None
    lesion_thresholds: tuple[tuple[str, float], ...] = ()
    display_values: bool = False
    viewer: bool = False
    masks: bool = False
    dicom: bool = False

    def predictor(self, *, device: str | None = None) -> Predictor:
        """The networks.

        Args:
            device: in place of the settings' own.

        Returns:
            A new predictor, its checkpoints read anew.

        Raises:
            CovidctError: as :class:`Predictor`.
        """
        return Predictor(
            self.checkpoint,
            lung_checkpoint=self.lung_checkpoint,
            device=self.device if device is None else device,
            on_fault=self.on_fault,
            explain=self.explain,
            lesion_checkpoint=self.lesion_checkpoint,
            lesion_thresholds=dict(self.lesion_thresholds),
            display_values=self.display_values,
            viewer=self.viewer,
            masks=self.masks,
            dicom=self.dicom,
        )


def examine_many(
    settings: PredictorSettings,
    work: Sequence[Work],
    executor: Executor,
    *,
    workers: int,
    tell: Callable[[ScanInput, str], None] | None = None,
) -> Iterator[ScanResult]:
    """Examine scans by the workers of an executor, two handed out to each at a time.

    Where a process dies (out of memory), the scans that it may have held are tried once more at the end, each in a
    process of its own; one that dies again fails alone.

    Args:
        settings: of the networks.
        work: scans with their pseudonyms.
        executor: where the work is done.
        workers: how many it has.
        tell: called with the scan and the whole sentence of a failure, for the person at the terminal.

    Yields:
        A result per scan as they are finished; a failed one says why without names, see
        :func:`covidct.inference.triage.examine`.
    """
    waiting = list(reversed(work))
    running: dict[Future[Examined], Work] = {}
    suspects: list[Work] = []
    while waiting or running:
        while waiting and len(running) < _AHEAD * workers:
            scan, name = waiting.pop()
            running[executor.submit(_examine, settings, scan, name)] = (scan, name)
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            scan, name = running.pop(future)
            try:
                yield _told(future.result(), scan, tell)
            except BrokenProcessPool:  # of all that the pool held, and one of them did it
                suspects.append((scan, name))
            except Exception as error:
                if type(error).__name__ != "KilledWorker":  # Dask's, which names the scan that did it
                    raise
                yield _told((ScanResult(id=name, status="failed", error=_DIED), _DIED), scan, tell)
    for scan, name in suspects:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                yield _told(pool.submit(_examine, settings, scan, name).result(), scan, tell)
            except BrokenProcessPool:
                yield _told((ScanResult(id=name, status="failed", error=_DIED), _DIED), scan, tell)


@contextmanager
def local_processes(count: int) -> Iterator[_LocalProcesses]:
    """An executor of processes on this machine, which goes on when one of them dies.

    Args:
        count: number of processes; the cores are shared out among them, GPUs in turn.

    Yields:
        The executor; when the block ends, work that has not begun is cancelled.

    Raises:
        UsageError: for fewer than one.
    """
    if type(count) is not int or count < 1:
        raise UsageError(f"processes={count!r} must be a whole number of at least 1.")
    pool = _LocalProcesses(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def on_dask(address: str) -> Iterator[tuple[Executor, int]]:
    """An executor of the workers of a Dask cluster, and their number.

    The GPUs of a machine are dealt out to its workers in turn. A worker examines one scan at a time, however many
    threads it has, since they share its networks: start workers of one thread each.

    Args:
        address: of its scheduler (``tcp://host:8786``).

    Yields:
        The executor, closed afterwards, and how many workers the cluster has.

    Raises:
        UsageError: when Dask is not installed, or nobody answers at the address.
    """
    try:
        import distributed
    except ImportError as error:
        raise UsageError("Dask is not installed: pip install 'covidct[cluster]'.") from error
    from covidct.inference.dask_turns import Turns, turns_of

    connect: Any = distributed.Client  # it has no types
    try:
        client = connect(address, timeout="20s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"No Dask scheduler answers at {address}: start one, or check the address.") from error
    try:
        found = client.scheduler_info(n_workers=-1)["workers"]
        if not found:
            raise UsageError(
                f"The Dask scheduler at {address} has no workers: start some with `dask worker {address} --nthreads 1`."
            )
        client.register_plugin(Turns(turns_of(found)))
        with client.get_executor(pure=False, retries=1) as executor:
            yield executor, len(found)
    finally:
        client.close()


class _LocalProcesses(Executor):
    """Python's pool of processes, made anew when a process has died."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = self._start(count)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:  # noqa: ANN401
        """Hand out work; where the pool has just broken, to a new one."""
        try:
            return self._pool.submit(function, *arguments, **named)
        except BrokenProcessPool:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = self._start(self.count)
            return self._pool.submit(function, *arguments, **named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes."""
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    @staticmethod
    def _start(count: int) -> ProcessPoolExecutor:
        context = get_context("spawn")  # a fork of a process with threads may hang
        threads = max(1, (os.cpu_count() or 1) // count)
        turn = context.Value("i", 0)
        return ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(turn, threads))


_TURN = 0  # of this process among those of its machine
_EXAMINING = Lock()  # a network, and the hooks that look into it, serve one scan at a time


def take_turn(turn: int) -> None:
    """In a worker: which one of its machine it is, from 0."""
    global _TURN
    _TURN = turn


def _begin(turn: Any, threads: int) -> None:  # noqa: ANN401  (a shared number of multiprocessing)
    """Take a turn and a share of the cores."""
    import torch

    with turn.get_lock():
        take_turn(turn.value)
        turn.value += 1
    torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _predictor(settings: PredictorSettings) -> Predictor:
    """The networks of this process, read when its first scan comes."""
    import torch

    several = settings.device == "auto" and torch.cuda.device_count() > 1
    return settings.predictor(device=f"cuda:{_TURN % torch.cuda.device_count()}" if several else None)


def _examine(settings: PredictorSettings, scan: ScanInput, name: str) -> Examined:
    """In a worker: the result, and of a failure the whole sentence."""
    told: list[str] = []
    with _EXAMINING:
        result = examine(_predictor(settings), scan, id=name, tell=told.append)
    return result, "".join(told)


def _told(examined: Examined, scan: ScanInput, tell: Callable[[ScanInput, str], None] | None) -> ScanResult:
    """The result, after its failure was told."""
    result, sentence = examined
    if sentence and tell is not None:
        tell(scan, sentence)
    return result
