"""Membership by the ring, liveness by connections."""

from collections.abc import Callable, Sequence

from dynafs.membership.ring_register import RingRegister


class Liveness:
    """The Membership port for nodes that keep connections to all members."""

    def __init__(self, me: str, register: RingRegister, is_peer_up: Callable[[str], bool]) -> None:
        """is_peer_up: whether calls to a peer can be sent."""
        self.me = me
        self._register, self._is_peer_up = register, is_peer_up
        self._doubted: frozenset[str] = frozenset()

    def doubt(self, nodes: frozenset[str]) -> None:
        """Ask these nodes last from now on, though they can be called, and only these."""
        self._doubted = nodes

    def is_up(self, node: str) -> bool:
        """Return whether calls to the node have a chance; to itself they always do."""
        return node == self.me or self._is_peer_up(node)

    def nearest_first(self, nodes: Sequence[str]) -> list[str]:
        """Return the nodes ordered for a read: this one, then those that are up, same zone first, and those
        in doubt behind all of them; stable otherwise."""
        zones, doubted = self._register.view.zones, self._doubted
        zone = zones.get(self.me)
        return sorted(nodes, key=lambda n: (n != self.me, not self.is_up(n), n in doubted, zones.get(n) != zone))
