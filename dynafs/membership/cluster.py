"""Reaching owners: one way to ask any node, this one included, and one way to wait for a quorum of answers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from dynafs.errors import QuorumError, RingOutdated
from dynafs.membership import Calls, RingConsensus, RingRegister
from dynafs.membership.deadlines import Deadlines
from dynafs.membership.hedging import Hedges
from dynafs.membership.latency import PeerLatency
from dynafs.ports import Membership
from dynafs.ring import Ring
from dynafs.ring.view import RingView
from dynafs.wire.messages import ReadRecord

T = TypeVar("T")

#: How long an order in which to read is believed; peers come and go, and slow down, less often than clients read.
ORDER_BELIEVED_S = 0.02
#: Orders remembered: a ring has at most as many sets of owners as it has partitions.
ORDERS_MAX = 10_000
#: States of the ring that one operation follows.
VIEWS_MAX = 4

#: Makes a record of another owner part of what is held here.
Merge = Callable[[bytes, bytes], "asyncio.Future[None]"]


class Cluster:
    """The nodes as one coordinator sees them."""

    def __init__(self, calls: Calls, register: RingRegister, consensus: RingConsensus, membership: Membership) -> None:
        self.me, self.membership, self.timeout_s = calls.me, membership, calls.timeout_s
        #: see `Calls`
        self.ask, self.serve = calls.ask, calls.serve
        self._register, self._consensus = register, consensus
        self.loop = asyncio.get_running_loop()
        self.deadlines = Deadlines(self.loop, calls.timeout_s)
        self.hedges = Hedges(self.loop)
        self.speeds = PeerLatency(self.loop.time)
        #: {nodes: (until when the order is believed, the order)}
        self._orders: dict[tuple[str, ...], tuple[float, tuple[str, ...]]] = {}

    @property
    def view(self) -> RingView:
        """The view of the ring state that stands."""
        return self._register.view

    async def catch_up(self, nodes: Sequence[str]) -> None:
        """Learn the ring state from nodes that have a newer one."""
        await self._consensus.catch_up(nodes)

    @property
    def ring(self) -> Ring:
        """The ring that is, or that a change leads to."""
        return self.view.ring

    @property
    def others(self) -> list[str]:
        """All other nodes that own, or will own, anything."""
        return [node for node in self.view.nodes if node != self.me]

    def is_up(self, node: str) -> bool:
        """Return whether a node, this one included, can be asked."""
        return node == self.me or self.membership.is_up(node)

    def in_reading_order(self, nodes: tuple[str, ...]) -> tuple[str, ...]:
        """Return nodes in the order in which a read should ask them: nearest first, slow ones last."""
        now_s, known = self.loop.time(), self._orders.get(nodes)
        if known is not None and known[0] > now_s:
            return known[1]
        order = tuple(self.speeds.slow_last(self.membership.nearest_first(nodes)))
        if len(self._orders) >= ORDERS_MAX:
            self._orders.clear()
        self._orders[nodes] = (now_s + ORDER_BELIEVED_S, order)
        return order

    def note_silence(self, nodes: Iterable[str], waited_s: float) -> None:
        """Take into account that nodes have not answered for so long, so that slow ones are asked last from now on."""
        for node in nodes:
            if node != self.me:
                self.speeds.add(node, waited_s)

    def owners(self, hash_bytes: bytes) -> tuple[str, ...]:
        """Return who should hold what is under a key's hash or a chunk's id, first choice first."""
        return self.view.owners(hash_bytes)

    def first_up(self, hash_bytes: bytes) -> str | None:
        """Return the first owner that is up: who does what needs doing once."""
        return next((node for node in self.owners(hash_bytes) if self.is_up(node)), None)

    def keepers(self, hash_bytes: bytes) -> tuple[str, ...]:
        """Return all nodes where copies may be: the owners, and as many fallbacks behind them."""
        return self.view.keepers(hash_bytes)

    def fallbacks(self, hash_bytes: bytes) -> tuple[str, ...]:
        """Return the nodes that may stand in for owners."""
        return self.view.fallbacks(hash_bytes)

    async def in_view(self, attempt: Callable[[RingView], Awaitable[T]]) -> T:
        """Do something at a quorum of owners; once more when some of them know a newer state of the ring.

        Raises what the attempt raises.
        """
        for _ in range(VIEWS_MAX):
            view = self.view
            try:
                return await attempt(view)
            except QuorumError as error:
                knowing = [node for node, code in error.failures.items() if code == RingOutdated.code]
                if not knowing:
                    raise
                await self.catch_up(knowing)
                if self.view is view:
                    raise
        return await attempt(self.view)

    def standing(self, hash_bytes: bytes) -> list[tuple[str, str]]:
        """Return (node, owner it stands in for, empty for an owner itself) of nodes that are up, of as many as there
        are owners."""
        owners = self.owners(hash_bytes)
        down = [node for node in owners if not self.is_up(node)]
        spare = [node for node in self.fallbacks(hash_bytes) if self.is_up(node)]
        return [(node, "") for node in owners if node not in down] + list(zip(spare, down, strict=False))


async def take_over(cluster: Cluster, merge: Merge, node: str, key: bytes) -> None:
    """Make a record of another node part of what is held here, if it still has one. Raises DynafsError."""
    answer = await cluster.ask(node, ReadRecord(key, whole=True))
    if answer.body:
        await merge(key, bytes(answer.body))
