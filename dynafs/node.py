"""The composition root: the one file that knows everything. Starts a node, keeps it, stops it."""

import asyncio
import ctypes
import gc
import io
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dynafs.attach import Prompt
from dynafs.config import Settings, joined, split_address
from dynafs.errors import ConfigError, GossipFailed, StoreRefused
from dynafs.http import HttpServer, take_descriptors
from dynafs.membership import Discovery, DiskHistory, Gossip, Liveness, RingRegister, SelfStatus
from dynafs.membership.discovery import ClusterParameters, find_cluster
from dynafs.membership.disk_history import STATE_FACT, first_state
from dynafs.membership.gossip import About, GossipObserver
from dynafs.membership.ring_register import STATE_FACT as RING_FACT
from dynafs.observe.events import get_logger
from dynafs.observe.supervision import on_loop_failure
from dynafs.peers import PeerListener, PeerPool
from dynafs.peers.asking import ask_at
from dynafs.ports import Answer
from dynafs.ring import Member, Ring, place
from dynafs.ring.names import NODE_RULE, excerpt, is_node_name
from dynafs.ring.transition import RingState
from dynafs.services import Ground, Replication
from dynafs.storage import open_store_in
from dynafs.storage.directory import GENERATION_SIZE_BYTES, DataDirectory, name_in
from dynafs.storage.stored import decode_stored
from dynafs.wire.handshake import WIRE_VERSION, Hello
from dynafs.wire.ring import decode_ring_state, encode_ring_state
from dynafs.wire.ring_messages import AskIntroduction, Introduction

log = get_logger()

#: glibc's names of mallopt parameters, and the size below which freed memory is kept for the next chunk instead of
#: being given back to the kernel and faulted in again page by page.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_MEMORY_SIZE_BYTES = 32 << 20
#: Asked of the system at once: an upload takes 16, and a call for each costs a small PUT a fiftieth of its time.
RANDOM_SIZE_BYTES = 512

FOUNDING_FACT, GOSSIP_FACT = "founding", "gossip_port"


class SystemClock:
    """The Clock port of the operating system."""

    def __init__(self) -> None:
        self._random = io.BytesIO()

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that only move forward."""
        return time.monotonic()

    def random_bytes(self, size_bytes: int) -> bytes:
        """Unpredictable bytes, from the system a few hundred at a time."""
        found = self._random.read(size_bytes)
        if len(found) < size_bytes:
            self._random = io.BytesIO(os.urandom(size_bytes + RANDOM_SIZE_BYTES))
            found = self._random.read(size_bytes)
        return found


def ring_of(settings: Settings) -> Ring:
    """Return the ring that these settings lay out; equal settings give equal rings on every node."""
    members = tuple(Member(m.node, m.zone, m.weight) for m in settings.cluster.members)
    return place(members, settings.cluster.partitions, settings.cluster.n)


class Node:
    """One running node. Use `start`, then `stop`."""

    def __init__(
        self, settings: Settings, wire_version: int = WIRE_VERSION, restart: Callable[[], None] | None = None
    ) -> None:
        """Make a node of checked settings; nothing happens before `start`.

        wire_version: of the messages it sends. restart: stops it and starts it again, when an operator orders that.
        """
        self.settings, self._wire_version = settings, wire_version
        self.clock = SystemClock()
        self.status = SelfStatus(self.clock.wall_ms(), restart)
        self._secret = settings.cluster.secret.encode()
        if settings.cluster.members:
            #: what the cluster was founded with, or a later one
            self.ring = ring_of(settings)
            self._ring_digest = self.ring.digest
        self.http_port = 0

    async def start(self) -> None:
        """Open the store, listen for peers and clients. Raises DynafsError or OSError, leaving nothing open."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings, clock, name = self.settings, self.clock, self.settings.node.name
        keep_freed_memory()
        descriptor_max = take_descriptors(settings)
        new_generation = clock.random_bytes(GENERATION_SIZE_BYTES).hex()
        directory = DataDirectory(Path(settings.node.data_dir), settings.cluster.id, name, new_generation)
        self.store = open_store_in(directory, settings.storage, clock.wall_ms)
        if not settings.cluster.members:
            await self._find_cluster()
            settings = self.settings
        await self._check_ring()
        me = Hello(self._wire_version, settings.cluster.id, name, "control", self._ring_digest, b"")
        others = {m.node: m.address for m in settings.cluster.members if m.node != name}
        self.pool = PeerPool(me, self._secret, others, settings.timeouts, clock, settings.limits.peer_calls_max)
        generation = directory.identity.generation
        self.replication = Replication(settings, self._ground(generation))
        self.replication.dispatcher.register(AskIntroduction, lambda *_: self._introduce())
        self.replication.register.observe(lambda *_: self._on_members(self.replication.addresses))
        await self._start_gossip()
        self._on_members(self.replication.addresses)
        self.listener = PeerListener(
            me, self._secret, settings.timeouts, clock, self.replication.dispatcher.handle, self._on_peer_seen,
            settings.limits.receive_bytes,
        )  # fmt: skip
        await self.listener.start(settings.peer_listen)
        self.replication.start()
        self.introducer.start(settings.cluster.seeds, self._ask_at, self._on_members)
        self.http = HttpServer(self.replication, descriptor_max)
        self.http_port = await self.http.start()
        self.prompt = Prompt(Path(settings.node.data_dir), self._names)
        await self.prompt.start()
        self.status.announce(self._client_address())
        log.info(
            "node.started", http=settings.http.listen, peers=settings.peer_listen, data_dir=settings.node.data_dir,
            generation=generation, pid=os.getpid(),
        )  # fmt: skip

    def _ground(self, generation: str) -> Ground:
        """Make what the services stand on. generation: of the data directory; a node that lost its disk comes back with
        another, as another actor."""
        node, cluster = self.settings.node, self.settings.cluster
        disk = DiskHistory(self.store, generation)
        register = RingRegister(RingState.first(self.ring), self.store, self.clock, disk)
        membership = Liveness(node.name, register, self.pool.is_up)
        _, port = split_address(self.settings.peer_listen)
        about = About(port=str(port), zone=node.zone, wire=str(self._wire_version))
        observer = GossipObserver(self.pool.hurry, self._on_gossip, membership.doubt)
        self.gossip = Gossip(node.name, cluster.id, self._secret, about, observer)
        return Ground(self.clock, self.store, self.pool, disk, register, membership, self.status, self.gossip)

    async def _find_cluster(self) -> None:
        """Learn from a seed which cluster this node is to join, once; then it is kept beside the data."""
        kept = self.store.fact(FOUNDING_FACT)
        if kept is None:
            log.info("node.seeking", seeds=self.settings.cluster.seeds)
            told, state = await find_cluster(self.settings.cluster.seeds, self._ask_at)
            founding = ClusterParameters(told.n, told.r, told.w, told.partitions, told.ring_digest)
            if self.store.fact(RING_FACT) is None:
                await self.store.put_fact(RING_FACT, state)
            await self.store.put_fact(FOUNDING_FACT, msgspec.msgpack.encode(founding))
        else:
            founding = decode_stored("founding", msgspec.msgpack.Decoder(ClusterParameters).decode, kept)
        cluster = msgspec.structs.replace(
            self.settings.cluster, n=founding.n, r=founding.r, w=founding.w, partitions=founding.partitions
        )
        self.settings = msgspec.structs.replace(self.settings, cluster=cluster)
        stored = self.store.fact(RING_FACT)
        assert stored is not None
        self.ring, self._ring_digest = decode_stored("ring state", decode_ring_state, stored).ring, founding.ring_digest

    async def _ask_at(self, address: str) -> tuple[Answer[Any], str]:
        """Ask whoever listens at an address to introduce its cluster."""
        node, cluster = self.settings.node, self.settings.cluster
        stranger = Hello(self._wire_version, cluster.id, node.name, "control", b"", b"")
        return await ask_at(address, stranger, self._secret, AskIntroduction(), self.settings.timeouts, self.clock)

    async def _start_gossip(self) -> None:
        reach = self.replication.cluster
        self.introducer = Discovery(self.gossip, reach.ask, self.pool.host_of, lambda: reach.others, self._about)
        host, _ = split_address(self.settings.peer_listen)
        await self._listen_for_gossip(host)

    async def _listen_for_gossip(self, host: str) -> None:
        """Gossip where the settings say, else where this node did before: whoever comes back elsewhere may be taken for
        somebody else until the former self is forgotten."""
        if port := self.settings.node.gossip_port:
            await self.gossip.start(host, port, **self._about())
            return
        former_port = decode_stored("gossip port", int, self.store.fact(GOSSIP_FACT) or b"0")
        try:
            await self.gossip.start(host, former_port, **self._about())
        except GossipFailed as error:
            log.info("gossip.moved", reason=error.message)
            await self.gossip.start(host, 0, **self._about())
        await self.store.put_fact(GOSSIP_FACT, str(self.gossip.port).encode())

    def _about(self) -> dict[str, str]:
        """Return what this node says of itself by now."""
        view, draining = self.replication.cluster.view, "1" if self.status.is_draining else ""
        return {"ring": str(view.version), "epoch": str(view.state.ring.epoch), "draining": draining}

    def _introduce(self) -> Answer[Any]:
        """Return of which cluster this node is."""
        cluster, replication = self.settings.cluster, self.replication
        reply = Introduction(
            cluster.n, cluster.r, cluster.w, cluster.partitions, self._ring_digest, self.gossip.port,
            replication.addresses,
        )  # fmt: skip
        return Answer(reply, encode_ring_state(replication.register.state))

    def _on_gossip(self) -> None:
        """Somebody may have moved, or know a later ring."""
        replication = self.replication
        self._on_members(
            {
                node: kin.address
                for node, kin in self.gossip.kin.items()
                if kin.address and node in replication.cluster.others
            }
        )
        if any(kin.ring_version > replication.cluster.view.version for kin in self.gossip.kin.values()):
            replication.rebalancer.job.hurry()

    def _on_members(self, addresses: Mapping[str, str]) -> None:
        """Connect to members at these addresses, too; only where the settings say, for those that they list."""
        listed = {member.node for member in self.settings.cluster.members}
        self.pool.introduce(addresses)
        for node, address in addresses.items():
            if node not in listed:
                self.pool.also_at(node, address)

    def _client_address(self) -> str:
        """Return where clients reach this node: what the settings advertise, else where it listens, by its peers' name
        for it if that is everywhere."""
        if self.settings.http.advertise:
            return self.settings.http.advertise
        host, _ = split_address(self.settings.http.listen)
        if host in ("0.0.0.0", "::"):  # noqa: S104  compared with, not listened on
            host, _ = split_address(self.replication.addresses.get(self.settings.node.name, self.settings.peer_listen))
        return joined(host, self.http_port)

    def _on_peer_seen(self, node: str, host: str) -> None:
        """A peer connected: it can be called again, perhaps at another host than before, or waits to be staged."""
        if known := self.replication.addresses.get(node):
            self._on_members({node: joined(host, split_address(known)[1])})
        self.pool.hurry(node)
        self.replication.newcomers.note_seen(node)

    async def _check_ring(self) -> None:
        """Refuse to serve data that was placed by another ring: members cannot be changed by editing the settings."""
        known = self.store.fact("ring_digest")
        if self.store.fact(STATE_FACT) is None:
            await self.store.put_fact(STATE_FACT, first_state(is_new=known is None))
        if known is None:
            await self.store.put_fact("ring_digest", self._ring_digest)
        elif known != self._ring_digest:
            raise StoreRefused(
                "cluster.members, cluster.n or cluster.partitions differ from those the data was stored under; "
                "restore the former settings"
            )

    async def stop(self) -> None:
        """Finish what is under way, close everything. Safe after a failed start."""
        for part in ("prompt", "http", "introducer", "gossip", "listener", "replication", "pool", "store"):
            service = getattr(self, part, None)
            if service is not None:
                await service.close()
                delattr(self, part)
        log.info("node.stopped")

    def _names(self) -> dict[str, object]:
        """Return what an operator at the prompt finds by name."""
        replication = self.replication
        return {
            "node": self, "settings": self.settings, "replication": replication, "store": self.store,
            "peers": self.pool, "ring": replication.ring, "jobs": replication.jobs.by_name,
            "ask": replication.cluster.ask,
        }  # fmt: skip


def named(settings: Settings) -> Settings:
    """Return settings in which the node has a name: of its data, or of its host. Raises StoreRefused, ConfigError."""
    if settings.node.name:
        return settings
    name = name_in(Path(settings.node.data_dir)) or socket.gethostname()
    if not is_node_name(name):
        raise ConfigError([f"node.name: {excerpt(name)}, as the data or the host is called, is none; use {NODE_RULE}"])
    return msgspec.structs.replace(settings, node=msgspec.structs.replace(settings.node, name=name))


def keep_freed_memory() -> None:
    """Tell malloc to keep chunk-sized memory: fresh pages cost more than everything else in a large PUT."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY_SIZE_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, 4 * KEPT_MEMORY_SIZE_BYTES)
    except (OSError, AttributeError):
        return  # Not glibc: slower, but right.


def tame_garbage_collector() -> None:
    """Leave what a started node consists of out of every collection, and collect less often: requests make few cycles,
    and looking for them took a tenth of a small read's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def serve(settings: Settings, stopped: asyncio.Event) -> bool:
    """Run a node until `stopped` is set, or an operator wants it started again; return whether that was it."""
    asyncio.get_running_loop().set_exception_handler(on_loop_failure)
    restarted = asyncio.Event()
    node = Node(settings, restart=restarted.set)
    waits = [asyncio.create_task(event.wait()) for event in (stopped, restarted)]
    starting = asyncio.create_task(node.start())
    try:
        # A node that looks for its cluster can be stopped, too.
        await asyncio.wait([starting, waits[0]], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return False
        await starting
        tame_garbage_collector()
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if restarted.is_set():
            log.info("node.restarting")
        await node.replication.maintenance.finish(settings.timeouts.drain_s)
    finally:
        for wait in waits:
            wait.cancel()
        await node.stop()
    return restarted.is_set() and not stopped.is_set()
