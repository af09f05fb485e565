"""Frames: the envelope of everything that crosses a connection between nodes.

    0        1      2        4            8            12           16          20
    | version | kind | lane   | request id | head bytes | body bytes | crc32c    | head ... | body ...

All numbers big-endian. The crc covers the first 16 bytes and the head; the body is checked by what it holds (a
chunk's name, a record's checksum). The decoder lends its memory to the transport (`get_buffer`, `buffer_updated`), so
a large body lands in its own buffer at once; `feed` does the same for callers that have bytes already.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

from crc32c import crc32c

from dynafs.errors import LocalProtocolError, RemoteProtocolError

FRAME_VERSION = 1
_PREFIX = struct.Struct(">BBHIII")
_CRC = struct.Struct(">I")
HEADER_SIZE_BYTES = _PREFIX.size + _CRC.size
#: Heads are small typed messages; the largest is a listing's question.
HEAD_SIZE_BYTES_MAX = 64 << 10
#: The largest chunk is 16 MiB; a page of a listing or a record is far smaller.
BODY_SIZE_BYTES_MAX = (16 << 20) + (1 << 16)
#: Before a peer has proved itself it gets this much, in head only.
UNPROVEN_SIZE_BYTES_MAX = 1 << 10
#: Bodies above this are received into a buffer of their own instead of being copied out of the shared one.
DIRECT_BODY_SIZE_BYTES = 32 << 10
#: A connection with little to receive keeps the smaller buffer: a node beside hundreds of peers has many of those.
RECEIVE_BUFFER_SIZE_BYTES_MIN, RECEIVE_BUFFER_SIZE_BYTES_MAX = 16 << 10, 128 << 10


class FrameTooLarge(LocalProtocolError):
    """A frame that the other side would refuse; nothing of it was sent."""


class FrameKind(IntEnum):
    """What a frame is for."""

    HELLO = 1
    REQUEST = 2
    REPLY = 3
    ERROR = 4
    CANCEL = 5
    PING = 6
    PONG = 7


_KINDS = {kind.value: kind for kind in FrameKind}


class Frame(NamedTuple):
    """One frame. body: bytes-like; a frame's own memory, safe to keep."""

    kind: FrameKind
    request_id: int
    head: bytes
    body: bytes | bytearray


def encode_frame(kind: FrameKind, request_id: int, head: bytes, body_size_bytes: int = 0) -> bytes:
    """Return everything of the frame but its body, which the caller sends behind it uncopied. Raises FrameTooLarge."""
    if len(head) > HEAD_SIZE_BYTES_MAX or body_size_bytes > BODY_SIZE_BYTES_MAX:
        raise FrameTooLarge(f"a frame of {len(head)} + {body_size_bytes} bytes is too large to send")
    prefix = _PREFIX.pack(FRAME_VERSION, kind, 0, request_id, len(head), body_size_bytes)
    return prefix + _CRC.pack(crc32c(head, crc32c(prefix))) + head


class FrameDecoder:
    """Cuts a byte stream into frames, whatever its slicing. Raises RemoteProtocolError once; then it is spent."""

    __slots__ = (
        "_body", "_body_filled", "_buffer", "_end", "_head", "_pending", "_start", "_view", "body_size_bytes_max",
        "head_size_bytes_max",
    )  # fmt: skip

    def __init__(self) -> None:
        self.head_size_bytes_max = UNPROVEN_SIZE_BYTES_MAX
        self.body_size_bytes_max = 0
        self._buffer = bytearray(RECEIVE_BUFFER_SIZE_BYTES_MIN)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._body: bytearray | None = None
        self._body_filled = 0
        self._pending: tuple[FrameKind, int, bytes] | None = None
        #: of the frame in the shared buffer, once it was checked, while its body is not whole
        self._head: bytes | None = None

    def allow_full_frames(self) -> None:
        """Lift the limits of the handshake: the peer has proved itself."""
        self.head_size_bytes_max, self.body_size_bytes_max = HEAD_SIZE_BYTES_MAX, BODY_SIZE_BYTES_MAX

    def get_buffer(self) -> memoryview:
        """Return memory for the next received bytes; never empty."""
        if self._body is not None:
            return memoryview(self._body)[self._body_filled :]
        if self._end == len(self._buffer):
            self._make_room()
        elif self._start == self._end:
            self._start = self._end = 0
        return self._view[self._end :]

    def _make_room(self) -> None:
        """Move what is not decoded yet to the front; of a larger buffer when this one was filled for the first time."""
        kept = bytes(self._view[self._start : self._end])
        if len(self._buffer) < RECEIVE_BUFFER_SIZE_BYTES_MAX:
            self._buffer = bytearray(RECEIVE_BUFFER_SIZE_BYTES_MAX)
            self._view = memoryview(self._buffer)
        self._view[: len(kept)] = kept
        self._start, self._end = 0, len(kept)

    def buffer_updated(self, size_bytes: int) -> list[Frame]:
        """Return the frames completed by `size_bytes` new bytes in the lent memory."""
        if self._body is not None:
            self._body_filled += size_bytes
            if self._body_filled < len(self._body):
                return []
            return [self._finish(self._body)]
        self._end += size_bytes
        frames: list[Frame] = []
        while self._body is None:
            frame = self._next()
            if frame is None:
                break
            frames.append(frame)
        return frames

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames completed by these bytes."""
        frames: list[Frame] = []
        view = memoryview(data)
        while view:
            room = self.get_buffer()
            taken = min(len(room), len(view))
            room[:taken] = view[:taken]
            view = view[taken:]
            frames += self.buffer_updated(taken)
        return frames

    def _finish(self, body: bytearray | bytes) -> Frame:
        assert self._pending is not None
        kind, request_id, head = self._pending
        self._pending, self._body, self._body_filled = None, None, 0
        return Frame(kind, request_id, head, body)

    def _next(self) -> Frame | None:
        """Take one frame out of the shared buffer, or begin a body of its own; None when more bytes are needed."""
        available = self._end - self._start
        if available < HEADER_SIZE_BYTES:
            return None
        version, kind, _, request_id, head_size, body_size = _PREFIX.unpack_from(self._buffer, self._start)
        if version != FRAME_VERSION:
            raise RemoteProtocolError(f"frames of version {version}, this node reads {FRAME_VERSION}")
        if head_size > self.head_size_bytes_max or body_size > self.body_size_bytes_max:
            raise RemoteProtocolError(f"a frame of {head_size} + {body_size} bytes is over the limit")
        head_end = self._start + HEADER_SIZE_BYTES + head_size
        if head_end > self._end:
            return None
        head = self._head or self._checked_head(head_end)
        if (known := _KINDS.get(kind)) is None:
            raise RemoteProtocolError(f"unknown frame kind {kind}")
        if body_size > DIRECT_BODY_SIZE_BYTES:
            self._pending = (known, request_id, head)
            return self._begin_body(head_end, body_size)
        if head_end + body_size > self._end:
            self._head = head
            return None
        self._head, self._start = None, head_end + body_size
        return Frame(known, request_id, head, bytes(self._view[head_end : self._start]) if body_size else b"")

    def _checked_head(self, head_end: int) -> bytes:
        start = self._start
        head = bytes(self._view[start + HEADER_SIZE_BYTES : head_end])
        (expected,) = _CRC.unpack_from(self._buffer, start + _PREFIX.size)
        if crc32c(head, crc32c(self._view[start : start + _PREFIX.size])) != expected:
            raise RemoteProtocolError("a frame header fails its checksum")
        return head

    def _begin_body(self, head_end: int, body_size: int) -> Frame | None:
        body = bytearray(body_size)
        here = min(body_size, self._end - head_end)
        body[:here] = self._view[head_end : head_end + here]
        self._start = head_end + here
        if here == body_size:
            return self._finish(body)
        self._body, self._body_filled = body, here
        return None
