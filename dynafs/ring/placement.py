"""Placement: lay partitions out over nodes, from nothing or with as few moves as possible from an earlier ring.

Rule 1: a partition's owners are distinct nodes, and in distinct zones while there are n zones.
Rule 2: a node's load ends within one partition of its share (see shares.py).
Rule 3: an owner is only replaced when it is gone, breaks rule 1, or rule 2 needs the move.

uhashring gives each partition its order of nodes; a node is skipped while its load is full ("consistent hashing with
bounded loads", Mirrokni et al. 2016). Where greed paints itself into a corner, a shortest path of exchanges
(a gives a partition to b, b gives another one to c) gets out of it.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from blake3 import blake3

from dynafs.errors import RingError, RingTooSmall
from dynafs.ring.ring import Member, Ring, continuum
from dynafs.ring.shares import fair_shares, zone_copies_max

#: Distinct nodes of the hash order that are tried before the emptiest node is taken. With fewer nodes with room than
#: this is likely to meet, a longer walk costs more than the order is worth.
WALK_NODES_MAX = 24


def place(
    members: tuple[Member, ...], partition_count: int, n: int, previous: Ring | None = None, epoch: int = 1
) -> Ring:
    """Return a ring over `members`; with `previous`, one that differs from it as little as balance allows.

    partition_count: Q, a power of two; must equal the previous ring's.
    Raises RingTooSmall with fewer than n members, RingError for duplicates, weights of 0 or a changed Q.
    """
    _check(members, partition_count, n, previous)
    layout = _Layout(members, partition_count, n)
    if previous is not None:
        layout.keep(previous)
    layout.fill()
    layout.balance()
    return Ring(epoch, n, members, layout.ordered())


def _check(members: tuple[Member, ...], partition_count: int, n: int, previous: Ring | None) -> None:
    if len(members) < n:
        raise RingTooSmall(len(members), n)
    if len({m.node for m in members}) != len(members):
        raise RingError("two members share a name")
    if any(not 0 < m.weight < math.inf for m in members):
        raise RingError("every member needs a weight above 0")
    if previous is not None and previous.partition_count != partition_count:
        raise RingError("the number of partitions is fixed when the cluster is made")


class _Layout:
    """A placement in the making. Invariant: `loads` counts `owners`; every partition obeys rule 1."""

    def __init__(self, members: tuple[Member, ...], partition_count: int, n: int) -> None:
        self.members, self.n = members, n
        self.zone_of = {m.node: m.zone for m in members}
        self.zone_limit = zone_copies_max(members, n)
        self.shares = fair_shares(members, partition_count, n)
        self.owners: list[list[str]] = [[] for _ in range(partition_count)]
        #: {node: its partitions, as an ordered set}
        self.held: dict[str, dict[int, None]] = {m.node: {} for m in members}
        #: nodes that hold data already
        self.settled: frozenset[str] = frozenset()

    def load(self, node: str) -> int:
        return len(self.held[node])

    def surplus(self, node: str) -> float:
        return self.load(node) - self.shares[node]

    def floor(self, node: str) -> int:
        return math.floor(self.shares[node] + 1e-9)

    def ceiling(self, node: str) -> int:
        return math.ceil(self.shares[node] - 1e-9)

    def slack(self, node: str) -> int:
        """Return how far below its share a node may stay: one copy if that saves moving data, none otherwise."""
        return 1 if node in self.settled else 0

    def preference(self, partition: int) -> Iterator[str]:
        names: Iterator[str] = continuum(self.members).iterate_nodes(f"p{partition}")
        return names

    def add(self, node: str, partition: int) -> None:
        self.owners[partition].append(node)
        self.held[node][partition] = None

    def swap(self, partition: int, old: str, new: str) -> None:
        self.owners[partition][self.owners[partition].index(old)] = new
        del self.held[old][partition]
        self.held[new][partition] = None

    def fits(self, partition: int, node: str, leaving: str | None = None) -> bool:
        """Return whether rule 1 lets `node` join the partition once `leaving` is out of it."""
        if partition in self.held[node]:
            return False
        zone = self.zone_of[node]
        inside = sum(1 for other in self.owners[partition] if other != leaving and self.zone_of[other] == zone)
        return inside < self.zone_limit

    def keep(self, previous: Ring) -> None:
        """Take over every owner of the earlier ring that is still here and breaks no rule."""
        self.settled = frozenset(member.node for member in previous.members)
        for partition, nodes in enumerate(previous.owners):
            for node in nodes:
                if node in self.held and len(self.owners[partition]) < self.n and self.fits(partition, node):
                    self.add(node, partition)

    def fill(self) -> None:
        """Give every hole an owner.

        A new partition takes the first nodes in hash order that have room; a hole left by a node that went takes the
        emptiest node, which keeps the moves that balancing would add small.
        """
        for partition, nodes in enumerate(self.owners):
            if not nodes:
                for node in islice(self.preference(partition), WALK_NODES_MAX):
                    if self.load(node) < self.ceiling(node) and self.fits(partition, node):
                        self.add(node, partition)
                        if len(nodes) == self.n:
                            break
            while len(nodes) < self.n:
                self._fill_one(partition)

    def _fill_one(self, partition: int) -> None:
        fitting = [node for node in self.held if self.fits(partition, node)]
        if not fitting:
            raise RingError(f"no node fits partition {partition}")
        node = min(fitting, key=self.surplus)
        is_full = self.load(node) >= self.ceiling(node)
        self.add(node, partition)
        if is_full:
            self._shed(node)

    def balance(self) -> None:
        """Move copies from the fullest to the emptiest until every load is within rule 2."""
        for node in sorted(self.held, key=self.surplus, reverse=True):
            while self.load(node) > self.floor(node) + 1 and self._shed(node):
                pass
        for node in sorted(self.held, key=self.surplus):
            while self.load(node) < self.floor(node) - self.slack(node) and self._attract(node):
                pass

    def _shed(self, node: str) -> bool:
        """Move one copy from `node` to the nearest node with room, along a shortest path of exchanges."""
        path = self._path(node, self._givable, lambda other: self.load(other) < self.ceiling(other))
        for giver, taker, partition in reversed(path):
            self._swap_if_fitting(partition, giver, taker)
        return bool(path)

    def _attract(self, node: str) -> bool:
        """Move one copy to `node` from the nearest node over its share, along a shortest path of exchanges."""
        path = self._path(node, self._takable, lambda other: self.surplus(other) > 0)
        for taker, giver, partition in path:
            self._swap_if_fitting(partition, giver, taker)
        return bool(path)

    def _swap_if_fitting(self, partition: int, giver: str, taker: str) -> None:
        # An earlier swap of the same path may have changed this partition; rule 1 comes before balance.
        if partition in self.held[giver] and self.fits(partition, taker, leaving=giver):
            self.swap(partition, giver, taker)

    def _path(
        self, source: str, edge: Callable[[str, str], int | None], is_target: Callable[[str], bool]
    ) -> list[tuple[str, str, int]]:
        """Return the steps (from, to, partition) of a shortest path from `source` to a target, empty without one."""
        came: dict[str, tuple[str, int]] = {}
        queue = deque([source])
        while queue:
            node = queue.popleft()
            for other in self._neighbours(node, edge):
                partition = edge(node, other) if other != source and other not in came else None
                if partition is None:
                    continue
                came[other] = (node, partition)
                if is_target(other):
                    return _trace(came, source, other)
                queue.append(other)
        return []

    def _neighbours(self, node: str, edge: Callable[[str, str], int | None]) -> list[str]:
        """Return candidates, likeliest target first. With every zone full, copies only change hands inside a zone."""
        zones = len(set(self.zone_of.values()))
        is_rigid = zones * self.zone_limit == self.n
        inside = [o for o in self.held if not is_rigid or self.zone_of[o] == self.zone_of[node]]
        return sorted(inside, key=self.surplus, reverse=edge == self._takable)

    def _givable(self, giver: str, taker: str) -> int | None:
        """Return a partition `giver` could hand to `taker`."""
        return next((p for p in self.held[giver] if self.fits(p, taker, leaving=giver)), None)

    def _takable(self, taker: str, giver: str) -> int | None:
        """Return a partition `taker` could have from `giver`."""
        return self._givable(giver, taker)

    def ordered(self) -> tuple[tuple[str, ...], ...]:
        """Return the owners of every partition; a hash per pair spreads first places evenly."""
        return tuple(
            tuple(sorted(nodes, key=lambda node: blake3(f"{partition} {node}".encode()).digest(8)))
            for partition, nodes in enumerate(self.owners)
        )


def _trace(came: dict[str, tuple[str, int]], source: str, target: str) -> list[tuple[str, str, int]]:
    steps = []
    node = target
    while node != source:
        before, partition = came[node]
        steps.append((before, node, partition))
        node = before
    return steps[::-1]
