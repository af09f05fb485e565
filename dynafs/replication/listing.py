"""Listings: every node's sorted rows, merged at R, tombstones dropped, prefixes folded.

A row counts only from an owner of its partition. Each node's page is complete up to its last row (or its end), and
inside a common prefix up to the row behind which it skipped. So a row is decided as soon as every page reaches it;
what lies behind waits for the next round.
"""

import asyncio
from functools import partial
from typing import NamedTuple

import msgspec

from dynafs.errors import DynafsError, ReadQuorumLost
from dynafs.files import FileName, Record, Version
from dynafs.files.name import common_prefix
from dynafs.files.version import EMPTY
from dynafs.observe import metrics
from dynafs.quorum import QuorumPolicy, QuorumWrite, Verdict
from dynafs.replication.reach import Reach, failure_code
from dynafs.replication.records import RecordReader
from dynafs.ring import file_hash
from dynafs.ring.view import RingView
from dynafs.wire.messages import ListRecords, ListReply
from dynafs.wire.records import decode_record

#: Behind everything that starts with what stands before it; never part of UTF-8.
BEHIND = b"\xff"
_Rows = list[tuple[str, bytes]]


class Listing(NamedTuple):
    """One page. after: where the next page begins, None at the end. siblings: {path: versions beside the listed one},
    of the files that have any."""

    files: list[tuple[str, Version]]
    prefixes: list[str]
    after: bytes | None
    siblings: dict[str, int]


class _Page(NamedTuple):
    """What one node returned. reach: the last position it is complete to, None for the end.

    gaps: {folded prefix: path}, where the node skipped what follows that path inside the prefix.
    """

    node: str
    records: dict[bytes, Record]
    reach: bytes | None
    gaps: dict[bytes, bytes]


class Lister:
    """Lists buckets and files."""

    def __init__(self, reach: Reach, records: RecordReader, rows_max: int) -> None:
        self._reach, self._records, self._rows_max = reach, records, rows_max

    async def page(
        self, bucket: str, prefix: str, delimiter: str, after: bytes, limit: int, policy: QuorumPolicy
    ) -> Listing:
        """Return up to `limit` files and folded prefixes behind `after`. Raises ReadQuorumLost when a partition has
        fewer than R owners among the nodes that answer."""
        listing = _Draft(limit)
        position: bytes | None = after
        while position is not None and not listing.is_full:
            asked = ListRecords(bucket, prefix, delimiter, position, min(self._rows_max, listing.room + 1))
            pages, view = await self._reach.in_view(partial(self._ask_all, asked, policy.r))
            position = await self._merge(pages, asked, policy, listing, view)
        return Listing(listing.files, listing.prefixes, position, listing.siblings)

    async def _ask_all(self, asked: ListRecords, r: int, view: RingView) -> tuple[list[_Page], RingView]:
        """Return what the nodes of a view told, and the view."""
        request = msgspec.structs.replace(asked, ring_version=view.version)
        futures = [self._reach.ask(node, request, is_bulk=True) for node in view.nodes]
        pages, failures = [], {}
        for node, answer in zip(view.nodes, await asyncio.gather(*futures, return_exceptions=True), strict=True):
            if isinstance(answer, DynafsError):
                failures[node] = failure_code(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                assert isinstance(answer.message, ListReply)
                pages.append(_read_page(node, request, answer.body, is_end=answer.message.is_end))
        there = {page.node for page in pages}
        weakest = min(sum(node in there for node in owners) for owners in view.reading_ring.owner_sets)
        if weakest < r:
            metrics.quorum_lost.labels("list").inc()
            raise ReadQuorumLost(r, sorted(there), failures)
        return pages, view

    async def _merge(
        self, pages: list[_Page], request: ListRecords, policy: QuorumPolicy, listing: "_Draft", view: RingView
    ) -> bytes | None:
        """Take over what these pages decide; return where to go on, None at the end."""
        horizon = min((page.reach for page in pages if page.reach is not None), default=None)
        decided, group, is_shown = request.after, b"", False
        for path in sorted({path for page in pages for path in page.records}):
            if horizon is not None and path > horizon:
                break
            folded = _fold(path, request)
            if folded != group:
                if not is_shown and _has_gap(pages, group):
                    return decided
                group, is_shown = folded, False
            if is_shown:
                continue
            if listing.is_full or any(page.gaps.get(folded, path) < path for page in pages):
                return decided
            files = await self._decide(pages, request.bucket, path, policy, view)
            decided = path
            if files:
                is_shown = bool(folded)
                listing.show(path, folded, files)
                decided = folded + BEHIND if folded else path
        if not is_shown and _has_gap(pages, group):
            return decided
        return None if horizon is None else max(horizon, decided)

    async def _decide(
        self, pages: list[_Page], bucket: str, path: bytes, policy: QuorumPolicy, view: RingView
    ) -> tuple[Version, ...]:
        """Return a file's versions, the newest first, none when it is deleted; what fewer than W hold is read with
        repair."""
        name = FileName(bucket, path.decode())
        place = file_hash(name.key)
        owners = view.owners(place)
        held = {p.node: p.records.get(path, EMPTY) for p in pages if p.node in owners or policy.is_available}
        merged = EMPTY
        for record in held.values():
            merged = merged.merge(record)
        if policy.is_available:
            return merged.resolved().files
        newest = merged.newest
        if newest is None:
            return ()
        fold = QuorumWrite(policy.w, *view.writers(place))
        for node, record in held.items():
            if record.newest is not None and record.newest.stamp == newest.stamp:
                fold.add_ack(node)
        if fold.verdict is not Verdict.MET:
            newest = (await self._records.read(name.key, policy)).newest
        return (newest,) if newest is not None and newest.is_file else ()


class _Draft:
    """A listing in the making."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.files: list[tuple[str, Version]] = []
        self.prefixes: list[str] = []
        self.siblings: dict[str, int] = {}

    @property
    def room(self) -> int:
        return self._limit - len(self.files) - len(self.prefixes)

    @property
    def is_full(self) -> bool:
        return self.room <= 0

    def show(self, path: bytes, folded: bytes, files: tuple[Version, ...]) -> None:
        if folded:
            self.prefixes.append(folded.decode())
            return
        self.files.append((path.decode(), files[0]))
        if len(files) > 1:
            self.siblings[path.decode()] = len(files) - 1


def _read_page(node: str, request: ListRecords, body: bytes | bytearray, *, is_end: bool) -> _Page:
    rows = msgspec.msgpack.decode(body, type=_Rows)
    records = {path.encode(): decode_record(data) for path, data in rows}
    gaps = {}
    for path, record in records.items():
        folded = _fold(path, request)
        if folded and record.newest is not None and record.newest.is_file:
            gaps[folded] = path
    if is_end or not records:
        return _Page(node, records, None if is_end else request.after, gaps)
    # Behind a skip the page is complete to the end of the prefix, which may lie behind its last row.
    last = max(records)
    folded = _fold(last, request)
    return _Page(node, records, max(last, folded + BEHIND) if folded in gaps else last, gaps)


def _fold(path: bytes, request: ListRecords) -> bytes:
    return common_prefix(path.decode(), request.prefix, request.delimiter).encode()


def _has_gap(pages: list[_Page], group: bytes) -> bool:
    return bool(group) and any(group in page.gaps for page in pages)
