"""Filling a stopped cluster: records written straight into the nodes' indexes, which is faster than requests are.

Every node of a three-node cluster with N=3 owns every record, so each one gets the same rows that its record lane would
write: the record, its key among the live ones, and its place in the trees. What is skipped is requests,
quorums and the sync of each batch; each index is synced once, in the end. Only inline files are written, no chunks.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dynafs.causality import Stamp
from dynafs.causality.stamp import hybrid_time
from dynafs.config import StorageSettings
from dynafs.files import FileName, Record, Version, VersionKind
from dynafs.files.version import etag_of
from dynafs.storage.directory import IDENTITY_FILE, DataDirectory, Identity
from dynafs.storage.disk import Index
from dynafs.storage.live import note_live
from dynafs.storage.posix import LocalDisk
from dynafs.storage.trees import KnownSums, TreeWrites
from dynafs.wire.records import encode_record
from dynafs.wire.segments import chunk_id_of

#: Records of one batch.
BATCH = 1000
#: Names stand below so many prefixes of each bucket.
PREFIXES = 100
#: The writes are so old: later than none that follows.
AGE_MS = 3_600_000


def path_of(number: int) -> str:
    """Return the path of a file: neighbours of one prefix are written far apart."""
    return f"{number % PREFIXES:02}/{number:09}.txt"


def fill(folders: list[Path], buckets: list[str], first: int, stop: int, size_bytes: int) -> None:
    """Write the files of these numbers to every node, each to one bucket in turn. The nodes must not run."""
    asyncio.run(_fill(folders, buckets, range(first, stop), size_bytes))


async def _fill(folders: list[Path], buckets: list[str], numbers: range, size_bytes: int) -> None:
    disks = [_opened(folder) for folder in folders]
    sums = [KnownSums(disk.index) for disk in disks]
    try:
        for start in range(0, len(numbers), BATCH):
            rows = list(_rows(buckets, numbers[start : start + BATCH], size_bytes))
            for disk, known in zip(disks, sums, strict=True):
                _write(disk.index, known, rows)
        for disk in disks:
            disk.index.sync()
    finally:
        for disk in disks:
            await disk.close()


def _opened(folder: Path) -> LocalDisk:
    identity = msgspec.json.decode((folder / IDENTITY_FILE).read_bytes(), type=Identity)
    directory = DataDirectory(folder, identity.cluster, identity.node, identity.generation)
    return LocalDisk(directory, StorageSettings())


def _rows(buckets: list[str], numbers: range, size_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    began_time = hybrid_time(int(1000 * time.time()) - AGE_MS)
    for number in numbers:
        contents = (b"%d " % number * size_bytes)[:size_bytes]
        version = Version(
            Stamp(began_time + number, "fill-00000000"), VersionKind.FILE, number.to_bytes(16, "big"), size_bytes,
            "text/plain", etag_of([chunk_id_of(contents)]), {}, contents,
        )  # fmt: skip
        key = FileName(buckets[number % len(buckets)], path_of(number // len(buckets))).key
        yield key, encode_record(Record.of({}, [version]))


def _write(index: Index, known: KnownSums, rows: list[tuple[bytes, bytes]]) -> None:
    batch, trees = index.batch(), TreeWrites(index, known.take())
    for key, data in rows:
        batch.put("records", key, data)
        trees.set_record(key, data)
        note_live(batch, key, data)
    trees.write_to(batch)
    index.apply(batch)
    known.give_back(trees.applied())
