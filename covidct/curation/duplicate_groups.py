"""Which pictures are one, directly or through others: what an unknown split or label in between would hide."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from covidct.curation.listing import Entry

    Word = Callable[[Entry], str]

__all__ = ("Tie", "hidden_ties", "identical_pairs")

_WORDS: tuple[Word, ...] = (attrgetter("split"), attrgetter("label"))  # what entries of one picture must share


@dataclass(frozen=True, slots=True)
class Tie:
    """Two entries that show the same picture.

    Attributes:
        first: index of the one.
        second: index of the other, larger.
        details: correlation of their details.
        overall: correlation of their grey values.
    """

    first: int
    second: int
    details: float = 1.0
    overall: float = 1.0


def identical_pairs(entries: Sequence[Entry], members: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of entries with equal pixels: each with the first, and with the first whose split or label is known.

    So every split and every label that some of them have stands in a pair with another one, wherever there is another.

    Args:
        entries: of the cohort.
        members: indices of those that are equal, in ascending order.

    Returns:
        Indices, the smaller first, each pair once.
    """
    pairs: dict[tuple[int, int], None] = {}
    for member in members[1:]:
        partners = [members[0]]
        for word in _WORDS:
            if word(entries[member]) and not word(entries[members[0]]):
                partners.append(next(index for index in members if word(entries[index])))
        pairs |= dict.fromkeys((partner, member) for partner in partners if partner != member)
    return list(pairs)


def hidden_ties(entries: Sequence[Entry], ties: Sequence[Tie]) -> list[Tie]:
    """Entries of different splits, or of different labels, that are tied through others alone.

    Of three pictures that are one, the middle one may be without a split: then no pair is in two splits, but the
    picture is. For each split (and label) of such a group that stands in no pair with another one, one tie is made,
    to the first entry whose split is known, as strong as the weakest link of the shortest way.

    Args:
        entries: of the cohort.
        ties: pairs that were found.

    Returns:
        Further ties, each once.
    """
    if not ties:
        return []
    count = len(entries)
    first, second = (np.array([getattr(tie, name) for tie in ties]) for name in ("first", "second"))
    graph = csr_array(coo_array((np.ones(len(ties), np.int8), (first, second)), shape=(count, count)))
    _, codes = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = defaultdict(list)
    for index in np.unique([first, second]).tolist():
        groups[int(codes[index])].append(index)
    within: dict[int, list[Tie]] = defaultdict(list)
    for tie in ties:
        within[int(codes[tie.first])].append(tie)
    found: dict[tuple[int, int], Tie] = {}
    for code, members in groups.items():
        for pair in _hidden(entries, members, within[code]):
            found[pair] = _weakest(graph, pair, {(tie.first, tie.second): tie for tie in within[code]})
    return list(found.values())


def _hidden(entries: Sequence[Entry], members: Sequence[int], ties: Sequence[Tie]) -> Iterator[tuple[int, int]]:
    """Pairs of entries, the smaller first, that show what no tie of the group shows."""
    for word in _WORDS:
        known = [index for index in members if word(entries[index])]
        shown = set()
        for tie in ties:
            one, other = word(entries[tie.first]), word(entries[tie.second])
            if one and other and one != other:
                shown |= {one, other}
        leading = {word(entries[index]): index for index in reversed(known)}
        for other, index in leading.items():
            if other not in shown and index != known[0]:
                yield known[0], index


def _weakest(graph: csr_array, pair: tuple[int, int], ties: dict[tuple[int, int], Tie]) -> Tie:
    """The tie of two entries through others."""
    _, before = breadth_first_order(graph, pair[0], directed=False)
    way = [pair[1]]
    while way[-1] != pair[0]:
        way.append(int(before[way[-1]]))
    links = [ties[min(step), max(step)] for step in pairwise(way)]
    return Tie(*pair, min(link.details for link in links), min(link.overall for link in links))
