"""The census: how many good copies everything has, counted by going and looking.

Problem: a healer that says "nothing left to do" has counted its own work, not what is on the disks.

Rule: one node asks all nodes for all records they hold, in key order, merges them, and asks the owners of every chunk
what they have. Nothing a healer wrote down is used, nothing is mended. An owner counts when it shows the newest version
of a file, or a copy of a chunk; who does not answer has nothing. A deep census has every chunk read and verified too.

Alternatives: counting while repairing (it is the repair that may be wrong); adding up counters kept by each node (they
are what drifts).

Tested in the simulator against the platters, and with real nodes.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec

from dynafs.errors import DynafsError
from dynafs.files import Version
from dynafs.files.version import EMPTY, Record
from dynafs.ports import Clock
from dynafs.replication.files import FileReader
from dynafs.replication.job import Job
from dynafs.replication.reach import Reach, failure_code
from dynafs.replication.references import all_chunk_ids, by_owner
from dynafs.ring import file_hash, partition_of
from dynafs.wire.messages import ChunkStates, ScannedRecords, ScanRecords, StatChunks
from dynafs.wire.records import decode_record
from dynafs.wire.rows import reply_rows

#: Records asked of one node at once.
PAGE_RECORDS = 256
#: Things with missing copies that are named; all are counted.
NAMED_MAX = 200

Counts = dict[int, int]


class Lack(msgspec.Struct, frozen=True):
    """Something that misses copies. nodes: {owner: what it has instead}."""

    path: str
    what: str
    copies: int
    nodes: dict[str, str]


class CensusReport(msgspec.Struct):
    """Counts are {good copies: how many}. silent: {node: why it did not answer}."""

    n: int
    is_deep: bool = False
    started_unix_ms: int = 0
    finished_unix_ms: int = 0
    partitions: Counts = {}
    files: Counts = {}
    chunks: Counts = {}
    deleted: int = 0
    lacking: list[Lack] = []
    silent: dict[str, str] = {}

    @property
    def is_whole(self) -> bool:
        """Whether everything has all its copies."""
        return all(set(counts) <= {self.n} for counts in (self.partitions, self.files, self.chunks))


class _Held(NamedTuple):
    """What the nodes hold under one key."""

    key: bytes
    records: dict[str, Record]


class Census:
    """Counts copies when asked to."""

    def __init__(self, reach: Reach, files: FileReader, clock: Clock) -> None:
        self._reach, self._files, self._clock = reach, files, clock
        self.job = Job("census", self._count, clock, None)
        self.report: CensusReport | None = None
        #: whether the next census reads every byte
        self.is_deep = False

    async def _count(self, job: Job) -> None:
        n = self._reach.ring.n
        report = CensusReport(n, is_deep=self.is_deep, started_unix_ms=self._clock.wall_ms())
        #: {partition: owners that lack something of it}
        imperfect: dict[int, set[str]] = {}
        async for held in self._all_records(report):
            await job.step()
            await self._count_file(held, report, imperfect)
            job.status.items += 1
        for partition, owners in enumerate(self._reach.ring.owners):
            bad = imperfect.get(partition, set()).union(node for node in owners if node in report.silent)
            _add(report.partitions, n - len(bad))
        report.finished_unix_ms = self._clock.wall_ms()
        self.report = report

    async def _all_records(self, report: CensusReport) -> AsyncIterator[_Held]:
        """Yield what all nodes hold, in key order."""
        scans = {node: _Scan(self._reach, node) for node in [self._reach.me, *self._reach.others]}
        while True:
            await asyncio.gather(*(scan.fill() for scan in scans.values()))
            report.silent = {node: scan.problem for node, scan in scans.items() if scan.problem}
            key = min((scan.rows[0][0] for scan in scans.values() if scan.rows), default=None)
            if key is None:
                return
            records = {}
            for node, scan in scans.items():
                if scan.rows and scan.rows[0][0] == key:
                    records[node] = scan.rows.pop(0)[1]
            yield _Held(key, records)

    async def _count_file(self, held: _Held, report: CensusReport, imperfect: dict[int, set[str]]) -> None:
        merged = EMPTY
        for record in held.records.values():
            merged = merged.merge(record)
        merged = merged.resolved()
        if not merged.versions:
            return
        place = file_hash(held.key)
        states = {
            node: _state(held.records.get(node), merged) if node not in report.silent else report.silent[node]
            for node in self._reach.owners(place)
        }
        copies = self._note(held.key, "record", place, states, report, imperfect)
        if not merged.files:
            report.deleted += 1
            return
        if held.key.startswith(b"\0"):
            # A bucket's policy; it counts for its partition.
            return
        _add(report.files, copies)
        for version in merged.files:
            await self._count_chunks(held.key, version, report, imperfect)

    async def _count_chunks(
        self, key: bytes, version: Version, report: CensusReport, imperfect: dict[int, set[str]]
    ) -> None:
        try:
            async for ids in all_chunk_ids(self._files, key, version):
                states: dict[bytes, dict[str, str]] = {chunk_id: {} for chunk_id in ids}
                for node, some in by_owner(self._reach, ids):
                    for chunk_id, state in zip(some, await self._states(node, some, report), strict=True):
                        states[chunk_id][node] = state
                for chunk_id, found in states.items():
                    copies = self._note(key, f"chunk {chunk_id.hex()}", chunk_id, found, report, imperfect)
                    _add(report.chunks, copies)
        except DynafsError as error:
            # A manifest page that nobody can show: the chunks it names cannot even be counted.
            _add(report.chunks, 0)
            self._name(Lack(_shown(key), "manifest", 0, {"all": error.message}), report)

    async def _states(self, node: str, ids: tuple[bytes, ...], report: CensusReport) -> list[str]:
        if node in report.silent:
            return [report.silent[node]] * len(ids)
        try:
            answer = await self._reach.ask(
                node, StatChunks(b"".join(ids), verify=report.is_deep), timeout_s=60.0 if report.is_deep else None
            )
        except DynafsError as error:
            return [failure_code(error)] * len(ids)
        assert isinstance(answer.message, ChunkStates)
        return answer.message.states

    def _note(
        self,
        key: bytes,
        what: str,
        place: bytes,
        states: dict[str, str],
        report: CensusReport,
        imperfect: dict[int, set[str]],
    ) -> int:
        """Count the good copies of one thing; name it when some are missing."""
        bad = {node: state for node, state in states.items() if state not in ("current", "present")}
        if bad:
            imperfect.setdefault(partition_of(place, self._reach.ring.partition_count), set()).update(bad)
            self._name(Lack(_shown(key), what, len(states) - len(bad), bad), report)
        return len(states) - len(bad)

    def _name(self, lack: Lack, report: CensusReport) -> None:
        """Name what has the fewest copies."""
        report.lacking = sorted([*report.lacking, lack], key=lambda one: one.copies)[:NAMED_MAX]


class _Scan:
    """All records of one node, a page at a time. problem: why there are no more of them."""

    def __init__(self, reach: Reach, node: str) -> None:
        self._reach, self._node = reach, node
        self._after: bytes | None = b""
        self.rows: list[tuple[bytes, Record]] = []
        self.problem = ""

    async def fill(self) -> None:
        while not self.rows and self._after is not None and not self.problem:
            try:
                answer = await self._reach.ask(self._node, ScanRecords(self._after, PAGE_RECORDS), is_bulk=True)
                rows = reply_rows(answer.body, "key and record")
                self.rows = [(key, decode_record(data)) for key, data in rows]
            except DynafsError as error:
                self.problem = failure_code(error)
                return
            assert isinstance(answer.message, ScannedRecords)
            self._after = answer.message.after


def _state(record: Record | None, merged: Record) -> str:
    if record is None or record.newest is None:
        return "missing"
    return "current" if record.stamps == merged.stamps else "stale"


def _add(counts: Counts, copies: int) -> None:
    counts[copies] = counts.get(copies, 0) + 1


def _shown(key: bytes) -> str:
    bucket, _, path = key.decode(errors="replace").partition("\0")
    return f"{bucket}/{path}" if bucket else f"bucket {path}"
