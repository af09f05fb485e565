"""The plan: what a new ring would move, and what it would risk, before anybody commits to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from blake3 import blake3

from dynafs.ring.change import Change, changed, replacements
from dynafs.ring.placement import place
from dynafs.ring.ring import Ring
from dynafs.ring.shares import fair_shares

HASH_SIZE_BYTES = 8


@dataclass(frozen=True, slots=True)
class Move:
    """A copy of a partition that `to` must get; `sources` own one already, those that stay first."""

    partition: int
    to: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A ring that could follow another, and what it takes."""

    before: Ring
    after: Ring
    changes: tuple[Change, ...]

    @cached_property
    def hash(self) -> str:
        """What an operator names to say: exactly this."""
        said = repr((self.before.digest, self.after.digest, self.changes))
        return blake3(said.encode()).hexdigest()[: 2 * HASH_SIZE_BYTES]

    @cached_property
    def moves(self) -> tuple[Move, ...]:
        """Every copy that has to be made."""
        moves = []
        for partition, (old, new) in enumerate(zip(self.before.owners, self.after.owners, strict=True)):
            sources = tuple(sorted(old, key=lambda node: node not in new))
            moves += [Move(partition, node, sources) for node in new if node not in old]
        return tuple(moves)

    @property
    def moves_min(self) -> int:
        """How many copies the loads of the new ring take at least: what each node holds more than before."""
        before, after = self.before.loads, self.after.loads
        return sum(max(count - before.get(node, 0), 0) for node, count in after.items())

    @property
    def imbalance(self) -> float:
        """How far the fullest node of the new ring is above its fair share, 0.1 for 10 %."""
        shares = fair_shares(self.after.members, self.after.partition_count, self.after.n)
        return max(count / shares[node] for node, count in self.after.loads.items()) - 1

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know before committing."""
        ring, found = self.after, []
        crowded = _crowded(ring)
        if crowded:
            zones = len(set(ring.zones.values()))
            found.append(
                f"{crowded} of {ring.partition_count} partitions have two copies in one zone: {ring.n} copies want "
                f"{ring.n} zones, there are {zones} with room"
            )
        lonely = sum(not set(old) & set(new) for old, new in zip(self.before.owners, ring.owners, strict=True))
        if lonely:
            found.append(f"{lonely} partitions change all their owners at once")
        return tuple(found)


def make_plan(ring: Ring, changes: Sequence[Change], epoch: int) -> Plan:
    """Return the plan of these changes. epoch: of the new ring. Raises ChangeRefused, RingError."""
    members = changed(ring.members, changes)
    successors = replacements(changes)
    inherited = replace(
        ring,
        members=tuple(replace(member, node=successors.get(member.node, member.node)) for member in ring.members),
        owners=tuple(tuple(successors.get(node, node) for node in nodes) for nodes in ring.owners),
    )
    after = place(members, ring.partition_count, ring.n, inherited, epoch)
    return Plan(ring, after, tuple(changes))


def copies_without(ring: Ring, lost: Sequence[str]) -> dict[int, int]:
    """Return {copies left: partitions with so many} should these nodes be lost."""
    found: dict[int, int] = {}
    gone = frozenset(lost)
    for nodes in ring.owners:
        left = sum(node not in gone for node in nodes)
        found[left] = found.get(left, 0) + 1
    return found


def _crowded(ring: Ring) -> int:
    return sum(len({ring.zones[node] for node in nodes}) < len(nodes) for nodes in ring.owners)
