"""Remembered digests of records."""

import random

from dynafs.replica.digests import RECORD_SIZE_BYTES_MAX, REMEMBERED_SIZE_BYTES_MAX, RecordDigests
from dynafs.wire.records import record_digest


def test_digest_is_always_that_of_the_present_bytes(rng: random.Random) -> None:
    """However records change, come back, go, and push one another out."""
    digests, held = RecordDigests(), dict[bytes, bytes]()
    for _ in range(5000):
        key = b"%d" % rng.randrange(300)
        if rng.random() < 0.3:
            held[key] = rng.choice([b"", rng.randbytes(40), rng.randbytes(RECORD_SIZE_BYTES_MAX - rng.randrange(99))])
        assert digests.of(key, held.get(key, b"")) == record_digest(held.get(key, b""))


def test_memory_for_digests_is_bounded() -> None:
    """Many records, and records that are too large to be remembered."""
    digests = RecordDigests()
    for number in range(300):
        digests.of(b"%d" % number, bytes(RECORD_SIZE_BYTES_MAX - number % 2))
        digests.of(b"large %d" % number, bytes(RECORD_SIZE_BYTES_MAX + 1))
        assert digests.size_bytes <= REMEMBERED_SIZE_BYTES_MAX
    assert digests.size_bytes > REMEMBERED_SIZE_BYTES_MAX // 2
