"""XOR-Merkle trees: two nodes find out what they hold differently without naming what they hold alike.

The hash space has LEAF_COUNT leaves, by the first two bytes of a hash, and a branch over every BRANCH_LEAVES of them.
Each is the XOR of sixteen bytes for every record, or chunk, that falls into it, so a write changes one leaf and one
branch by what it adds and takes away, in the batch that writes it. A partition is a whole number of leaves whatever the
ring's partition count; its root is the XOR of them.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, islice, takewhile

from blake3 import blake3

from dynafs.ring import BRANCH_LEAVES, LEAF_COUNT, file_hash, leaf_of
from dynafs.storage.disk import Batch, Index
from dynafs.wire.records import record_digest

RECORDS, CHUNKS = "records", "chunks"
SUM_SIZE_BYTES = 16

#: {kind: first byte of its rows}
_KINDS = {RECORDS: b"r", CHUNKS: b"c"}
_BRANCH, _LEAF = b"\0", b"\1"
_NUMBER_SIZE_BYTES = 2
#: Bytes of a key's hash before the key in `by_partition`.
_PLACE_SIZE_BYTES = 8
#: Names the state of the trees in `node`; another value, or none, means that they must be built.
_STATE_KEY, _STATE = b"trees", b"1"
_BUILD_ROWS = 1000


class KnownSums:
    """Sums of one tree as the index has them, which spare looking there. Between two batches only: while one is under
    way nothing is known, so a failed write, or an index that was opened anew, leaves nothing wrong behind."""

    def __init__(self, index: Index) -> None:
        self._index, self._opening = index, index.opening
        #: {row of `trees`: sum}
        self._sums: dict[bytes, int] = {}

    def take(self) -> dict[bytes, int]:
        """Return what is known, for a batch that was begun."""
        sums = self._sums if self._opening == self._index.opening else {}
        self._sums, self._opening = {}, self._index.opening
        return sums

    def give_back(self, sums: dict[bytes, int]) -> None:
        """What is known after the batch."""
        self._sums = sums


class TreeWrites:
    """What one batch of writes does to the trees."""

    def __init__(self, index: Index, known: dict[bytes, int] | None = None) -> None:
        """known: {row of `trees`: sum} as the index has it."""
        self._index, self._known = index, {} if known is None else known
        #: {row of `trees`: sum}
        self._sums: dict[bytes, int] = {}
        #: {row of `by_partition`: digest}, {chunk id: whether it is here}: as of this batch
        self._digests: dict[bytes, bytes] = {}
        self._present: dict[bytes, bool] = {}

    def set_record(self, key: bytes, data: bytes) -> None:
        """A record becomes these bytes; none when it goes."""
        place = file_hash(key)
        row = _listing_row(key, place)
        before = self._digests[row] if row in self._digests else self._index.get("by_partition", row) or b""
        after = self._digests[row] = record_digest(data)
        if before != after:
            self._change(RECORDS, leaf_of(place), _item(RECORDS, place, before) ^ _item(RECORDS, place, after))

    def set_chunk(self, chunk_id: bytes, *, is_here: bool) -> None:
        """A chunk comes or goes, or nothing changes."""
        before = self._present.get(chunk_id)
        if before is None:
            before = self._index.get("chunks", chunk_id) is not None
        self._present[chunk_id] = is_here
        if before != is_here:
            self._change(CHUNKS, leaf_of(chunk_id), _item(CHUNKS, chunk_id))

    def recount(self, kind: str, branch: int) -> None:
        """Make a branch and its leaves what the index holds, as of before this batch."""
        first, total = branch * BRANCH_LEAVES, 0
        for leaf in range(first, first + BRANCH_LEAVES):
            right = 0
            for row, digest in leaf_rows(self._index, kind, leaf, b""):
                right ^= _item(kind, _place(kind, row), digest)
            total ^= right
            self._xor(_leaf_row(kind, leaf), right ^ self._stored(_leaf_row(kind, leaf)))
        self._xor(_branch_row(kind, branch), total ^ self._stored(_branch_row(kind, branch)))

    def _change(self, kind: str, leaf: int, change: int) -> None:
        self._xor(_leaf_row(kind, leaf), change)
        self._xor(_branch_row(kind, leaf // BRANCH_LEAVES), change)

    def _xor(self, row: bytes, change: int) -> None:
        if row not in self._sums:
            self._sums[row] = self._stored(row)
        self._sums[row] ^= change

    def _stored(self, row: bytes) -> int:
        total = self._known.get(row)
        return int.from_bytes(self._index.get("trees", row) or b"", "big") if total is None else total

    def applied(self) -> dict[bytes, int]:
        """Return what is known now that this was applied."""
        self._known |= self._sums
        return self._known

    def write_to(self, batch: Batch) -> None:
        """Add the outcome to the batch that writes the records or chunks themselves."""
        for row, digest in self._digests.items():
            _put_or_delete(batch, "by_partition", row, digest)
        for row, total in self._sums.items():
            _put_or_delete(batch, "trees", row, total.to_bytes(SUM_SIZE_BYTES, "big") if total else b"")


def tree_sums(index: Index, kind: str, firsts: Sequence[int], span: int) -> list[bytes]:
    """Return the sums of `span` leaves from each of these on, ascending."""
    row_of, step = (_branch_row, BRANCH_LEAVES) if span % BRANCH_LEAVES == 0 else (_leaf_row, 1)
    prefix = row_of(kind, 0)[:-_NUMBER_SIZE_BYTES]
    scan = index.scan("trees", prefix)
    number, value = _next_sum(scan, None, prefix)
    sums: list[bytes] = []
    for first in firsts:
        start, stop, total = first // step, (first + span - 1) // step + 1, 0
        if number < start:
            number, value = _next_sum(scan, row_of(kind, start), prefix)
        while number < stop:
            total ^= int.from_bytes(value, "big")
            number, value = _next_sum(scan, None, prefix)
        sums.append(total.to_bytes(SUM_SIZE_BYTES, "big"))
    return sums


def _next_sum(
    scan: "Generator[tuple[bytes, bytes], bytes | None]", start: bytes | None, prefix: bytes
) -> tuple[int, bytes]:
    """Return (number, sum) of the next row, or of the first from `start` on; a number behind all when there is none."""
    try:
        row, value = scan.send(start)
    except StopIteration:
        return LEAF_COUNT, b""
    return (int.from_bytes(row[len(prefix) :], "big") if row.startswith(prefix) else LEAF_COUNT), value


def leaf_rows(index: Index, kind: str, leaf: int, after: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield what a leaf stands for, behind an item: (key, digest) of records, or (chunk id, nothing)."""
    prefix = leaf.to_bytes(_NUMBER_SIZE_BYTES, "big")
    if kind == CHUNKS:
        rows = takewhile(
            lambda row: row[0].startswith(prefix), index.scan("chunks", after + b"\0" if after else prefix)
        )
        yield from ((chunk_id, b"") for chunk_id, _ in rows)
        return
    start = _listing_row(after) + b"\0" if after else prefix
    for row, digest in takewhile(lambda row: row[0].startswith(prefix), index.scan("by_partition", start)):
        yield row[_PLACE_SIZE_BYTES:], digest


def leaves_page(index: Index, kind: str, leaves: Sequence[int], after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
    """Return up to `limit` of what leaves, ascending, stand for; in the first of them behind an item."""
    rows = (leaf_rows(index, kind, leaf, after if leaf == leaves[0] else b"") for leaf in leaves)
    return list(islice(chain.from_iterable(rows), limit))


def listed_digest(index: Index, key: bytes) -> bytes:
    """Return by which digest the trees know a record, empty when they do not."""
    return index.get("by_partition", _listing_row(key)) or b""


def build_trees(index: Index) -> None:
    """Build both trees from the records and chunks, unless they were kept by every write so far."""
    if index.get("node", _STATE_KEY) == _STATE:
        return
    for family in ("by_partition", "trees"):
        _apply(index, ((family, row, b"") for row, _ in index.scan(family, b"")))
    for kind in (RECORDS, CHUNKS):
        _build(index, kind)
    _apply(index, [("node", _STATE_KEY, _STATE)])
    index.sync()


def _build(index: Index, kind: str) -> None:
    """Write one tree while nothing else is written."""
    sums: dict[bytes, int] = {}
    digests: list[tuple[str, bytes, bytes]] = []
    for key, data in index.scan(kind, b""):
        place = _place(kind, key)
        digest = record_digest(data) if kind == RECORDS else b""
        item = _item(kind, place, digest)
        for row in (_leaf_row(kind, leaf_of(place)), _branch_row(kind, leaf_of(place) // BRANCH_LEAVES)):
            sums[row] = sums.get(row, 0) ^ item
        if kind == RECORDS:
            digests.append(("by_partition", _listing_row(key, place), digest))
            if len(digests) == _BUILD_ROWS:
                _apply(index, digests)
                digests = []
    _apply(index, digests)
    _apply(index, [("trees", row, total.to_bytes(SUM_SIZE_BYTES, "big")) for row, total in sums.items()])


def _apply(index: Index, rows: Iterable[tuple[str, bytes, bytes]]) -> None:
    batch = index.batch()
    for family, row, value in rows:
        _put_or_delete(batch, family, row, value)
    index.apply(batch)


def _put_or_delete(batch: Batch, family: str, row: bytes, value: bytes) -> None:
    if value:
        batch.put(family, row, value)
    else:
        batch.delete(family, row)


def _leaf_row(kind: str, leaf: int) -> bytes:
    return _KINDS[kind] + _LEAF + leaf.to_bytes(_NUMBER_SIZE_BYTES, "big")


def _branch_row(kind: str, branch: int) -> bytes:
    return _KINDS[kind] + _BRANCH + branch.to_bytes(_NUMBER_SIZE_BYTES, "big")


def _listing_row(key: bytes, place: bytes | None = None) -> bytes:
    """Return a record's row of `by_partition`. place: its key's hash, if that is known."""
    return (place or file_hash(key))[:_PLACE_SIZE_BYTES] + key


def _place(kind: str, key: bytes) -> bytes:
    """Return the hash by which something falls into a leaf; a chunk is named by its own."""
    return key if kind == CHUNKS else file_hash(key)


def _item(kind: str, place: bytes, digest: bytes = b"") -> int:
    """Return what one record adds, key and contents together, nothing without contents; or one chunk, a part of its id
    that does not choose its leaf."""
    if kind == CHUNKS:
        return int.from_bytes(place[-SUM_SIZE_BYTES:], "big")
    return int.from_bytes(blake3(place + digest).digest(SUM_SIZE_BYTES), "big") if digest else 0
