"""Node a calling node b, over real sockets and over the simulated network."""

import asyncio
import os
from collections.abc import Awaitable

from dynafs.config import TimeoutSettings
from dynafs.errors import NotFound
from dynafs.node import SystemClock
from dynafs.peers import PeerListener, PeerPool
from dynafs.ports import Answer
from dynafs.sim.loop import Life
from dynafs.sim.network import Network, NetworkConditions
from dynafs.sim.peers import SimPeers
from dynafs.sim.trace import Trace
from dynafs.wire.handshake import WIRE_VERSION, Hello
from dynafs.wire.message import Stored
from dynafs.wire.messages import (
    ChunkReply,
    CompareRecords,
    ReadChunk,
    ReadRecord,
    RecordReply,
    Request,
    ScanRecords,
    StoreChunk,
)

TIMEOUTS = TimeoutSettings(
    connect_s=0.5, ping_interval_s=0.2, ping_timeout_s=0.3, reconnect_min_s=0.01, reconnect_max_s=0.05
)
BIG = os.urandom(3 << 20)


class Service:
    """A handler whose slow requests wait for `gate`."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.running = 0
        self.cancelled = asyncio.Event()
        #: the answer to CompareRecords, and to ScanRecords a little later
        self.strange = Answer(Stored())

    def __call__(self, peer: str, request: Request, body: bytes | bytearray) -> Answer | Awaitable[Answer]:
        if isinstance(request, ReadRecord):
            return Answer(RecordReply(request.key), body)
        if isinstance(request, ReadChunk):
            return Answer(ChunkReply(), BIG)
        if isinstance(request, StoreChunk):
            return self._wait()
        if isinstance(request, CompareRecords):
            return self.strange
        if isinstance(request, ScanRecords):
            return self._answer_strangely()
        raise NotFound("thing", peer)

    async def _answer_strangely(self) -> Answer:
        await asyncio.sleep(0)
        return self.strange

    async def _wait(self) -> Answer:
        self.running += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.running -= 1
        return Answer(Stored())


def hello(node: str, cluster: str = "c") -> Hello:
    return Hello(WIRE_VERSION, cluster, node, "control", b"ring", b"")


class TcpPair:
    """The real ones."""

    async def open(
        self, *, secret: bytes = b"secret", cluster: str = "c", calls_max: int = 8, bulk_idle_s: float = 60
    ) -> None:
        self.service, self.seen = Service(), []
        self.port = await self._listen("127.0.0.1:0")
        addresses = {"b": f"127.0.0.1:{self.port}"}
        self.pool = PeerPool(hello("a", cluster), secret, addresses, TIMEOUTS, SystemClock(), calls_max, bulk_idle_s)

    async def _listen(self, address: str) -> int:
        seen = self.seen
        self.listener = PeerListener(
            hello("b"), b"secret", TIMEOUTS, SystemClock(), self.service, lambda node, _: seen.append(node), 1 << 20
        )
        return await self.listener.start(address)

    async def wait_up(self, *, up: bool = True) -> None:
        async with asyncio.timeout(5):
            while self.pool.is_up("b") is not up:
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self.pool.close()
        await self.listener.close()

    async def stop_b(self) -> None:
        """End b's process."""
        await self.listener.close()

    async def start_b(self) -> None:
        """Start b again at the same place."""
        await self._listen(f"127.0.0.1:{self.port}")

    def freeze_b(self) -> None:
        """Let b stop listening without closing anything; who tries again is turned away."""
        self.listener._server.close()
        for connection in list(self.listener.connections):
            connection.set_reading(on=False)


class SimPair:
    """The simulated ones, in real time."""

    async def open(self) -> None:
        self.service, self.lives = Service(), 0
        trace = Trace(asyncio.get_running_loop().time)
        self.network = Network(1, NetworkConditions(delay_s=0.0005, jitter_s=0.0005), trace)
        self.pool = SimPeers(Life("a", 1), self.network, ["b"], TIMEOUTS, 8)
        self.pool.start(self.service)
        await self.start_b()

    async def wait_up(self, *, up: bool = True) -> None:
        async with asyncio.timeout(5):
            while self.pool.is_up("b") is not up:
                await asyncio.sleep(0.01)

    async def stop_b(self) -> None:
        """End b's process."""
        self.life.end()
        self.network.detach("b", is_dark=False)

    async def start_b(self) -> None:
        """Start b again."""
        self.lives += 1
        self.life = Life("b", self.lives)
        SimPeers(self.life, self.network, ["a"], TIMEOUTS, 8).start(self.service)

    def freeze_b(self) -> None:
        """Let b stop listening without closing anything."""
        self.network.paused["b"] = asyncio.get_running_loop().time() + 60

    async def close(self) -> None:
        self.life.end()
        self.pool.life.end()
