"""No message that nodes may send is too large for a frame's head, and every error can be sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.causality import Stamp
from dynafs.causality.version_set import ENTRY_SIZE_BYTES
from dynafs.coordinator.files import SEEN_SIZE_BYTES_MAX
from dynafs.errors import (
    DynafsError,
    PeerRefused,
    ReadQuorumLost,
    RemoteProtocolError,
    RequestInvalid,
    WriteQuorumLost,
)
from dynafs.files.manifest import PAGE_CHUNKS
from dynafs.files.name import PATH_SIZE_BYTES_MAX
from dynafs.wire.error_reply import EVIDENCE_SIZE_BYTES_MAX, decode_error, encode_error
from dynafs.wire.frames import HEAD_SIZE_BYTES_MAX, FrameDecoder, FrameKind, encode_frame
from dynafs.wire.message import Message
from dynafs.wire.messages import (
    LEAVES_MAX,
    ChunkStates,
    CommitReply,
    CommitVersion,
    ConfirmReferences,
    Differing,
    HintCounts,
    ListRecords,
    PulledRecords,
    ReadLeaves,
    ReadRecord,
    ReleaseReferences,
    Reply,
    Request,
    Standing,
    StatChunks,
    StoreChunk,
    encode_message,
)
from dynafs.wire.replies import REPLY_TYPES
from dynafs.wire.ring_messages import AskStatus, Introduction, NodeStatus
from dynafs.wire.rows import ROWS_MAX, reply_rows

#: A cluster far larger than any that is run, of nodes with names as long as host names are.
NODES = tuple(f"node-{number:058}" for number in range(200))
ADDRESSES = {node: f"{node}.{'x' * 63}.example:65535" for node in NODES}
KEY = b"b" * 63 + b"\0" + b"p" * PATH_SIZE_BYTES_MAX
IDS, UPLOAD, MANY = bytes(32 * PAGE_CHUNKS), bytes(16), 2**63
SEEN = {"n" * (SEEN_SIZE_BYTES_MAX - 2 * ENTRY_SIZE_BYTES): MANY}

LARGEST: list[Message] = [
    ReadRecord(KEY, whole=True, context=True, wall_ms=MANY, ring_version=MANY, context_in_body=True),
    StoreChunk(bytes(32), UPLOAD, KEY, NODES[0], is_counted=True, ring_version=MANY),
    StatChunks(IDS, verify=True),
    ChunkStates(["quarantined"] * PAGE_CHUNKS),
    ConfirmReferences(IDS, UPLOAD, KEY, is_upload=True),
    ReleaseReferences(IDS, UPLOAD),
    Standing([65535] * ROWS_MAX),
    Differing([65535] * ROWS_MAX),
    ListRecords("b" * 63, "\U0001f5c4" * 256, "\U0001f5c4" * 256, KEY, MANY, MANY),
    ReadLeaves("records", tuple(range(2**16 - LEAVES_MAX, 2**16)), KEY, MANY),
    PulledRecords(KEY, knows_other=True, generation="g" * 32),
    HintCounts(dict.fromkeys(NODES, (MANY, MANY, MANY))),
    CommitVersion(KEY, 200, 200, UPLOAD, is_available=True, seen=SEEN, ring_version=MANY),
    CommitReply(Stamp(MANY, NODES[0] * 2), list(NODES)),
    AskStatus(NODES),
    NodeStatus(MANY, MANY, MANY, MANY, NODES, is_draining=True, started_ms=MANY, http=ADDRESSES[NODES[0]]),
    Introduction(200, 200, 200, 2**16, bytes(32), 65535, ADDRESSES),
]  # fmt: skip


@pytest.mark.parametrize("message", LARGEST, ids=lambda one: type(one).__name__)
def test_largest_message_fits_into_a_head(message: Message) -> None:
    """With every list as long as it may be, and names as long as they get."""
    head = encode_message(message)
    assert len(head) <= HEAD_SIZE_BYTES_MAX
    reader = FrameDecoder()
    reader.allow_full_frames()
    assert [frame.head for frame in reader.feed(encode_frame(FrameKind.REQUEST, 1, head))] == [head]


def test_every_request_has_a_reply() -> None:
    """A new message needs its line in the table."""
    assert set(REPLY_TYPES) == set(Request.__args__)
    assert set(REPLY_TYPES.values()) == set(Reply.__args__)


FAILURES = dict.fromkeys(NODES, "replica_incomplete")


@pytest.mark.parametrize(
    "error",
    [
        ReadQuorumLost(101, NODES, FAILURES),
        WriteQuorumLost(101, NODES, FAILURES),
        WriteQuorumLost(101, [], {node * 20: "peer_unreachable" for node in NODES}),
        RequestInvalid("f" * 200_000, "m" * 200_000),
        RequestInvalid("field", "\ud800", given="\ud800"),
        PeerRefused("n1", "code", "message", {"x": object()}),
        DynafsError("m", number=2**70, blob=bytes(10_000_000), thing=object(), loop=[FAILURES] * 10),
    ],
    ids=range(7),
)
def test_every_error_can_be_sent(error: DynafsError) -> None:
    """However much evidence it has, and whether that can be encoded or not; code and message always arrive."""
    head = encode_error(error)
    assert len(head) <= HEAD_SIZE_BYTES_MAX
    reply = decode_error(head)
    assert reply.code == error.code
    assert reply.message
    if isinstance(error, WriteQuorumLost):
        assert reply.evidence["outcome"] == "unknown"


VALUES = st.recursive(
    st.none() | st.integers() | st.text(st.characters()) | st.binary() | st.builds(object),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text(st.characters()), st.dictionaries(st.text(min_size=1), VALUES))
def test_whatever_an_error_says_can_be_sent(message: str, evidence: dict) -> None:
    """Also text that is no Unicode, and things that no message can have."""
    error = DynafsError(message)
    error.evidence.update(evidence)
    assert len(encode_error(error)) <= EVIDENCE_SIZE_BYTES_MAX + 5000
    decode_error(encode_error(error))


@given(st.binary(max_size=200))
def test_rows_of_a_reply_are_rows_or_the_peers_mistake(body: bytes) -> None:
    """What a peer sends is never taken for a mistake of a client, or of ours."""
    try:
        rows = reply_rows(body, "key and digest")
    except RemoteProtocolError:
        return
    assert all(isinstance(one, bytes) for row in rows for one in row)
