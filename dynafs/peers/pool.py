"""The pool: lanes to every peer, and calls spread over them."""

import asyncio
from collections.abc import Mapping
from typing import Any

from dynafs.config import TimeoutSettings, split_address
from dynafs.errors import PeerError, PeerUnreachable
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.peers.lanes import BulkLane, ControlLane, Dialer
from dynafs.ports import Answer, Body, Clock
from dynafs.wire.handshake import Hello
from dynafs.wire.message import Question

log = get_logger()

#: An unused bulk connection is closed after this time.
BULK_IDLE_S = 60.0


class PeerPool:
    """The Peers port over TCP. Made inside a running event loop."""

    def __init__(
        self,
        me: Hello,
        secret: bytes,
        addresses: Mapping[str, str],
        timeouts: TimeoutSettings,
        clock: Clock,
        calls_max: int,
        bulk_idle_s: float = BULK_IDLE_S,
    ) -> None:
        """me: our hello; lane and nonce are filled in per connection. addresses: {peer: HOST:PORT}, without us."""
        self._me, self._bulk_idle_s = me, bulk_idle_s
        self._dialer = Dialer(me, secret, timeouts, clock, calls_max)
        #: {peer: its lanes}
        self._lanes: dict[str, tuple[ControlLane, BulkLane]] = {}
        self._up: set[str] = set()
        self.introduce(addresses)

    def introduce(self, addresses: Mapping[str, str]) -> None:
        """Keep a connection to each of these peers, too; those that are known stay as they are."""
        for node, address in addresses.items():
            if node not in self._lanes and node != self._me.node:
                control = ControlLane(node, address, self._dialer, self._refresh)
                self._lanes[node] = control, BulkLane(control, self._dialer, self._refresh, self._bulk_idle_s)

    def also_at(self, node: str, address: str) -> None:
        """A peer may be somewhere else than was said when it was introduced: there it is tried in turn."""
        if lanes := self._lanes.get(node):
            lanes[0].also_at(address)

    def host_of(self, node: str) -> str:
        """Return the IP address at which a peer is connected, empty when it is not."""
        lanes = self._lanes.get(node)
        connection = lanes[0].connection if lanes else None
        return split_address(connection.address)[0] if connection is not None else ""

    def call(
        self, node: str, message: Question[Any], body: Body = b"", *, timeout_s: float, is_bulk: bool = False
    ) -> "asyncio.Future[Answer[Any]]":
        """Send a request. The future fails with PeerError; cancelling it frees its place."""
        lanes = self._lanes.get(node)
        if lanes is None:
            return _failed(PeerUnreachable(node, "no such peer"))
        connection = lanes[1].connection() if is_bulk else lanes[0].connection
        if connection is None:
            return _failed(PeerUnreachable(node, self.problem(node)))
        return connection.call(message, body, timeout_s)

    def is_up(self, node: str) -> bool:
        """Return whether all kinds of calls to the peer can be sent."""
        return node in self._up

    def problem(self, node: str) -> str:
        """Return why a peer is not up."""
        control, bulk = self._lanes[node]
        return (bulk.problem or "the connection is closed") if control.is_ready else control.problem

    def hurry(self, node: str) -> None:
        """Connect to this peer now rather than at the next try."""
        for lane in self._lanes.get(node, ()):
            lane.hurry()

    def _refresh(self, node: str) -> None:
        """A connection stands or ended."""
        control, bulk = self._lanes[node]
        is_up = control.is_ready and not bulk.is_failing
        if is_up and node not in self._up:
            self._up.add(node)
            log.info("peer.connected", peer=node)
        elif not is_up and node in self._up:
            self._up.remove(node)
            log.warning("peer.disconnected", peer=node, reason=self.problem(node))
        metrics.peers_up.set(len(self._up))

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(lane.close() for lanes in self._lanes.values() for lane in lanes))


def _failed(error: PeerError) -> "asyncio.Future[Answer[Any]]":
    future: asyncio.Future[Answer[Any]] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future
