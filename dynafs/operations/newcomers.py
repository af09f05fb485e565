"""Newcomers: nodes that no ring has, and that wait to be staged."""

from dynafs.jobs.job import JobRegistry
from dynafs.membership import Gossip
from dynafs.membership.cluster import Cluster
from dynafs.membership.gossip import Kin

#: Nodes that are remembered for having connected.
SEEN_MAX = 1000


class Newcomers:
    """The nodes that have the cluster's secret, and are not members."""

    def __init__(self, cluster: Cluster, gossip: Gossip | None, jobs: JobRegistry) -> None:
        """gossip: None where nodes do not gossip."""
        self._cluster, self._gossip, self._jobs = cluster, gossip, jobs
        self._seen: dict[str, None] = {}

    def note_seen(self, node: str) -> None:
        """A node that has the secret has connected."""
        if node not in self._seen and len(self._seen) < SEEN_MAX:
            self._seen[node] = None
            # It may have this node's address because the ring is about to change.
            self._jobs.hurry("ring")

    def kin(self, node: str) -> Kin | None:
        """Return what gossip has of a node, if anything."""
        return None if self._gossip is None else self._gossip.kin.get(node)

    @property
    def waiting(self) -> dict[str, str]:
        """Nodes that no ring has, {node: HOST:PORT, empty when only it has that}: those of whom there is gossip, and
        those that have connected since this one started."""
        kin = {node: one.address for node, one in self._gossip.kin.items()} if self._gossip is not None else {}
        found = {**dict.fromkeys(self._seen, ""), **kin}
        return {node: address for node, address in sorted(found.items()) if node not in self._cluster.view.nodes}
