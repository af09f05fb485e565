"""Counting the copies of records and chunks for a census; what lacks one is looked at again before it is reported.

Nodes are read one after another, and a write reaches its owners one after another, so between two reads a record may be
newer at one owner than at the next. An owner counts as soon as it holds what was the newest version when it was first
found to lack it, or a later one. A chunk that lacks copies is left out when its version was replaced meanwhile.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dynafs.coordinator.files import FileReader
from dynafs.coordinator.references import all_chunk_ids, by_owner
from dynafs.errors import DynafsError, failure_code
from dynafs.files import Version
from dynafs.files.version import EMPTY, Record
from dynafs.membership.cluster import Cluster
from dynafs.operations.census_report import CensusReport, MissingCopy, add, shown
from dynafs.ring import file_hash, partition_of
from dynafs.wire.messages import ReadRecord, StatChunks
from dynafs.wire.records import decode_record
from dynafs.wire.replies import states_of

#: Pauses before the looks at what lacks copies, and of how much of that a whole census may be made: of a node that lost
#: its disk everything is looked at once more, without waiting for it.
LOOKS_S = (0.0, 0.1, 0.3, 0.6, 1.0, 2.0)
PAUSES_MAX_S = 12.0
#: Things that are looked at together, and records that are read at once.
DOUBTS_MAX, READS_MAX = 1000, 16

GOOD = ("current", "present")


@dataclass(slots=True)
class _Doubt:
    """A record, a chunk or a manifest that lacks copies. states: {owner: what it has}.

    seen: the record as first merged. version: which the chunk or the manifest is of. counted: how many chunks of the
    version are counted already.
    """

    key: bytes
    what: str
    place: bytes
    states: dict[str, str]
    seen: Record
    version: Version | None = None
    counted: int = 0
    is_over: bool = False

    @property
    def bad(self) -> list[str]:
        """The owners without a good copy."""
        return [node for node, state in self.states.items() if state not in GOOD]


class CopyCount:
    """Counts for one census. imperfect: {partition: owners that lack something of it}."""

    def __init__(self, cluster: Cluster, files: FileReader, report: CensusReport) -> None:
        self._cluster, self._files, self._report = cluster, files, report
        self._doubts: list[_Doubt] = []
        self._reads = asyncio.Semaphore(READS_MAX)
        self._paused_s = 0.0
        self.imperfect: dict[int, set[str]] = {}

    async def count_file(self, key: bytes, records: Mapping[str, Record]) -> None:
        """Count the copies of a record and of its chunks. records: {node: what it holds}."""
        merged = _merged(records.values())
        if not merged.versions:
            return
        place, silent = file_hash(key), self._report.silent
        states = {
            node: silent[node] if node in silent else _state(records.get(node), merged)
            for node in self._cluster.owners(place)
        }
        self._judge(_Doubt(key, "record", place, states, merged))
        # A bucket's policy has no chunks.
        for version in merged.files if not key.startswith(b"\0") else ():
            await self._count_chunks(_Doubt(key, "manifest", place, {}, merged, version))
        if len(self._doubts) >= DOUBTS_MAX:
            await self.settle()

    async def settle(self) -> None:
        """Look again at what lacked copies; count it as it is then."""
        for pause_s in LOOKS_S:
            if not self._doubts or (pause_s and self._paused_s + pause_s > PAUSES_MAX_S):
                break
            self._paused_s += pause_s
            await asyncio.sleep(pause_s)
            doubts, self._doubts = self._doubts, []
            await self._look_again(doubts)
        doubts, self._doubts = self._doubts, []
        for doubt in doubts:
            self._count(doubt)

    def _judge(self, doubt: _Doubt) -> None:
        """Count what has all its copies, or lacks those of silent nodes alone; keep the rest for another look."""
        if doubt.is_over:
            return
        if all(node in self._report.silent for node in doubt.bad):
            self._count(doubt)
        else:
            self._doubts.append(doubt)

    def _count(self, doubt: _Doubt) -> None:
        bad = doubt.bad
        copies = len(doubt.states) - len(bad)
        if doubt.what == "manifest":
            add(self._report.chunks, 0)
            self._report.name(MissingCopy(shown(doubt.key), "manifest", 0, doubt.states))
            return
        if bad:
            partition = partition_of(doubt.place, self._cluster.ring.partition_count)
            self.imperfect.setdefault(partition, set()).update(bad)
            lacking = {node: doubt.states[node] for node in bad}
            self._report.name(MissingCopy(shown(doubt.key), doubt.what, copies, lacking))
        if doubt.version is not None:
            add(self._report.chunks, copies)
        elif not doubt.seen.files:
            self._report.deleted += 1
        elif not doubt.key.startswith(b"\0"):
            add(self._report.files, copies)

    async def _count_chunks(self, manifest: _Doubt) -> None:
        """Count the chunks of a version that are not counted yet."""
        version, number = manifest.version, 0
        assert version is not None
        try:
            async for ids in all_chunk_ids(self._files, manifest.key, version):
                number += len(ids)
                if number <= manifest.counted:
                    continue
                states: dict[bytes, dict[str, str]] = {chunk_id: {} for chunk_id in ids}
                for node, some in by_owner(self._cluster, ids):
                    for chunk_id, state in zip(some, await self._states(node, some), strict=True):
                        states[chunk_id][node] = state
                manifest.counted = number
                for chunk_id, found in states.items():
                    what = f"chunk {chunk_id.hex()}"
                    self._judge(_Doubt(manifest.key, what, chunk_id, found, manifest.seen, version))
        except DynafsError as error:
            # A manifest page that no node can show: the chunks it names cannot even be counted.
            manifest.states = {"all": error.message}
            self._doubts.append(manifest)

    async def _states(self, node: str, ids: tuple[bytes, ...]) -> list[str]:
        if node in self._report.silent:
            return [self._report.silent[node]] * len(ids)
        is_deep = self._report.is_deep
        try:
            answer = await self._cluster.ask(
                node, StatChunks(b"".join(ids), verify=is_deep), timeout_s=60.0 if is_deep else None
            )
        except DynafsError as error:
            return [failure_code(error)] * len(ids)
        return states_of(answer.message, len(ids))

    async def _look_again(self, doubts: Iterable[_Doubt]) -> None:
        by_key: dict[bytes, list[_Doubt]] = {}
        for doubt in doubts:
            by_key.setdefault(doubt.key, []).append(doubt)
        await asyncio.gather(*(self._look_at_file(key, some) for key, some in by_key.items()))

    async def _look_at_file(self, key: bytes, doubts: Iterable[_Doubt]) -> None:
        async with self._reads:
            records = await self._records_now(key)
            now = _merged(records.values())
            for doubt in doubts:
                if doubt.version is None:
                    _look_at_record(doubt, records)
                elif records and doubt.version.stamp not in now.stamps:
                    doubt.is_over = True
                elif doubt.what == "manifest":
                    await self._count_chunks(doubt)
                    continue
                else:
                    for node in doubt.bad:
                        (state,) = await self._states(node, (doubt.place,))
                        # What is still bad keeps the name under which it was found.
                        doubt.states[node] = state if state in GOOD else doubt.states[node]
                self._judge(doubt)

    async def _records_now(self, key: bytes) -> dict[str, Record]:
        """Return {owner: its record} of the owners that reply."""
        owners = [node for node in self._cluster.owners(file_hash(key)) if node not in self._report.silent]
        asked = [self._cluster.ask(node, ReadRecord(key, whole=True)) for node in owners]
        found = {}
        for node, answer in zip(owners, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if not isinstance(answer, BaseException):
                found[node] = decode_record(answer.body)
            elif not isinstance(answer, DynafsError):
                raise answer
        return found


def _look_at_record(doubt: _Doubt, records: Mapping[str, Record]) -> None:
    """Note which owners hold by now what was missed, or something later."""
    if not doubt.seen.files and records and not any(record.versions for record in records.values()):
        # A tombstone that was removed at all owners: it was old.
        doubt.is_over = True
    for node in doubt.bad:
        if node in records and records[node].absorbs(doubt.seen):
            doubt.states[node] = "current"


def _merged(records: Iterable[Record]) -> Record:
    merged = EMPTY
    for record in records:
        merged = merged.merge(record)
    return merged.resolved()


def _state(record: Record | None, merged: Record) -> str:
    if record is None or record.newest is None:
        return "missing"
    return "current" if record.stamps == merged.stamps else "stale"
