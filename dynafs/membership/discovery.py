"""Introductions: how a node that knows one other comes to know all, and how they all come to gossip.

Who has no members in its settings asks its seeds, over and over, which cluster they are of: that tells the ring, what
all nodes agree on, and where its members are. Whoever is connected to a peer that it does not gossip with asks it where
it gossips. Names are resolved again at every try, for containers change their addresses.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from dynafs.errors import DynafsError, RemoteProtocolError
from dynafs.membership.gossip import Gossip
from dynafs.observe.events import get_logger
from dynafs.observe.supervision import supervised
from dynafs.ports import Answer
from dynafs.ring import PARTITION_COUNT_MAX
from dynafs.ring.names import PORT_MAX, is_address, is_node_name
from dynafs.wire.ring import decode_ring_state
from dynafs.wire.ring_messages import AskIntroduction, Introduction

log = get_logger()

#: Pause between two rounds of meeting who is not met yet.
LOOK_S = 1.0
#: Pause between two looks at seeds, once somebody is met.
SEEDS_S = 30.0

#: Asks the node at HOST:PORT, whoever that is. Returns what it says and the address that its name stands for now.
AskAt = Callable[[str], Awaitable[tuple[Answer[Any], str]]]


class ClusterParameters(msgspec.Struct, frozen=True):
    """What a cluster was founded with, as a later node learned it; kept beside its data."""

    n: int
    r: int
    w: int
    partitions: int
    ring_digest: bytes


async def find_cluster(seeds: Sequence[str], ask_at: AskAt) -> tuple[Introduction, bytes]:
    """Return how the first seed that answers introduces its cluster, and the ring state that it knows. Asks until one
    does."""
    told: dict[str, str] = {}
    while True:
        for seed in seeds:
            try:
                answer, _ = await ask_at(seed)
                decode_ring_state(answer.body)
                return checked_introduction(answer), bytes(answer.body)
            except (DynafsError, OSError) as error:
                reason = str(error) or type(error).__name__
                if told.get(seed) != reason:
                    told[seed] = reason
                    log.warning("seed.unanswered", address=seed, reason=reason)
        await asyncio.sleep(LOOK_S)


def checked_introduction(answer: Answer[Any]) -> Introduction:
    """Return how a peer introduces its cluster, without addresses that cannot be called.

    Raises RemoteProtocolError when it is no introduction, or one of a cluster that cannot be.
    """
    told = answer.message
    if not isinstance(told, Introduction):
        raise RemoteProtocolError(f"{type(told).__name__} is no introduction")
    count = told.partitions
    if not (
        all(1 <= copies <= told.n for copies in (told.n, told.r, told.w))
        and 1 <= count <= PARTITION_COUNT_MAX
        and not count & (count - 1)
        and 0 <= told.gossip_port <= PORT_MAX
    ):
        raise RemoteProtocolError(
            f"an introduction to a cluster that cannot be: n={told.n} r={told.r} w={told.w} partitions={count} "
            f"gossip_port={told.gossip_port}"
        )
    usable = {node: where for node, where in told.addresses.items() if is_node_name(node) and is_address(where)}
    return msgspec.structs.replace(told, addresses=usable)


class Discovery:
    """Has one node meet the others, and says who it is."""

    def __init__(
        self,
        gossip: Gossip,
        ask: Callable[[str, AskIntroduction], Awaitable[Answer[Any]]],
        host_of: Callable[[str], str],
        peers: Callable[[], Sequence[str]],
        about: Callable[[], Mapping[str, str]],
    ) -> None:
        """ask: a connected peer. host_of: returns where a connected peer was reached, "" when it is not connected.
        peers: returns nodes to meet. about: returns what this node has to say of itself by now."""
        self._gossip, self._ask, self._host_of, self._peers = gossip, ask, host_of, peers
        self._about = about
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, seeds: Sequence[str], ask_at: AskAt, on_addresses: Callable[[Mapping[str, str]], None]) -> None:
        """Begin to meet. on_addresses: told where a seed says that its peers are."""
        self._tasks.append(supervised("introduction to peers", self._meet_peers))
        if seeds:
            meet = partial(self._meet_seeds, seeds, ask_at, on_addresses)
            self._tasks.append(supervised("introduction to seeds", meet))

    async def _meet_peers(self) -> None:
        while True:
            await self._gossip.tell(**self._about())
            for node in self._peers():
                if node not in self._gossip.kin and (host := self._host_of(node)):
                    await self._meet(node, host)
            await asyncio.sleep(LOOK_S)

    async def _meet(self, node: str, host: str) -> None:
        try:
            told = checked_introduction(await self._ask(node, AskIntroduction()))
        except DynafsError as error:
            log.debug("gossip.unanswered", host=host, port=0, reason=error.message)
            return
        await self._gossip.join(host, told.gossip_port)

    async def _meet_seeds(
        self, seeds: Sequence[str], ask_at: AskAt, on_addresses: Callable[[Mapping[str, str]], None]
    ) -> None:
        while True:
            for seed in seeds:
                try:
                    answer, host = await ask_at(seed)
                    told = checked_introduction(answer)
                except (DynafsError, OSError) as error:
                    log.debug("gossip.unanswered", host=seed, port=0, reason=str(error))
                    continue
                on_addresses(told.addresses)
                await self._gossip.join(host, told.gossip_port)
            await asyncio.sleep(SEEDS_S if self._gossip.kin else LOOK_S)

    async def close(self) -> None:
        """Meet nobody any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
