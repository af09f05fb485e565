"""The exchange: what two nodes do about a leaf of their trees that differs."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from dynafs.errors import DynafsError
from dynafs.observe import metrics
from dynafs.ports import Reference, Store
from dynafs.replication.giving import ChunkGiver, Lack
from dynafs.replication.job import Job
from dynafs.replication.reach import Merge, Reach
from dynafs.ring import BRANCH_LEAVES, file_hash
from dynafs.wire.messages import (
    ConfirmReferences,
    FindUploads,
    LeafRows,
    ReadLeaf,
    ReadRecord,
    RecordReply,
    Standing,
    StoreRecord,
)
from dynafs.wire.records import record_digest
from dynafs.wire.rows import ROWS_MAX, checked_rows

#: References of one chunk that are passed on with it; those beyond are left to the walk.
REFERENCES_MAX = 64
#: Uploads whose fate is remembered for the length of a run.
FATES_MAX = 10_000

_Upload = tuple[bytes, bytes]


class _Leaf(NamedTuple):
    kind: str
    leaf: int
    #: {item: digest} here, {node: {item: digest}} at the peers that answered
    own: dict[bytes, bytes]
    theirs: dict[str, dict[bytes, bytes]]


class LeafExchange:
    """Mends leaves on behalf of one node."""

    #: set by who mends
    job: Job

    def __init__(self, reach: Reach, store: Store, merge: Merge, giver: ChunkGiver) -> None:
        """merge: makes a record of a peer part of what is held here."""
        self._reach, self._store, self._merge, self._giver = reach, store, merge, giver
        #: {(key, upload id): whether a version stands}
        self._fates: dict[_Upload, bool] = {}

    def begin(self) -> None:
        """Forget what was learned in an earlier run."""
        self._fates.clear()

    async def mend(self, kind: str, number: int, nodes: Sequence[str]) -> None:
        """Bring a leaf here and at peers together. Raises DynafsError; what did not work is found again next time."""
        leaf = _Leaf(kind, number, await self._own_rows(kind, number), {})
        for node in nodes:
            try:
                leaf.theirs[node] = await self._rows(node, kind, number)
            except DynafsError as error:
                self.job.note(error)
        if leaf.theirs and all(rows == leaf.own for rows in leaf.theirs.values()):
            await self._store.recount_branch(kind, number // BRANCH_LEAVES)
        elif kind == "records":
            await self._mend_records(leaf)
        else:
            await self._mend_chunks(leaf)

    async def _own_rows(self, kind: str, leaf: int) -> dict[bytes, bytes]:
        rows: dict[bytes, bytes] = {}
        after = b""
        while page := await self._store.scan_leaf(kind, leaf, after, ROWS_MAX):
            rows.update(page)
            after = page[-1][0]
        return rows

    async def _rows(self, node: str, kind: str, leaf: int) -> dict[bytes, bytes]:
        rows: dict[bytes, bytes] = {}
        after = b""
        while True:
            answer = await self._reach.ask(node, ReadLeaf(kind, leaf, after), is_bulk=True)
            assert isinstance(answer.message, LeafRows)
            page = checked_rows(bytes(answer.body), "item and digest")
            rows.update(page)
            if answer.message.is_end or not page:
                return rows
            after = page[-1][0]

    async def _mend_records(self, leaf: _Leaf) -> None:
        # First take over what all others know, then tell them: so nobody is told twice.
        for node, rows in leaf.theirs.items():
            for key, digest in rows.items():
                if leaf.own.get(key) != digest:
                    await self._take_over(node, key)
        for node, rows in leaf.theirs.items():
            for key in leaf.own | rows:
                data = self._store.read_record(key)
                if data and record_digest(data) != rows.get(key):
                    await self._tell(node, key, data)

    async def _take_over(self, node: str, key: bytes) -> None:
        if node not in self._reach.owners(file_hash(key)):
            return
        try:
            answer = await self._reach.ask(node, ReadRecord(key, whole=True))
            assert isinstance(answer.message, RecordReply)
            if answer.body:
                await self._merge(key, bytes(answer.body))
        except DynafsError as error:
            self.job.note(error)

    async def _tell(self, node: str, key: bytes, data: bytes) -> None:
        try:
            await self._reach.ask(node, StoreRecord(key), data)
        except DynafsError as error:
            self.job.note(error)
        else:
            self.job.status.mended += 1
            metrics.records_repaired.inc()

    async def _mend_chunks(self, leaf: _Leaf) -> None:
        for chunk_id in leaf.own:
            lacking = [node for node, rows in leaf.theirs.items() if chunk_id not in rows]
            if lacking and self._is_giver(chunk_id, lacking):
                try:
                    await self._give(chunk_id, lacking)
                except DynafsError as error:
                    self.job.note(error)

    def _is_giver(self, chunk_id: bytes, lacking: Sequence[str]) -> bool:
        """Return whether no owner before this one, that is up, has the chunk."""
        able = (node for node in self._reach.owners(chunk_id) if self._reach.is_up(node) and node not in lacking)
        return next(able, None) == self._reach.me

    async def _give(self, chunk_id: bytes, lacking: Sequence[str]) -> None:
        references = await self._standing(chunk_id)
        for node in lacking if references else ():
            first = references[0]
            lack = Lack(node, chunk_id, first.upload_id, first.key)
            await self._giver.give(self.job, lack, self._store.chunk_size_bytes(chunk_id))
            for other in references[1:]:
                await self._reach.ask(node, ConfirmReferences(chunk_id, other.upload_id, other.key))

    async def _standing(self, chunk_id: bytes) -> list[Reference]:
        """Return references to a chunk that a version stands behind."""
        references = await self._store.references_to([chunk_id], REFERENCES_MAX)
        unknown = dict.fromkeys((one.key, one.upload_id) for one in references)
        await self._learn_fates([upload for upload in unknown if upload not in self._fates])
        return [one for one in references if self._fates.get((one.key, one.upload_id))]

    async def _learn_fates(self, uploads: list[_Upload]) -> None:
        """Ask the owners of files, all at once, whether these uploads are versions they hold."""
        if len(self._fates) >= FATES_MAX:
            self._fates.clear()
        self._fates |= dict.fromkeys(uploads, False)
        asked: dict[str, list[_Upload]] = {}
        for upload in uploads:
            for node in self._reach.owners(file_hash(upload[0])):
                if self._reach.is_up(node):
                    asked.setdefault(node, []).append(upload)
        questions = [self._reach.ask(node, FindUploads(), msgspec.msgpack.encode(its)) for node, its in asked.items()]
        answers = await asyncio.gather(*questions, return_exceptions=True)
        for its, answer in zip(asked.values(), answers, strict=True):
            if isinstance(answer, DynafsError):
                self.job.note(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                assert isinstance(answer.message, Standing)
                self._fates |= {its[row]: True for row in answer.message.rows if 0 <= row < len(its)}
