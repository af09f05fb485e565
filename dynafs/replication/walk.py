"""The walk: a node goes through all records it holds and makes the other owners hold the same, chunks included.

Problem: what a node missed while it was away, or lost with its disk, must come back without anybody reading it.

Rule: every owner walks its own records in key order, a page at a time: it compares digests with each other owner, takes
over what they know and tells them what it knows. The first owner that is up also confirms the references of the file's
chunks at their owners and gives a verified one to those that lack it. A walk begins at every interval, and soon
after a peer came up. It does one thing at a time and holds one chunk at most, so it is slow and never in the way.

Alternatives: Merkle trees find differences without naming every key; they can replace the comparison alone.

Tested in the simulator, where all owners must agree within bounded time after every fault, before anything is read.
"""

from collections.abc import Awaitable, Sequence
from typing import NamedTuple

import msgspec

from dynafs.errors import DynafsError
from dynafs.files import Version
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.ports import Clock, Store
from dynafs.replication.chunks import ChunkKeeper
from dynafs.replication.files import FileReader
from dynafs.replication.handoff import Handoff
from dynafs.replication.job import Job
from dynafs.replication.reach import Merge, Reach
from dynafs.replication.reaping import Reaper
from dynafs.replication.references import all_chunk_ids, by_owner
from dynafs.ring import file_hash
from dynafs.wire.messages import (
    ChunkStates,
    CompareRecords,
    ConfirmReferences,
    Differing,
    ReadRecord,
    RecordReply,
    StoreChunk,
    StoreRecord,
)
from dynafs.wire.records import decode_record, record_digest

log = get_logger()

#: Records compared with one question.
PAGE_RECORDS = 128
#: Pace of giving chunks to owners that lack them.
RATE_BYTES_PER_S_MAX = 64 << 20


class _Lack(NamedTuple):
    node: str
    chunk_id: bytes


class Walker:
    """Walks one node's records in the background."""

    def __init__(
        self,
        reach: Reach,
        store: Store,
        merge: Merge,
        handoff: Handoff,
        reaper: Reaper,
        files: FileReader,
        keeper: ChunkKeeper,
        clock: Clock,
        *,
        interval_s: float,
        after_return_s: float,
    ) -> None:
        """merge: makes a record of a peer part of what is held here."""
        self._reach, self._store, self._merge = reach, store, merge
        self._handoff, self._reaper = handoff, reaper
        self._files, self._keeper = files, keeper
        self._after_return_s = after_return_s
        self.job = Job("walk", self._walk, clock, interval_s)
        self.job.status.bytes_per_s_max = RATE_BYTES_PER_S_MAX

    def on_peer_up(self) -> None:
        """Walk soon: a peer may have missed something."""
        self.job.hurry(self.job.jittered(self._after_return_s))

    async def _walk(self, job: Job) -> None:
        """Go through all records once. Failures are noted, and left to the next walk."""
        after: bytes | None = b""
        while after is not None:
            page = await self._store.scan_records(after, PAGE_RECORDS)
            keys = [key for key, _ in page.rows if self._reach.me in self._reach.owners(file_hash(key))]
            await job.step()
            for key, _ in page.rows:
                if key not in keys:
                    await self._try(self._handoff.adopt_record(key))
            await self._mend_records(keys)
            await self._try(self._reaper.reap(keys))
            for key in keys:
                await job.step()
                await self._mend_chunks(key)
            job.status.items += len(keys)
            after = page.after

    async def _try(self, work: Awaitable[object]) -> None:
        try:
            await work
        except DynafsError as error:
            self.job.note(error)

    async def _mend_records(self, keys: list[bytes]) -> None:
        differing: dict[str, list[bytes]] = {}
        for node in self._reach.others:
            shared = [key for key in keys if node in self._reach.owners(file_hash(key))]
            if shared and self._reach.is_up(node):
                differing[node] = await self._differing(node, shared)
        # First take over what all others know, then tell them: so nobody is told twice.
        for node, its_keys in differing.items():
            for key in its_keys:
                await self._take_over(node, key)
        for node, its_keys in differing.items():
            for key in its_keys:
                await self._tell(node, key)

    async def _differing(self, node: str, keys: list[bytes]) -> list[bytes]:
        rows = [(key, record_digest(self._store.read_record(key))) for key in keys]
        try:
            answer = await self._reach.ask(node, CompareRecords(), msgspec.msgpack.encode(rows), is_bulk=True)
        except DynafsError as error:
            self.job.note(error)
            return []
        assert isinstance(answer.message, Differing)
        return [keys[index] for index in answer.message.rows if index < len(keys)]

    async def _take_over(self, node: str, key: bytes) -> None:
        try:
            answer = await self._reach.ask(node, ReadRecord(key, whole=True))
            assert isinstance(answer.message, RecordReply)
            if answer.body:
                await self._merge(key, bytes(answer.body))
        except DynafsError as error:
            self.job.note(error)

    async def _tell(self, node: str, key: bytes) -> None:
        try:
            await self._reach.ask(node, StoreRecord(key), self._store.read_record(key))
        except DynafsError as error:
            self.job.note(error)
        else:
            self.job.status.mended += 1
            metrics.records_repaired.inc()

    async def _mend_chunks(self, key: bytes) -> None:
        if self._reach.first_up(file_hash(key)) != self._reach.me:
            return
        try:
            for version in decode_record(self._store.read_record(key)).files:
                async for ids in all_chunk_ids(self._files, key, version):
                    await self._mend_ids(key, version, ids)
        except DynafsError as error:
            self.job.note(error)

    async def _mend_ids(self, key: bytes, version: Version, ids: Sequence[bytes]) -> None:
        """Confirm the version's references where its chunks are, and give copies to owners that lack one."""
        for node, some in by_owner(self._reach, ids):
            if self._reach.is_up(node):
                answer = await self._reach.ask(node, ConfirmReferences(b"".join(some), version.upload_id, key))
                assert isinstance(answer.message, ChunkStates)
                for chunk_id, state in zip(some, answer.message.states, strict=True):
                    if state != "present":
                        await self._give(_Lack(node, chunk_id), key, version)

    async def _give(self, lack: _Lack, key: bytes, version: Version) -> None:
        with await self._files.take(version.manifest.chunk_size_bytes if version.manifest else 0):
            body = await self._keeper.look(lack.chunk_id)
            await self.job.step(self.job.pace_s(len(body), RATE_BYTES_PER_S_MAX))
            request = StoreChunk(lack.chunk_id, version.upload_id, key)
            await self._reach.ask(lack.node, request, body, is_bulk=True)
        self.job.status.mended += 1
        metrics.chunks_repaired.inc()
        log.info("chunk.repaired", chunk=lack.chunk_id.hex(), node=lack.node)
