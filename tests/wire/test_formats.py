"""Messages, records, segment entries and the handshake."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.causality import Stamp
from dynafs.errors import RemoteProtocolError
from dynafs.files import Manifest, Record, Version, VersionKind
from dynafs.wire.handshake import (
    WIRE_VERSION,
    CallerHandshake,
    Hello,
    ListenerHandshake,
    Proof,
    Welcome,
    decode_handshake,
    encode_handshake,
)
from dynafs.wire.listing_messages import ListRecords, ReadRows
from dynafs.wire.messages import (
    CommitReply,
    CommitVersion,
    ReadChunk,
    ReadRecord,
    StatChunks,
    StoreChunk,
    StoreRecord,
    decode_reply,
    decode_request,
    encode_message,
)
from dynafs.wire.records import (
    check_record,
    decode_record,
    decode_version,
    encode_record,
    encode_version,
    listing_row,
    record_digest,
)
from dynafs.wire.segments import chunk_id_of, decode_entry_header, encode_entry_header, is_intact

STAMPS = st.builds(Stamp, st.integers(0, 2**63), st.text(max_size=20))
VERSIONS = st.builds(
    Version, STAMPS, st.sampled_from(VersionKind), st.binary(max_size=16), st.integers(0, 2**50), st.text(max_size=20),
    st.text(max_size=32), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    st.none() | st.binary(max_size=50), st.none() | st.builds(Manifest, st.integers(1, 2**24), st.binary(max_size=64)),
)  # fmt: skip
RECORDS = st.lists(VERSIONS, min_size=1, max_size=3, unique_by=lambda v: v.stamp).map(lambda vs: Record.of({}, vs))

REQUESTS = [
    ReadRecord(b"k", whole=True), StoreRecord(b"k"), StoreChunk(b"c" * 32, b"u" * 16, b"k"), ReadChunk(b"c" * 32),
    StatChunks(b"c" * 64), ListRecords("b", "p", "/", b"a", 10, is_live=True), ReadRows("b", 7),
    CommitVersion(b"k", 2, 2),
]  # fmt: skip


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: type(one).__name__)
def test_requests_round_trip(request_: object) -> None:
    """What one node asks is what the other reads."""
    assert decode_request(encode_message(request_)) == request_


def test_messages_of_the_next_version_are_understood() -> None:
    """A field appended by version n+1 is ignored by version n."""
    plain = msgspec.msgpack.decode(encode_message(ReadChunk(b"c" * 32)))
    assert decode_request(msgspec.msgpack.encode([*plain, "new field"])) == ReadChunk(b"c" * 32)


@given(st.binary(max_size=100))
def test_garbage_messages_raise_only_our_error(data: bytes) -> None:
    """Any bytes decode or raise RemoteProtocolError, in every format."""
    for decode in (decode_request, decode_reply, decode_handshake, decode_record, decode_version, decode_entry_header):
        try:
            decode(data)
        except RemoteProtocolError:
            continue


def test_commit_reply_round_trips_its_stamp() -> None:
    """A stamp survives the wire."""
    reply = CommitReply(Stamp(5, "a"), ["n1"])
    assert decode_reply(encode_message(reply)) == reply


@given(RECORDS)
def test_records_round_trip_and_are_canonical(record: Record) -> None:
    """Decoding gives the record back; equal records have equal bytes and digests."""
    data = encode_record(record)
    again = decode_record(data)
    assert again == record
    assert encode_record(again) == data
    assert record_digest(encode_record(record.merge(again))) == record_digest(data)


@given(RECORDS, st.data())
def test_damaged_records_are_noticed(record: Record, data: st.DataObject) -> None:
    """One flipped byte anywhere makes a record unreadable, not another record."""
    damaged = bytearray(encode_record(record))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RemoteProtocolError):
        decode_record(damaged)


@given(RECORDS)
def test_listing_row_is_the_record_without_contents(record: Record) -> None:
    """It has the bytes of that record encoded as a whole, and is empty when no version is a file."""
    row = listing_row(encode_record(record))
    slim = tuple(msgspec.structs.replace(version, inline=None, manifest=None) for version in record.versions)
    has_file = any(version.is_file for version in record.versions)
    assert row == (encode_record(Record(record.context, slim)) if has_file else b"")
    if row:
        check_record(row)


@pytest.mark.parametrize("data", [b"", b"rot", b"\1\0\0\0\0\x92\x80\x91\x90", b"\1\0\0\0\0\xc1"])
def test_listing_row_of_what_is_no_record_shows_the_damage(data: bytes) -> None:
    """A reader of the row finds the same bytes."""
    assert listing_row(data) == data


@given(VERSIONS)
def test_versions_travel_alone(version: Version) -> None:
    """A version on its way to its coordinator arrives as it was."""
    assert decode_version(encode_version(version)) == version


@given(st.binary(max_size=100), st.binary(max_size=200), st.integers(0, 60), st.integers(1, 255))
def test_entry_headers_round_trip_and_notice_damage(body: bytes, key: bytes, position: int, flip: int) -> None:
    """A segment entry tells chunk, upload, key and size; damage is noticed."""
    data = encode_entry_header(chunk_id_of(body), b"u" * 16, key, len(body))
    header = decode_entry_header(data)
    assert (header.chunk_id, header.upload_id, header.body_size_bytes) == (chunk_id_of(body), b"u" * 16, len(body))
    assert header.body_offset == len(data)
    assert is_intact(header, key)
    damaged = bytearray(data)
    damaged[position] ^= flip
    try:
        assert not is_intact(decode_entry_header(bytes(damaged)), bytes(damaged[64 : 64 + len(key)]))
    except RemoteProtocolError:
        return


def hello(name: str, **changes: object) -> Hello:
    made = Hello(WIRE_VERSION, "c", name, "control", b"ring", name.encode().ljust(32))
    return msgspec.structs.replace(made, **changes)


def shake(caller: CallerHandshake, listener: ListenerHandshake) -> None:
    """Pass messages to and fro through their encoding, a bounded number of times."""
    to_listener, to_caller = caller.first(), []
    for _ in range(4):
        for message in to_listener:
            to_caller += listener.on_message(decode_handshake(encode_handshake(message)))
        to_listener = []
        for message in to_caller:
            to_listener += caller.on_message(decode_handshake(encode_handshake(message)))
        to_caller = []


def test_handshake_of_two_members_succeeds_on_both_sides() -> None:
    """Same cluster, same secret, same ring."""
    caller, listener = CallerHandshake(b"s", hello("a"), "b"), ListenerHandshake(b"s", hello("b"))
    shake(caller, listener)
    assert caller.done
    assert listener.done
    assert listener.theirs.node == "a"


@pytest.mark.parametrize(
    ("secret", "changes"),
    [
        (b"other", {}), (b"s", {"cluster": "x"}), (b"s", {"ring_digest": b"x"}), (b"s", {"wire_version": 99}),
        (b"s", {"node": "c"}), (b"s", {"nonce": b"short"}),
    ],
)  # fmt: skip
def test_handshake_with_a_stranger_fails(secret: bytes, changes: dict[str, object]) -> None:
    """Wrong secret, cluster, ring, version or name: neither side goes on."""
    caller, listener = CallerHandshake(b"s", hello("a"), "b"), ListenerHandshake(secret, hello("b", **changes))
    with pytest.raises(RemoteProtocolError):
        shake(caller, listener)
    assert not caller.done
    assert not listener.done


def test_handshake_does_not_accept_its_own_proof_reflected() -> None:
    """What the listener proved cannot be sent back as the caller's proof."""
    listener = ListenerHandshake(b"s", hello("b"))
    _, proof = listener.on_message(hello("a"))
    assert isinstance(proof, Proof)
    with pytest.raises(RemoteProtocolError):
        listener.on_message(proof)


def test_handshake_messages_out_of_order_are_refused() -> None:
    """Welcome before proof is no welcome."""
    caller = CallerHandshake(b"s", hello("a"), "b")
    with pytest.raises(RemoteProtocolError):
        caller.on_message(Welcome())
