"""The simulated composition root: N nodes of the real store and the real replication code, in one process and one
virtual time."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from dynafs.config import (
    ClusterSettings,
    HealingSettings,
    LimitSettings,
    MemberSettings,
    NodeSettings,
    Settings,
    StorageSettings,
    TimeoutSettings,
)
from dynafs.errors import StoreError
from dynafs.membership import DiskHistory, Liveness, RingRegister, SelfStatus
from dynafs.ring import Member, Ring, place
from dynafs.ring.transition import RingState
from dynafs.ring.view import RingView
from dynafs.services import Ground, Replication
from dynafs.sim.clock import SimClock
from dynafs.sim.disk import SimDisk
from dynafs.sim.errors import SimulationStuck
from dynafs.sim.loop import Life
from dynafs.sim.medium import Platter
from dynafs.sim.network import Network
from dynafs.sim.options import WorldOptions
from dynafs.sim.peers import SimPeers
from dynafs.sim.trace import Trace
from dynafs.storage import LocalStore

KIB = 1 << 10
#: Small limits, so that a simulated minute reaches them.
LIMITS = LimitSettings(
    upload_seat_bytes=16 * KIB, upload_send_bytes=16 * KIB, download_bytes=16 * KIB, receive_bytes=64 * KIB,
    upload_chunks_in_flight=4, listing_rows_max=7, peer_calls_max=256, admission_timeout_s=5.0,
)  # fmt: skip
CHUNK_SIZE_BYTES = 1 * KIB
INLINE_LIMIT_BYTES = 256
SEGMENT_SIZE_BYTES = 64 * KIB
#: Often enough that everything falls into the middle of everything else; with a grace above the latest of
#: messages, and one of tombstones above what clocks jump.
HEALING = HealingSettings(
    handoff_interval_s=10.0, hint_age_s=300.0, hints_size_bytes_max=256 * KIB, anti_entropy_interval_s=20.0,
    anti_entropy_after_return_s=2.0, walk_interval_s=60.0, scrub_period_s=6000.0, collection_interval_s=10.0,
    reference_age_s=60.0, collection_grace_s=40.0, tombstone_grace_s=700.0, compaction_interval_s=30.0,
)  # fmt: skip
#: Virtual seconds within which all nodes must have found each other after all faults ended.
CONNECT_MAX_S = 60.0
#: Pause before a node that exited is started again.
RESTART_S = 1.0


@lru_cache(maxsize=64)
def ring_for(nodes: int, n: int, partitions: int) -> Ring:
    """Return the ring of nodes n1, n2, … of one zone and weight."""
    return place(tuple(Member(f"n{i}", "default", 1.0) for i in range(1, nodes + 1)), partitions, n)


class SimNode:
    """One node: a platter and a clock that outlive its lives, and the present life's services."""

    def __init__(self, world: "World", name: str) -> None:
        self._world, self.name = world, name
        seed = world.options.seed
        self._rng = random.Random(f"{seed} node {name}")  # noqa: S311
        self.clock = SimClock(world.loop.time, random.Random(f"{seed} clock {name}"))  # noqa: S311
        self.disk_conditions = replace(world.options.disk)
        self.platter = Platter(random.Random(f"{seed} platter {name}"))  # noqa: S311
        #: counts the disks this node has had
        self.generation = 1
        self.life: Life | None = None
        self._lives = 0

    @property
    def is_running(self) -> bool:
        """Whether a life is under way."""
        return self.life is not None

    def start(self) -> None:
        """Begin a life on the platter as it is."""
        assert self.life is None
        self._lives += 1
        self.life = Life(self.name, self._lives)
        try:
            self.life.context.run(self._compose, self.life)
        except BaseException:
            self.life.end()
            self.life = None
            raise

    def _compose(self, life: Life) -> None:
        world = self._world
        settings = world.settings(self.name)
        self.disk = SimDisk(life, self.platter, self.disk_conditions, self._rng)
        self.store = LocalStore(self.disk, settings.storage, self.clock.wall_ms)
        others = [name for name in world.names if name != self.name]
        self.peers = SimPeers(life, world.network, others, settings.timeouts, settings.limits.peer_calls_max)
        disk = DiskHistory(self.store, f"g{self.generation}")
        register = RingRegister(RingState.first(world.founded), self.store, self.clock, disk)
        membership = Liveness(self.name, register, self.peers.is_up)
        status = SelfStatus(self.clock.wall_ms())
        ground = Ground(self.clock, self.store, self.peers, disk, register, membership, status)
        self.replication = Replication(settings, ground)
        self.peers.start(self.replication.dispatcher.handle)
        self.replication.start()

    def stop(self, *, is_dark: bool) -> None:
        """End the life. is_dark: the power failed, so what was not synced is partly lost and nobody is told."""
        assert self.life is not None
        life, self.life = self.life, None
        life.end()
        self._world.network.detach(self.name, is_dark=is_dark)
        if is_dark:
            self.platter.cut_power()

    def replace_disk(self) -> None:
        """Start over with an empty platter; the node must not be running."""
        assert self.life is None
        self.generation += 1
        self.platter = Platter(random.Random(f"{self._world.options.seed} platter {self.name} {self.generation}"))  # noqa: S311


class World:
    """Nodes, network and time of one simulation. Made inside a SimLoop."""

    def __init__(self, options: WorldOptions, trace: Trace) -> None:
        self.options, self.trace = options, trace
        self.loop = asyncio.get_running_loop()
        self.network = Network(options.seed, replace(options.network), trace)
        self.names = [f"n{i}" for i in range(1, options.nodes + 1)]
        self.founded = ring_for(options.founders or options.nodes, options.n, options.partitions)
        #: what the loop's exception handler was told: bugs in callbacks
        self.crashes: list[str] = []
        self.loop.set_exception_handler(self._on_crash)
        self.nodes = {name: SimNode(self, name) for name in self.names}
        for name, offset_ms in options.clock_offsets_ms.items():
            self.nodes[name].clock.offset_ms = offset_ms
        for name, drift in options.clock_drifts.items():
            self.nodes[name].clock.drift = drift

    def _on_crash(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG002
        error = context.get("exception")
        self.crashes.append(f"{context['message']}: {error!r}")

    def settings(self, name: str) -> Settings:
        """Return the settings of one node."""
        options = self.options
        members = tuple(MemberSettings(node=one, address=f"{one}:1") for one in self.names)
        cluster = ClusterSettings(
            id="sim", n=options.n, r=options.r, w=options.w,
            partitions=options.partitions, inline_limit_bytes=INLINE_LIMIT_BYTES, members=members,
        )  # fmt: skip
        return Settings(
            node=NodeSettings(name=name, data_dir=name), cluster=cluster, limits=LIMITS,
            storage=StorageSettings(segment_size_bytes_max=SEGMENT_SIZE_BYTES), timeouts=TimeoutSettings(),
            healing=HEALING,
        )  # fmt: skip

    @property
    def running(self) -> list[str]:
        """Names of the nodes that run, in order."""
        return [name for name in self.names if self.nodes[name].is_running]

    def start(self, *names: str) -> None:
        """Start nodes, all unless named."""
        for name in names or self.names:
            if not self.nodes[name].is_running:
                self.trace.note(name, "node.start")
                try:
                    self.nodes[name].start()
                except StoreError as error:
                    # A node that cannot open its store says so and exits; whoever supervises it tries again.
                    self.trace.note(name, "node.exited", error.message)
                    self.loop.call_later(RESTART_S, self.start, name)

    def kill(self, *names: str) -> None:
        """Kill processes: connections close, what the operating system was given stays."""
        self._stop(names, is_dark=False)

    def cut_power(self, *names: str) -> None:
        """Cut the power of hosts: silence, and of what was not synced only parts stay."""
        self._stop(names, is_dark=True)

    def _stop(self, names: Iterable[str], *, is_dark: bool) -> None:
        for name in names:
            if self.nodes[name].is_running:
                self.trace.note(name, "node.power_cut" if is_dark else "node.killed")
                self.nodes[name].stop(is_dark=is_dark)

    def pause(self, name: str, seconds: float) -> None:
        """Freeze a node: it neither hears nor speaks, its disk does not answer."""
        self.trace.note(name, "node.paused", seconds)
        until_s = self.loop.time() + seconds
        self.network.paused[name] = until_s
        if self.nodes[name].is_running:
            self.nodes[name].disk.resume_at_s = until_s

    def partition(self, *sides: Sequence[str]) -> None:
        """Let nodes talk only within their side; who is in none is alone."""
        for name in self.names:
            mine = next((side for side in sides if name in side), [name])
            self.network.cut([name], [other for other in self.names if other not in mine])

    def end_faults(self) -> None:
        """Mend network, disks and clocks and start everybody."""
        self.network.heal()
        conditions = self.network.conditions
        conditions.lost = conditions.repeated = conditions.late = 0.0
        for node in self.nodes.values():
            node.platter.is_full, node.platter.sync_failures, node.platter.used_share = False, 0, 0.0
            node.disk_conditions.slowness = 1.0
            node.clock.offset_ms, node.clock.drift = 0, 0.0
        self.start()

    async def wait_connected(self, *names: str) -> None:
        """Wait until the running nodes (or those named) reach each other and answer reads. Raises SimulationStuck."""
        names = names or tuple(self.running)
        deadline_s = self.loop.time() + CONNECT_MAX_S
        while not all(self._is_ready(name, names) for name in names):
            if self.loop.time() > deadline_s:
                raise SimulationStuck(f"{names} did not find each other within {CONNECT_MAX_S} s")
            await asyncio.sleep(0.1)

    def _is_ready(self, name: str, names: Sequence[str]) -> bool:
        node = self.nodes[name]
        return node.replication.disk.is_complete and all(node.peers.is_up(one) for one in names if one != name)

    def owners(self, key_hash: bytes) -> tuple[str, ...]:
        """Return the owners of a file's hash or a chunk's id."""
        return RingView(self.ring_state).owners(key_hash)

    @property
    def ring_state(self) -> RingState:
        """The newest state of the ring that a running node knows."""
        known = [node.replication.consensus.state for node in self.nodes.values() if node.is_running]
        return max(known, key=lambda state: state.version, default=RingState.first(self.founded))
