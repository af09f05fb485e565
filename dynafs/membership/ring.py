"""Membership by the ring, liveness by connections."""

from collections.abc import Callable, Collection, Mapping, Sequence


class RingMembership:
    """The Membership port for nodes that keep connections to all members."""

    def __init__(self, me: str, zones: Callable[[], Mapping[str, str]], is_peer_up: Callable[[str], bool]) -> None:
        """zones: returns {node: zone} of all members, as of now. is_peer_up: whether calls to a peer can be sent."""
        self.me = me
        self._zones, self._is_peer_up = zones, is_peer_up
        #: set by the composition root: nodes to ask last, though they can be called
        self.doubted: Callable[[], Collection[str]] = tuple

    def is_up(self, node: str) -> bool:
        """Return whether calls to the node have a chance; to itself they always do."""
        return node == self.me or self._is_peer_up(node)

    def nearest_first(self, nodes: Sequence[str]) -> list[str]:
        """Return the nodes ordered for a read: this one, then those that are up, same zone first, and those
        in doubt behind all of them; stable otherwise."""
        zones, doubted = self._zones(), self.doubted()
        zone = zones.get(self.me)
        return sorted(nodes, key=lambda n: (n != self.me, not self.is_up(n), n in doubted, zones.get(n) != zone))
