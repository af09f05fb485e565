"""Byte budgets: what bounds the memory of requests under way, and how it is shared.

Problem: whoever holds bytes without moving them keeps all others out. Five uploads of one byte each must not hold the
room of five chunks, and forty downloads that read nothing must not hold it for a minute.

Rule: 1. A holding grows with the bytes that are there, not with those that may come.
2. Growth that completes what the holder declared is granted when it fits: it comes back soon. Other growth is granted
when afterwards the holders whose clients move can still complete one after the other with what is free (the banker's
algorithm; within one declared size only the holder that lacks least counts). So a full budget is never a deadlock.
3. Of those that wait, holders that grow come before beginners, the client address that holds least comes first, and
requests of one address go in order. One address may hold everything while no other waits. The number of its
connections does not matter, only what it holds; many addresses are many clients.
4. While one waits, clients in the way are cut, those of the address that holds most first: every client that is
LAG_S_MAX behind the least rate; and if its address holds more than the one that waits would, every client that is
LAG_ABOVE_SHARE_S_MAX behind or takes longer than HOLD_S_MAX over what it holds. So a client that sends or takes at the
least rate and holds no more than its share is not cut.

Alternatives: a fixed quarter for each address wastes the rest on a cluster with one client behind one proxy. A seat of
a whole chunk for each upload is simple and stops all uploads for the price of five connections.

Tested: by examples, and by hypothesis with tiny budgets and many uploads in virtual time.
"""

import asyncio

from dynafs.admission.reservation import Client, Reservation
from dynafs.admission.sharing import Claim, is_safe
from dynafs.errors import Overloaded
from dynafs.observe import metrics

#: Those that wait look this often whether clients are to be cut.
LOOK_EVERY_S = 0.5


class ByteBudget:
    """A pool of bytes that requests take from. Invariant: 0 <= held <= size."""

    def __init__(self, name: str, size_bytes: int, timeout_s: float) -> None:
        self._name, self._size_bytes, self._timeout_s = name, size_bytes, timeout_s
        self.held_bytes = 0
        self._gauge = metrics.bytes_in_flight.labels(name)
        self._holdings: dict[Reservation, None] = {}
        #: {address: what it holds}
        self._held_by: dict[str, int] = {}
        #: {what holders declared, rounded up to a power of two: how many holders}
        self._declared: dict[int, int] = {}
        #: {address: those that wait}
        self._queues: dict[str, dict[_Waiter, None]] = {}
        self._growing_count = 0
        self._looked_s = 0.0

    def open(self, whole_bytes: int, client: Client | None = None, *, may_cut: bool = True) -> Reservation:
        """Return an empty holding that will grow to at most `whole_bytes`, or to all of the budget.

        may_cut: whether the client is what the bytes wait for; one that is slow is cut when others need them.
        """
        holding = Reservation(self, client, may_cut=may_cut)
        self._holdings[holding] = None
        holding.declare(whole_bytes)
        return holding

    def try_take(self, size_bytes: int, client: Client | None = None) -> Reservation | None:
        """Return a holding if it is free right now and nothing waits."""
        holding = self.open(size_bytes, client)
        if holding.try_grow(size_bytes):
            return holding
        holding.release()
        return None

    async def take(
        self, size_bytes: int, client: Client | None = None, *, may_cut: bool = True, timeout_s: float | None = None
    ) -> Reservation:
        """Return a holding, waiting for it; raise Overloaded after the timeout (default: the budget's). Asking for more
        than all gets all."""
        holding = self.open(size_bytes, client, may_cut=may_cut)
        if not holding.try_grow(size_bytes):
            try:
                await holding.grow(size_bytes, timeout_s)
            except BaseException:
                holding.release()
                raise
        return holding

    def is_wanted(self, holding: Reservation) -> bool:
        """Return whether an address that holds less than this holding's waits for room."""
        own_bytes = self._held_by.get(holding.address, 0) - holding.held_bytes
        return any(self._held_by.get(address, 0) < own_bytes for address in self._queues)

    def grant_now(self, holding: Reservation, size_bytes: int) -> bool:
        """Give a holding more if nothing waits and the state stays safe. Callers use Reservation.try_grow."""
        if self._queues or not self._may_grow(holding, size_bytes):
            return False
        self._give(holding, size_bytes)
        return True

    async def grant(self, holding: Reservation, size_bytes: int, timeout_s: float) -> None:
        """Give a holding more as soon as it is its turn, or raise Overloaded. Callers use Reservation.grow."""
        waiter = _Waiter(holding, size_bytes)
        self._enqueue(waiter)
        try:
            self._serve()
            await self._wait(waiter, timeout_s)
        except BaseException:
            if waiter.granted.done():
                self.take_back(holding, size_bytes)
            else:
                self._dequeue(waiter)
                self._serve()
            raise

    async def _wait(self, waiter: "_Waiter", timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while not waiter.granted.done():
            left_s = deadline_s - loop.time()
            if left_s <= 0:
                raise Overloaded(f"the node's {self._name} budget of {self._size_bytes} bytes is in use")
            await asyncio.wait((waiter.granted,), timeout=min(left_s, LOOK_EVERY_S))
            if not waiter.granted.done():
                self._make_room(loop.time())

    def take_back(self, holding: Reservation, size_bytes: int) -> None:
        """Take bytes back and serve those that wait. Callers use Reservation.release."""
        self.held_bytes -= size_bytes
        holding.held_bytes -= size_bytes
        assert self.held_bytes >= 0
        assert holding.held_bytes >= 0
        address = holding.address
        if left := self._held_by[address] - size_bytes:
            self._held_by[address] = left
        else:
            del self._held_by[address]
        if self._queues:
            self._serve()
        self._gauge.set(self.held_bytes)

    def count_declared(self, whole_bytes: int, change: int) -> int:
        """Note that a holder declared something, or does so no more; return what it counts as."""
        whole_bytes = min(1 << max(whole_bytes - 1, 0).bit_length(), self._size_bytes)
        if left := self._declared.get(whole_bytes, 0) + change:
            self._declared[whole_bytes] = left
        else:
            del self._declared[whole_bytes]
        return whole_bytes

    def forget(self, holding: Reservation) -> None:
        """Drop an empty holding. Callers use Reservation.release."""
        self._holdings.pop(holding, None)

    @property
    def size_bytes(self) -> int:
        """All there is."""
        return self._size_bytes

    @property
    def timeout_s(self) -> float:
        """How long a beginner waits."""
        return self._timeout_s

    def _may_grow(self, holding: Reservation, size_bytes: int) -> bool:
        free_bytes = self._size_bytes - self.held_bytes - size_bytes
        if free_bytes < 0 or holding.completes_with(size_bytes):
            return free_bytes >= 0
        if free_bytes >= max(self._declared):
            return True
        claims = [one.claim for one in self._holdings if one is not holding and one.held_bytes and one.moves]
        if holding.moves or not holding.held_bytes:
            claims.append(Claim(holding.counts_as, holding.held_bytes + size_bytes))
        return is_safe(free_bytes, claims)

    def _give(self, holding: Reservation, size_bytes: int) -> None:
        holding.on_given(size_bytes)
        self.held_bytes += size_bytes
        self._held_by[holding.address] = self._held_by.get(holding.address, 0) + size_bytes
        self._gauge.set(self.held_bytes)

    def _enqueue(self, waiter: "_Waiter") -> None:
        self._queues.setdefault(waiter.holding.address, {})[waiter] = None
        self._growing_count += waiter.is_growing

    def _dequeue(self, waiter: "_Waiter") -> None:
        queue = self._queues[waiter.holding.address]
        del queue[waiter]
        self._growing_count -= waiter.is_growing
        if not queue:
            del self._queues[waiter.holding.address]

    def _serve(self) -> None:
        while self._queues and (waiter := self._next()) is not None:
            self._dequeue(waiter)
            self._give(waiter.holding, waiter.size_bytes)
            waiter.granted.set_result(None)

    def _next(self) -> "_Waiter | None":
        """Return the waiter to be served now."""
        if self.held_bytes >= self._size_bytes:
            return None
        queues = [self._queues[address] for address in self._fair_order()]
        if self._growing_count:
            for waiter in (one for queue in queues for one in queue if one.is_growing):
                if self._may_grow(waiter.holding, waiter.size_bytes):
                    return waiter
        for waiter in (one for queue in queues for one in queue if not one.is_growing):
            if waiter.holding.completes_with(waiter.size_bytes):
                # One that does not fit keeps what is free from all behind it, or it would wait for ever.
                return waiter if self.held_bytes + waiter.size_bytes <= self._size_bytes else None
            if not self._growing_count and self._may_grow(waiter.holding, waiter.size_bytes):
                return waiter
        return None

    def _fair_order(self) -> list[str]:
        if len(self._queues) == 1:
            return list(self._queues)
        return sorted(self._queues, key=lambda address: self._held_by.get(address, 0))

    def _make_room(self, now_s: float) -> None:
        """Cut clients that are in the way of those that wait."""
        if now_s - self._looked_s < LOOK_EVERY_S / 2:
            return
        self._looked_s = now_s
        first = next(iter(self._queues[self._fair_order()[0]]))
        share_bytes = self._held_by.get(first.holding.address, 0) + first.size_bytes
        wanted_bytes = sum(one.size_bytes for queue in self._queues.values() for one in queue)
        wanted_bytes -= self._size_bytes - self.held_bytes
        found = [one for one in self._holdings if one.may_be_cut(self._held_by.get(one.address, 0) > share_bytes)]
        for holding in sorted(found, key=lambda one: -self._held_by[one.address]):
            holding.cut()
            wanted_bytes -= holding.held_bytes
            if wanted_bytes <= 0:
                return


class _Waiter:
    """A holding that waits for more."""

    __slots__ = ("granted", "holding", "is_growing", "size_bytes")

    def __init__(self, holding: Reservation, size_bytes: int) -> None:
        self.holding, self.size_bytes, self.is_growing = holding, size_bytes, holding.held_bytes > 0
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
