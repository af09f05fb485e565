"""Keys and partitions: the first bits of a BLAKE3 hash choose one of Q equal slices."""

from functools import lru_cache

from blake3 import blake3

PARTITION_COUNT_MAX = 1 << 16
#: The finest slices of the hash space that nodes compare with one another. Every partition is a whole number of them.
LEAF_COUNT = PARTITION_COUNT_MAX
#: Leaves that are summed up once more: with the default of 1024 partitions, those of one partition.
BRANCH_LEAVES = 64


# One request asks for it in several places.
@lru_cache(maxsize=4096)
def file_hash(key: bytes) -> bytes:
    """Return the 32-byte hash that places a file record. key: bucket NUL path, UTF-8."""
    return blake3(key).digest()


def partition_of(hash_bytes: bytes, partition_count: int) -> int:
    """Return the partition, 0 to Q-1, that a hash of at least 4 bytes falls into.

    partition_count: Q, a power of two up to 65536.
    """
    return int.from_bytes(hash_bytes[:4], "big") >> (33 - partition_count.bit_length())


def chunk_partition(chunk_id: bytes, partition_count: int) -> int:
    """Return the partition of a chunk. Its 32-byte id is a hash already."""
    return partition_of(chunk_id, partition_count)


def leaf_of(hash_bytes: bytes) -> int:
    """Return the leaf, 0 to LEAF_COUNT-1, that a hash falls into."""
    return int.from_bytes(hash_bytes[:2], "big")


def leaves_per_partition(partition_count: int) -> int:
    """Return how many leaves one partition has; those of partition p begin at p times it."""
    return LEAF_COUNT // partition_count
