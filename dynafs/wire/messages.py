"""Messages: the typed head of every request and reply between nodes.

Rule 1: a message is a msgspec struct, tagged and array-like: short on the wire, checked when decoded.
Rule 2: fields are only ever appended, with a default; readers ignore what they do not know, so versions n and n+1 talk.
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
    """digest: empty when nothing is held. Body: the encoded record when it was asked for, else the encoded context when
    `context_in_body`, which is where a context goes that may be too large for a head."""

    digest: bytes
    context: dict[str, int] = msgspec.field(default_factory=dict)
    context_in_body: bool = False


class ReadRecord(Question[RecordReply], frozen=True):
    """What do you hold under this key? The digest is always told; the record and its context when asked for.

    context_in_body: the asker reads the context from the body, too; older nodes expect it in the head.
    wall_ms: the asker's clock when it is about to stamp a write, else 0; refused when too far ahead of the reader's.
    ring_version: by which the asker chose whom to ask; refused when there is a newer one. 0 in questions that count
    for no quorum.
    """

    key: bytes
    whole: bool = False
    context: bool = False
    wall_ms: int = 0
    ring_version: int = 0
    context_in_body: bool = False


class StoreRecord(Question[Stored], frozen=True):
    """Merge the record in the body into what you hold under this key, durably.

    hint_for: the owner that could not take it; keep it until you have handed it over. is_counted: the writer was told
    that you have it, so there may be no other copy. ring_version: as in ReadRecord.
    """

    key: bytes
    hint_for: str = ""
    is_counted: bool = False
    ring_version: int = 0


class StoreChunk(Question[Stored], frozen=True):
    """Keep the body under this name, durably, with a reference from one upload of one file.

    hint_for: the owner that could not take it; keep it until you have handed it over. is_counted: the writer was told
    that you have it, so there may be no other copy. ring_version: as in ReadRecord.
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
    """Send the chunk."""

    chunk_id: bytes


class ChunkStates(Message, frozen=True):
    """One of "present", "missing", "quarantined" per chunk, in the order asked."""

    states: list[str]


class StatChunks(Question[ChunkStates], frozen=True):
    """In what state are your copies of these chunks? chunk_ids: concatenated, at most 1024.

    verify: read them and say "corrupt" of those that are.
    """

    chunk_ids: bytes
    verify: bool = False


class ConfirmReferences(Question[ChunkStates], frozen=True):
    """This upload of this file uses these chunks (concatenated, at most 1024); answered with the state of each.

    is_upload: it is about to be committed, so nothing that was confirmed a while ago will do.
    """

    chunk_ids: bytes
    upload_id: bytes
    key: bytes
    is_upload: bool = False


class ReleaseReferences(Question[Stored], frozen=True):
    """This upload probably needs these chunks (concatenated, at most 1024) no more: look soon."""

    chunk_ids: bytes
    upload_id: bytes


class FoundReferences(Message, frozen=True):
    """Body: [(chunk id and upload id, key)], at most 16 of a chunk."""


class FindReferences(Question[FoundReferences], frozen=True):
    """Which uploads refer to these chunks (concatenated, at most 64) at your place?"""

    chunk_ids: bytes


class Standing(Message, frozen=True):
    """rows: numbers of the rows, from 0, that do."""

    rows: list[int]


class FindUploads(Question[Standing], frozen=True):
    """Which of these uploads are versions that stand at your place? Body: [(key, upload id)], at most 1024."""


class ReapRecords(Question[Stored], frozen=True):
    """Every owner holds these tombstones, and they are old: remove them. Body: [(key, digest)], at most 1024."""


class ScannedRecords(Message, frozen=True):
    """Body: [(key, record without inline contents)]. after: where to go on, None at the end."""

    after: bytes | None


class ScanRecords(Question[ScannedRecords], frozen=True):
    """All your records behind a key, whosoever they are."""

    after: bytes
    limit: int


class HintCounts(Message, frozen=True):
    """targets: {node: (how many, bytes, since when the oldest, in wall-clock milliseconds)}."""

    targets: dict[str, tuple[int, int, int]]


class CountHints(Question[HintCounts], frozen=True):
    """What do you keep for others? key: of the file that is asked about, empty for all."""

    key: bytes = b""


class Differing(Message, frozen=True):
    """rows: numbers of the rows, from 0, whose digest is another one here."""

    rows: list[int]


class CompareRecords(Question[Differing], frozen=True):
    """Which of these do you hold otherwise? Body: [(key, digest)], at most 1024."""


#: What nodes keep trees of.
TREE_KINDS = ("records", "chunks")
#: Leaves of one question.
LEAVES_MAX = 64


class CompareTrees(Question[Differing], frozen=True):
    """Which of these ranges of `span` leaves sum up to something else at your place?

    Body: [(first leaf in two bytes, sum)], ascending, at most 1024. Answered with Differing. ring_version: which you
    must know, and be done with what you accepted by older ones; 0 for none.
    """

    kind: str
    span: int
    ring_version: int = 0


class LeafRows(Message, frozen=True):
    """Body: [(key, digest)] of records, [(id, nothing)] of chunks, leaf after leaf, at most 1024."""

    is_end: bool


class ReadLeaves(Question[LeafRows], frozen=True):
    """What do these leaves of your tree, ascending, at most 64, stand for? In the first of them: behind an item.

    ring_version: as in CompareTrees.
    """

    kind: str
    leaves: tuple[int, ...]
    after: bytes = b""
    ring_version: int = 0


class PulledRecords(Message, frozen=True):
    """Body: [(key, record)]. after: where to go on, None at the end.

    knows_other: you were here with another generation. generation: of the answering node's data directory.
    """

    after: bytes | None
    knows_other: bool
    generation: str


class PullRecords(Question[PulledRecords], frozen=True):
    """Your records behind a key, of partitions that I own. generation: of my data directory."""

    after: bytes
    limit: int
    generation: str


class CommitReply(Message, frozen=True):
    """The write's stamp and the nodes that held it when it was confirmed."""

    stamp: Stamp
    stored_on: list[str]


class CommitVersion(Question[CommitReply], frozen=True):
    """Coordinate this write for me: stamp the version in the body and store it at w owners.

    seen: what the client had seen of the file, None when it did not say; checked where it came from the client, and
    bounded by what a context token, or a delete, hands on.
    commit_id: random, the same when the same request arrives again; a commit must happen at most once.
    ring_version: of the ring state by which you own the file.
    """

    key: bytes
    r: int
    w: int
    commit_id: bytes = b""
    is_available: bool = False
    seen: dict[str, int] | None = None
    ring_version: int = 0


#: What nodes ask each other to bring copies together, and to learn what may go.
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
