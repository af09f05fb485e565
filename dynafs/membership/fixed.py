"""Membership by settings, liveness by connections."""

from collections.abc import Callable, Mapping, Sequence


class FixedMembership:
    """The Membership port for a cluster whose members are listed in the settings."""

    def __init__(self, me: str, zones: Mapping[str, str], is_peer_up: Callable[[str], bool]) -> None:
        """zones: {node: zone} of all members. is_peer_up: whether calls to a peer can be sent."""
        self.me = me
        self._zones = dict(zones)
        self._is_peer_up = is_peer_up

    @property
    def nodes(self) -> tuple[str, ...]:
        """All members, in the settings' order."""
        return tuple(self._zones)

    def is_up(self, node: str) -> bool:
        """Return whether calls to the node have a chance; to itself they always do."""
        return node == self.me or self._is_peer_up(node)

    def nearest_first(self, nodes: Sequence[str]) -> list[str]:
        """Return the nodes ordered for a read: this one, then those that are up, same zone first; stable otherwise."""
        zone = self._zones.get(self.me)
        return sorted(nodes, key=lambda n: (n != self.me, not self.is_up(n), self._zones.get(n) != zone))
