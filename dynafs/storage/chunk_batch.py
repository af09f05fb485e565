"""One batch of the chunk lane: what its writes come to, worked out in their order before anything is written."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from dynafs.errors import ChunkMismatch, ChunkMissing, DynafsError
from dynafs.ports import Body, Hint, Reference
from dynafs.storage.disk import ChunkPlace, Index
from dynafs.storage.hints import encode_hint, hint_row
from dynafs.storage.recovery import indexed_key
from dynafs.storage.references import decode_reference, encode_reference
from dynafs.storage.trees import CHUNKS, KnownSums, TreeWrites
from dynafs.wire.segments import chunk_id_of


@dataclass(slots=True)
class ChunkWrite:
    """Something that changes which chunks are kept. error: set when this write alone is refused."""

    chunk_id: bytes
    future: "asyncio.Future[None]"
    error: DynafsError | None = field(default=None, kw_only=True)

    @property
    def size_bytes(self) -> int:
        """Bytes it appends."""
        return 0


@dataclass(slots=True)
class PutChunk(ChunkWrite):
    """Keep a chunk and a reference to it."""

    upload_id: bytes
    key: bytes
    body: Body
    is_verified: bool
    hint: Hint | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes it appends."""
        return len(self.body)


@dataclass(slots=True)
class MoveChunk(ChunkWrite):
    """Append a chunk anew, if it still lies where it was read."""

    place: ChunkPlace
    body: Body

    @property
    def size_bytes(self) -> int:
        """Bytes it appends."""
        return len(self.body)


@dataclass(slots=True)
class Quarantine(ChunkWrite):
    """Serve this copy no more, if it still lies where it was found bad."""

    place: ChunkPlace


@dataclass(slots=True)
class Confirm(ChunkWrite):
    """Make a reference as good as new; ChunkMissing when the chunk is not here."""

    upload_id: bytes
    key: bytes


@dataclass(slots=True)
class Release(ChunkWrite):
    """Have a reference looked at soon."""

    upload_id: bytes


@dataclass(slots=True)
class DropReference(ChunkWrite):
    """Remove a reference, if it still has this value, and with the last one its chunk."""

    upload_id: bytes
    value: bytes


@dataclass(slots=True)
class RemoveSegment(ChunkWrite):
    """Remove a segment in which nothing lives."""

    number: int


@dataclass(slots=True)
class Recount(ChunkWrite):
    """Count a branch of the chunks' tree again."""

    branch: int


@dataclass(slots=True)
class SealSegment(ChunkWrite):
    """Append to another segment from now on, if this one is being written."""

    number: int


class ChunkBatch:
    """Folds writes. What this batch has decided hides what the index still says.

    entries: {chunk id: (upload id, key, body)} to append. must_sync: whether the index must be made durable, because
    something is written that no segment entry could bring back after a power cut.
    """

    def __init__(self, index: Index, wall_ms: Callable[[], int], sums: KnownSums) -> None:
        self._index, self._wall_ms = index, wall_ms
        self.writes = index.batch()
        self.entries: dict[bytes, tuple[bytes, bytes, Body]] = {}
        self.must_sync = False
        self.trees = TreeWrites(index, sums.take())
        self.removed: list[int] = []
        self.sealed: list[int] = []
        self._gone: set[bytes] = set()
        #: {chunk id: {upload id: value, None when removed}}
        self._references: dict[bytes, dict[bytes, bytes | None]] = {}

    def fold(self, write: ChunkWrite) -> None:
        """Take one write into account."""
        match write:
            case PutChunk():
                self._put(write)
            case MoveChunk():
                self._move(write)
            case Quarantine():
                self._quarantine(write)
            case Confirm():
                if self._has(write.chunk_id):
                    self._refer(write.chunk_id, write.upload_id, write.key, self._wall_ms())
                    self.must_sync = True
                else:
                    write.error = ChunkMissing(f"no copy of chunk {write.chunk_id.hex()} here")
            case Release():
                self._release(write)
            case DropReference():
                self._drop(write)
            case RemoveSegment():
                self.writes.delete("node", indexed_key(write.number))
                self.removed.append(write.number)
            case Recount():
                self.trees.recount(CHUNKS, write.branch)
            case SealSegment():
                self.sealed.append(write.number)

    def settle_trees(self) -> None:
        """Add to the writes what they do to the chunks' tree, when all are folded."""
        for chunk_id in self.entries.keys() | self._gone:
            self.trees.set_chunk(chunk_id, is_here=chunk_id in self.entries)
        self.trees.write_to(self.writes)

    def _has(self, chunk_id: bytes) -> bool:
        return chunk_id in self.entries or (chunk_id not in self._gone and self._index.chunk(chunk_id) is not None)

    def _put(self, write: PutChunk) -> None:
        if not write.is_verified and (actual := chunk_id_of(write.body)) != write.chunk_id:
            write.error = ChunkMismatch(write.chunk_id.hex(), actual.hex())
            return
        if self._has(write.chunk_id):
            # Only the reference is new.
            self.must_sync = True
        else:
            self.entries[write.chunk_id] = (write.upload_id, write.key, write.body)
        self._refer(write.chunk_id, write.upload_id, write.key, self._wall_ms())
        if write.hint is not None:
            self.writes.put("hints", hint_row(write.hint), encode_hint(write.hint))
            self.must_sync = True

    def _move(self, write: MoveChunk) -> None:
        is_here = write.chunk_id not in self._gone and self._index.chunk(write.chunk_id) == write.place
        if is_here and write.chunk_id not in self.entries:
            nobody = Reference(write.chunk_id, bytes(16), b"", 0)
            reference = next(self._references_to(write.chunk_id), nobody)
            self.entries[write.chunk_id] = (reference.upload_id, reference.key, write.body)

    def _quarantine(self, write: Quarantine) -> None:
        if write.chunk_id in self.entries or self._index.chunk(write.chunk_id) != write.place:
            return
        self.writes.delete("chunks", write.chunk_id)
        noted = {"place": write.place, "found_unix_ms": self._wall_ms()}
        self.writes.put("quarantine", write.chunk_id, msgspec.msgpack.encode(noted))
        self._gone.add(write.chunk_id)
        self.must_sync = True

    def _refer(self, chunk_id: bytes, upload_id: bytes, key: bytes, since_ms: int) -> None:
        value = encode_reference(key, since_ms)
        self._references.setdefault(chunk_id, {})[upload_id] = value
        self.writes.put("references", chunk_id + upload_id, value)

    def _reference(self, chunk_id: bytes, upload_id: bytes) -> bytes | None:
        changed = self._references.get(chunk_id, {})
        return changed[upload_id] if upload_id in changed else self._index.get("references", chunk_id + upload_id)

    def _release(self, write: Release) -> None:
        value = self._reference(write.chunk_id, write.upload_id)
        if value is not None:
            key = decode_reference(write.chunk_id + write.upload_id, value).key
            self._refer(write.chunk_id, write.upload_id, key, 0)

    def _drop(self, write: DropReference) -> None:
        chunk_id, upload_id = write.chunk_id, write.upload_id
        row, value = chunk_id + upload_id, self._reference(chunk_id, upload_id)
        if value is None or decode_reference(row, value) != decode_reference(row, write.value):
            return
        self.writes.delete("references", row)
        self._references.setdefault(chunk_id, {})[upload_id] = None
        if next(self._references_to(chunk_id), None) is None:
            self.writes.delete("chunks", chunk_id)
            self.writes.delete("quarantine", chunk_id)
            self.entries.pop(chunk_id, None)
            self._gone.add(chunk_id)

    def _references_to(self, chunk_id: bytes) -> Iterator[Reference]:
        """Yield the references to a chunk as of this batch."""
        changed = self._references.get(chunk_id, {})
        for upload_id, value in changed.items():
            if value is not None:
                yield decode_reference(chunk_id + upload_id, value)
        for row, value in self._index.scan("references", chunk_id):
            if not row.startswith(chunk_id):
                return
            if row[len(chunk_id) :] not in changed:
                yield decode_reference(row, value)
