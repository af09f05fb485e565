"""Lanes to one peer: a control connection that is always there, and bulk connections when large bodies need them."""

import asyncio
import math
import random
from collections.abc import Callable
from functools import partial

from dynafs.config import TimeoutSettings, split_address
from dynafs.errors import DynafsError, PeerUnreachable
from dynafs.observe.events import get_logger
from dynafs.observe.supervision import reporting, supervised
from dynafs.peers.caller import CallerConnection
from dynafs.peers.sweeper import Sweeper
from dynafs.ports import Clock
from dynafs.wire.handshake import NONCE_SIZE_BYTES, CallerHandshake, Hello

log = get_logger()

BULK_CONNECTIONS_MAX = 2


class Dialer:
    """Opens connections to peers: what all lanes of a pool have in common."""

    def __init__(self, me: Hello, secret: bytes, timeouts: TimeoutSettings, clock: Clock, calls_max: int) -> None:
        self._me, self._secret, self._clock = me, secret, clock
        self._timeouts, self._calls_max = timeouts, calls_max
        self._jitter = random.Random(clock.random_bytes(8))  # noqa: S311  spreads retries, guards nothing
        self._sweeper = Sweeper()

    def prepare(
        self, node: str, lane: str, on_ended: Callable[[str], None], idle_s: float = math.inf
    ) -> CallerConnection:
        """Return a connection that is yet to be opened, once. lane, on_ended, idle_s: of the connection."""
        me, nonce = self._me, self._clock.random_bytes(NONCE_SIZE_BYTES)
        hello = Hello(me.wire_version, me.cluster, me.node, lane, me.ring_digest, nonce)
        handshake = CallerHandshake(self._secret, hello, node)
        return CallerConnection(node, handshake, self._timeouts, self._calls_max, self._sweeper, on_ended, idle_s)

    async def open(self, connection: CallerConnection, address: str) -> str:
        """Connect to HOST:PORT, and prove both sides; return why that failed, empty when the connection stands."""
        problem = "given up"
        try:
            host, port = split_address(address)
            async with asyncio.timeout(self._timeouts.connect_s):
                await asyncio.get_running_loop().create_connection(lambda: connection, host, port)
                await asyncio.shield(connection.ready)
            problem = ""
        except PeerUnreachable as error:
            problem = error.reason
        except (OSError, ValueError, DynafsError, TimeoutError) as error:
            # ValueError: a ring may name an address that no resolver takes.
            problem = str(error) or f"no connection within {self._timeouts.connect_s} s"
        finally:
            if problem:
                connection.give_up(problem)
        return problem

    def pauses(self) -> "Pauses":
        """Return the pauses between attempts, from the shortest to the longest."""
        return Pauses(self._timeouts, self._jitter)


class Pauses:
    """Pauses between attempts to connect: each twice as long as the one before, jittered."""

    def __init__(self, timeouts: TimeoutSettings, jitter: random.Random) -> None:
        self._timeouts, self._jitter = timeouts, jitter
        self._next_s = timeouts.reconnect_min_s

    def reset(self) -> None:
        """Begin with the shortest pause again."""
        self._next_s = self._timeouts.reconnect_min_s

    async def wait(self, hurry: asyncio.Event) -> None:
        """Take the next pause, or less of it when hurried."""
        pause_s = self._next_s * self._jitter.uniform(0.5, 1.5)
        self._next_s = min(2 * self._next_s, self._timeouts.reconnect_max_s)
        hurry.clear()
        try:
            await asyncio.wait_for(hurry.wait(), pause_s)
        except TimeoutError:
            return


class ControlLane:
    """The connection to one peer that carries everything small, and the task that keeps it open."""

    def __init__(self, node: str, address: str, dialer: Dialer, on_change: Callable[[str], None]) -> None:
        """on_change: called when a connection stands or ended."""
        self.node, self._dialer, self._on_change = node, dialer, on_change
        #: where the peer may be; the present one is tried until it fails, then the next
        self._addresses, self._place = [address], 0
        #: None unless it stands
        self.connection: CallerConnection | None = None
        self.problem = "not connected yet"
        self._hurry = asyncio.Event()
        self._task = supervised(f"connection to {node}", self._keep_connected)

    @property
    def is_ready(self) -> bool:
        """Whether calls can be sent."""
        return self.connection is not None and self.connection.is_usable

    @property
    def address(self) -> str:
        """Where the peer is, or is looked for at present."""
        return self._addresses[self._place % len(self._addresses)]

    def hurry(self) -> None:
        """Try to connect now: the peer showed itself."""
        self._hurry.set()

    def also_at(self, address: str) -> None:
        """The peer may be somewhere else, too."""
        if address not in self._addresses[:1]:
            self._addresses[1:] = [address]

    async def _keep_connected(self) -> None:
        pauses, loop = self._dialer.pauses(), asyncio.get_running_loop()
        while True:
            ended: asyncio.Future[str] = loop.create_future()
            connection = self._dialer.prepare(self.node, "control", partial(_resolve, ended))
            if problem := await self._dialer.open(connection, self.address):
                self._note(problem)
                # There was no connecting here; it may work elsewhere.
                self._place += 1
            else:
                pauses.reset()
                await self._use(connection, ended)
            await pauses.wait(self._hurry)

    async def _use(self, connection: CallerConnection, ended: "asyncio.Future[str]") -> None:
        """Offer the connection to calls until it ends. A bug met meanwhile ends it, too."""
        self.connection = connection
        try:
            self._on_change(self.node)
            self._note(await ended)
        except Exception:
            connection.close()
            self._drop()
            raise
        self._drop()

    def _drop(self) -> None:
        self.connection = None
        self._on_change(self.node)

    def _note(self, problem: str) -> None:
        """Log why there is no connection, once per reason."""
        if problem != self.problem and problem.startswith(
            ("refused by", "the node does not", "the rings", "expected node")
        ):
            log.warning("peer.refused", peer=self.node, address=self.address, reason=problem)
        self.problem = problem

    async def close(self) -> None:
        """Close the connection, and open none."""
        connection = self.connection
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if connection is not None:
            connection.close()


class BulkLane:
    """Connections to one peer that carry large bodies, so that these hold up nothing small.

    The first call opens one, and waits for it; a call that finds all of them busy opens a further one. They close when
    unused. After a failed attempt there are no calls until one has worked: the lane tries as long as the control
    connection stands, for that one shows whether the peer is there at all.
    """

    def __init__(self, control: ControlLane, dialer: Dialer, on_change: Callable[[str], None], idle_s: float) -> None:
        """on_change: called when `is_failing` may have changed. idle_s: after which an unused connection closes."""
        self._control, self._dialer, self._on_change, self._idle_s = control, dialer, on_change, idle_s
        self._connections: list[CallerConnection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()
        #: why the last attempt to connect failed, empty when it did not
        self.problem = ""

    @property
    def is_failing(self) -> bool:
        """Whether calls would fail at once though the control connection stands."""
        return bool(self.problem) and not any(one.is_proved and one.is_usable for one in self._connections)

    def hurry(self) -> None:
        """Try to connect now, if that is being tried."""
        self._hurry.set()

    def connection(self) -> CallerConnection | None:
        """Return the connection for one more call; None when there can be none at present."""
        usable = [one for one in self._connections if one.is_usable]
        ready = [one for one in usable if one.is_proved]
        is_room = len(usable) < BULK_CONNECTIONS_MAX and self._control.is_ready and not self.problem
        if is_room and all(one.call_count for one in usable):
            usable.append(self._open())
        if not ready and self.problem:
            return None
        return min(ready or usable, key=lambda one: one.call_count, default=None)

    def _prepare(self) -> CallerConnection:
        def on_ended(_: str) -> None:
            self._connections.remove(connection)
            self._on_change(self._control.node)

        connection = self._dialer.prepare(self._control.node, "bulk", on_ended, self._idle_s)
        self._connections.append(connection)
        return connection

    def _open(self) -> CallerConnection:
        connection = self._prepare()
        task = asyncio.create_task(self._bring_up(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return connection

    async def _bring_up(self, connection: CallerConnection) -> None:
        """Open a connection. The first task that fails tries again until it works or the peer is gone."""
        with reporting(f"connection to {self._control.node}"):
            problem = await self._dialer.open(connection, self._control.address)
            if problem and not self.problem:
                await self._retry(problem)

    async def _retry(self, problem: str) -> None:
        pauses = self._dialer.pauses()
        try:
            while problem and self._control.is_ready:
                self._set_problem(problem)
                await pauses.wait(self._hurry)
                problem = await self._dialer.open(self._prepare(), self._control.address)
        finally:
            self._set_problem("")

    def _set_problem(self, problem: str) -> None:
        self.problem = problem
        self._on_change(self._control.node)

    async def close(self) -> None:
        """Close all connections, and open none."""
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in self._connections.copy():
            connection.close()


def _resolve(ended: "asyncio.Future[str]", problem: str) -> None:
    if not ended.done():
        ended.set_result(problem)
