"""Digests of the records that are read most, so that an owner that is asked again need not hash them again."""

from collections import OrderedDict

from dynafs.wire.records import record_digest

#: Bytes of records whose digests are remembered, and what one entry takes besides.
REMEMBERED_SIZE_BYTES_MAX, ENTRY_SIZE_BYTES = 8 << 20, 300
#: Larger records are hashed each time.
RECORD_SIZE_BYTES_MAX = 128 << 10


class RecordDigests:
    """Remembers {key: (record bytes, their digest)}, the least recently used first. The bytes are compared, which costs
    a fiftieth of hashing them, so a digest is never that of an earlier record."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()
        #: what is remembered takes about this
        self.size_bytes = 0

    def of(self, key: bytes, data: bytes) -> bytes:
        """Return `record_digest` of the record that is stored under a key."""
        known = self._known.get(key)
        if known is not None and known[0] == data:
            self._known.move_to_end(key)
            return known[1]
        digest = record_digest(data)
        if len(data) <= RECORD_SIZE_BYTES_MAX:
            self._remember(key, data, digest)
        return digest

    def _remember(self, key: bytes, data: bytes, digest: bytes) -> None:
        replaced = self._known.pop(key, None)
        if replaced is not None:
            self.size_bytes -= _entry_size_bytes(key, replaced[0])
        self._known[key] = (data, digest)
        self.size_bytes += _entry_size_bytes(key, data)
        while self.size_bytes > REMEMBERED_SIZE_BYTES_MAX:
            oldest, (dropped, _) = self._known.popitem(last=False)
            self.size_bytes -= _entry_size_bytes(oldest, dropped)


def _entry_size_bytes(key: bytes, data: bytes) -> int:
    return len(key) + len(data) + ENTRY_SIZE_BYTES
