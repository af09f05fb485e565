"""Decoding what this node's own disk holds: damage there is blamed on the disk, never on a peer or a client."""

import struct
from collections.abc import Callable
from typing import TypeVar

import msgspec

from dynafs.errors import DynafsError, StoreCorrupt
from dynafs.files import Record
from dynafs.observe.events import get_logger
from dynafs.observe.supervision import described
from dynafs.wire.records import decode_record

log = get_logger()

T = TypeVar("T")

#: What decoders raise when bytes are not what they were.
DAMAGE = (DynafsError, msgspec.MsgspecError, ValueError, TypeError, KeyError, struct.error)


def decode_stored(what: str, decode: Callable[[bytes], T], data: bytes) -> T:
    """Return what `decode` makes of stored bytes. what: they are, in few words. Raises StoreCorrupt."""
    try:
        return decode(data)
    except DAMAGE as error:
        log.error("record.corrupt", what=what, error=described(error))  # noqa: TRY400  the error says it all
        raise StoreCorrupt(f"the stored {what} is damaged: {error}", what=what) from error


def stored_record(data: bytes) -> Record:
    """Return the record that stored bytes are. Raises StoreCorrupt."""
    return decode_stored("record", decode_record, data)
