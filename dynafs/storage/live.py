"""Listing rows: what a listing shows of every record that has contents, beside the records.

Problem: a delete leaves a tombstone for days, and small contents lie inside their records. A listing that reads records
is as slow as the bucket is old and its files are large.

Rule: the batch that writes a record sets or removes its row in `live`, so the two always agree. A page is read from
these rows alone, and its cost depends on nothing but its length.

Alternatives: a cursor that gives up after so many tombstones makes many slow requests of one; a count of files per
range of names costs a read for every write; the keys alone, with a look at each record, read all inline contents.
"""

from itertools import islice

from dynafs.errors import RemoteProtocolError
from dynafs.storage.disk import Batch, Index
from dynafs.wire.records import check_record, listing_row

#: Names the state of `live` in `node`; another value, or none, means that it must be built.
_STATE_KEY, _STATE = b"live", b"2"
_BUILD_ROWS = 1000


def note_live(batch: Batch, key: bytes, data: bytes) -> None:
    """Add to the batch that writes a record: its listing row, or that it has none. data: empty when it is removed."""
    _set_row(batch, key, listing_row(data))


def _set_row(batch: Batch, key: bytes, row: bytes) -> None:
    if row:
        batch.put("live", key, row)
    else:
        batch.delete("live", key)


def _stored_row(data: bytes) -> bytes:
    """Return the row of a stored record; a damaged one stays as it is, so that listings report the damage."""
    try:
        check_record(data)
    except RemoteProtocolError:
        return data
    return listing_row(data)


def build_live(index: Index, *, is_forced: bool = False) -> None:
    """Write `live` from the records, unless every write so far kept it. is_forced: in any case."""
    if index.get("node", _STATE_KEY) == _STATE and not is_forced:
        return
    # First of all: a build that is broken off must be made again when the index is opened.
    batch = index.batch()
    batch.delete("node", _STATE_KEY)
    index.apply(batch)
    for family in ("live", "records"):
        rows = index.scan(family, b"")
        while some := list(islice(rows, _BUILD_ROWS)):
            batch = index.batch()
            for key, data in some:
                _set_row(batch, key, _stored_row(data) if family == "records" else b"")
            index.apply(batch)
    batch = index.batch()
    batch.put("node", _STATE_KEY, _STATE)
    index.apply(batch)
    index.sync()
