"""The composition root: the one file that knows everything. Starts a node, keeps it, stops it."""

import asyncio
import ctypes
import os
import time
from pathlib import Path

from dynafs.attach import Prompt
from dynafs.config import Settings, split_address
from dynafs.errors import StoreRefused
from dynafs.http import HttpServer
from dynafs.membership import RingMembership
from dynafs.observe.events import get_logger
from dynafs.peers import PeerListener, PeerPool
from dynafs.replication.cluster import Replication
from dynafs.replication.refill import STATE_FACT, first_state
from dynafs.ring import Member, Ring, place
from dynafs.storage import open_store_in
from dynafs.storage.directory import GENERATION_SIZE_BYTES, DataDirectory
from dynafs.wire.handshake import WIRE_VERSION, Hello

log = get_logger()

#: glibc's names of mallopt parameters, and the size below which freed memory is kept for the next chunk instead of
#: being given back to the kernel and faulted in again page by page.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_MEMORY_SIZE_BYTES = 32 << 20


class SystemClock:
    """The Clock port of the operating system."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that only move forward."""
        return time.monotonic()

    def random_bytes(self, size_bytes: int) -> bytes:
        """Unpredictable bytes."""
        return os.urandom(size_bytes)


def ring_of(settings: Settings) -> Ring:
    """Return the ring that these settings lay out; equal settings give equal rings on every node."""
    members = tuple(Member(m.node, m.zone, m.weight) for m in settings.cluster.members)
    return place(members, settings.cluster.partitions, settings.cluster.n)


class Node:
    """One running node. Use `start`, then `stop`."""

    def __init__(self, settings: Settings, wire_version: int = WIRE_VERSION) -> None:
        """Make a node of checked settings; nothing happens before `start`. wire_version: of the messages it speaks."""
        self.settings, self._wire_version = settings, wire_version
        self.clock = SystemClock()
        self.ring = ring_of(settings)
        self.http_port = 0

    async def start(self) -> None:
        """Open the store, listen for peers and clients. Raises DynafsError or OSError, leaving nothing open."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings, clock = self.settings, self.clock
        keep_freed_memory()
        cluster, name = settings.cluster, settings.node.name
        new_generation = clock.random_bytes(GENERATION_SIZE_BYTES).hex()
        directory = DataDirectory(Path(settings.node.data_dir), cluster.id, name, new_generation)
        self.store = open_store_in(directory, settings.storage, clock.wall_ms)
        await self._check_ring()
        me = Hello(self._wire_version, cluster.id, name, "control", self.ring.digest, b"")
        secret = cluster.secret.encode()
        others = {m.node: m.address for m in cluster.members if m.node != name}
        self.pool = PeerPool(me, secret, others, settings.timeouts, clock, settings.limits.peer_calls_max)
        membership = RingMembership(name, lambda: self.replication.reach.view.zones, self.pool.is_up)
        generation = directory.identity.generation
        self.replication = Replication(settings, self.ring, clock, self.store, generation, self.pool, membership)
        self.replication.on_members = self.pool.introduce
        self.pool.introduce(self.replication.reach.view.addresses)
        self.listener = PeerListener(
            me, secret, settings.timeouts, clock, self.replication.replica.handle, self._on_peer_seen,
            settings.limits.receive_bytes,
        )  # fmt: skip
        await self.listener.start(settings.peer_listen)
        self.replication.start()
        self.http = HttpServer(self.replication)
        self.http_port = await self.http.start()
        self.prompt = Prompt(Path(settings.node.data_dir), self._names)
        await self.prompt.start()
        self.replication.surveyor.http = self._client_address()
        log.info(
            "node.started", http=settings.http.listen, peers=settings.peer_listen, data_dir=settings.node.data_dir,
            generation=generation, pid=os.getpid(),
        )  # fmt: skip

    def _names(self) -> dict[str, object]:
        """Return what an operator at the prompt finds by name."""
        replication = self.replication
        return {
            "node": self, "settings": self.settings, "replication": replication, "store": self.store,
            "peers": self.pool, "ring": replication.ring, "jobs": replication.jobs, "ask": replication.reach.ask,
        }  # fmt: skip

    def _client_address(self) -> str:
        """Return where clients reach this node: where it listens, by its peers' name for it if that is everywhere."""
        host, _ = split_address(self.settings.http.listen)
        if host in ("0.0.0.0", "::"):  # noqa: S104  compared with, not listened on
            host, _ = split_address(self.replication.addresses.get(self.settings.node.name, self.settings.peer_listen))
        return f"[{host}]:{self.http_port}" if ":" in host else f"{host}:{self.http_port}"

    def _on_peer_seen(self, node: str) -> None:
        """A peer connected: it can be called again, or waits to be staged."""
        self.pool.hurry(node)
        self.replication.note_seen(node)

    async def _check_ring(self) -> None:
        """Refuse to serve data that was placed by another ring: members cannot be changed by editing the settings."""
        known = self.store.fact("ring_digest")
        if self.store.fact(STATE_FACT) is None:
            await self.store.put_fact(STATE_FACT, first_state(is_new=known is None))
        if known is None:
            await self.store.put_fact("ring_digest", self.ring.digest)
        elif known != self.ring.digest:
            raise StoreRefused(
                "cluster.members, cluster.n or cluster.partitions differ from those the data was stored under; "
                "restore the former settings"
            )

    async def stop(self) -> None:
        """Finish what is under way, close everything. Safe after a failed start."""
        for part in ("prompt", "http", "listener", "replication", "pool", "store"):
            service = getattr(self, part, None)
            if service is not None:
                await service.close()
                delattr(self, part)
        log.info("node.stopped")


def keep_freed_memory() -> None:
    """Tell malloc to keep chunk-sized memory: fresh pages cost more than everything else in a large PUT."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY_SIZE_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, 4 * KEPT_MEMORY_SIZE_BYTES)
    except (OSError, AttributeError):
        return  # Not glibc: slower, but right.


async def serve(settings: Settings, stopped: asyncio.Event) -> bool:
    """Run a node until `stopped` is set, or an operator wants it started again; return whether that was it."""
    node, restarted = Node(settings), asyncio.Event()
    await node.start()
    node.replication.maintenance.restart = restarted.set
    waits = [asyncio.create_task(event.wait()) for event in (stopped, restarted)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if restarted.is_set():
            log.info("node.restarting")
        await node.replication.maintenance.finish(settings.timeouts.drain_s)
    finally:
        for wait in waits:
            wait.cancel()
        await node.stop()
    return restarted.is_set() and not stopped.is_set()
