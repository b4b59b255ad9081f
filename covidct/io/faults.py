"""What becomes of a fault in an input: refused, repaired or recorded, as ``on_fault`` says."""

from __future__ import annotations

from typing import Literal, TypeAlias

from covidct.errors import GeometryError, InputError, UsageError
from covidct.volume import Finding

__all__ = ("OnFault", "Policy", "check_on_fault", "settle")

OnFault: TypeAlias = Literal["error", "repair", "warn"]
"""``"error"`` refuses a fault, ``"repair"`` mends what can be mended and says so, ``"warn"`` goes on and says so."""

Policy: TypeAlias = Literal["error", "repair", "warn", "list"]
"""``OnFault``, or ``"list"``: name what ``"error"`` refuses, and raise nothing."""


def check_on_fault(on_fault: str) -> None:
    """Refuse another word than the three.

    Raises:
        UsageError: for an unknown word.
    """
    if on_fault not in ("error", "repair", "warn"):
        raise UsageError(f"on_fault={on_fault!r} is unknown: use 'error', 'repair' or 'warn'.")


def settle(
    code: str,
    message: str,
    done: str,
    *,
    on_fault: Policy,
    hint: str = "",
    mendable: bool = True,
    error: type[InputError] = InputError,
) -> Finding:
    """Refuse a fault under ``"error"``, and under ``"repair"`` when nothing mends it; else make a finding of it.

    Args:
        code: stable name of the fault.
        message: the fault with its numbers, a clause without a full stop.
        done: what is done about it when it is not refused, a clause.
        on_fault: what the user wants.
        hint: what the user can do; by default, to pass ``on_fault``.
        mendable: whether ``done`` makes good what is wrong; a guess does not.
        error: class to raise.

    Raises:
        InputError: (or ``error``) for a refusal; the sentence names the finding.
    """
    sentence = message[:1].upper() + message[1:]
    if on_fault == "list":
        return Finding(code, f"{sentence}.", "refused")
    if on_fault == "error" or (on_fault == "repair" and not mendable):
        other = "repair" if mendable else "warn"
        advice = hint or f"correct the file, or pass on_fault='{other}' to go on ({done})"
        text = f"{sentence} ({code}): {advice}."
        if issubclass(error, GeometryError):
            raise error(text, (Finding(code, f"{sentence}.", "refused"),))
        raise error(text)
    return Finding(code, f"{sentence}; {done}.", "repaired" if on_fault == "repair" else "recorded")
