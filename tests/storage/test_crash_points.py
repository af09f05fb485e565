"""The real store's commits, cut off by a power failure at every single operation of the disk."""

import asyncio
import random

import pytest

from dynafs.config import StorageSettings
from dynafs.errors import ChunkMissing
from dynafs.sim.disk import DiskConditions, SimDisk
from dynafs.sim.guard import sealed
from dynafs.sim.loop import Life, run_virtually
from dynafs.sim.medium import Platter
from dynafs.storage import LocalStore
from dynafs.wire.segments import chunk_id_of

UPLOAD = b"u" * 16
#: Small, so that the script fills several.
SETTINGS = StorageSettings(segment_size_bytes_max=4096)


class Machine:
    """A platter, and what was acknowledged to whoever wrote on it."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, random.Random(seed)
        self.platter = Platter(random.Random(seed))
        self.lives = 0
        self.records: dict[bytes, int] = {}
        self.chunks: dict[bytes, bytes] = {}
        #: {(chunk id, upload id)}, in order
        self.references: dict[tuple[bytes, bytes], None] = {}

    def boot(self) -> LocalStore:
        self.lives += 1
        self.life = Life("n1", self.lives)
        self.disk = SimDisk(self.life, self.platter, DiskConditions(), random.Random(self.seed + self.lives))
        return self.life.context.run(LocalStore, self.disk, SETTINGS, lambda: 0)

    async def write(self, store: LocalStore, rounds: int) -> None:
        """Put records and chunks, several at a time, noting what is acknowledged."""

        async def record(key: bytes, number: int) -> None:
            await store.put_record(key, b"%d" % number)
            self.records[key] = max(number, self.records.get(key, 0))

        async def chunk(body: bytes, upload: bytes = UPLOAD) -> None:
            await store.put_chunk(chunk_id_of(body), upload, b"k", body)
            self.chunks[chunk_id_of(body)] = body
            self.references[chunk_id_of(body), upload] = None

        for number in range(100 * self.lives, 100 * self.lives + rounds):
            bodies = [self.rng.randbytes(self.rng.choice([10, 700, 1500])) for _ in range(2)]
            again = [chunk(body, b"%016d" % number) for body in list(self.chunks.values())[:1]]
            await asyncio.gather(record(b"k%d" % (number % 3), number), *map(chunk, bodies), *again)
            if number % 3 == 2:
                await self.forget_one(store)
                await self.compact(store)

    async def forget_one(self, store: LocalStore) -> None:
        """Drop all references to a chunk; it may be there or not from now on."""
        chunk_id = list(self.chunks)[1]
        del self.chunks[chunk_id]
        for one, upload in [one for one in self.references if one[0] == chunk_id]:
            del self.references[one, upload]
            if (reference := store.reference(one, upload)) is not None:
                await store.drop_reference(reference)

    async def compact(self, store: LocalStore) -> None:
        """Write everything in the oldest segment anew."""
        oldest = min(store.segment_sizes())
        await store.seal_segment(oldest)
        for chunk in await store.scan_chunks(b"", 1000):
            await store.move_chunk(chunk.chunk_id, oldest)
        await store.remove_segment(oldest)

    async def check(self, store: LocalStore) -> None:
        """What was acknowledged is there, and nothing that is there is wrong."""
        for key, number in self.records.items():
            assert int(store.read_record(key) or b"0") >= number
        for chunk_id in self.chunks:
            assert bytes(await store.read_chunk(chunk_id)) == self.chunks[chunk_id]
        for chunk_id, upload in self.references:
            assert store.reference(chunk_id, upload) is not None
        for chunk_id in list(self.platter.index.tables["chunks"]):
            assert chunk_id_of(await store.read_chunk(chunk_id)) == chunk_id


async def crash_at(machine: Machine, operation: int, rounds: int) -> None:
    """Write until the power fails at this operation, or to the end."""
    failed = asyncio.get_running_loop().create_future()
    store = machine.boot()
    machine.disk.on_operation = lambda count: count == operation and failed.set_result(None)
    writing = asyncio.create_task(machine.write(store, rounds))
    await asyncio.wait([writing, failed], return_when=asyncio.FIRST_COMPLETED)
    machine.life.end()
    machine.platter.cut_power()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


def operations_of(seed: int, rounds: int) -> int:
    """Return how many operations the whole script takes."""

    async def main() -> int:
        machine = Machine(seed)
        await machine.write(machine.boot(), rounds)
        machine.life.end()
        return machine.disk.operations

    return run_virtually(main())


@pytest.mark.parametrize("seed", range(4))
def test_power_cut_at_every_operation_loses_nothing_that_was_acknowledged(seed: int) -> None:
    """Whichever subset of unsynced sectors and batches survives, recovery finds all that was acknowledged, whole, and
    what is written afterwards survives the next cut as well."""

    async def main(operation: int) -> None:
        machine = Machine(1000 * seed + operation)
        await crash_at(machine, operation, rounds=6)
        await machine.check(machine.boot())
        machine.life.end()
        await crash_at(machine, operation // 2 + 1, rounds=6)
        await machine.check(machine.boot())
        machine.life.end()

    count = operations_of(seed, 6)
    assert count > 20
    with sealed():
        for operation in range(1, count + 1):
            run_virtually(main(operation))


def test_failed_sync_of_a_record_is_not_shown_until_it_is_durable() -> None:
    """A reader must not see what its writer was told had failed; once a later sync succeeds it may."""

    async def main() -> None:
        machine = Machine(1)
        store = machine.boot()
        await store.put_record(b"k", b"old")
        machine.platter.sync_failures = 1
        with pytest.raises(Exception, match="cannot sync"):
            await store.put_record(b"k", b"new")
        assert store.read_record(b"k") == b"old"
        assert store.latest_record(b"k") == b"new"
        await asyncio.sleep(5)
        assert store.read_record(b"k") == store.latest_record(b"k") == b"new"
        assert store.records.unwritten_count == 0
        machine.life.end()
        machine.platter.cut_power()
        assert machine.boot().read_record(b"k") == b"new"
        machine.life.end()

    run_virtually(main())


def test_chunk_whose_sync_failed_is_not_there_and_can_be_put_again() -> None:
    """After a failed sync the segment is given up; the next attempt goes to a new one."""

    async def main() -> None:
        machine = Machine(1)
        store = machine.boot()
        body = machine.rng.randbytes(1000)
        machine.platter.sync_failures = 1
        with pytest.raises(Exception, match="cannot sync"):
            await store.put_chunk(chunk_id_of(body), UPLOAD, b"k", body)
        with pytest.raises(ChunkMissing):
            await store.read_chunk(chunk_id_of(body))
        await store.put_chunk(chunk_id_of(body), UPLOAD, b"k", body)
        machine.life.end()
        machine.platter.cut_power()
        assert bytes(await machine.boot().read_chunk(chunk_id_of(body))) == body
        machine.life.end()

    run_virtually(main())
