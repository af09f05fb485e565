"""The hints that one node keeps: what it holds for owners that could not take it, and for which of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from dynafs.errors import HintsFull, RequestInvalid
from dynafs.jobs.job import JobStatus
from dynafs.membership.cluster import Cluster
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer, Clock, Hint, Store
from dynafs.wire.messages import CountHints, HintCounts

#: Hints looked up at once.
PAGE_HINTS = 256
#: What keeping a hint costs besides its contents.
HINT_SIZE_BYTES = 256


class HintBook:
    """Admits, finds and counts one node's hints."""

    def __init__(self, cluster: Cluster, store: Store, clock: Clock, size_bytes_max: int, status: JobStatus) -> None:
        """size_bytes_max: of everything kept for others. status: of the job that hands hints over; shows how many are
        queued."""
        self._cluster, self._store, self._clock = cluster, store, clock
        self._size_bytes_max, self._status = size_bytes_max, status
        #: bytes kept, as of the last count and what came since
        self._kept_bytes = 0
        #: hints on their way to the disk
        self._fresh: dict[Hint, None] = {}

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer peers that count hints."""
        dispatcher.register(CountHints, lambda _, request, _body: self.report(request.key))

    def admit(self, hint: Hint) -> Hint:
        """Return the hint to keep for a write, its time and size filled in. Raises HintsFull, StoreFull,
        RequestInvalid."""
        target = hint.target
        if target not in self._cluster.others:
            raise RequestInvalid("hint_for", f"{target[:100]!r} is no other node of this cluster")
        self._store.check_room(is_for_others=True)
        size_bytes = hint.size_bytes + HINT_SIZE_BYTES
        if self._kept_bytes + size_bytes > self._size_bytes_max:
            raise HintsFull(f"{self._kept_bytes} bytes are kept for other nodes already", target=target)
        self._kept_bytes += size_bytes
        self._status.queued += 1
        return hint._replace(since_ms=self._clock.wall_ms(), size_bytes=size_bytes)

    def track(self, hint: Hint, stored: "asyncio.Future[None]") -> "asyncio.Future[None]":
        """Remember a hint until it is on disk."""
        self._fresh[hint] = None
        stored.add_done_callback(lambda _: self._fresh.pop(hint, None))
        return stored

    def recount(self, count: int, size_bytes: int) -> None:
        """Take over what a look at all hints found: how many there are, and the bytes that are kept for them."""
        self._kept_bytes, self._status.queued = size_bytes, count

    def is_kept(self, hint: Hint, owners: Iterable[str]) -> bool:
        """Return whether a hint for the same thing is there, or on its way to the disk."""
        thing = hint[1:4]
        return any(fresh[1:4] == thing for fresh in self._fresh) or any(
            self._store.has_hint(hint._replace(target=node)) for node in owners
        )

    async def keeps_for(self, is_meant: Callable[[str], bool]) -> bool:
        """Return whether anything is kept for one of some nodes."""
        for target in await self._store.hint_targets():
            if is_meant(target):
                async for _ in self.hints_for(target):
                    return True
        return False

    async def report(self, key: bytes = b"") -> Answer[HintCounts]:
        """Tell how much is kept for whom, of one file or of all."""
        targets = {}
        for target in await self._store.hint_targets():
            count = size_bytes = oldest_ms = 0
            async for one in self.hints_for(target):
                if not key or one.key == key:
                    oldest_ms = min(oldest_ms, one.since_ms) if count else one.since_ms
                    count, size_bytes = count + 1, size_bytes + one.size_bytes
            if count:
                targets[target] = (count, size_bytes, oldest_ms)
        return Answer(HintCounts(targets))

    async def hints_for(self, target: str) -> AsyncIterator[Hint]:
        """Yield all hints for a node, in their order."""
        after: Hint | None = None
        while page := await self._store.scan_hints(target, after, PAGE_HINTS):
            for hint in page:
                yield hint
            after = page[-1]
