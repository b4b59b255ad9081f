"""What becomes of a fault in an input: refused, repaired or recorded, as ``on_fault`` says."""

from __future__ import annotations

from typing import Literal, TypeAlias

from covidct.errors import GeometryError, InputError, UsageError
from covidct.volume import Finding

__all__ = ("OnFault", "check_on_fault", "settle")

OnFault: TypeAlias = Literal["error", "repair", "warn"]
"""``"error"`` refuses a fault, ``"repair"`` mends what can be mended and says so, ``"warn"`` goes on and says so."""


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
    on_fault: OnFault,
    hint: str = "",
    error: type[InputError] = InputError,
) -> Finding:
    """Refuse a fault under ``"error"``, else make the finding that records it.

    Args:
        code: stable name of the fault.
        message: the fault with its numbers, a clause without a full stop.
        done: what is done about it under ``"repair"`` and ``"warn"``, a clause.
        on_fault: what the user wants.
        hint: what the user can do; by default, to pass ``on_fault``.
        error: class to raise.

    Raises:
        InputError: (or ``error``) under ``"error"``; the sentence names the finding.
    """
    sentence = message[:1].upper() + message[1:]
    if on_fault == "error":
        advice = hint or f"with on_fault='repair' it is {done}"
        text = f"{sentence} ({code}): {advice}."
        if issubclass(error, GeometryError):
            raise error(text, (Finding(code, f"{sentence}.", "refused"),))
        raise error(text)
    return Finding(code, f"{sentence}; {done}.", "repaired" if on_fault == "repair" else "recorded")
