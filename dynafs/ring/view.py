"""The view: who is asked for what, by one state of the ring. Immutable; an operation uses one from begin to end."""

from dynafs.ring.keyspace import partition_of
from dynafs.ring.ring import Ring
from dynafs.ring.transition import RingState, Step


class RingView:
    """Look-ups in one `RingState`, each remembered, so that routing costs the same however many nodes there are."""

    def __init__(self, state: RingState) -> None:
        self.state, self.version = state, state.version
        self.is_stable = state.next_ring is None
        self.partition_count, self.n = state.ring.partition_count, state.ring.n
        self.nodes = state.nodes
        members = (*state.ring.members, *state.newest.members)
        self.zones = {member.node: member.zone for member in members}
        #: {node: HOST:PORT} of those that joined, or are staged to
        self.addresses = {member.node: member.address for member in members if member.address}
        self.addresses |= {change.by or change.node: change.address for change in state.staged if change.address}
        #: {partition: nodes}
        self._keepers: dict[int, tuple[str, ...]] = {}
        self._owners: dict[int, tuple[str, ...]] = {}

    @property
    def ring(self) -> Ring:
        """The ring that this state leads to."""
        return self.state.newest

    @property
    def reading_ring(self) -> Ring:
        """The ring whose owners are read from."""
        return self.state.newest if self.state.step is Step.SWITCHED else self.state.ring

    @property
    def owner_sets(self) -> frozenset[frozenset[str]]:
        """All sets of owners that reads and writes need a quorum of."""
        return self.state.ring.owner_sets | self.state.newest.owner_sets

    def partition_of(self, hash_bytes: bytes) -> int:
        """Return the partition of a key's hash or of a chunk's id."""
        return partition_of(hash_bytes, self.partition_count)

    def owners_of(self, partition: int) -> tuple[str, ...]:
        """Return everybody that should hold what is in a partition: its owners, and those of the ring to come."""
        if self.is_stable:
            return self.state.ring.owners[partition]
        found = self._owners.get(partition)
        if found is None:
            sets = self.state.writers(partition)
            found = self._owners[partition] = tuple(dict.fromkeys(node for owners in sets for node in owners))
        return found

    def owners(self, hash_bytes: bytes) -> tuple[str, ...]:
        """Return everybody that should hold a copy."""
        return self.owners_of(self.partition_of(hash_bytes))

    def readers(self, hash_bytes: bytes) -> tuple[str, ...]:
        """Return the owners of which R answer a read."""
        partition = self.partition_of(hash_bytes)
        # Nearly always nothing moves, and this is asked for every request.
        return self.state.ring.owners[partition] if self.is_stable else self.state.readers(partition)

    def writers(self, hash_bytes: bytes) -> tuple[tuple[str, ...], ...]:
        """Return the sets of owners of each of which W confirm a write."""
        partition = self.partition_of(hash_bytes)
        return (self.state.ring.owners[partition],) if self.is_stable else self.state.writers(partition)

    def keepers(self, hash_bytes: bytes) -> tuple[str, ...]:
        """Return all nodes where copies may be: the owners, and as many fallbacks behind them."""
        partition = self.partition_of(hash_bytes)
        found = self._keepers.get(partition)
        if found is None:
            rings = (self.state.ring,) if self.state.next_ring is None else (self.state.ring, self.state.next_ring)
            stand_ins = [node for ring in rings for node in ring.preference_list(partition)[: 2 * self.n]]
            found = self._keepers[partition] = tuple(dict.fromkeys((*self.owners_of(partition), *stand_ins)))
        return found

    def fallbacks(self, hash_bytes: bytes) -> tuple[str, ...]:
        """Return the nodes that may stand in for owners."""
        return self.keepers(hash_bytes)[len(self.owners(hash_bytes)) :]
