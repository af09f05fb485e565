"""A store on a disk, for the contract suite: on the real one in a temporary directory, and on the simulated one."""

import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dynafs.config import StorageSettings
from dynafs.node import SystemClock
from dynafs.sim.disk import DiskConditions, SimDisk
from dynafs.sim.loop import Life
from dynafs.sim.medium import Platter
from dynafs.storage import LocalStore, open_store_in
from dynafs.storage.directory import DataDirectory
from tests.support.store_rows import StoreRows

SETTINGS = StorageSettings(segment_size_bytes_max=1 << 20)


class StoreBox(ABC):
    """A medium and the store on it, which is opened, closed and opened again."""

    store: LocalStore | None = None

    @abstractmethod
    def open(self) -> LocalStore:
        """Open the store."""

    async def close(self) -> None:
        if self.store is not None:
            store, self.store = self.store, None
            await store.close()

    @property
    def rows(self) -> StoreRows:
        """The rows below the open store."""
        assert self.store is not None
        return StoreRows(self.store)

    async def reopen_without_trees(self) -> LocalStore:
        """Open the store again as if it were from before there were trees; it builds them."""
        assert self.store is not None
        await self.store.put_fact("trees", b"")
        await self.close()
        return self.open()


class PosixBox(StoreBox):
    """One data directory and the store in it."""

    def __init__(self, path: Path) -> None:
        self.path = path / "data"

    def open(self) -> LocalStore:
        self.store = open_store_in(DataDirectory(self.path, "c", "n1", "generation"), SETTINGS, SystemClock().wall_ms)
        return self.store

    @contextmanager
    def unreadable_index(self) -> Iterator[None]:
        """Have RocksDB find damage whenever it opens the index meanwhile."""
        current = self.path / "index" / "CURRENT"
        right = current.read_bytes()
        current.write_bytes(b"rot")
        try:
            yield
        finally:
            current.write_bytes(right)

    def flip_last_byte(self) -> None:
        (segment,) = (self.path / "segments").iterdir()
        data = bytearray(segment.read_bytes())
        data[-1] ^= 1
        segment.write_bytes(data)

    def segment_bytes(self) -> int:
        return sum(file.stat().st_size for file in (self.path / "segments").iterdir())


class SimBox(StoreBox):
    """One platter and the store on it."""

    def __init__(self) -> None:
        self.platter = Platter(random.Random(1))

    def open(self) -> LocalStore:
        self.life = Life("n1", 1)
        conditions = DiskConditions(write_s=0.0001, sync_s=0.0005, read_s=0.0005)
        disk = SimDisk(self.life, self.platter, conditions, random.Random(2))
        self.store = LocalStore(disk, SETTINGS, lambda: 0)
        return self.store

    def flip_last_byte(self) -> None:
        (file,) = self.platter.files.values()
        for content in (file.content, file.synced):
            content[-1] ^= 1

    def segment_bytes(self) -> int:
        return sum(len(file.content) for file in self.platter.files.values())


@pytest.fixture(params=["posix", "sim"])
async def box(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PosixBox | SimBox]:
    """Return a disk of each kind whose store is closed afterwards."""
    made = PosixBox(tmp_path) if request.param == "posix" else SimBox()
    yield made
    await made.close()


@pytest.fixture
async def posix_box(tmp_path: Path) -> AsyncIterator[PosixBox]:
    """Return a real disk whose store is closed afterwards."""
    made = PosixBox(tmp_path)
    yield made
    await made.close()
