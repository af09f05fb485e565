"""Group commit: one thread drains a queue of writes, makes a whole batch durable at once, then wakes all waiters.

While one batch is being synced the next one gathers, so the number of fsyncs follows the disk, not the writers
(the idea is as old as IMS Fast Path; DeWitt et al. 1984 named it).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from dynafs.errors import DynafsError, StoreFailed
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.observe.supervision import log_bug
from dynafs.storage.disk import Worker

log = get_logger()

#: A batch larger than this makes its first waiter wait for others' bytes.
BATCH_SIZE_BYTES_MAX = 16 << 20
BATCH_LENGTH_MAX = 1024


class Pending(Protocol):
    """A write in a queue."""

    future: "asyncio.Future[None]"
    #: set by the committer when this write alone is refused
    error: DynafsError | None

    @property
    def size_bytes(self) -> int:
        """What it adds to a batch."""
        ...


P = TypeVar("P", bound=Pending)


class CommitLane(Generic[P]):
    """A queue and its thread. `commit` gets a batch and returns when it is durable; what it raises fails the batch."""

    def __init__(
        self,
        name: str,
        worker: Worker,
        commit: Callable[[Sequence[P]], None],
        interval_s: float = 0.0,
        on_settled: Callable[[P, DynafsError | None], None] | None = None,
    ) -> None:
        """interval_s: least time between two batches. A write that finds the lane idle is committed at once.

        on_settled: called in the event loop with the outcome of each write, before its waiter resumes; also when the
        waiter was cancelled, which does not stop the write.
        """
        self._name, self._worker, self._commit, self._interval_s = name, worker, commit, interval_s
        self._on_settled = on_settled
        self._ended_s = float("-inf")
        self._queue: deque[P] = deque()
        #: why nothing is queued any more
        self._refusal: StoreFailed | None = None
        self._commits = metrics.commits.labels(name)
        self._writes = metrics.commit_writes.labels(name)
        worker.start(self._run)

    def submit(self, write: P) -> None:
        """Queue a write; its future resolves when it is durable."""
        with self._worker.lock:
            if self._refusal is not None:
                self._settle(write, self._refusal)
                return
            self._queue.append(write)
            self._worker.ring()

    async def close(self) -> None:
        """Commit what is queued, then stop."""
        with self._worker.lock:
            self._refusal = self._refusal or StoreFailed("the store is closing")
            self._worker.ring()
        await self._worker.join()

    def _run(self) -> None:
        batch: list[P] = []
        try:
            while self._take(batch):
                failure = self._attempt(batch)
                self._ended_s = self._worker.monotonic_s()
                if not self._worker.tell(self._settle_all, batch, failure):
                    return
                batch = []
        except Exception as error:  # noqa: BLE001  nobody must wait for a thread that is gone
            self._stop(batch, StoreFailed(f"the {self._name} commit thread met a bug; start the node again"))
            log_bug("commit.stopped", error, lane=self._name)

    def _stop(self, batch: list[P], reason: StoreFailed) -> None:
        """Fail what waits, and whatever is submitted from now on."""
        with self._worker.lock:
            self._refusal = reason
            batch += self._queue
            self._queue.clear()
        self._worker.tell(self._settle_all, batch, reason)

    def _take(self, batch: list[P]) -> bool:
        """Wait for writes and move them to the batch; return whether there are any: none when closing and drained."""
        with self._worker.lock:
            while not self._queue and self._refusal is None:
                self._worker.wait()
            if (rest_s := self._ended_s + self._interval_s - self._worker.monotonic_s()) > 0:
                # Let more writers join while the last sync is fresh; they share one sync instead of paying for two.
                self._worker.pause(rest_s)
            size_bytes = 0
            while self._queue and len(batch) < BATCH_LENGTH_MAX and size_bytes < BATCH_SIZE_BYTES_MAX:
                batch.append(self._queue.popleft())
                size_bytes += batch[-1].size_bytes
        return bool(batch)

    def _attempt(self, batch: list[P]) -> DynafsError | None:
        self._commits.inc()
        self._writes.inc(len(batch))
        try:
            self._commit(batch)
        except DynafsError as error:
            # The log may lie on the same full disk.
            with suppress(OSError):
                log.error("store.failed", lane=self._name, writes=len(batch), code=error.code, error=str(error))  # noqa: TRY400
            return error
        except Exception as error:  # noqa: BLE001  any bug
            # Our own bug must fail the writers who wait, not leave them hanging.
            log_bug("commit.failed", error, lane=self._name, writes=len(batch))
            return StoreFailed(f"commit failed: {error!r}")
        return None

    def _settle_all(self, batch: Sequence[P], failure: DynafsError | None) -> None:
        for write in batch:
            self._settle(write, write.error or failure)

    def _settle(self, write: P, error: DynafsError | None) -> None:
        if self._on_settled is not None:
            self._on_settled(write, error)
        if write.future.done():
            return
        if error is None:
            write.future.set_result(None)
        else:
            write.future.set_exception(error)
