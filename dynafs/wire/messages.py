"""Messages: the typed head of every request and reply between nodes.

Rule 1: a message is a msgspec struct, tagged and array-like: short on the wire, checked when decoded.
Rule 2: fields are only appended, with a default; readers ignore unknown ones, so versions n and n+1 interoperate.
Rule 3: bulk (chunk bytes, records, listing rows) travels in the frame's body, never in the head.
"""

from typing import TypeVar

import msgspec

from dynafs.causality import Stamp
from dynafs.errors import LocalProtocolError, RemoteProtocolError
from dynafs.wire.listing_messages import ListRecords, ListReply, ReadRows, RowsReply
from dynafs.wire.message import Message, Question, Stored
from dynafs.wire.operator_messages import OperatorRequest
from dynafs.wire.ring_messages import (
    AskIntroduction,
    AskStatus,
    Introduction,
    NodeStatus,
    Pulled,
    ReadPulled,
    RingReply,
    RingRequest,
    RingVote,
)


class RecordReply(Message, frozen=True):
    """digest: empty when there is no record. Body: the encoded record when requested, otherwise the encoded context
    when `context_in_body`, for contexts that may be too large for a head."""

    digest: bytes
    context: dict[str, int] = msgspec.field(default_factory=dict)
    context_in_body: bool = False


class ReadRecord(Question[RecordReply], frozen=True):
    """Read the record under this key. The digest is always returned; the record and its context on request.

    context_in_body: the caller also accepts the context in the body; older nodes expect it in the head. wall_ms: the
    caller's clock when it is about to stamp a write, else 0; rejected when too far ahead of the replica's.
    ring_version: the state by which the caller chose the owners; rejected when there is a newer one. 0 in requests that
    count for no quorum.
    """

    key: bytes
    whole: bool = False
    context: bool = False
    wall_ms: int = 0
    ring_version: int = 0
    context_in_body: bool = False


class StoreRecord(Question[Stored], frozen=True):
    """Merge the record in the body into the local one, durably.

    hint_for: the owner that failed; keep the write until it is handed off. is_counted: the ack counts for the writer's
    quorum, so there may be no other copy. ring_version: as in ReadRecord.
    """

    key: bytes
    hint_for: str = ""
    is_counted: bool = False
    ring_version: int = 0


class StoreChunk(Question[Stored], frozen=True):
    """Store the body under this id, durably, with a reference from one upload of one file.

    hint_for: the owner that failed; keep the chunk until it is handed off. is_counted: the ack counts for the writer's
    quorum, so there may be no other copy. ring_version: as in ReadRecord.
    """

    chunk_id: bytes
    upload_id: bytes
    key: bytes
    hint_for: str = ""
    is_counted: bool = False
    ring_version: int = 0


class ChunkReply(Message, frozen=True):
    """Body: the chunk, verified by the sender when it read it."""


class ReadChunk(Question[ChunkReply], frozen=True):
    """Return the chunk."""

    chunk_id: bytes


class ChunkStates(Message, frozen=True):
    """One of "present", "missing", "quarantined" per chunk, in the order requested; or an error code after verifying
    it."""

    states: list[str]


class StatChunks(Question[ChunkStates], frozen=True):
    """Return the state of these chunks. chunk_ids: concatenated, at most 1024.

    verify: read them, and return the error code of those that fail.
    """

    chunk_ids: bytes
    verify: bool = False


class ConfirmReferences(Question[ChunkStates], frozen=True):
    """This upload of this file uses these chunks (concatenated, at most 1024); the reply has the state of each.

    is_upload: the upload is about to be committed, so an earlier confirmation does not suffice.
    """

    chunk_ids: bytes
    upload_id: bytes
    key: bytes
    is_upload: bool = False


class ReleaseReferences(Question[Stored], frozen=True):
    """This upload probably no longer uses these chunks (concatenated, at most 1024): check them soon."""

    chunk_ids: bytes
    upload_id: bytes


class FoundReferences(Message, frozen=True):
    """Body: [(chunk id and upload id, key)], at most 16 per chunk."""


class FindReferences(Question[FoundReferences], frozen=True):
    """Return the local references to these chunks (concatenated, at most 64)."""

    chunk_ids: bytes


class Standing(Message, frozen=True):
    """rows: numbers of the rows, from 0, whose upload has a current version here."""

    rows: list[int]


class FindUploads(Question[Standing], frozen=True):
    """Which of these uploads have a current version on your side? Body: [(key, upload id)], at most 1024."""


class ReapRecords(Question[Stored], frozen=True):
    """Every owner holds these tombstones, and they are old: remove them. Body: [(key, digest)], at most 1024."""


class ScannedRecords(Message, frozen=True):
    """Body: [(key, record without inline contents)]. after: where to continue, None at the end."""

    after: bytes | None


class ScanRecords(Question[ScannedRecords], frozen=True):
    """Page through all local records after a key, whichever node owns them."""

    after: bytes
    limit: int


class HintCounts(Message, frozen=True):
    """targets: {node: (number, bytes, wall-clock milliseconds of the oldest)}."""

    targets: dict[str, tuple[int, int, int]]


class CountHints(Question[HintCounts], frozen=True):
    """Return how many hints are kept for which node. key: of one file, empty for all."""

    key: bytes = b""


class Differing(Message, frozen=True):
    """rows: numbers of the rows, from 0, whose digest differs here."""

    rows: list[int]


class CompareRecords(Question[Differing], frozen=True):
    """Which of these records differ on your side? Body: [(key, digest)], at most 1024."""


#: Kinds of trees.
TREE_KINDS = ("records", "chunks")
#: Leaves of one request.
LEAVES_MAX = 64


class CompareTrees(Question[Differing], frozen=True):
    """Which of these ranges of `span` leaves have another sum on your side?

    Body: [(first leaf in two bytes, sum)], ascending, at most 1024. The reply is Differing. ring_version: the state
    that the node must have learned, with all writes accepted under older ones on disk; 0 for none.
    """

    kind: str
    span: int
    ring_version: int = 0


class LeafRows(Message, frozen=True):
    """Body: [(key, digest)] of records, [(id, empty)] of chunks, leaf after leaf, at most 1024."""

    is_end: bool


class ReadLeaves(Question[LeafRows], frozen=True):
    """Return the entries of these leaves, ascending, at most 64; entries of the first leaf start after `after`.

    ring_version: as in CompareTrees.
    """

    kind: str
    leaves: tuple[int, ...]
    after: bytes = b""
    ring_version: int = 0


class PulledRecords(Message, frozen=True):
    """Body: [(key, record)]. after: where to continue, None at the end.

    knows_other: the replying node has met the caller under another generation. generation: of the replying node's data
    directory.
    """

    after: bytes | None
    knows_other: bool
    generation: str


class PullRecords(Question[PulledRecords], frozen=True):
    """Return local records after a key, of partitions that the caller owns. generation: of its data directory."""

    after: bytes
    limit: int
    generation: str


class CommitReply(Message, frozen=True):
    """The write's stamp, and the nodes that held it when it was confirmed."""

    stamp: Stamp
    stored_on: list[str]


class CommitVersion(Question[CommitReply], frozen=True):
    """Coordinate this write: stamp the version in the body and store it at w owners.

    seen: what the client had seen of the file, None when it did not state that; authenticated if it came from the
    client, and bounded by the size of a context token, or of the context that a delete passes on. commit_id: random,
    the same when the request is repeated; a commit must happen at most once. ring_version: of the ring state in which
    the receiver owns the file.
    """

    key: bytes
    r: int
    w: int
    commit_id: bytes = b""
    is_available: bool = False
    seen: dict[str, int] | None = None
    ring_version: int = 0


#: Requests by which replicas converge and unused data is found.
ComparingRequest = CompareRecords | CompareTrees | ReadLeaves | PullRecords | ScanRecords
ReferenceRequest = ConfirmReferences | ReleaseReferences | FindReferences | FindUploads
HealingRequest = ComparingRequest | ReferenceRequest | ReapRecords | CountHints
Request = (
    ReadRecord
    | StoreRecord
    | StoreChunk
    | ReadChunk
    | StatChunks
    | ListRecords
    | ReadRows
    | CommitVersion
    | HealingRequest
    | RingRequest
    | ReadPulled
    | AskStatus
    | AskIntroduction
    | OperatorRequest
)
Reply = (
    RecordReply
    | Stored
    | ChunkReply
    | ChunkStates
    | ListReply
    | RowsReply
    | CommitReply
    | PulledRecords
    | Differing
    | LeafRows
    | RingVote
    | RingReply
    | Pulled
    | NodeStatus
    | Introduction
    | Standing
    | FoundReferences
    | HintCounts
    | ScannedRecords
)

M = TypeVar("M")

_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode_message(message: Message) -> bytes:
    """Return the head bytes of a message; raise LocalProtocolError when a field cannot be encoded."""
    try:
        return _encoder.encode(message)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LocalProtocolError(f"{type(message).__name__} cannot be encoded: {error}") from error


def decode_request(head: bytes) -> Request:
    """Return the request; raise RemoteProtocolError for anything else."""
    return _decode(_request_decoder, head)


def decode_reply(head: bytes) -> Reply:
    """Return the reply; raise RemoteProtocolError for anything else."""
    return _decode(_reply_decoder, head)


def _decode(decoder: msgspec.msgpack.Decoder[M], head: bytes) -> M:
    try:
        return decoder.decode(head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(f"a message cannot be decoded: {error}") from None
