"""The ring: an immutable, numbered document that names the owners of every partition."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from blake3 import blake3
from uhashring import HashRing

from dynafs.errors import RingError

#: Points of the consistent-hash continuum per node of average weight. Placement bounds loads itself, so the
#: continuum only has to order nodes; 40 points keep 200 nodes under a second.
CONTINUUM_POINTS_MEAN = 40


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the ring. weight: share of data relative to others, above 0. zone: its failure domain.

    address: HOST:PORT where peers reach one that joined; empty for those that the settings name. No part of what a ring
    is: a node that moves house keeps its data.
    """

    node: str
    zone: str
    weight: float = 1.0
    address: str = field(default="", repr=False, compare=False)


@lru_cache(maxsize=8)
def continuum(members: tuple[Member, ...]) -> HashRing:
    """Return uhashring's consistent-hash ring of these members; equal members give an equal order."""
    mean = sum(m.weight for m in members) / len(members)
    points = {m.node: max(1, round(CONTINUUM_POINTS_MEAN * m.weight / mean)) for m in members}
    return HashRing({node: {"vnodes": count} for node, count in points.items()})


@dataclass(frozen=True)
class Ring:
    """Owners of every partition at one epoch.

    owners: one tuple of n node names per partition, the coordinator's first choice first.
    """

    epoch: int
    n: int
    members: tuple[Member, ...]
    owners: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        known = {m.node for m in self.members}
        count = len(self.owners)
        if count < 1 or count & (count - 1):
            raise RingError(f"a ring needs a power of two of partitions, not {count}", partitions=count)
        for partition, nodes in enumerate(self.owners):
            if len(nodes) != self.n or len(set(nodes)) != self.n or not known.issuperset(nodes):
                raise RingError(f"partition {partition} needs {self.n} distinct known owners, has {list(nodes)}")

    @property
    def partition_count(self) -> int:
        """Q."""
        return len(self.owners)

    @cached_property
    def digest(self) -> bytes:
        """16 bytes that two rings share only when they are equal."""
        text = repr((self.epoch, self.n, self.members, self.owners))
        return blake3(text.encode()).digest(16)

    @cached_property
    def owner_sets(self) -> frozenset[frozenset[str]]:
        """The distinct sets of owners; far fewer than partitions in a small cluster."""
        return frozenset(map(frozenset, self.owners))

    @cached_property
    def zones(self) -> dict[str, str]:
        """{node: zone}."""
        return {m.node: m.zone for m in self.members}

    @cached_property
    def loads(self) -> dict[str, int]:
        """{node: partition copies it owns}."""
        loads = {m.node: 0 for m in self.members}
        for nodes in self.owners:
            for node in nodes:
                loads[node] += 1
        return loads

    def preference_list(self, partition: int) -> tuple[str, ...]:
        """Return every node in the order a key of this partition wants them: owners, then fallbacks.

        Fallbacks in zones that no owner is in come first, so that a stand-in keeps copies apart.
        """
        owners = self.owners[partition]
        owner_zones = {self.zones[node] for node in owners}
        others = [name for name in continuum(self.members).iterate_nodes(f"p{partition}") if name not in owners]
        return (*owners, *sorted(others, key=lambda node: self.zones[node] in owner_zones))
