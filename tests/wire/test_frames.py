"""Frames: any slicing, any garbage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.errors import LocalProtocolError, RemoteProtocolError
from dynafs.wire.frames import (
    BODY_SIZE_BYTES_MAX,
    DIRECT_BODY_SIZE_BYTES,
    HEAD_SIZE_BYTES_MAX,
    RECEIVE_BUFFER_SIZE_BYTES_MIN,
    Frame,
    FrameDecoder,
    FrameKind,
    encode_frame,
)

FRAMES = st.lists(
    st.tuples(
        st.sampled_from(FrameKind), st.integers(0, 2**32 - 1), st.binary(max_size=200),
        st.one_of(st.binary(max_size=100), st.integers(30_000, 200_000).map(bytes)),
    ),
    max_size=6,
)  # fmt: skip


def decoder() -> FrameDecoder:
    made = FrameDecoder()
    made.allow_full_frames()
    return made


def encoded(frames: list[tuple]) -> bytes:
    return b"".join(encode_frame(kind, rid, head, len(body)) + body for kind, rid, head, body in frames)


@given(FRAMES, st.lists(st.integers(1, 70_000), max_size=20))
def test_decoder_gives_the_same_frames_whatever_the_slicing(frames: list[tuple], cuts: list[int]) -> None:
    """A stream cut anywhere decodes to the frames that were encoded."""
    data = encoded(frames)
    reader, found, position = decoder(), [], 0
    for cut in [*cuts, len(data)]:
        found += reader.feed(data[position : position + cut])
        position += cut
    assert found == [Frame(*frame) for frame in frames]


def test_decoder_takes_single_bytes() -> None:
    """Even one byte at a time."""
    frames = [(FrameKind.REQUEST, 7, b"head", b"body"), (FrameKind.REPLY, 8, b"", b"x" * 40_000)]
    reader, found = decoder(), []
    for byte in encoded(frames):
        found += reader.feed(bytes([byte]))
    assert found == [Frame(*frame) for frame in frames]


@given(st.binary(max_size=400))
def test_decoder_of_garbage_raises_only_our_error(data: bytes) -> None:
    """Garbage is either an incomplete frame or a RemoteProtocolError."""
    try:
        decoder().feed(data)
    except RemoteProtocolError:
        return


@given(st.integers(0, 19), st.integers(1, 255))
def test_decoder_notices_any_damaged_header_byte(position: int, flip: int) -> None:
    """A flipped byte in header or head never becomes another frame."""
    data = bytearray(encoded([(FrameKind.REQUEST, 1, b"head", b"body")]))
    data[position] ^= flip
    try:
        found = decoder().feed(bytes(data))
    except RemoteProtocolError:
        return
    assert found == []


def test_decoder_refuses_a_frame_of_four_gigabytes_before_it_is_there() -> None:
    """Sizes are checked before memory is taken."""
    header = bytearray(encode_frame(FrameKind.REQUEST, 1, b"", 0))
    header[12:16] = b"\xff" * 4
    with pytest.raises(RemoteProtocolError):
        decoder().feed(bytes(header))


def test_decoder_before_proof_takes_only_small_frames() -> None:
    """Someone who has proved nothing can make the node hold a kilobyte, not a chunk."""
    with pytest.raises(RemoteProtocolError):
        FrameDecoder().feed(encode_frame(FrameKind.HELLO, 0, b"", 1))
    with pytest.raises(RemoteProtocolError):
        FrameDecoder().feed(encode_frame(FrameKind.HELLO, 0, b"x" * 2000, 0))


def test_encode_refuses_what_the_other_side_would() -> None:
    """We do not send frames that are too large."""
    with pytest.raises(LocalProtocolError):
        encode_frame(FrameKind.REQUEST, 1, b"", BODY_SIZE_BYTES_MAX + 1)


def test_frame_bytes_are_frozen() -> None:
    """Version 1 of the envelope looks like this for ever."""
    assert encode_frame(FrameKind.REQUEST, 1, b"hi", 3).hex() == "01020000000000010000000200000003d020b7836869"


def test_decoder_lends_little_memory_until_it_is_filled_once() -> None:
    """Frames that fit are decoded in the small buffer; the largest that are not received apart come whole, too."""
    made, small = decoder(), encoded([(FrameKind.PING, 0, b"", b"")])
    for _ in range(3 * RECEIVE_BUFFER_SIZE_BYTES_MIN // len(small)):
        assert len(made.get_buffer()) <= RECEIVE_BUFFER_SIZE_BYTES_MIN
        assert len(made.feed(small)) == 1
    large = (FrameKind.REPLY, 7, b"h" * HEAD_SIZE_BYTES_MAX, b"b" * DIRECT_BODY_SIZE_BYTES)
    assert made.feed(encoded([large, large])) == [Frame(*large)] * 2
    assert len(made.get_buffer()) > len(large[2]) + len(large[3])
