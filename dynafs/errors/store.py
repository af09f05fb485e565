"""Errors of one node's disk."""

from dynafs.errors.root import DynafsError


class StoreError(DynafsError):
    """This node's disk."""


class StoreFailed(StoreError):
    """The operating system failed a read or a write."""

    code = "store_failed"
    retryable = True


class StoreFull(StoreError):
    """No space left for the write."""

    code = "store_full"


class HintsFull(StoreError):
    """A fallback keeps as many hints as it may; the owner is brought up to date by anti-entropy instead."""

    code = "hints_full"


class StoreRefused(StoreError):
    """A data directory this process must not open: locked, of another cluster or node, or of a newer format."""

    code = "store_refused"


class StoreCorrupt(StoreError):
    """Stored bytes fail their checksum."""

    code = "store_corrupt"


class ChunkMissing(StoreError):
    """This node has no copy of the chunk."""

    code = "chunk_missing"


class ChunkCorrupt(StoreError):
    """This node's copy does not hash to its name; it was quarantined."""

    code = "chunk_corrupt"


class ChunkMismatch(StoreError):
    """Bytes offered as a chunk do not hash to its name; they were refused."""

    code = "chunk_mismatch"

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"offered bytes hash to {actual}, not {expected}", expected=expected, actual=actual)
