"""The census: how many good copies everything has, counted by going and looking.

Problem: a healer that reports "nothing left to do" has counted its own work, not what is on the disks.

Rule: one node asks all nodes for all records they hold, in key order, merges them, and asks the owners of every chunk
what they have. Nothing a healer wrote down is used, nothing is mended. An owner counts when it shows the newest version
of a file, or a copy of a chunk; a node that does not reply has nothing. A deep census has every chunk read and verified
too. What is written while the census goes on reaches the owners one after another, so what lacks a copy is looked at
again, a few times, before it is reported.

Alternatives: counting while repairing (it is the repair that may be wrong); adding up counters kept by each node (they
are what drifts).

Tested in the simulator against the platters, and with real nodes.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from dynafs.coordinator.files import FileReader
from dynafs.errors import DynafsError, failure_code
from dynafs.files.version import Record
from dynafs.jobs.job import Job, JobRegistry
from dynafs.membership.cluster import Cluster
from dynafs.operations.census_report import CensusReport, add
from dynafs.operations.copy_count import CopyCount
from dynafs.ports import Clock
from dynafs.wire.messages import ScanRecords
from dynafs.wire.records import decode_record
from dynafs.wire.rows import reply_rows

#: Records asked of one node at once.
PAGE_RECORDS = 256
#: Records counted before clients get their turn of the event loop.
TURN_RECORDS = 16


class Census:
    """Counts copies when asked to."""

    def __init__(self, cluster: Cluster, files: FileReader, clock: Clock, jobs: JobRegistry) -> None:
        self._cluster, self._files, self._clock = cluster, files, clock
        self.job = jobs.add("census", self._count, None)
        self.report: CensusReport | None = None
        self._is_next_deep = False

    def start(self, *, is_deep: bool) -> None:
        """Take a census now. It is deep when one of those that ask for it before it begins wants that."""
        self._is_next_deep = self._is_next_deep or is_deep
        self.job.start_now()

    async def _count(self, job: Job) -> None:
        n = self._cluster.ring.n
        is_deep, self._is_next_deep = self._is_next_deep, False
        report = CensusReport(n, is_deep=is_deep, started_unix_ms=self._clock.wall_ms())
        count = CopyCount(self._cluster, self._files, report)
        async for key, records in self._all_records(report):
            await job.step()
            await count.count_file(key, records)
            job.status.items += 1
            if not job.status.items % TURN_RECORDS:
                await asyncio.sleep(0)
        await count.settle()
        for partition, owners in enumerate(self._cluster.ring.owners):
            bad = count.imperfect.get(partition, set()).union(node for node in owners if node in report.silent)
            add(report.partitions, n - len(bad))
        report.finished_unix_ms = self._clock.wall_ms()
        self.report = report

    async def _all_records(self, report: CensusReport) -> AsyncIterator[tuple[bytes, dict[str, Record]]]:
        """Yield every key with {node: its record}, in key order."""
        scans = {node: _Scan(self._cluster, node) for node in [self._cluster.me, *self._cluster.others]}
        while True:
            if empty := [scan for scan in scans.values() if scan.is_empty]:
                await asyncio.gather(*(scan.fill() for scan in empty))
                report.silent = {node: scan.problem for node, scan in scans.items() if scan.problem}
            key = min((scan.rows[0][0] for scan in scans.values() if scan.rows), default=None)
            if key is None:
                return
            records = {}
            for node, scan in scans.items():
                if scan.rows and scan.rows[0][0] == key:
                    records[node] = scan.rows.popleft()[1]
            yield key, records


class _Scan:
    """All records of one node, a page at a time. problem: why there are no more of them."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self._cluster, self._node = cluster, node
        self._after: bytes | None = b""
        self.rows: deque[tuple[bytes, Record]] = deque()
        self.problem = ""

    @property
    def is_empty(self) -> bool:
        """Whether another page may come, and nothing is left of the last one."""
        return not self.rows and self._after is not None and not self.problem

    async def fill(self) -> None:
        """Get the next page that has rows, if there is one."""
        while self.is_empty:
            assert self._after is not None
            try:
                answer = await self._cluster.ask(self._node, ScanRecords(self._after, PAGE_RECORDS), is_bulk=True)
                rows = reply_rows(answer.body, "key and record")
                self.rows = deque((key, decode_record(data)) for key, data in rows)
            except DynafsError as error:
                self.problem = failure_code(error)
                return
            self._after = answer.message.after
