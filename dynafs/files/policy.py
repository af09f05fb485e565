"""Bucket policy: what holds for every file of a bucket. Fixed when the bucket is made."""

import msgspec

from dynafs.errors import RequestInvalid

KIB, MIB = 1 << 10, 1 << 20
CHUNK_SIZE_BYTES_MIN, CHUNK_SIZE_BYTES_MAX = 64 * KIB, 16 * MIB


class BucketPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """r, w: owners a read asks and a write must reach. chunk_size_bytes: 64 KiB to 16 MiB, a power of two."""

    r: int
    w: int
    chunk_size_bytes: int = MIB

    def check(self) -> None:
        """Raise RequestInvalid naming the field that is out of range (r and w are checked against n by quorum)."""
        size = self.chunk_size_bytes
        if not CHUNK_SIZE_BYTES_MIN <= size <= CHUNK_SIZE_BYTES_MAX or size & (size - 1):
            raise RequestInvalid("chunk_size_bytes", "use a power of two from 65536 (64 KiB) to 16777216 (16 MiB)")
