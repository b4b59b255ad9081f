"""Lung masks by a trained network, made while scans are prepared."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from covidct.errors import UsageError
from covidct.models import LungSegmenter, XRayLungSegmenter
from covidct.volume import Image, Volume
from covidct.weights import sha256_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covidct.datasets import Raw
    from covidct.preprocessing import Kind

__all__ = ("LungMasks", "mask_source_of")

_DEFAULTS = ("threshold", "none")  # of the data modules: a checkpoint goes before them
_CHECKPOINT = "checkpoint:"


def mask_source_of(mask_source: str, lung_checkpoint: str | None) -> str:
    """The mask source of the record: that of the checkpoint, where there is one.

    Args:
        mask_source: argument of a data module.
        lung_checkpoint: a ``.ckpt`` file, or None.

    Returns:
        ``"checkpoint:<sha256>"`` of the file, or ``mask_source``.

    Raises:
        UsageError: when the two contradict each other.
        WeightsError: when the file cannot be read.
    """
    if lung_checkpoint is None:
        if mask_source.startswith(_CHECKPOINT):
            raise UsageError(f"mask_source={mask_source!r} needs the network: set lung_checkpoint to that .ckpt file.")
        return mask_source
    source = f"{_CHECKPOINT}{sha256_file(lung_checkpoint)}"
    if mask_source not in (*_DEFAULTS, source):
        advice = "give the file of that network" if mask_source.startswith(_CHECKPOINT) else "leave out one of them"
        raise UsageError(f"mask_source={mask_source!r} and lung_checkpoint ({source}) contradict each other: {advice}.")
    return source


class LungMasks:
    """Masks of the data set, or of a network that is read when it is first needed.

    Args:
        checkpoint: a ``.ckpt`` file of a lung network; None keeps the masks of the data set.
        source: ``mask_source`` of the record, which the file must still have.
        kind: of the data; a network of X-rays for ``"cxr"``, of volumes for the others.
    """

    def __init__(self, checkpoint: str | None, *, source: str, kind: Kind = "ct_volume") -> None:
        """Remember the path; read nothing."""
        self.checkpoint, self.source, self.kind = checkpoint, source, kind
        self._segmenter: LungSegmenter | XRayLungSegmenter | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Take the path along to another process, which reads the network itself, once."""
        return {**vars(self), "_segmenter": None}

    def load(self) -> LungSegmenter | XRayLungSegmenter | None:
        """Read the network, unless that is done; None without a checkpoint.

        Raises:
            CheckpointError: when the file is no lung network.
            UsageError: when the file has changed.
        """
        if self._segmenter is None and self.checkpoint is not None:
            segmenter = _read(self.checkpoint, self.kind, self.source)
            if segmenter.mask_source != self.source:
                raise UsageError(f"{self.checkpoint} has changed since the data module was made: make it again.")
            self._segmenter = segmenter
        return self._segmenter

    def __call__(self, raw: Raw) -> NDArray[np.uint8] | None:
        """The mask that the preparation is given.

        Raises:
            CovidctError: when the checkpoint cannot be used, or the scan has no Hounsfield units or spacing.
        """
        segmenter, scan = self.load(), raw.scan
        if isinstance(segmenter, XRayLungSegmenter) and isinstance(scan, Image):
            return segmenter(scan)
        return segmenter(scan) if isinstance(segmenter, LungSegmenter) and isinstance(scan, Volume) else raw.lung_mask


@lru_cache(maxsize=1)
def _read(checkpoint: str, kind: Kind, source: str) -> LungSegmenter | XRayLungSegmenter:
    """The network of a file of known digest, once for all the scans that a process is handed one by one."""
    maker = XRayLungSegmenter if kind == "cxr" else LungSegmenter
    return maker.from_checkpoint(checkpoint)
