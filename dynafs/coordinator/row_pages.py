"""Pages of listing rows: what all nodes reply to one question of a listing, decoded and checked."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from dynafs.errors import DynafsError, ReadQuorumLost, RemoteProtocolError, failure_code
from dynafs.files import Record
from dynafs.files.name import common_prefix
from dynafs.files.version import EMPTY
from dynafs.membership.cluster import Cluster
from dynafs.observe import metrics
from dynafs.ring.view import RingView
from dynafs.wire.listing_messages import ListRecords, ListReply, ReadRows
from dynafs.wire.records import decode_record
from dynafs.wire.rows import ROWS_MAX

#: Behind everything that starts with what stands before it; never part of UTF-8.
BEHIND = b"\xff"
T = TypeVar("T")
_page_decoder = msgspec.msgpack.Decoder(list[tuple[str, bytes]])
_rows_decoder = msgspec.msgpack.Decoder(list[bytes])
#: {row: its record}: owners mostly hold the same, which is decoded once
_Known = dict[bytes, Record]


class Page(NamedTuple):
    """What one node replied. records: {path: record}, one object in all pages of a round where the rows are equal.

    horizon: the last position it is complete to, None for the end. gaps: {folded prefix: path}, where the node skipped
    what follows that path inside the prefix. is_live: it left out what has no contents.
    """

    node: str
    records: dict[str, Record]
    horizon: bytes | None
    gaps: dict[str, str]
    is_live: bool

    def record_of(self, path: str) -> Record | None:
        """Return what the node holds under a path that the page reaches, None when the page does not show that."""
        return self.records.get(path, None if self.is_live else EMPTY)


class PageSource:
    """Asks nodes for rows."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def pages(self, asked: ListRecords, r: int, view: RingView) -> tuple[list[Page], RingView]:
        """Return the pages of a view's nodes, and the view. Raises ReadQuorumLost when fewer than r owners of a
        partition reply."""
        request = msgspec.structs.replace(asked, ring_version=view.version)
        futures = [self._cluster.ask(node, request, is_bulk=True) for node in view.nodes]
        pages, failures, known = [], {}, _Known()
        for node, answer in zip(view.nodes, await asyncio.gather(*futures, return_exceptions=True), strict=True):
            try:
                if isinstance(answer, BaseException):
                    raise answer
                pages.append(_read_page(node, request, answer.message, bytes(answer.body), known))
            except DynafsError as error:
                failures[node] = failure_code(error)
        there = {page.node for page in pages}
        weakest = min(sum(node in there for node in owners) for owners in view.reading_ring.owner_sets)
        if weakest < r:
            metrics.quorum_lost.labels("list").inc()
            raise ReadQuorumLost(r, sorted(there), failures)
        return pages, view

    async def rows(
        self, bucket: str, wanted: Mapping[str, Sequence[str]], ring_version: int
    ) -> dict[str, dict[str, Record]]:
        """Return {node: {path: its record}} of the nodes that reply. wanted: {node: paths}."""
        asked = {node: self._rows_of(node, bucket, paths, ring_version) for node, paths in wanted.items()}
        found = {}
        for node, rows in zip(asked, await asyncio.gather(*asked.values(), return_exceptions=True), strict=True):
            if not isinstance(rows, BaseException):
                found[node] = rows
            elif not isinstance(rows, DynafsError):
                raise rows
        return found

    async def _rows_of(self, node: str, bucket: str, paths: Sequence[str], ring_version: int) -> dict[str, Record]:
        found: dict[str, Record] = {}
        for start in range(0, len(paths), ROWS_MAX):
            some = paths[start : start + ROWS_MAX]
            body = msgspec.msgpack.encode(some)
            answer = await self._cluster.ask(node, ReadRows(bucket, ring_version), body, is_bulk=True)
            rows = _decoded(_rows_decoder, bytes(answer.body))
            if len(rows) != len(some):
                raise RemoteProtocolError(f"{node} replies {len(rows)} rows to {len(some)} paths")
            found |= {path: decode_record(row) for path, row in zip(some, rows, strict=True)}
        return found


def _read_page(node: str, request: ListRecords, reply: object, body: bytes, known: _Known) -> Page:
    """Return a node's page. Raises RemoteProtocolError."""
    if not isinstance(reply, ListReply):
        raise RemoteProtocolError(f"{node} replies {type(reply).__name__} to a listing")
    records: dict[str, Record] = {}
    for path, data in _decoded(_page_decoder, body):
        record = known.get(data)
        if record is None:
            record = known[data] = decode_record(data)
        records[path] = record
    gaps = _gaps(records, request, is_live=reply.is_live) if request.delimiter else {}
    if reply.is_end or not records:
        return Page(node, records, None if reply.is_end else request.after, gaps, reply.is_live)
    # Behind a skip the page is complete to the end of the prefix, which may lie behind its last row.
    last = max(records)
    folded = common_prefix(last, request.prefix, request.delimiter)
    end = max(last.encode(), folded.encode() + BEHIND) if folded in gaps else last.encode()
    return Page(node, records, end, gaps, reply.is_live)


def _gaps(records: Mapping[str, Record], request: ListRecords, *, is_live: bool) -> dict[str, str]:
    gaps: dict[str, str] = {}
    for path, record in records.items():
        folded = common_prefix(path, request.prefix, request.delimiter)
        if folded and (is_live or record.files):
            gaps[folded] = path
    return gaps


def _decoded(decoder: msgspec.msgpack.Decoder[list[T]], body: bytes) -> list[T]:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RemoteProtocolError(f"listing rows cannot be decoded: {error}") from None
