"""``Preprocessing``: what happens to a scan before a network sees it, as plain data that travels in the checkpoint.

``fit``, ``test``, ``predict``, ``triage`` and ``export`` read the same record and apply it with the same function
(:func:`covidct.transforms.prepare_volume` and its kin), so that training and use cannot drift apart.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self

from covidct.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Preprocessing",)

_VERSION = 1  # raise when the meaning of a field changes: old checkpoints are then refused, old cache entries rebuilt


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The whole path from voxels to the tensor ``image``.

    Attributes:
        kind: ``"ct_volume"``, ``"ct_slice"`` or ``"cxr"``.
        classes: class names, index = label.
        window: (low, high) in HU that becomes [0, 1]; None for data that is in [0, 1] already.
        size: voxels per axis of the isotropic cube (volumes), pixels per side (slices, X-rays); None keeps the size.
        mask_source: ``"none"``, ``"threshold"`` (:func:`covidct.functional.segment_lungs`), ``"file"`` (the
            manifest's column ``mask``), or ``"checkpoint:<sha256>"`` of a segmentation network.
        enhancement: ``"none"`` or the name of a published enhancement.
        masking: ``"original"``, ``"lungs"`` (the rest is set to 0) or ``"no_lungs"``.
    """

    kind: Literal["ct_volume", "ct_slice", "cxr"]
    classes: tuple[str, ...]
    window: tuple[float, float] | None = (-1250.0, 250.0)
    size: int | None = 128
    mask_source: str = "threshold"
    enhancement: str = "none"
    masking: Literal["original", "lungs", "no_lungs"] = "original"

    def __post_init__(self) -> None:
        """Check the values; lists (from YAML or a checkpoint) become tuples."""
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.window is not None:
            low, high = self.window
            object.__setattr__(self, "window", (float(low), float(high)))
            if not low < high:
                raise UsageError(f"The window [{low}, {high}] is empty: give (low, high) in HU with low < high.")
        if self.size is not None and self.size < 8:
            raise UsageError(f"size={self.size} is too small: use at least 8.")
        if self.masking != "original" and self.mask_source == "none":
            raise UsageError(f"masking={self.masking!r} needs a lung mask: set mask_source.")

    def to_dict(self) -> dict[str, Any]:
        """Plain data (str, int, float, list, None) for checkpoints and JSON."""
        return {"version": _VERSION, **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote.

        Raises:
            CheckpointError: when the record is of another version or has unknown or missing fields.
        """
        values = dict(record)
        version = values.pop("version", None)
        names = {field.name for field in fields(cls)}
        if version != _VERSION or set(values) != names:
            raise CheckpointError(
                f"The pre-processing record (version {version}, fields {sorted(values)}) was written by another "
                "release of covidct: use that release, or train again."
            )
        return cls(**values)

    def require_same(self, other: Preprocessing, *, what: str) -> None:
        """Refuse a conflict between a checkpoint's record and what was asked for.

        Args:
            other: what was asked for.
            what: where ``other`` comes from, for the message ("the data module").

        Raises:
            UsageError: names every field that differs, with both values.
        """
        mine, theirs = asdict(self), asdict(other)
        differing = [f"{k}: checkpoint {mine[k]!r}, {what} {theirs[k]!r}" for k in mine if mine[k] != theirs[k]]
        if differing:
            raise UsageError(
                f"The checkpoint was trained with another pre-processing than {what} asks for "
                f"({'; '.join(differing)}): leave these options to the checkpoint, or train again."
            )

    def fingerprint(self) -> str:
        """Hex digest of everything that changes pixels (not the class names), for cache keys."""
        record = self.to_dict()
        del record["classes"]
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
