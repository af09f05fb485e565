"""Which addresses a request for a file goes to: owners of the file first, then the address that the caller gave.

What a node says of other nodes' addresses may be of no use here, or lead elsewhere: to another network's host of the
same name, or nowhere. So nothing is sent to an address before the node there has named itself (`GET /readyz`, without
the token) and accepted the token, both in the background. An address that fails rests for a while, longer each time.

The owners are learned in the background once a second request for a file is made, so that a program with one request
pays nothing; again when they are old, when a node answers that others own the file, and when one cannot be reached.
"""

import asyncio
from itertools import count
from typing import NamedTuple, Protocol

from dynafs.client.placement import OwnerNode, Placement
from dynafs.errors import DynafsError
from dynafs.files import FileName

#: Owners that a request is sent to, one after the other, before the address that the caller gave.
OWNERS_TRIED_MAX = 2
#: Least time between two times of learning the owners, and the age at which they are learned again.
LEARN_PAUSE_S, PLACEMENT_AGE_S = 3.0, 30.0
#: Pause after learning failed: the node may be of an earlier version, or be a proxy.
LEARN_FAILED_PAUSE_S = 15.0
#: How long an address is left alone after it failed; doubles up to the longest.
REST_MIN_S, REST_MAX_S = 5.0, 300.0
#: Addresses that are tried out at once.
TRIALS_MAX = 4
#: A node that has not answered for so long is tried out beside the request, and gets no others until it passes.
SUSPECT_S = 3.0


class Ask(Protocol):
    """What the routing asks of the network. Both raise DynafsError."""

    async def placement(self, base: str) -> Placement:
        """Ask the node at an address which nodes own what."""
        ...

    async def try_out(self, node: OwnerNode) -> None:
        """Return when this node itself answers at its address and takes requests."""
        ...


class Address(NamedTuple):
    """Where a request may be sent. node: the owner there, None for the address that the caller gave."""

    base: str
    node: OwnerNode | None = None


class _Standing:
    """What is known of one node's address."""

    def __init__(self) -> None:
        self.is_proven = False
        self.trial: asyncio.Task[None] | None = None
        self.rests_until_s = 0.0
        self.rest_s = REST_MIN_S


class Routing:
    """Chooses the addresses of requests of one client."""

    def __init__(self, given: str, ask: Ask) -> None:
        """given: http://HOST:PORT of the node that the caller named."""
        self._given, self._ask = given, ask
        self._loop = asyncio.get_running_loop()
        self._placement: Placement | None = None
        self._learned_s, self._learn_from_s, self._is_outdated = 0.0, 0.0, False
        self._learning: asyncio.Task[None] | None = None
        #: {(node, address, instance): what is known of it}, of the nodes of the placement
        self._standings: dict[OwnerNode, _Standing] = {}
        self._trials: set[asyncio.Task[None]] = set()
        self._requests, self._turns = 0, count()

    def addresses(self, name: FileName, *, is_write: bool) -> list[Address]:
        """Return where to send a request for a file, one after the other.

        A write goes to the first owner: there the writes of a file meet, and those of many clients share syncs and
        frames. Reads take turns among the owners, so that one file that all read does not make one node busy.
        """
        self._requests += 1
        if self._requests > 1:
            self._keep_learned()
        owners = self._placement.owners(name) if self._placement is not None else []
        if not is_write and owners:
            first = next(self._turns) % len(owners)
            owners = owners[first:] + owners[:first]
        usable = [Address(f"http://{node.http}", node) for node in owners if self._is_usable(node)]
        chosen = usable[:OWNERS_TRIED_MAX]
        return chosen if any(one.base == self._given for one in chosen) else [*chosen, Address(self._given)]

    def note_failed(self, node: OwnerNode) -> None:
        """An owner cannot be reached, or refuses this client: leave it alone for a while."""
        standing = self._standings.get(node)
        if standing is not None:
            # Of an address that never works here nothing new is to be learned each time.
            self._is_outdated = self._is_outdated or standing.rest_s == REST_MIN_S
            standing.is_proven = False
            standing.rests_until_s = self._loop.time() + standing.rest_s
            standing.rest_s = min(2 * standing.rest_s, REST_MAX_S)

    def note_moved(self) -> None:
        """A node that was taken for an owner of a file says that others are."""
        self._is_outdated = True

    def suspect(self, node: OwnerNode) -> None:
        """An owner takes long to answer: send it nothing more until it passes a trial."""
        standing = self._standings.get(node)
        if standing is not None and standing.trial is None:
            standing.is_proven = False
            self._try_out(node, standing)

    def _is_usable(self, node: OwnerNode) -> bool:
        """Return whether requests may be sent to a node now; have it tried out when that is not known."""
        standing = self._standings.setdefault(node, _Standing())
        is_due = standing.trial is None and self._loop.time() >= standing.rests_until_s
        if not standing.is_proven and is_due and len(self._trials) < TRIALS_MAX:
            self._try_out(node, standing)
        return standing.is_proven

    def _try_out(self, node: OwnerNode, standing: _Standing) -> None:
        standing.trial = asyncio.create_task(self._trial(node, standing))
        self._trials.add(standing.trial)
        standing.trial.add_done_callback(self._trials.discard)

    async def _trial(self, node: OwnerNode, standing: _Standing) -> None:
        try:
            await self._ask.try_out(node)
        except DynafsError:
            self.note_failed(node)
        else:
            standing.is_proven, standing.rest_s = True, REST_MIN_S
        finally:
            standing.trial = None

    def _keep_learned(self) -> None:
        """Begin to learn the owners when that is due."""
        now_s = self._loop.time()
        is_due = self._is_outdated or self._placement is None or now_s > self._learned_s + PLACEMENT_AGE_S
        if is_due and self._learning is None and now_s >= self._learn_from_s:
            self._learning = asyncio.create_task(self._learn())

    async def _learn(self) -> None:
        """Learn the owners from the given node, or from another one that is proven."""
        pause_s, self._is_outdated = LEARN_FAILED_PAUSE_S, False
        proven = [f"http://{node.http}" for node, standing in self._standings.items() if standing.is_proven]
        try:
            for base in (self._given, *proven[:OWNERS_TRIED_MAX]):
                try:
                    placement = await self._ask.placement(base)
                except DynafsError:
                    continue
                self._placement, self._learned_s, pause_s = placement, self._loop.time(), LEARN_PAUSE_S
                self._standings = {node: self._standings.get(node, _Standing()) for node in placement.nodes}
                return
        finally:
            self._learning, self._learn_from_s = None, self._loop.time() + pause_s

    async def close(self) -> None:
        """End what is under way."""
        tasks = [*self._trials, *([self._learning] if self._learning is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
