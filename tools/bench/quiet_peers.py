"""Peers of a node that have nothing to do: members of its ring that connect to it, gossip, answer, and ask what an idle
node asks. All of them live in one process, each at a loopback address of its own.

    quiet_peers.py SETTINGS NODE    SETTINGS: of the node beside which they live; NODE: its name
"""

import asyncio
import random
import sys
from functools import partial
from pathlib import Path

import msgspec
import uvloop

from dynafs.config import Settings, load_settings, split_address
from dynafs.errors import DynafsError, NotFound
from dynafs.membership.gossip import About, Gossip, GossipObserver
from dynafs.node import SystemClock, ring_of
from dynafs.peers import PeerListener, PeerPool
from dynafs.ports import Answer
from dynafs.ring import leaves_per_partition
from dynafs.ring.transition import RingState
from dynafs.wire.handshake import WIRE_VERSION, Hello
from dynafs.wire.messages import (
    AskIntroduction,
    AskStatus,
    CompareTrees,
    CountHints,
    Differing,
    HintCounts,
    Introduction,
    NodeStatus,
    PulledRecords,
    PullRecords,
    ReadRecord,
    RecordReply,
    Request,
    RingReply,
    ScannedRecords,
    ScanRecords,
)
from dynafs.wire.ring import encode_ring_state
from dynafs.wire.ring_messages import ReadRing

#: How often an idle node asks each peer which ring stands, and compares trees with it.
RING_INTERVAL_S, TREES_INTERVAL_S = 60.0, 600.0
NO_ROWS = msgspec.msgpack.encode([])
#: What trees sum up to where nothing is stored.
NOTHING = bytes(16)
RECEIVE_BYTES_MAX = 1 << 20


class QuietPeer:
    """One member of the ring, with an empty disk."""

    def __init__(self, settings: Settings, state: RingState, document: bytes, name: str, beside: str) -> None:
        """document: the encoded state. beside: the node that it connects to."""
        self._settings, self._document, self._name, self._beside = settings, document, name, beside
        self._version, self._epoch = state.version, state.newest.epoch
        self._digest, self._addresses = state.newest.digest, {m.node: m.address for m in settings.cluster.members}
        self._shared = [p for p, nodes in enumerate(state.newest.owners) if name in nodes and beside in nodes]
        self._span = leaves_per_partition(state.newest.partition_count)

    async def start(self) -> None:
        settings, name, clock = self._settings, self._name, SystemClock()
        secret = settings.cluster.secret.encode()
        hello = Hello(WIRE_VERSION, settings.cluster.id, name, "control", self._digest, b"")
        self._listener = PeerListener(
            hello, secret, settings.timeouts, clock, self._handle, lambda *_: None, RECEIVE_BYTES_MAX
        )
        host, port = split_address(self._addresses[name])
        await self._listener.start(self._addresses[name])
        about = About(port=str(port), ring=str(self._version), epoch=str(self._epoch), wire=str(WIRE_VERSION))
        self._gossip = Gossip(name, settings.cluster.id, secret, about, GossipObserver())
        await self._gossip.start(host, 0)
        others = {self._beside: self._addresses[self._beside]}
        self._pool = PeerPool(hello, secret, others, settings.timeouts, clock, settings.limits.peer_calls_max)

    def _handle(self, peer: str, request: Request, body: bytes | bytearray) -> Answer:  # noqa: ARG002
        cluster = self._settings.cluster
        match request:
            case ReadRing():
                return Answer(RingReply(self._version), self._document)
            case AskIntroduction():
                told = Introduction(
                    cluster.n, cluster.r, cluster.w, cluster.partitions, self._digest, self._gossip.port,
                    self._addresses,
                )  # fmt: skip
                return Answer(told, self._document)
            case PullRecords():
                return Answer(PulledRecords(None, knows_other=False, generation=self._name), NO_ROWS)
            case CompareTrees():
                return Answer(Differing([]))
            case ScanRecords():
                return Answer(ScannedRecords(None), NO_ROWS)
            case CountHints():
                return Answer(HintCounts({}))
            case ReadRecord():
                return Answer(RecordReply(b""))
            case AskStatus():
                return Answer(NodeStatus(self._version, self._epoch, 0, SystemClock().wall_ms()))
            case _:
                print(f"{self._name}: {type(request).__name__} cannot be answered", file=sys.stderr, flush=True)
                raise NotFound("answer", type(request).__name__)

    async def live(self) -> None:
        """Ask what an idle node asks."""
        rows = [(partition * self._span).to_bytes(2, "big") for partition in self._shared]
        trees = msgspec.msgpack.encode([(first, NOTHING) for first in rows])
        compare = CompareTrees("chunks", self._span)
        await asyncio.gather(
            self._ask_always(RING_INTERVAL_S, partial(self._pool.call, self._beside, ReadRing(), timeout_s=4.0)),
            *(
                self._ask_always(
                    TREES_INTERVAL_S,
                    partial(self._pool.call, self._beside, compare, trees, timeout_s=4.0, is_bulk=True),
                )
                for compare in (CompareTrees("records", self._span), compare)
                if self._shared
            ),
        )

    async def _ask_always(self, interval_s: float, call: "partial[asyncio.Future[Answer]]") -> None:
        await asyncio.sleep(random.uniform(0, interval_s))
        while True:
            try:
                await call()
            except DynafsError as error:
                print(f"{self._name}: {error.message}", file=sys.stderr, flush=True)
            await asyncio.sleep(interval_s * random.uniform(0.5, 1.5))


async def main() -> None:
    """Run all members but one until the process is killed."""
    settings = load_settings(Path(sys.argv[1]), {})
    beside = sys.argv[2]
    state = RingState.first(ring_of(settings))
    document = encode_ring_state(state)
    names = [member.node for member in settings.cluster.members if member.node != beside]
    peers = [QuietPeer(settings, state, document, name, beside) for name in names]
    for peer in peers:
        await peer.start()
    print("ready", flush=True)
    await asyncio.gather(*(peer.live() for peer in peers))


if __name__ == "__main__":
    uvloop.run(main())
