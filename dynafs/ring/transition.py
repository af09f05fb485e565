"""Transitions: how a cluster goes from one ring to the next while it serves.

A `RingState` is what nodes agree on, version by version (`ring.paxos`). In one that moves, two rings stand side by
side, and three steps lead from the first to the second:

    stable      reads and writes at the owners of `ring`
    moving      writes at both; reads at the old owners, while new owners pull what they will own
    switched    writes at both; reads at the new owners
    stable      reads and writes at the owners of what was `next_ring`

Every call carries the caller's version, and a node that knows a later one refuses it. Neighbouring steps may be in use
at the same time: each reads where the other writes. Two conditions keep those further apart from meeting:

- To be switched, so many new owners must have pulled that every read quorum has one of them (`is_pulled`). A pull takes
  over what r old owners hold, each asked after it heard that the ring moves, because from then on it takes no write of
  a coordinator that knows only the old one. Fewer would do for what was written at w of them, but not for what an
  earlier transition brought. Owners that stay pull as well: they may have missed writes.
- To be stable again, of each partition's old owners so few may not have heard that it is switched that they make no
  read quorum (`is_known_to_enough`).

As in joint consensus (Ongaro, "Consensus: bridging theory and practice", 2014, section 4.3) and RAMBO (Lynch,
Shvartsman 2002), with a quorum per partition.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from dynafs.errors import ChangeRefused, RequestInvalid, RingError, StagedUnusable
from dynafs.ring.change import Change, changed
from dynafs.ring.ring import Ring

#: Changes prepared at once.
STAGED_MAX = 1000


class Step(StrEnum):
    """Where a transition stands."""

    STABLE = "stable"
    MOVING = "moving"
    SWITCHED = "switched"


@dataclass(frozen=True)
class RingState:
    """One decision of the cluster. version: counts them. epoch_max: the highest epoch that any ring ever had.
    staged: changes that operators prepare for the ring after the newest; nothing has moved for them.

    Invariant: `next_ring` is there exactly while the step is not stable.
    """

    version: int
    ring: Ring
    step: Step = Step.STABLE
    next_ring: Ring | None = None
    epoch_max: int = 0
    staged: tuple[Change, ...] = ()

    def __post_init__(self) -> None:
        if (self.next_ring is None) != (self.step is Step.STABLE):
            raise RingError(f"a ring that is {self.step} with{'out' if self.next_ring is None else ''} another one")
        rings = [self.ring] if self.next_ring is None else [self.ring, self.next_ring]
        if self.epoch_max < max(ring.epoch for ring in rings):
            raise RingError(f"epoch {self.epoch_max} was not the highest")
        if len({(ring.partition_count, ring.n) for ring in rings}) > 1:
            raise RingError("partitions and copies are fixed when the cluster is made")

    @staticmethod
    def first(ring: Ring) -> "RingState":
        """Return the state that a cluster is founded with."""
        return RingState(1, ring, epoch_max=ring.epoch)

    @property
    def newest(self) -> Ring:
        """The ring this leads to."""
        return self.next_ring or self.ring

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every node that owns, or will own, anything."""
        rings = (self.ring, self.newest)
        return tuple(dict.fromkeys(member.node for ring in rings for member in ring.members))

    def readers(self, partition: int) -> tuple[str, ...]:
        """Return the owners of which R answer a read."""
        ring = self.newest if self.step is Step.SWITCHED else self.ring
        return ring.owners[partition]

    def writers(self, partition: int) -> tuple[tuple[str, ...], ...]:
        """Return the sets of owners of each of which W must confirm a write: one, or two that differ."""
        old, new = self.ring.owners[partition], self.newest.owners[partition]
        return (old,) if set(old) == set(new) else (old, new)

    def pulls(self, node: str) -> list[int]:
        """Return the partitions of which a node must hold everything before the ring is switched."""
        if self.step is not Step.MOVING:
            return []
        owners = enumerate(self.newest.owners)
        return [partition for partition, new in owners if node in new and len(self.writers(partition)) > 1]

    def staging(self, change: Change) -> "RingState":
        """Return the state with one more change staged. Raises RequestInvalid, ChangeRefused when it cannot be,
        StagedUnusable when what is staged already cannot be."""
        if len(self.staged) >= STAGED_MAX:
            raise ChangeRefused(str(change), f"{STAGED_MAX} changes are staged already; commit or clear them")
        self.check_staged()
        members = changed(self.newest.members, (*self.staged, change))
        if len(members) < self.ring.n:
            raise ChangeRefused(str(change), f"{self.ring.n} copies need {self.ring.n} nodes; stage who joins first")
        return replace(self, version=self.version + 1, staged=(*self.staged, change))

    def check_staged(self) -> None:
        """Raise StagedUnusable when the staged changes, perhaps of an earlier version, make no list of members."""
        try:
            changed(self.newest.members, self.staged)
        except (RequestInvalid, ChangeRefused) as error:
            raise StagedUnusable(error.message) from None

    def cleared(self) -> "RingState":
        """Return the state with nothing staged."""
        return replace(self, version=self.version + 1, staged=())

    def moving_to(self, ring: Ring) -> "RingState":
        """Return the state that begins the way to another ring. Raises RingError while one is under way."""
        if self.step is not Step.STABLE:
            raise RingError("the ring is moving already; wait for that, or cancel it")
        if ring.epoch <= self.epoch_max:
            raise RingError(f"epoch {ring.epoch} was used before; the next one is {self.epoch_max + 1}")
        return RingState(self.version + 1, self.ring, Step.MOVING, ring, ring.epoch)

    def cancelled(self) -> "RingState":
        """Return the state that gives a transition up. The old owners have everything until it is switched."""
        if self.step is not Step.MOVING:
            raise RingError(
                "nothing moves; there is nothing to cancel" if self.step is Step.STABLE
                else "the new ring is read from already and cannot be cancelled; stage the changes back instead"
            )  # fmt: skip
        return replace(self, version=self.version + 1, step=Step.STABLE, next_ring=None)

    def advanced(self) -> "RingState":
        """Return the state after the next step."""
        if self.step is Step.MOVING:
            return replace(self, version=self.version + 1, step=Step.SWITCHED)
        if self.step is Step.SWITCHED:
            return RingState(self.version + 1, self.newest, epoch_max=self.epoch_max, staged=self.staged)
        raise RingError("a stable ring has no next step")

    def is_known_to_enough(self, knowing: Collection[str], r: int) -> bool:
        """Return whether nobody who has not heard of this version can read any more: no partition has `r` old owners
        that would still answer.

        knowing: nodes that refuse older versions. r: the least read quorum in use.
        """
        return all(sum(node not in knowing for node in nodes) < r for nodes in self.ring.owners)

    def is_pulled(self, done: Collection[tuple[int, str]], r: int) -> bool:
        """Return whether any `r` new owners of each partition have one among them that holds all of it.

        done: (partition, node) of finished pulls. r: the least read quorum in use.
        """
        for partition, new in enumerate(self.newest.owners):
            if len(self.writers(partition)) > 1 and sum((partition, node) not in done for node in new) >= r:
                return False
        return True
