"""What messages carry in bulk, checked where it arrives: rows of two byte strings, and lists of chunk ids."""

import msgspec

from dynafs.errors import RemoteProtocolError, RequestInvalid
from dynafs.files.manifest import PAGE_CHUNKS, split_ids

#: Rows of one question.
ROWS_MAX = 1024

_decoder = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])


def checked_rows(body: bytes, what: str) -> list[tuple[bytes, bytes]]:
    """Return the rows of a body; raise RequestInvalid when it is none or has more than ROWS_MAX. what: they are of."""
    try:
        rows = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise RequestInvalid("body", f"not rows of {what}: {error}") from None
    if len(rows) > ROWS_MAX:
        raise RequestInvalid("body", f"at most {ROWS_MAX} rows at once")
    return rows


def reply_rows(body: bytes | bytearray, what: str) -> list[tuple[bytes, bytes]]:
    """Return the rows that a peer replied with; raise RemoteProtocolError when the body is none. what: they are of."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise RemoteProtocolError(f"a reply is not rows of {what}: {error}") from None


def checked_ids(chunk_ids: bytes) -> tuple[bytes, ...]:
    """Return concatenated chunk ids one by one; raise RequestInvalid when there are more than a page has."""
    ids = split_ids(chunk_ids)
    if len(ids) > PAGE_CHUNKS:
        raise RequestInvalid("chunk_ids", f"at most {PAGE_CHUNKS} at once")
    return ids
