"""Sealed bytes: what lies on disk and travels between nodes alike, with a format and a checksum of its own.

0        1          5
| format | crc32c   | payload
"""

from crc32c import crc32c

from dynafs.errors import RemoteProtocolError

PREFIX_SIZE_BYTES = 5


def seal(number: int, payload: bytes) -> bytes:
    """Return a payload behind its format's number and its checksum."""
    return b"%c%s%s" % (number, crc32c(payload).to_bytes(4, "big"), payload)


def unseal(data: bytes | bytearray | memoryview, number: int, what: str, size_bytes_max: int) -> memoryview:
    """Return the payload; raise RemoteProtocolError when it is too long, of another format, or damaged."""
    if not PREFIX_SIZE_BYTES <= len(data) <= size_bytes_max:
        raise RemoteProtocolError(f"a {what} of {len(data)} bytes")
    view = memoryview(data)
    if view[0] != number:
        raise RemoteProtocolError(f"{what} format {view[0]}, this node reads {number}")
    payload = view[PREFIX_SIZE_BYTES:]
    if crc32c(payload) != int.from_bytes(view[1:PREFIX_SIZE_BYTES], "big"):
        raise RemoteProtocolError(f"a {what} fails its checksum")
    return payload
