"""``Preprocessing``: what happens to a scan before a network sees it, as plain data that travels in the checkpoint.

``fit``, ``test``, ``predict``, ``triage`` and ``export`` read the same record and apply it with the same function
(:func:`covidct.transforms.prepare_volume` and its kin), so that training and use cannot drift apart.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from covidct.errors import CheckpointError, UsageError

__all__ = ("Preprocessing",)

Kind = Literal["ct_volume", "ct_slice", "cxr"]
Grid = Literal["cube", "slices"]
Enhancement = Literal["none", "tone", "stochastic", "equalise", "clahe", "equalise_clahe"]
Masking = Literal["original", "lungs", "no_lungs"]
Contrast = Literal["none", "rms", "spread"]

_VERSION = 3  # raise when the meaning of a field changes: old checkpoints are then refused, old cache entries rebuilt

_CHOICES = (("grid", Grid), ("enhancement", Enhancement), ("masking", Masking), ("contrast", Contrast))

_SMALLEST = 8  # voxels per side


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The whole path from voxels to the tensor ``image``.

    Attributes:
        kind: ``"ct_volume"``, ``"ct_slice"`` or ``"cxr"``.
        classes: class names, index = label.
        window: (low, high) in HU that becomes [0, 1]; None for data that is in [0, 1] already.
        size: voxels per axis of the isotropic cube, or pixels per side of a slice or an X-ray; None keeps the size.
        grid: of volumes: ``"cube"`` (isotropic, ``size`` voxels per axis) or ``"slices"`` (every slice of the scan is
            kept and resized to ``size`` x ``size`` pixels).
        mask_source: ``"none"``, ``"threshold"`` (:func:`covidct.functional.segment_lungs`), ``"lung_field"``
            (:func:`covidct.functional.lung_field`, no sides), ``"file"`` (the manifest's column ``mask``), or
            ``"checkpoint:<sha256>"`` of a segmentation network.
        enhancement: ``"none"``, ``"tone"`` (:func:`covidct.functional.tone_map`), ``"stochastic"``
            (:func:`covidct.functional.stochastic_enhance`), ``"equalise"``
            (:func:`covidct.functional.equalise_histogram`), ``"clahe"`` (:func:`covidct.functional.clahe`) or
            ``"equalise_clahe"`` (:func:`covidct.functional.equalise`, the one after the other), applied to the windowed
            slices at their final size.
        masking: ``"original"``, ``"lungs"`` (the rest is set to 0) or ``"no_lungs"``.
        contrast: ``"rms"`` or ``"spread"``: the key ``contrast`` holds that measure
            (:func:`covidct.functional.contrast_score`) of the windowed slices before enhancement and masking, of CT
            only; ``"none"``: there is no such key.
    """

    kind: Kind
    classes: tuple[str, ...]
    window: tuple[float, float] | None = (-1250.0, 250.0)
    size: int | None = 128
    grid: Grid = "cube"
    mask_source: str = "threshold"
    enhancement: Enhancement = "none"
    masking: Masking = "original"
    contrast: Contrast = "none"

    def __post_init__(self) -> None:
        """Check the values; lists (from YAML or a checkpoint) become tuples."""
        if self.kind not in get_args(Kind):
            raise UsageError(f"kind={self.kind!r} is unknown: use one of {', '.join(get_args(Kind))}.")
        object.__setattr__(self, "classes", _class_names(self.classes))
        if self.window is not None:
            object.__setattr__(self, "window", _window(self.window))
        if self.size is not None and (type(self.size) is not int or self.size < _SMALLEST):
            raise UsageError(
                f"size={self.size!r} is not usable: give a whole number of at least {_SMALLEST}, smaller is too small."
            )
        if not isinstance(self.mask_source, str):
            raise UsageError(f"mask_source={self.mask_source!r} must be a name: use 'none' for no lung mask.")
        for name, choices in _CHOICES:
            if getattr(self, name) not in get_args(choices):
                raise UsageError(
                    f"{name}={getattr(self, name)!r} is unknown: use one of {', '.join(get_args(choices))}."
                )
        if self.grid == "slices" and self.kind != "ct_volume":
            raise UsageError(f"grid='slices' is for volumes, not for {self.kind}: leave it at 'cube'.")
        if self.kind == "cxr" and self.contrast != "none":
            raise UsageError(
                "contrast is measured inside the body as CT slices show it, not on X-rays: set contrast=none."
            )
        if self.masking != "original" and self.mask_source == "none":
            raise UsageError(f"masking={self.masking!r} needs a lung mask: set mask_source.")

    def to_dict(self) -> dict[str, Any]:
        """Plain data (str, int, float, list, None) for checkpoints and JSON."""
        return {"version": _VERSION, **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote.

        Raises:
            CheckpointError: when the record is of another version, has unknown or missing fields, or impossible values.
        """
        if not isinstance(record, Mapping):
            raise CheckpointError(f"The pre-processing record is damaged (it is {type(record).__name__}): train again.")
        values = dict(record)
        version = values.pop("version", None)
        names = {field.name for field in fields(cls)}
        if type(version) is not int or version != _VERSION or set(values) != names:
            raise CheckpointError(
                f"The pre-processing record (version {version}, fields {sorted(values)}) was written by another "
                "release of covidct: use that release, or train again."
            )
        try:
            return cls(**values)
        except UsageError as error:
            raise CheckpointError(f"The pre-processing record is damaged: {error}") from error

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


def _class_names(names: object) -> tuple[str, ...]:
    """Names as a tuple, when they can be the outputs of a network."""
    found = tuple(names) if isinstance(names, list | tuple) else ()
    if not found or not all(isinstance(name, str) and name for name in found) or len(set(found)) < len(found):
        raise UsageError(f"classes={names!r} is not usable: give a list of different names, index = label.")
    return found


def _window(window: object) -> tuple[float, float]:
    """The window as a pair of numbers, when it has a width."""
    pair = tuple(window) if isinstance(window, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(edge, int | float) and math.isfinite(edge) for edge in pair):
        raise UsageError(f"window={window!r} is not usable: give (low, high) in HU, or null for data in [0, 1].")
    if not pair[0] < pair[1]:
        raise UsageError(f"The window [{pair[0]}, {pair[1]}] is empty: give (low, high) in HU with low < high.")
    return float(pair[0]), float(pair[1])
