"""Series of DICOM slices: which files belong together, and which of them make a volume."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from covidct.errors import GeometryError, InputError
from covidct.io.dicom_slices import Slice, read_slices
from covidct.io.names import counted
from covidct.volume import Finding

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from covidct.io.dicom_files import Item
    from covidct.io.faults import OnFault
    from covidct.io.geometry import Stack

__all__ = ("Fault", "Series", "find_all", "settle_faults")

Action = Literal["repaired", "dropped", "sorted", "recorded"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a series, before a policy decides what becomes of it.

    Attributes:
        code: stable name.
        message: a clause with the numbers, no full stop, no file names: findings go into reports.
        files: names of the files in question, for the error sentence alone.
        repair: what ``"repair"`` does; None when it cannot be repaired.
        warn: what ``"warn"`` does; None when the series is of no use even then.
        harmless: what is done under every policy, ``"error"`` included; None when ``"error"`` refuses.
    """

    code: str
    message: str
    files: str = ""
    repair: Action | None = None
    warn: Action | None = "recorded"
    harmless: Action | None = None

    def action(self, on_fault: OnFault) -> Action | None:
        """What the policy does about it, None for a refusal."""
        if self.harmless:
            return self.harmless
        return {"error": None, "repair": self.repair, "warn": self.warn}[on_fault]

    def finding(self, on_fault: OnFault) -> Finding:
        """The finding under a policy."""
        return Finding(self.code, f"{self.message[:1].upper()}{self.message[1:]}.", self.action(on_fault) or "refused")


@dataclass(slots=True)
class Series:
    """Slices of one series that fit together, in order, and what was wrong with the rest.

    Attributes:
        uid: SeriesInstanceUID; with ``#2`` behind it for the second acquisition in the same series.
        slices: the usable slices, in order along their normal when ``stack`` is set.
        faults: what was found.
        stack: geometry, None when there is none.
        items: all files of the series.
    """

    uid: str
    slices: list[Slice]
    faults: list[Fault] = field(default_factory=list)
    stack: Stack | None = None
    items: tuple[Item, ...] = ()

    @property
    def modality(self) -> str:
        """Modality of the first slice, empty when the file does not say."""
        return self.slices[0].modality if self.slices else ""

    @property
    def has_pixels(self) -> bool:
        """Whether there is any image."""
        return any(s.shape[0] for s in self.slices)

    @property
    def kind(self) -> str:
        """Modality and size in words; nothing that identifies."""
        rows, columns = self.slices[0].shape
        return f"{self.modality or 'no modality'}, {len(self.slices)} x {rows} x {columns}"

    def describe(self) -> str:
        """UID, modality and size, for error messages."""
        return f"{self.uid or '(no UID)'} ({self.kind})"


def find_all(items: Sequence[Item]) -> tuple[list[Series], list[Fault]]:
    """Read all headers and group them to series.

    Args:
        items: files of any kind, in natural order of names.

    Returns:
        The series, most slices first, not yet examined, and faults of files that belong to no series.
    """
    by_uid: dict[str, list[Slice]] = defaultdict(list)
    damaged: list[Item] = []
    for item in items:
        try:
            slices = read_slices(item)
        except InputError:
            damaged.append(item)
            continue
        for slice_ in slices:
            by_uid[slice_.series_uid].append(slice_)
    found: list[Series] = []
    for uid, slices in by_uid.items():
        parts = _acquisitions(slices)
        for number, part in enumerate(parts, 1):
            unique = tuple({s.item.path: s.item for s in part}.values())
            found.append(Series(f"{uid}#{number}" if len(parts) > 1 else uid, part, items=unique))
    found.sort(key=lambda s: -len(s.slices))
    if not damaged:
        return found, []
    message = f"{counted(len(damaged), 'DICOM file has a header', 'DICOM files have headers')} that cannot be read"
    return found, [Fault("unreadable_file", message, damaged[0].name, repair="dropped", warn="dropped")]


def _acquisitions(slices: list[Slice]) -> list[list[Slice]]:
    """Part a series that holds several passes over the same places (contrast phases, cine) by what tells them apart."""
    places = Counter(s.position for s in slices if s.position is not None)
    repeated = sum(count - 1 for count in places.values())
    if repeated * 3 < len(slices):
        return [slices]
    for name in ("temporal", "acquisition"):
        parts: dict[Hashable, list[Slice]] = defaultdict(list)
        for slice_ in slices:
            parts[slice_.values.get(name)].append(slice_)
        clean = all(len({s.position for s in part}) == len(part) >= 3 for part in parts.values())
        if len(parts) > 1 and clean:
            return list(parts.values())
    return [slices]


def settle_faults(faults: Sequence[Fault], on_fault: OnFault) -> tuple[Finding, ...]:
    """Apply a policy.

    Returns:
        One finding for each fault.

    Raises:
        GeometryError: when the policy refuses one of them; holds all findings.
    """
    findings = tuple(fault.finding(on_fault) for fault in faults)
    refused = [fault for fault in faults if fault.action(on_fault) is None]
    if refused:
        first = refused[0]
        sentence = f"{first.message[:1].upper()}{first.message[1:]} ({first.code}{first.files and ': ' + first.files})"
        lost = [fault for fault in faults if fault.action(on_fault) == "dropped" and fault.code != first.code]
        if others := sorted({fault.code for fault in (*refused[1:], *lost)}):
            sentence += f"; there is also {', '.join(others)}"
        raise GeometryError(f"{sentence}: {_advice(refused)}.", findings)
    return findings


def _advice(refused: Sequence[Fault]) -> str:
    if all(fault.repair for fault in refused):
        return "pass on_fault='repair' to mend it, or export the series again"
    if all(fault.warn for fault in refused):
        return "this cannot be repaired; export the series again, or pass on_fault='warn' to read it as it is"
    return "no volume can be made of it; export the complete series again"
