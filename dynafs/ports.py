"""The seams: what the replication code asks of the world. Real ones in storage, peers and membership; a simulator can
bring its own."""

from asyncio import Future
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from dynafs.wire.message import Message, Question
from dynafs.wire.messages import Request

Body = bytes | bytearray | memoryview


R = TypeVar("R", bound=Message)


class Answer(NamedTuple, Generic[R]):
    """A reply and its body."""

    message: R
    body: bytes | bytearray = b""


class Storing(NamedTuple):
    """Something on its way to the disk: the reply is Stored, as soon as it is durable."""

    future: Future[None]


#: Serves one request of a peer: an answer at once, or one to wait for. Raises DynafsError.
RequestHandler = Callable[[str, Request, bytes | bytearray], Answer[Any] | Storing | Awaitable[Answer[Any]]]


class Clock(Protocol):
    """Time and randomness of a node."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, by this node's possibly wrong clock."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that only move forward."""
        ...

    def random_bytes(self, size_bytes: int) -> bytes:
        """Unpredictable bytes."""
        ...


class ListedRecord(NamedTuple):
    """A stored record as a listing meets it."""

    path: str
    data: bytes


class RecordPage(NamedTuple):
    """Records in path order. is_end: whether nothing further matches."""

    records: list[ListedRecord]
    is_end: bool


class RecordScan(NamedTuple):
    """Stored (key, record) rows in key order. after: where to go on, None at the end."""

    rows: list[tuple[bytes, bytes]]
    after: bytes | None


class Reference(NamedTuple):
    """Upload `upload_id` of the file under `key` uses the chunk. since_ms: when that was last known to be so, 0 when it
    should be looked at soon."""

    chunk_id: bytes
    upload_id: bytes
    key: bytes
    since_ms: int


class Hint(NamedTuple):
    """What a fallback keeps for `target`: the record under `key`, or the chunk that an upload of that file uses.

    chunk_id, upload_id: empty for a record. is_counted: a writer was told of it, so there may be no other copy.
    """

    target: str
    key: bytes
    chunk_id: bytes = b""
    upload_id: bytes = b""
    since_ms: int = 0
    size_bytes: int = 0
    is_counted: bool = False


class StoredChunk(NamedTuple):
    """A chunk on this disk, its size, and the segment it lies in."""

    chunk_id: bytes
    size_bytes: int
    segment: int


class Records(Protocol):
    """The file records of one node."""

    def read_record(self, key: bytes) -> bytes:
        """Return the durable record bytes, empty when there are none."""
        ...

    def latest_record(self, key: bytes) -> bytes:
        """Return the record bytes last given to put_record, durable or not yet."""
        ...

    def put_record(self, key: bytes, data: bytes, hint: Hint | None = None) -> Future[None]:
        """Replace the record, by nothing when data is empty. hint: to be kept with it."""
        ...

    async def list_records(
        self, bucket: str, prefix: str, delimiter: str, after: bytes, limit: int, *, is_live: bool = False
    ) -> RecordPage:
        """Return durable records in path order, skipping behind the first file of each common prefix.

        is_live: the listing rows of those that have contents.
        """
        ...

    async def scan_records(self, after: bytes, limit: int) -> RecordScan:
        """Return records of all buckets in key order, behind a key."""
        ...


class Hints(Protocol):
    """What one node keeps for others."""

    def put_hint(self, hint: Hint) -> Future[None]:
        """Keep a hint for something that is here already."""
        ...

    def remove_hint(self, hint: Hint) -> Future[None]:
        """Forget a hint."""
        ...

    def has_hint(self, hint: Hint) -> bool:
        """Return whether a hint for the same target and thing is kept, durable or not."""
        ...

    async def scan_hints(self, target: str, after: Hint | None, limit: int) -> list[Hint]:
        """Return the hints for a node in their order, behind one of them."""
        ...

    async def hint_targets(self) -> list[str]:
        """Return the nodes for which there are hints."""
        ...


class Facts(Protocol):
    """What one node keeps of itself."""

    def fact(self, name: str) -> bytes | None:
        """Return something the node knows of itself."""
        ...

    def put_fact(self, name: str, value: bytes) -> Future[None]:
        """Remember something of the node itself."""
        ...

    def clock_ceiling(self) -> int:
        """Return the durable ceiling of the hybrid clock, 0 when there is none."""
        ...

    def put_clock_ceiling(self, ceiling: int) -> Future[None]:
        """Remember the hybrid clock's ceiling."""
        ...


class Chunks(Protocol):
    """The chunks of one node."""

    def put_chunk(
        self,
        chunk_id: bytes,
        upload_id: bytes,
        key: bytes,
        body: Body,
        *,
        is_verified: bool = False,
        hint: Hint | None = None,
    ) -> Future[None]:
        """Keep a chunk and a reference to it; ChunkMismatch unless the body hashes to its name. hint: kept with it."""
        ...

    def read_chunk_now(self, chunk_id: bytes) -> bytearray | None:
        """Return the verified chunk if no wait for the disk is needed, else None. Raises ChunkMissing, ChunkCorrupt."""
        ...

    async def read_chunk(self, chunk_id: bytes) -> bytearray:
        """Return the verified chunk. Raises ChunkMissing, ChunkCorrupt, StoreFailed."""
        ...

    def chunk_state(self, chunk_id: bytes) -> str:
        """Return "present", "missing" or "quarantined", by the index."""
        ...

    def chunk_size_bytes(self, chunk_id: bytes) -> int:
        """Return a chunk's size by the index, 0 when it is not here."""
        ...

    async def scan_chunks(self, after: bytes, limit: int) -> list[StoredChunk]:
        """Return what is here, in the order of ids, behind an id."""
        ...


class References(Protocol):
    """Which uploads use the chunks of one node."""

    async def scan_references(self, after: bytes, limit: int) -> list[Reference]:
        """Return references in the order of chunk and upload ids, behind such a pair."""
        ...

    async def references_to(self, chunk_ids: Sequence[bytes], limit: int) -> list[Reference]:
        """Return the references to these chunks, up to `limit` of each."""
        ...

    def reference_of(self, chunk_id: bytes) -> Reference | None:
        """Return a reference to the chunk, None when there is none."""
        ...

    def reference(self, chunk_id: bytes, upload_id: bytes) -> Reference | None:
        """Return one reference, None when it is not here."""
        ...

    def confirm_reference(self, chunk_id: bytes, upload_id: bytes, key: bytes) -> Future[None]:
        """Make a reference, or make it as good as new. Raises ChunkMissing when the chunk is not here."""
        ...

    def release_reference(self, chunk_id: bytes, upload_id: bytes) -> Future[None]:
        """Have a reference looked at soon, if it is here."""
        ...

    def drop_reference(self, reference: Reference) -> Future[None]:
        """Remove a reference unless it was confirmed or released since, and with a chunk's last one the chunk."""
        ...


class Segments(Protocol):
    """The files in which chunks lie."""

    def segment_sizes(self) -> dict[int, int]:
        """Return {segment: its size in bytes}, the one being written included."""
        ...

    def pinned_segments(self) -> set[int]:
        """Return segments that must stay: bad copies lie there that no good one has replaced yet."""
        ...

    def seal_segment(self, segment: int) -> Future[None]:
        """Write no more to a segment."""
        ...

    async def move_chunk(self, chunk_id: bytes, segment: int) -> None:
        """Write a chunk that lies in this segment anew, durably and verified. Raises ChunkCorrupt, StoreFailed."""
        ...

    def remove_segment(self, segment: int) -> Future[None]:
        """Remove a sealed segment from which everything has moved."""
        ...


class Trees(Protocol):
    """Checksums over records and over chunks, by which nodes compare what they store."""

    async def tree_sums(self, kind: str, firsts: Sequence[int], span: int) -> list[bytes]:
        """Return 16 bytes for each range of `span` leaves from these on, ascending: what is held there.

        kind: "records" or "chunks". Two stores that hold the same in a range have the same sum.
        """
        ...

    async def scan_leaves(
        self, kind: str, leaves: Sequence[int], after: bytes, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return what leaves, ascending, stand for: (key, digest) of records, or (chunk id, nothing).

        In the first of them: behind an item.
        """
        ...

    def listed_digest(self, key: bytes) -> bytes:
        """Return by which digest the trees know a record, empty when they do not."""
        ...

    def recount_branch(self, kind: str, branch: int) -> Future[None]:
        """Make a branch of a tree, and the leaves under it, what is held."""
        ...


class Store(Records, Hints, Facts, Chunks, References, Segments, Trees, Protocol):
    """One node's disk. Futures resolve when the bytes are durable; they fail with StoreError."""

    def check_room(self, *, is_for_others: bool = False) -> None:
        """Raise StoreFull when there is no room for new contents. is_for_others: or for what other nodes own."""
        ...


class Peers(Protocol):
    """Calls to other nodes."""

    def call(
        self, node: str, message: Question[R], body: Body = b"", *, timeout_s: float, is_bulk: bool = False
    ) -> Future[Answer[R]]:
        """Send a request. The future fails with PeerError; cancelling it frees its place."""
        ...


class Membership(Protocol):
    """Who is up, and how far away."""

    def is_up(self, node: str) -> bool:
        """Return whether calls to the node have a chance."""
        ...

    def nearest_first(self, nodes: Sequence[str]) -> list[str]:
        """Return the nodes ordered for a read: this one, then those that answer, same zone and fastest first."""
        ...
