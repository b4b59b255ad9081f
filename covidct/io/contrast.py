"""Tell from DICOM headers whether a contrast agent was given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ("contrast_of", "contrast_word")

_END = r"(?![a-z0-9])"
_START = r"(?<![a-z0-9])"
_AGENT = r"(?:(?:iv|i\.v\.|intravenous|oral)[ -]*)?(?:contrast|contr|con|km|cm|ce)"
_NOT = r"(?:without|w/o|w\.o\.|wo|ohne)"
_BOTH = re.compile(rf"{_START}(?:with|w|mit)[ /&+]*(?:and|und)?[ /&+]*{_NOT}{_END}")
_WITHOUT = re.compile(
    "|".join(
        (
            rf"{_START}(?:{_NOT}|non|no)[ -]*{_AGENT}{_END}",
            rf"{_START}{_AGENT}[ =-]*(?:none|nil|no *$)",
            rf"{_START}{_NOT} *$",
            rf"{_START}(?:un|non[ -]?)enhanced{_END}",
            rf"{_START}pre[ -]?contrast{_END}",
            rf"{_START}(?:plain|nativ|native|ncct){_END}",
            rf"{_START}c ?-(?![a-z0-9])",
        )
    )
)
_WITH = re.compile(
    "|".join(
        (
            rf"{_START}(?:post[ -]?)?contrast{_END}",
            rf"{_START}(?:with|w|post|mit)[ /-]*{_AGENT}{_END}",
            rf"{_START}(?:enhanced|enhancement|cect|ce-?ct|cta|ctpa|ctangio){_END}",
            rf"{_START}angio",
            rf"{_START}(?:arterial|venous|portal|delayed){_END}",
            rf"{_START}c ?\+{_END}|\+ ?c{_END}",
        )
    )
)
_NO_AGENT = frozenset({"", "-", "0", "n", "n/a", "na", "nil", "no", "none", "null", "w/o", "without"})
_TEXTS = {"series_description": "SeriesDescription", "protocol": "ProtocolName"}


def contrast_word(text: str) -> bool | None:
    """Look for words on contrast in a description of a series ("Chest C-", "CHEST W CONTRAST", "Plain", "CTPA").

    Own rule, for English terms, German ones and the abbreviations of scanner consoles. "Without and with contrast", in
    whichever order, counts as with.

    Args:
        text: any text, in any case.

    Returns:
        Whether contrast was given; None when the text says neither.
    """
    words = re.sub(r"[_,;:()\[\]\\]+", " ", text.lower())
    rest, without = _WITHOUT.subn(" ", words)
    if _BOTH.search(words) or _WITH.search(rest):
        return True
    return False if without else None


def contrast_of(headers: Iterable[Mapping[str, Any]]) -> tuple[bool | None, str]:
    """Judge a series by the headers of its slices, the surest element first.

    ContrastBolusAgent (0018,0010), unless it says "none"; ContrastBolusAgentSequence (0018,0012);
    ContrastBolusVolume (0018,1041) above 0; then words in SeriesDescription (0008,103E) and ProtocolName (0018,1030).
    DICOM PS3.3 (C.7.6.4) requires the Contrast/Bolus module where an agent was used, but archives drop it, and empty
    elements are common, so absence says nothing. Any agent counts, one that was swallowed too.

    Args:
        headers: elements by their names in :data:`covidct.io.dicom_header.ELEMENTS`, one mapping per slice.

    Returns:
        Whether contrast was given (None: not said), and the keyword of the element that says so ("": none).
    """
    slices = list(headers)
    agents = {str(values["contrast_agent"]).strip().lower() for values in slices if values.get("contrast_agent")}
    none = {agent for agent in agents if agent in _NO_AGENT or contrast_word(agent) is False}
    if agents - none:
        return True, "ContrastBolusAgent"
    if any(values.get("agents") for values in slices):
        return True, "ContrastBolusAgentSequence"
    if any(volume[0] > 0 for values in slices if (volume := values.get("contrast_volume"))):
        return True, "ContrastBolusVolume"
    if none:
        return False, "ContrastBolusAgent"
    for name, keyword in _TEXTS.items():
        said = {contrast_word(text) for text in {str(values[name]) for values in slices if values.get(name)}} - {None}
        if said:
            return True in said, keyword
    return None, ""
