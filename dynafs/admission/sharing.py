"""Whether the holders of one pool can all complete: the banker's algorithm for a single resource."""

from collections.abc import Iterable
from typing import NamedTuple


class Claim(NamedTuple):
    """What a holder needs at most, and what it has of that."""

    whole_bytes: int
    held_bytes: int


def is_safe(free_bytes: int, claims: Iterable[Claim]) -> bool:
    """Return whether the holders can complete one after the other with what is free.

    Of holders that need the same, only the one that lacks least has to be able to: when it is done, more is free than
    any of them lacks.
    """
    #: {whole: the most that one holder has of it, what all have}
    groups: dict[int, tuple[int, int]] = {}
    for whole, held in claims:
        most, total = groups.get(whole, (0, 0))
        groups[whole] = (max(most, held), total + held)
    while groups:
        able = [whole for whole, (most, _) in groups.items() if whole - most <= free_bytes]
        if not able:
            return False
        for whole in able:
            free_bytes += groups.pop(whole)[1]
    return True
