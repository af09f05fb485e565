"""Chunks inside a segment file. Every entry describes itself, so an index can be rebuilt from the segments alone.

    0       4        6          8            12          44        60
    | magic | format | key size | body bytes | chunk id  | upload  | crc32c | key … | body …

The crc covers the 60 bytes before it and the key; the body is checked by the chunk id, its BLAKE3 hash.
The key and upload id are the reference the chunk was first stored with.
"""

import struct
from typing import NamedTuple

from blake3 import blake3
from crc32c import crc32c

from dynafs.errors import RemoteProtocolError

MAGIC = b"DFSc"
SEGMENT_FORMAT = 1
_HEADER = struct.Struct(">4sHHI32s16s")
_CRC = struct.Struct(">I")
ENTRY_HEADER_SIZE_BYTES = _HEADER.size + _CRC.size
KEY_SIZE_BYTES_MAX = 2048


class EntryHeader(NamedTuple):
    """What an entry says of itself. key_size_bytes bytes of key follow the fixed header, then the body."""

    chunk_id: bytes
    upload_id: bytes
    key_size_bytes: int
    body_size_bytes: int
    crc: int
    fixed: bytes

    @property
    def body_offset(self) -> int:
        """Bytes from the entry's start to its body."""
        return ENTRY_HEADER_SIZE_BYTES + self.key_size_bytes

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole entry."""
        return self.body_offset + self.body_size_bytes


def encode_entry_header(chunk_id: bytes, upload_id: bytes, key: bytes, body_size_bytes: int) -> bytes:
    """Return everything of an entry but its body."""
    fixed = _HEADER.pack(MAGIC, SEGMENT_FORMAT, len(key), body_size_bytes, chunk_id, upload_id)
    return fixed + _CRC.pack(crc32c(key, crc32c(fixed))) + key


def decode_entry_header(data: bytes) -> EntryHeader:
    """Return the fixed part of a header; raise RemoteProtocolError when it is none. Check the key with `is_intact`."""
    if len(data) < ENTRY_HEADER_SIZE_BYTES:
        raise RemoteProtocolError("a segment ends inside an entry header")
    magic, version, key_size, body_size, chunk_id, upload_id = _HEADER.unpack_from(data)
    if magic != MAGIC or version != SEGMENT_FORMAT or key_size > KEY_SIZE_BYTES_MAX:
        raise RemoteProtocolError("not a segment entry")
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    return EntryHeader(chunk_id, upload_id, key_size, body_size, crc, bytes(data[: _HEADER.size]))


def is_intact(header: EntryHeader, key: bytes) -> bool:
    """Return whether header and key are the ones that were written."""
    return len(key) == header.key_size_bytes and crc32c(key, crc32c(header.fixed)) == header.crc


def chunk_id_of(body: bytes | bytearray | memoryview) -> bytes:
    """Return the name of a chunk: the BLAKE3-256 hash of its bytes."""
    return blake3(body).digest()
