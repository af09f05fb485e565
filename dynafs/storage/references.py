"""References as bytes in the index: chunk id + upload id -> since when, and the key of the file.

    0          8
    | since ms | key …

since: wall-clock milliseconds of the moment the reference was made or last confirmed, 0 when it should be looked at
soon. Its first byte is 0 for the next two million years; values that were written before references had a time are the
key alone, which begins with another one.
"""

from dynafs.ports import Reference

CHUNK_ID_SIZE_BYTES = 32
_SINCE_SIZE_BYTES = 8


def encode_reference(key: bytes, since_ms: int) -> bytes:
    """Return the value of a reference's row."""
    return since_ms.to_bytes(_SINCE_SIZE_BYTES, "big") + key


def decode_reference(row: bytes, value: bytes) -> Reference:
    """Return the reference that a row and its value stand for."""
    if value[:1] != b"\0":
        return Reference(row[:CHUNK_ID_SIZE_BYTES], row[CHUNK_ID_SIZE_BYTES:], value, 0)
    since_ms = int.from_bytes(value[:_SINCE_SIZE_BYTES], "big")
    return Reference(row[:CHUNK_ID_SIZE_BYTES], row[CHUNK_ID_SIZE_BYTES:], value[_SINCE_SIZE_BYTES:], since_ms)
