"""Errors between nodes: what a failed request is answered with. Every error can be sent, however much it has to say."""

from typing import Any

import msgspec

from dynafs.errors import DynafsError, RemoteProtocolError
from dynafs.wire.message import Message

#: Characters of a message, and bytes of evidence; together far below what a frame's head may have.
MESSAGE_LENGTH_MAX = 1000
EVIDENCE_SIZE_BYTES_MAX = 48 << 10


class ErrorReply(Message, frozen=True):
    """The request failed on the other side; the fields of its error."""

    code: str
    message: str
    evidence: dict[str, Any] = msgspec.field(default_factory=dict)


_decoder = msgspec.msgpack.Decoder(ErrorReply)


def encode_error(error: DynafsError) -> bytes:
    """Return the head bytes that carry an error to the node that asked. Evidence that cannot be encoded or is too large
    is left out, item by item."""
    message = error.message[:MESSAGE_LENGTH_MAX].encode(errors="replace").decode()
    try:
        head = msgspec.msgpack.encode(ErrorReply(error.code, message, error.evidence))
        if len(head) <= EVIDENCE_SIZE_BYTES_MAX:
            return head
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    return msgspec.msgpack.encode(ErrorReply(error.code, message, _encodable(error.evidence)))


def decode_error(head: bytes) -> ErrorReply:
    """Return the error; raise RemoteProtocolError for anything else."""
    try:
        return _decoder.decode(head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(f"an error cannot be decoded: {error}") from None


def _encodable(evidence: dict[str, object]) -> dict[str, object]:
    """Return the items that can be sent and fit together, in their order."""
    kept, size_bytes = {}, 0
    for name, value in evidence.items():
        try:
            item_bytes = len(msgspec.msgpack.encode((name, value)))
        except (TypeError, ValueError, OverflowError, RecursionError):
            continue
        if size_bytes + item_bytes <= EVIDENCE_SIZE_BYTES_MAX:
            size_bytes += item_bytes
            kept[name] = value
    return kept
