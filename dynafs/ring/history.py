"""The history of rings: which there were, since when, and what was changed for them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dynafs.ring.ring import Member, Ring
from dynafs.ring.transition import RingState, Step

#: Rings that are remembered; the oldest go first.
PASTS_MAX = 100


@dataclass(frozen=True, slots=True)
class Past:
    """A ring that was, or was to be.

    outcome: "founded", "moving", "reached" or "cancelled". changes: what was different from the ring before, as far as
    this node saw it. began_ms, ended_ms: wall clock of when this node heard of it, and of its outcome; 0 for not
    yet, or not known.
    """

    epoch: int
    outcome: str
    changes: tuple[str, ...] = ()
    began_ms: int = 0
    ended_ms: int = 0


def extended(history: Sequence[Past], before: RingState, after: RingState, now_ms: int) -> tuple[Past, ...]:
    """Return the history after a state was learned. States between the two may have been missed; learning the same
    state again adds nothing."""
    pasts = list(history) or [Past(before.ring.epoch, "founded")]
    if pasts[-1].outcome == "moving" and (after.step is Step.STABLE or after.newest.epoch != pasts[-1].epoch):
        outcome = "reached" if after.ring.epoch >= pasts[-1].epoch else "cancelled"
        pasts[-1] = replace(pasts[-1], outcome=outcome, ended_ms=now_ms)
    if after.newest.epoch > pasts[-1].epoch:
        is_moving = after.next_ring is not None
        old = after.ring if is_moving else before.ring
        pasts.append(
            Past(
                after.newest.epoch, "moving" if is_moving else "reached", differences(old, after.newest),
                now_ms, 0 if is_moving else now_ms,
            )
        )  # fmt: skip
    return tuple(pasts[-PASTS_MAX:])


def differences(before: Ring, after: Ring) -> tuple[str, ...]:
    """Return what differs between the members of two rings, each as an operator would say it."""
    old, new = ({member.node: member for member in ring.members} for ring in (before, after))
    found = [f"{node} joined" for node in new if node not in old]
    found += [f"{node} left" for node in old if node not in new]
    for node in new:
        if node in old:
            found += _changes(node, old[node], new[node])
    return tuple(found)


def _changes(node: str, before: Member, after: Member) -> list[str]:
    found = []
    if before.weight != after.weight:
        found.append(f"weight of {node} from {before.weight:g} to {after.weight:g}")
    if before.zone != after.zone:
        found.append(f"zone of {node} from {before.zone} to {after.zone}")
    return found
