"""What one request holds of a byte budget; the rule is in `budget.py`."""

from types import TracebackType
from typing import Protocol, Self

from dynafs.admission.sharing import Claim

#: A client this far behind the least rate is cut when others wait.
LAG_S_MAX = 5.0
#: A client this far behind is cut when one waits that holds less than its address does.
LAG_ABOVE_SHARE_S_MAX = 1.0
#: A client that is waited for this long over what it holds is cut when one waits that holds less than its address does.
HOLD_S_MAX = 5.0
#: A holder whose client is waited for longer is not expected to complete soon.
MOVING_S_MAX = 2.0
#: Growth of a holding that has something already waits this many times longer than the beginning of one.
PATIENCE = 6


class Client(Protocol):
    """For whom bytes are held."""

    address: str

    def waited_s(self) -> float:
        """Return for how long in all this node has waited for the client to send or to take."""
        ...

    def lag_s(self) -> float:
        """Return how far the client is behind the least rate."""
        ...

    def cut(self) -> None:
        """End the request."""
        ...


class Pool(Protocol):
    """What a holding needs of its budget."""

    @property
    def size_bytes(self) -> int:
        """All there is."""
        ...

    @property
    def timeout_s(self) -> float:
        """How long a beginner waits."""
        ...

    def grant_now(self, holding: "Reservation", size_bytes: int) -> bool:
        """Give a holding more if nothing waits and the state stays safe."""
        ...

    async def grant(self, holding: "Reservation", size_bytes: int, timeout_s: float) -> None:
        """Give a holding more as soon as it is its turn, or raise Overloaded."""
        ...

    def take_back(self, holding: "Reservation", size_bytes: int) -> None:
        """Take bytes back and serve those that wait."""
        ...

    def count_declared(self, whole_bytes: int, change: int) -> int:
        """Note that a holder declared something, or does so no more; return what it counts as."""
        ...

    def forget(self, holding: "Reservation") -> None:
        """Drop a holding."""
        ...

    def is_wanted(self, holding: "Reservation") -> bool:
        """Return whether an address that holds less than this holding's waits for room."""
        ...


class Reservation:
    """Bytes taken from a budget for one client. Releasing twice is harmless."""

    __slots__ = ("_budget", "_client", "_is_cut", "_may_cut", "_waited_before_s", "_whole_bytes", "address",
                 "counts_as", "held_bytes")  # fmt: skip

    def __init__(self, budget: Pool, client: Client | None, *, may_cut: bool) -> None:
        self._budget, self._client, self._may_cut = budget, client, may_cut
        self.address = client.address if client is not None else ""
        #: what was declared, rounded up; 0 once released
        self.counts_as = self._whole_bytes = self.held_bytes = 0
        self._waited_before_s, self._is_cut = 0.0, False

    def declare(self, whole_bytes: int) -> None:
        """Say how much an empty holding will grow to at most."""
        assert not self.held_bytes
        whole_bytes = min(whole_bytes, self._budget.size_bytes)
        if whole_bytes == self._whole_bytes:
            return
        if self.counts_as:
            self._budget.count_declared(self._whole_bytes, -1)
        self._whole_bytes, self.counts_as = whole_bytes, self._budget.count_declared(whole_bytes, 1)

    def try_grow(self, size_bytes: int) -> bool:
        """Take more, up to what was declared, if it is free right now and nothing waits; return whether it is held."""
        size_bytes = min(size_bytes, self._whole_bytes - self.held_bytes)
        return not size_bytes or self._budget.grant_now(self, size_bytes)

    async def grow(self, size_bytes: int, timeout_s: float | None = None) -> None:
        """Take more, up to what was declared, waiting for it. Raises Overloaded."""
        if timeout_s is None:
            timeout_s = self._budget.timeout_s * (PATIENCE if self.held_bytes else 1)
        await self._budget.grant(self, min(size_bytes, self._whole_bytes - self.held_bytes), timeout_s)

    def completes_with(self, size_bytes: int) -> bool:
        """Return whether the holder has all it declared when it gets this."""
        return self.held_bytes + size_bytes >= self._whole_bytes

    def on_given(self, size_bytes: int) -> None:
        """Note more bytes. Only the budget calls this."""
        if not self.held_bytes:
            self.restart()
        self.held_bytes += size_bytes

    def restart(self) -> None:
        """Measure from now on how long the client takes: the bytes held are other ones."""
        if self._client is not None:
            self._waited_before_s = self._client.waited_s()

    @property
    def claim(self) -> Claim:
        """What it declared and what it has."""
        return Claim(self.counts_as, self.held_bytes)

    @property
    def moves(self) -> bool:
        """Whether its client is expected to complete it soon."""
        client = self._client
        return client is None or not self._may_cut or client.waited_s() - self._waited_before_s < MOVING_S_MAX

    def may_be_cut(self, is_above_share: bool) -> bool:  # noqa: FBT001
        """Return whether its client is to give way to others."""
        client = self._client
        if client is None or not self._may_cut or self._is_cut or not self.held_bytes:
            return False
        if client.lag_s() >= (LAG_ABOVE_SHARE_S_MAX if is_above_share else LAG_S_MAX):
            return True
        return is_above_share and client.waited_s() - self._waited_before_s >= HOLD_S_MAX

    def cut(self) -> None:
        """End the client's request, so that the bytes come back."""
        self._is_cut = True
        if self._client is not None:
            self._client.cut()

    @property
    def is_wanted(self) -> bool:
        """Whether an address that holds less waits for room."""
        return self._budget.is_wanted(self)

    def empty(self) -> None:
        """Give all bytes back, to grow again later."""
        if self.held_bytes:
            self._budget.take_back(self, self.held_bytes)

    def release(self) -> None:
        """Give the bytes back for good."""
        if self.counts_as:
            self._budget.forget(self)
            self._budget.count_declared(self._whole_bytes, -1)
            self.counts_as = 0
            self.empty()

    def __enter__(self) -> Self:
        """Hold during a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the bytes back."""
        self.release()
