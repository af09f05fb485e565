"""The Disk port over a platter, in virtual time.

The store's commit threads are greenlets: every operation of the disk hands control back to the loop until its time has
passed, so that everything else a node does can happen in between, and a crash can fall between any two of them.
"""

import asyncio
import random
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

from dynafs.sim.loop import Life
from dynafs.sim.medium import Platter, PlatterFile
from dynafs.storage.disk import Batch, Index

T = TypeVar("T")


@dataclass
class DiskConditions:
    """How a disk behaves. Latencies are means of exponential draws."""

    write_s: float = 0.0002
    sync_s: float = 0.003
    read_s: float = 0.001
    #: share of reads that find their bytes in memory
    cached: float = 0.8
    #: factor on all latencies; a fault raises it
    slowness: float = 1.0


class SimDisk:
    """One life's view of a platter. Dead with its life: what is still under way never returns."""

    def __init__(self, life: Life, platter: Platter, conditions: DiskConditions, rng: random.Random) -> None:
        self.platter, self.conditions, self.rng = platter, conditions, rng
        self._life = life
        self.loop = asyncio.get_running_loop()
        self.index: Index = _TimedIndex(self)
        self.segments = _TimedSegments(self)
        #: while paused, nothing returns before this time
        self.resume_at_s = 0.0
        #: operations of workers so far, and what to call at the beginning of each
        self.operations = 0
        self.on_operation: Callable[[int], None] | None = None

    def room_bytes(self) -> tuple[int, int]:
        """Return (size of the file system, what is free for us)."""
        return 1 << 30, int((1 << 30) * (1 - self.platter.used_share))

    def worker(self, name: str) -> "SimWorker":  # noqa: ARG002
        """Return a greenlet that waits to be started."""
        return SimWorker(self, self._life)

    async def read(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a reading function after the time it takes."""
        await asyncio.sleep(self.latency_s(self.conditions.read_s))
        return function(*arguments)

    def latency_s(self, mean_s: float) -> float:
        """Draw how long an operation takes from now."""
        drawn_s = self.rng.expovariate(1 / mean_s) * self.conditions.slowness
        return max(self.resume_at_s - self.loop.time(), 0.0) + drawn_s

    def pass_time(self, mean_s: float) -> None:
        """Let the time of one operation pass; when called by a worker, others run meanwhile."""
        worker = getattr(getcurrent(), "worker", None)
        if worker is not None:
            self.operations += 1
            if self.on_operation is not None:
                self.on_operation(self.operations)
            worker.pause(self.latency_s(mean_s))

    async def close(self) -> None:
        """Nothing to do: the platter stays."""


class SimWorker:
    """The Worker port as a greenlet."""

    def __init__(self, disk: SimDisk, life: Life) -> None:
        self.lock: AbstractContextManager[object] = nullcontext()
        self._loop, self._life = disk.loop, life
        self._greenlet: Any = None
        self._is_waiting = False
        self._ended: asyncio.Future[None] = disk.loop.create_future()

    def start(self, run: Callable[[], None]) -> None:
        """Run a function in the greenlet."""

        def main() -> None:
            run()
            if not self._ended.done():
                self._ended.set_result(None)

        self._greenlet = greenlet(main)
        self._greenlet.worker = self
        self._greenlet.gr_context = copy_context()
        self._life.on_end.append(self._kill)
        self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._life.is_alive:
            self._greenlet.switch()

    def _kill(self) -> None:
        if not self._greenlet.dead:
            self._greenlet.throw(GreenletExit)

    def ring(self) -> None:
        """End the greenlet's `wait`."""
        if self._is_waiting:
            self._is_waiting = False
            self._loop.call_soon(self._resume)

    def wait(self) -> None:
        """Hand control to the loop until `ring`."""
        self._is_waiting = True
        self._greenlet.parent.switch()

    def pause(self, pause_s: float) -> None:
        """Hand control to the loop for a while."""
        self._loop.call_later(pause_s, self._resume)
        self._greenlet.parent.switch()

    def monotonic_s(self) -> float:
        """Virtual time."""
        return self._loop.time()

    def tell(self, callback: Callable[..., None], *arguments: object) -> bool:
        """Have the event loop call back."""
        self._loop.call_soon(callback, *arguments, context=self._life.context)
        return True

    async def join(self) -> None:
        """Wait until the function has returned."""
        await asyncio.shield(self._ended)


class _TimedSegments:
    """Segment files that take their time."""

    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk

    def numbers(self) -> list[int]:
        return sorted(self._disk.platter.files)

    def size_bytes(self, number: int) -> int:
        return len(self._disk.platter.files[number].content)

    def create(self, number: int) -> "_TimedFile":
        self._disk.pass_time(self._disk.conditions.sync_s)
        if number in self._disk.platter.files:
            raise FileExistsError(number)
        file = self._disk.platter.files[number] = PlatterFile(self._disk.platter)
        return _TimedFile(self._disk, file)

    def open(self, number: int) -> "_TimedFile":
        if number not in self._disk.platter.files:
            raise FileNotFoundError(number)
        return _TimedFile(self._disk, self._disk.platter.files[number])

    def remove(self, number: int) -> None:
        self._disk.pass_time(self._disk.conditions.sync_s)
        self._disk.platter.files.pop(number, None)


class _TimedFile:
    """A segment file that takes its time."""

    def __init__(self, disk: SimDisk, file: PlatterFile) -> None:
        self._disk, self._file = disk, file

    def write(self, buffers: Sequence[memoryview], offset: int) -> int:
        written = self._file.write(buffers, offset)
        self._disk.pass_time(self._disk.conditions.write_s)
        return written

    def sync(self) -> None:
        self._disk.pass_time(self._disk.conditions.sync_s)
        self._file.sync()

    def lay_out(self, offset: int, size_bytes: int) -> None:
        """A platter has no blocks to find."""

    def give_back(self, size_bytes: int) -> None:
        """Nothing was laid out."""

    def evict(self, offset: int, size_bytes: int) -> None:
        """What is cached is drawn at every read."""

    def read_into(self, room: memoryview, offset: int, *, cached_only: bool = False) -> int:
        if cached_only and self._disk.rng.random() > self._disk.conditions.cached:
            raise BlockingIOError
        data = self._file.content[offset : offset + len(room)]
        room[: len(data)] = data
        return len(data)

    def close(self) -> None:
        pass


class _TimedIndex(Index):
    """An index that takes its time to write; reading it is free."""

    def __init__(self, disk: SimDisk) -> None:
        self._disk, self._index = disk, disk.platter.index

    def get(self, family: str, key: bytes) -> bytes | None:
        return self._index.get(family, key)

    def scan(self, family: str, start: bytes) -> Generator[tuple[bytes, bytes], bytes | None, None]:
        return self._index.scan(family, start)

    def batch(self) -> Batch:
        return self._index.batch()

    def apply(self, batch: Batch) -> None:
        self._index.apply(batch)
        self._disk.pass_time(self._disk.conditions.write_s)

    def sync(self) -> None:
        asked_for = self._index.applied_count
        self._disk.pass_time(self._disk.conditions.sync_s)
        self._index.sync_up_to(asked_for)

    def close(self) -> None:
        pass
