"""Versions: one write of a file, and the record that holds them."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec
from blake3 import blake3

from dynafs.causality import Stamp, VersionSet
from dynafs.files.manifest import Manifest


class VersionKind(StrEnum):
    """What the write did."""

    FILE = "file"
    TOMBSTONE = "tombstone"


class Version(msgspec.Struct, frozen=True, array_like=True):
    """One write.

    upload_id: 16 random bytes that chunk references carry, known before the stamp is.
    etag: strong validator without quotes. metadata: user's X-Meta-* pairs.
    inline: the whole content of a small file; else `manifest` lists its chunks.
    """

    stamp: Stamp
    kind: VersionKind
    upload_id: bytes = b""
    size_bytes: int = 0
    content_type: str = ""
    etag: str = ""
    metadata: dict[str, str] = {}
    inline: bytes | None = None
    manifest: Manifest | None = None

    @property
    def is_file(self) -> bool:
        """Whether this version has contents; a tombstone has none."""
        return self.kind is VersionKind.FILE


class Record(VersionSet[Version]):
    """All a replica knows of one file."""

    __slots__ = ()


EMPTY = Record({}, ())


def etag_of(chunk_ids: Sequence[bytes]) -> str:
    """Return the strong ETag of contents given their chunk ids: 32 hexadecimal digits.

    One chunk: its own id, so equal small files have equal tags whether inline or not; more: the hash of the ids.
    """
    digest = chunk_ids[0] if len(chunk_ids) == 1 else blake3(b"".join(chunk_ids)).digest()
    return digest.hex()[:32]
