"""Listing: walk the records of a bucket in path order, seeking past what a delimiter hides."""

from collections.abc import Generator, Sequence
from functools import partial
from itertools import islice, takewhile

from dynafs.files.name import common_prefix
from dynafs.ports import Hint, ListedRecord, RecordPage, RecordScan, Reference, StoredChunk
from dynafs.storage.disk import Index, decode_place
from dynafs.storage.hints import decode_hint, hint_row, hints_start
from dynafs.storage.references import decode_reference
from dynafs.storage.stored import decode_stored, stored_record
from dynafs.wire.records import check_record

#: A page stops here even below its limit of rows: inline contents come along with their records.
PAGE_SIZE_BYTES_MAX = 8 << 20
#: Greater than any byte of UTF-8: behind everything that starts with what stands before it.
LAST = b"\xff"


def list_records(
    index: Index,
    bucket: str,
    prefix: str,
    delimiter: str,
    after: bytes,
    limit: int,
    is_live: bool = False,  # noqa: FBT001, FBT002  handed to a thread by position
) -> RecordPage:
    """Return up to `limit` records whose path starts with prefix and sorts behind after. Raises StoreCorrupt.

    is_live: leave out what has no contents, and return listing rows instead of whole records.

    With a delimiter, all records behind the first file that stands under one common prefix are skipped: that file is
    the proof that the prefix is not empty. Tombstones before it are returned, so that others can weigh them, unless
    is_live leaves them out.
    """
    base = bucket.encode() + b"\0"
    start, last = base + prefix.encode(), base + prefix.encode() + LAST
    if after:
        start = max(start, base + after + b"\0")
    found: list[ListedRecord] = []
    size_bytes, base_size = 0, len(base)
    scan = index.scan("live" if is_live else "records", start)
    row = next(scan, None)
    while row is not None and row[0] <= last:
        if len(found) >= limit or size_bytes >= PAGE_SIZE_BYTES_MAX:
            return RecordPage(found, is_end=False)
        key, data = row
        if is_live:
            decode_stored("record", check_record, data)
        path = key[base_size:].decode()
        found.append(ListedRecord(path, data))
        size_bytes += len(data)
        folded = common_prefix(path, prefix, delimiter) if delimiter else ""
        is_proof = bool(folded) and (is_live or _is_file(data))
        row = _sent(scan, base + folded.encode() + LAST if is_proof else None)
    return RecordPage(found, is_end=True)


def _sent(scan: Generator[tuple[bytes, bytes], bytes | None], jump: bytes | None) -> tuple[bytes, bytes] | None:
    """Return a scan's next row, or its first from a key on; None at the end."""
    try:
        return scan.send(jump)
    except StopIteration:
        return None


def scan_records(index: Index, after: bytes, limit: int) -> RecordScan:
    """Return up to `limit` records behind a key, of all buckets."""
    rows: list[tuple[bytes, bytes]] = []
    size_bytes = 0
    for key, data in index.scan("records", after + b"\0" if after else b""):
        if len(rows) >= limit or size_bytes >= PAGE_SIZE_BYTES_MAX:
            return RecordScan(rows, rows[-1][0] if rows else after)
        rows.append((key, data))
        size_bytes += len(data)
    return RecordScan(rows, None)


def scan_chunks(index: Index, after: bytes, limit: int) -> list[StoredChunk]:
    """Return up to `limit` chunks behind an id."""
    rows = islice(index.scan("chunks", after + b"\0" if after else b""), limit)
    places = ((chunk_id, decode_place(packed)) for chunk_id, packed in rows)
    return [StoredChunk(chunk_id, place.size_bytes, place.segment) for chunk_id, place in places]


def scan_references(index: Index, after: bytes, limit: int) -> list[Reference]:
    """Return up to `limit` references behind a pair of chunk and upload id."""
    rows = islice(index.scan("references", after + b"\0" if after else b""), limit)
    return [decode_reference(row, value) for row, value in rows]


def references_to(index: Index, chunk_ids: Sequence[bytes], limit: int) -> list[Reference]:
    """Return the references to these chunks, up to `limit` of each."""
    found: list[Reference] = []
    for chunk_id in chunk_ids:
        rows = takewhile(lambda row: row[0].startswith(chunk_id), index.scan("references", chunk_id))  # noqa: B023
        found += [decode_reference(row, value) for row, value in islice(rows, limit)]
    return found


def scan_hints(index: Index, target: str, after: Hint | None, limit: int) -> list[Hint]:
    """Return up to `limit` hints for a node, behind one of them."""
    start = hints_start(target)
    first = start if after is None else hint_row(after) + b"\0"
    rows = takewhile(lambda row: row[0].startswith(start), index.scan("hints", first))
    return [decode_stored("hint", partial(decode_hint, row), value) for row, value in islice(rows, limit)]


def hint_targets(index: Index) -> list[str]:
    """Return the nodes for which there are hints."""
    targets: list[str] = []
    scan = index.scan("hints", b"")
    row = next(scan, None)
    while row is not None:
        target = row[0].partition(b"\0")[0]
        targets.append(decode_stored("hint", bytes.decode, target))
        row = _sent(scan, target + b"\1")
    return targets


def _is_file(data: bytes) -> bool:
    newest = stored_record(data).newest
    return newest is not None and newest.is_file
