"""Which sample is drawn when: seeded, alike for every number of workers and processes, resumable within an epoch."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ("Draw", "EpochSampler", "EvaluationSampler", "ResumableLoader")


class Draw(NamedTuple):
    """One draw of a sample; augmentation is seeded by it, so that nobody else's state matters.

    Attributes:
        index: the sample.
        epoch: epoch of the draw.
        repeat: how often the epoch drew the same sample before (balanced sampling repeats rare classes).
    """

    index: int  # type: ignore[assignment]  # a tuple has a method of this name; a draw is not searched
    epoch: int
    repeat: int


class EpochSampler(DistributedSampler[Any]):
    """Shuffled or class-balanced draws, dealt out to the processes from one common order.

    Every process computes the same order from (seed, epoch) and takes every ``num_replicas``-th draw, so that the mix
    of classes is right over all processes together. Balanced sampling draws each class equally often (to one draw),
    each of its samples equally often (to one draw), and as many draws as there are samples. It is a
    ``DistributedSampler``, so Lightning leaves it in place and tells it the epoch.
    """

    def __init__(
        self,
        labels: Sequence[int],
        *,
        balanced: bool = False,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        """Remember what to draw from.

        Args:
            labels: class of each sample.
            balanced: draw all classes equally often.
            seed: with the epoch, decides the order.
            num_replicas: number of processes.
            rank: number of this process.
        """
        super().__init__(cast("Any", labels), num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.balanced = balanced
        self._skip = 0

    def __iter__(self) -> Iterator[Any]:
        """Draws of this process in the present epoch; after :meth:`resume`, what is left of it."""
        skip, self._skip = self._skip, 0
        draws = self.draws()
        padded = [*draws, *draws[: self.total_size - len(draws)]]
        while len(padded) < self.total_size:  # fewer samples than processes
            padded += draws[: self.total_size - len(padded)]
        return iter(padded[self.rank : self.total_size : self.num_replicas][skip:])

    def draws(self) -> list[Draw]:
        """The common order of the present epoch, over all processes."""
        rng = np.random.default_rng((self.seed, self.epoch))
        if not self.balanced:
            return [Draw(index, self.epoch, 0) for index in rng.permutation(len(self.labels)).tolist()]
        seen: defaultdict[int, int] = defaultdict(int)
        draws = []
        for index in self._balanced_order(rng).tolist():
            draws.append(Draw(index, self.epoch, seen[index]))
            seen[index] += 1
        return draws

    def resume(self, epoch: int, skip: int) -> None:
        """Go on in the middle of an epoch: the next iteration leaves out the first ``skip`` draws of this process."""
        self.set_epoch(epoch)
        self._skip = skip

    def _balanced_order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Each class equally often; which class gets the odd draws is random."""
        classes = rng.permutation(np.unique(self.labels))
        total = len(self.labels)
        chosen = []
        for rank, label in enumerate(classes):
            count = total // len(classes) + (rank < total % len(classes))
            members = np.flatnonzero(self.labels == label)
            rounds = [rng.permutation(members) for _ in range(-(-count // len(members)))]
            chosen.append(np.concatenate(rounds)[:count])
        return rng.permutation(np.concatenate(chosen))


class EvaluationSampler(DistributedSampler[Any]):
    """Deals samples out to the processes in their own order, none twice; scores and losses are those of one process.

    Lightning's own repeats samples until all processes have equally many. Where there are fewer samples than processes,
    the others get one that somebody else has as well, for Lightning leaves out the evaluation of a process without
    samples, whom the rest would wait for in vain.

    Args:
        count: number of samples.
        num_replicas: number of processes.
        rank: number of this process.
    """

    def __init__(self, count: int, *, num_replicas: int = 1, rank: int = 0) -> None:
        """Deal."""
        super().__init__(cast("Any", range(count)), num_replicas=num_replicas, rank=rank, shuffle=False)
        self._own = range(rank, count, num_replicas)
        if count and not self._own:
            self._own = range(rank % count, rank % count + 1)

    def __iter__(self) -> Iterator[Any]:
        """Indices of this process."""
        return iter(self._own)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._own)


class ResumableLoader(DataLoader[Any]):
    """A loader that knows how far it has come, so that a killed run goes on with the batch that it missed.

    Lightning saves and restores ``state_dict`` with the checkpoint. The sampler must be an :class:`EpochSampler`.
    """

    _yielded = 0
    _first = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Batches of the epoch, or what is left of it after :meth:`load_state_dict`.

        Nothing is drawn before the first batch is asked for: in a training that goes on, Lightning makes the iterator
        first and tells the sampler the epoch then, and worker processes would have drawn that of the epoch before.
        """
        self._yielded, self._first = self._first, 0
        # Without workers the loader's own iterator would add a tenth to the cost of a batch that lies in the cache.
        direct = self.num_workers == 0 and not self.pin_memory and hasattr(self.dataset, "__getitems__")
        for batch in self._direct() if direct else super().__iter__():
            self._yielded += 1
            yield batch

    def _direct(self) -> Iterator[Any]:
        dataset: Any = self.dataset
        for draws in cast("Iterable[Any]", self.batch_sampler):
            yield self.collate_fn(dataset.__getitems__(draws))

    def state_dict(self) -> dict[str, int]:
        """Epoch and number of batches given in it: plain numbers."""
        return {"epoch": cast("EpochSampler", self.sampler).epoch, "batches": self._yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take up a saved place; the next iteration starts there."""
        self._first = state["batches"]
        cast("EpochSampler", self.sampler).resume(state["epoch"], state["batches"] * cast("int", self.batch_size))
