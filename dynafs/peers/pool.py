"""The pool: connections to every peer, kept open, and calls spread over them."""

import asyncio
import random
from collections.abc import Mapping, Sequence

from dynafs.config import TimeoutSettings, split_address
from dynafs.errors import DynafsError, PeerError, PeerUnreachable
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.observe.supervision import supervised
from dynafs.peers.caller import CallerConnection
from dynafs.ports import Answer, Body, Clock
from dynafs.wire.handshake import NONCE_SIZE_BYTES, CallerHandshake, Hello
from dynafs.wire.message import Message

log = get_logger()

BULK_CONNECTIONS = 2


class _Lane:
    """One connection slot to one peer and the task that keeps it filled."""

    def __init__(self, pool: "PeerPool", node: str, address: str, lane: str) -> None:
        self._pool, self.node, self._lane = pool, node, lane
        #: where the peer may be; the present one is tried until it fails, then the next
        self._addresses, self._place = [address], 0
        self.connection: CallerConnection | None = None
        self.problem = "not connected yet"
        self._hurry = asyncio.Event()
        self._task = supervised(f"connection to {node}", self._keep_connected)

    @property
    def is_ready(self) -> bool:
        return self.connection is not None and self.connection.is_open and self.connection.is_proved

    def hurry(self) -> None:
        """Try to connect now: the peer showed itself."""
        self._hurry.set()

    @property
    def _address(self) -> str:
        return self._addresses[self._place % len(self._addresses)]

    def also_at(self, address: str) -> None:
        """The peer may be somewhere else, too."""
        if address not in self._addresses[:1]:
            self._addresses[1:] = [address]

    async def _keep_connected(self) -> None:
        timeouts = self._pool.timeouts
        pause_s = timeouts.reconnect_min_s
        while True:
            try:
                connection, closed = await self._connect()
                pause_s = timeouts.reconnect_min_s
                await self._use(connection, closed)
            except PeerUnreachable as error:
                self._fail(error.reason)
            except (OSError, ValueError, DynafsError, TimeoutError) as error:
                # ValueError: a ring may name an address that no resolver takes.
                self._fail(str(error) or f"no connection within {timeouts.connect_s} s")
            await self._wait(pause_s * self._pool.jitter.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, timeouts.reconnect_max_s)

    async def _use(self, connection: CallerConnection, closed: "asyncio.Future[str]") -> None:
        """Offer the connection to calls until it closes. A bug met meanwhile closes it, too."""
        self.connection = connection
        try:
            self._pool.on_lane_up(self)
            self._note(await closed)
        except Exception:
            connection.close()
            self._pool.on_lane_down(self)
            raise
        self._pool.on_lane_down(self)

    def _fail(self, problem: str) -> None:
        """There was no connecting here; it may work elsewhere."""
        self._note(problem)
        self._place += 1

    def _note(self, problem: str) -> None:
        """Log why there is no connection, once per reason."""
        if problem != self.problem and problem.startswith(
            ("refused by", "the node does not", "the rings", "expected node")
        ):
            log.warning("peer.refused", peer=self.node, address=self._address, reason=problem)
        self.problem = problem

    async def _connect(self) -> tuple[CallerConnection, "asyncio.Future[str]"]:
        loop = asyncio.get_running_loop()
        closed: asyncio.Future[str] = loop.create_future()
        host, port = split_address(self._address)
        handshake = self._pool.handshake(self.node, self._lane)

        def make() -> CallerConnection:
            return CallerConnection(
                self.node, handshake, self._pool.timeouts, self._pool.calls_max,
                lambda problem: None if closed.done() else closed.set_result(problem),
            )  # fmt: skip

        async with asyncio.timeout(self._pool.timeouts.connect_s):
            _, connection = await loop.create_connection(make, host, port)
            try:
                await asyncio.shield(connection.ready)
            except BaseException:
                connection.ready.cancel()
                connection.abort()
                raise
        return connection, closed

    async def _wait(self, pause_s: float) -> None:
        self._hurry.clear()
        try:
            await asyncio.wait_for(self._hurry.wait(), pause_s)
        except TimeoutError:
            return

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self.connection is not None:
            self.connection.close()


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
    ) -> None:
        """me: our hello; lane and nonce are filled in per connection. addresses: {peer: HOST:PORT}, without us."""
        self._me, self._secret, self._clock = me, secret, clock
        self.timeouts, self.calls_max = timeouts, calls_max
        self.jitter = random.Random(clock.random_bytes(8))  # noqa: S311  spreads retries, guards nothing
        self._lanes: dict[str, list[_Lane]] = {}
        self._up: set[str] = set()
        self.introduce(addresses)

    def introduce(self, addresses: Mapping[str, str]) -> None:
        """Keep connections to these peers, too; those that are known stay as they are."""
        for node, address in addresses.items():
            if node not in self._lanes and node != self._me.node:
                lanes = ["control"] + ["bulk"] * BULK_CONNECTIONS
                self._lanes[node] = [_Lane(self, node, address, lane) for lane in lanes]

    def also_at(self, node: str, address: str) -> None:
        """A peer may be somewhere else than was said when it was introduced: there it is tried in turn."""
        for lane in self._lanes.get(node, ()):
            lane.also_at(address)

    def host_of(self, node: str) -> str:
        """Return the IP address at which a peer is connected, empty when it is not."""
        lane = next((lane for lane in self._lanes.get(node, ()) if lane.is_ready), None)
        return split_address(lane.connection.address)[0] if lane is not None and lane.connection is not None else ""

    def handshake(self, node: str, lane: str) -> CallerHandshake:
        """Return a fresh handshake with this peer."""
        me = self._me
        nonce = self._clock.random_bytes(NONCE_SIZE_BYTES)
        hello = Hello(me.wire_version, me.cluster, me.node, lane, me.ring_digest, nonce)
        return CallerHandshake(self._secret, hello, node)

    def call(
        self, node: str, message: Message, body: Body = b"", *, timeout_s: float, is_bulk: bool = False
    ) -> "asyncio.Future[Answer]":
        """Send a request. The future fails with PeerError; cancelling it frees its place."""
        lanes = self._lanes.get(node)
        if lanes is None:
            return _failed(PeerUnreachable(node, "no such peer"))
        if is_bulk:
            ready = [lane for lane in lanes[1:] if lane.is_ready]
            lane = min(ready, key=lambda one: one.connection.call_count if one.connection else 0) if ready else lanes[1]
        else:
            lane = lanes[0]
        if lane.connection is None:
            return _failed(PeerUnreachable(node, lane.problem))
        return lane.connection.call(message, body, timeout_s)

    def is_up(self, node: str) -> bool:
        """Return whether all kinds of calls to the peer can be sent."""
        return node in self._up

    def problem(self, node: str) -> str:
        """Return why a peer is not up."""
        return next((lane.problem for lane in self._lanes[node] if not lane.is_ready), "")

    def hurry(self, node: str) -> None:
        """Connect to this peer now rather than at the next try."""
        for lane in self._lanes.get(node, ()):
            lane.hurry()

    def on_lane_up(self, lane: _Lane) -> None:
        """A connection stands."""
        self._refresh(lane.node, lane.problem)

    def on_lane_down(self, lane: _Lane) -> None:
        """A connection ended."""
        lane.connection = None
        self._refresh(lane.node, lane.problem)

    def _refresh(self, node: str, problem: str) -> None:
        lanes: Sequence[_Lane] = self._lanes[node]
        is_up = lanes[0].is_ready and any(lane.is_ready for lane in lanes[1:])
        if is_up and node not in self._up:
            self._up.add(node)
            log.info("peer.connected", peer=node)
        elif not is_up and node in self._up:
            self._up.remove(node)
            log.warning("peer.disconnected", peer=node, reason=problem)
        metrics.peers_up.set(len(self._up))

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(lane.close() for lanes in self._lanes.values() for lane in lanes))


def _failed(error: PeerError) -> "asyncio.Future[Answer]":
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future
