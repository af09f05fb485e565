"""Bucket policy: what holds for every file of a bucket. Fixed when the bucket is made."""

from typing import Literal

import msgspec

from dynafs.errors import RequestInvalid

KIB, MIB = 1 << 10, 1 << 20
CHUNK_SIZE_BYTES_MIN, CHUNK_SIZE_BYTES_MAX = 64 * KIB, 16 * MIB


class BucketPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """r, w: owners a read asks and a write must reach. chunk_size_bytes: 64 KiB to 16 MiB, a power of two.

    consistency: "available" lets fallbacks count for owners. conflict: what becomes of versions written side by side.
    """

    r: int
    w: int
    chunk_size_bytes: int = MIB
    consistency: Literal["strong", "available"] = "strong"
    conflict: Literal["last-writer-wins", "keep-both"] = "last-writer-wins"

    @property
    def is_available(self) -> bool:
        """Whether fallbacks count for owners."""
        return self.consistency == "available"

    @property
    def keeps_both(self) -> bool:
        """Whether versions written side by side stay so until somebody resolves them."""
        return self.conflict == "keep-both"

    def check(self) -> None:
        """Raise RequestInvalid naming the field that is out of range (r and w are checked against n by quorum)."""
        if self.keeps_both and not self.is_available:
            raise RequestInvalid("conflict", 'a strong bucket has no conflicts to keep; use consistency "available"')
        size = self.chunk_size_bytes
        if not CHUNK_SIZE_BYTES_MIN <= size <= CHUNK_SIZE_BYTES_MAX or size & (size - 1):
            raise RequestInvalid("chunk_size_bytes", "use a power of two from 65536 (64 KiB) to 16777216 (16 MiB)")
