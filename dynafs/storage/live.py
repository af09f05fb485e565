"""The keys of records that have contents: a listing finds the next file here without a step over every tombstone.

A delete leaves a tombstone for days, and a listing that reads them all is as slow as the bucket is old. The batch that
writes a record sets or removes its key here, so the two always agree.

Alternatives: a cursor that gives up after so many tombstones makes many slow requests of one; a count of files per
range of names costs a read for every write.
"""

from itertools import islice

from dynafs.storage.disk import Batch, Index
from dynafs.wire.records import has_contents

#: Names the state of `live` in `node`; another value, or none, means that it must be built.
_STATE_KEY, _STATE = b"live", b"1"
_BUILD_ROWS = 1000


def note_live(batch: Batch, key: bytes, data: bytes) -> None:
    """Add to the batch that writes a record: whether its key is live. data: empty when the record is removed."""
    if has_contents(data):
        batch.put("live", key, b"")
    else:
        batch.delete("live", key)


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
                note_live(batch, key, data if family == "records" else b"")
            index.apply(batch)
    batch = index.batch()
    batch.put("node", _STATE_KEY, _STATE)
    index.apply(batch)
    index.sync()
