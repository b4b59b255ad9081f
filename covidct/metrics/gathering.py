"""``CollectedCases``: what metrics over whole cases share, right under several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor
    from torch.distributed import ProcessGroup

__all__ = ("CollectedCases",)


class CollectedCases(Metric):
    """One row per case, keyed by ``scan``.

    A distributed sampler hands some cases to two processes to even the load, so of equal keys the first is kept. A
    process that saw no case takes part in the gathering like the others.

    Args:
        columns: name of each state to its dtype and the shape of one row; one of them is ``"scan"``.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(self, columns: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> None:
        """Set up empty states."""
        super().__init__()
        self.columns = dict(columns)
        for name in self.columns:
            self.add_state(name, [], dist_reduce_fx="cat")

    def append(self, rows: Mapping[str, Tensor]) -> None:
        """Add the rows of a batch; the shapes are the caller's to check."""
        for name, value in rows.items():
            getattr(self, name).append(value.detach().to(self.columns[name][0]))

    def rows(self) -> dict[str, NDArray[Any]]:
        """The cases of this process, or of all processes while synchronised, each once, sorted by ``scan``."""
        arrays = {name: self._joined(name).cpu().numpy() for name in self.columns}
        _, first = np.unique(arrays["scan"], return_index=True)
        return {name: array[first] for name, array in arrays.items()}

    def _joined(self, name: str) -> Tensor:
        """One tensor of a state, of the right form even when it is empty."""
        state: list[Tensor] | Tensor = getattr(self, name)
        if isinstance(state, list) and not state:
            dtype, row = self.columns[name]
            return torch.empty((0, *row), dtype=dtype, device=self.device)
        return dim_zero_cat(state)

    def _sync_dist(
        self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: ProcessGroup | None = None
    ) -> None:
        """Give empty states their dtype and rank first: torchmetrics fills in (0,) float32, which does not gather."""
        for name in self.columns:
            setattr(self, name, [self._joined(name)])
        super()._sync_dist(dist_sync_fn, process_group)
