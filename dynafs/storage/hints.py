"""Hints as bytes in the index.

row     target NUL "r" key                          a record
        target NUL "c" chunk id (32) upload id (16) a chunk
value   since ms (8) | size bytes (4) | whether it counts (1) | key of the file, for a chunk
"""

import struct

from dynafs.ports import Hint
from dynafs.storage.references import CHUNK_ID_SIZE_BYTES

_VALUE = struct.Struct(">QI?")


def hint_row(hint: Hint) -> bytes:
    """Return the row under which a hint is kept."""
    thing = b"c" + hint.chunk_id + hint.upload_id if hint.chunk_id else b"r" + hint.key
    return hints_start(hint.target) + thing


def hints_start(target: str) -> bytes:
    """Return what the rows of all hints for a node begin with."""
    return target.encode() + b"\0"


def encode_hint(hint: Hint) -> bytes:
    """Return the value of a hint's row."""
    return _VALUE.pack(hint.since_ms, hint.size_bytes, hint.is_counted) + (hint.key if hint.chunk_id else b"")


def decode_hint(row: bytes, value: bytes) -> Hint:
    """Return the hint that a row and its value stand for."""
    target, _, thing = row.partition(b"\0")
    since_ms, size_bytes, is_counted = _VALUE.unpack_from(value)
    kind, item = thing[:1], thing[1:]
    if kind == b"r":
        return Hint(target.decode(), item, b"", b"", since_ms, size_bytes, is_counted)
    chunk_id, upload_id = item[:CHUNK_ID_SIZE_BYTES], item[CHUNK_ID_SIZE_BYTES:]
    return Hint(target.decode(), value[_VALUE.size :], chunk_id, upload_id, since_ms, size_bytes, is_counted)
