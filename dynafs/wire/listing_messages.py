"""Messages of listings. See `messages` for the rules."""

from typing import ClassVar

from dynafs.wire.message import Message, Question


class ListReply(Message, frozen=True):
    """Body: encoded rows. is_end: whether no further row exists. is_live: rows without contents are left out."""

    is_end: bool
    is_live: bool = False


class ListRecords(Question[ListReply], frozen=True):
    """Return the records of this bucket whose path starts with prefix and is greater than after, ascending.

    With a delimiter, rows after the first file of a common prefix are skipped. ring_version: as in ReadRecord. is_live:
    leave out rows without contents; nodes that do not support it reply with all rows.
    """

    bucket: str
    prefix: str
    delimiter: str
    after: bytes
    limit: int
    ring_version: int = 0
    is_live: bool = False


class RowsReply(Message, frozen=True):
    """Body: [encoded row] in the order requested, empty bytes for a file without a record here."""

    since: ClassVar[int] = 3


class ReadRows(Question[RowsReply], frozen=True):
    """Return the listing rows of these files of a bucket, with or without contents. Body: [path], at most 1024.

    ring_version: as in ReadRecord.
    """

    since: ClassVar[int] = 3

    bucket: str
    ring_version: int = 0
