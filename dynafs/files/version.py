"""Versions: one write of a file, and the record that holds them."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Self

import msgspec
from blake3 import blake3

from dynafs.causality import Context, Stamp, VersionSet
from dynafs.causality.version_set import covers, join
from dynafs.files.manifest import Manifest

#: Header fields of a PUT that belong to its file and come back with it. A version keeps them among its metadata under
#: these names; the names of a client's own metadata are lower-case, so that none of them can be one of these.
HEADER_FIELDS = frozenset({"Content-Encoding", "Content-Language", "Content-Disposition", "Cache-Control", "Expires"})


class VersionKind(StrEnum):
    """What the write did."""

    FILE = "file"
    TOMBSTONE = "tombstone"


class Version(msgspec.Struct, frozen=True, array_like=True):
    """One write.

    upload_id: 16 random bytes that chunk references carry, known before the stamp is.
    etag: strong validator without quotes. metadata: the client's X-Meta-* pairs, and header fields of HEADER_FIELDS.
    keeps_both: concurrent versions stand beside it instead of losing to the greatest stamp.
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
    keeps_both: bool = False

    @property
    def is_file(self) -> bool:
        """Whether this version has contents; a tombstone has none."""
        return self.kind is VersionKind.FILE

    @property
    def user_metadata(self) -> dict[str, str]:
        """The client's X-Meta-* pairs, lower-case and without the prefix."""
        return {name: value for name, value in self.metadata.items() if name not in HEADER_FIELDS}

    @property
    def header_fields(self) -> dict[str, str]:
        """The header fields that come back with the file as they were sent."""
        return {name: value for name, value in self.metadata.items() if name in HEADER_FIELDS}

    @property
    def contents(self) -> tuple[object, ...]:
        """What two versions share that no reader could tell apart."""
        return (self.kind, self.etag, self.size_bytes, self.content_type, tuple(self.metadata.items()))


class Record(VersionSet[Version]):
    """All a replica knows of one file."""

    __slots__ = ()

    @property
    def stamps(self) -> tuple[Stamp, ...]:
        """The stamps of all versions, greatest first."""
        return tuple(version.stamp for version in self.versions)

    @property
    def files(self) -> tuple[Version, ...]:
        """The versions that have contents, the latest of each contents: more than one are siblings."""
        if len(self.versions) == 1:
            return self.versions if self.versions[0].is_file else ()
        different: dict[object, Version] = {}
        for version in self.versions:
            if version.is_file:
                different.setdefault(version.contents, version)
        return tuple(different.values())

    def resolved(self) -> Self:
        """Return the record after its bucket's policy judged what stands side by side: the last writer wins, or all
        stay."""
        if len(self.versions) < 2 or self.versions[0].keeps_both:
            return self
        return self.last_writer_wins()

    def unseen(self, draft: Version, seen: Context) -> list[Version]:
        """Return the versions that stay beside a write that has seen only `seen`: those it has not seen, unless they
        have the same contents."""
        return [one for one in self.versions if not covers(seen, one.stamp) and one.contents != draft.contents]

    def with_sibling(self, version: Version, seen: Context) -> Self:
        """Return the record after a write that has seen only `seen`: what is `unseen` stays beside it.

        Only for the node whose actor stamps the version, over all that actor ever wrote of the file: its entry of the
        context covers all of that (Almeida et al., dotted version vector sets, 2014).
        """
        return type(self).of(join(self.context, seen), [*self.unseen(version, seen), version])


EMPTY = Record({}, ())


def etag_of(chunk_ids: Sequence[bytes]) -> str:
    """Return the strong ETag of contents given their chunk ids: 32 hexadecimal digits.

    One chunk: its own id, so equal small files have equal tags whether inline or not; more: the hash of the ids.
    """
    digest = chunk_ids[0] if len(chunk_ids) == 1 else blake3(b"".join(chunk_ids)).digest()
    return digest.hex()[:32]
