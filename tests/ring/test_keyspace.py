"""Keys and partitions."""

from hypothesis import given
from hypothesis import strategies as st

from dynafs.ring import file_hash, partition_of


@given(st.binary(min_size=32, max_size=32), st.integers(0, 16))
def test_partition_of_takes_the_first_bits(hash_bytes: bytes, bits: int) -> None:
    """The partition is the number that the first bits spell."""
    expected = int.from_bytes(hash_bytes, "big") >> (256 - bits)
    assert partition_of(hash_bytes, 1 << bits) == expected


def test_file_hash_is_frozen() -> None:
    """Where a file lives must never change between versions of dynafs."""
    assert file_hash(b"demo\0cat.jpg").hex()[:16] == "b0ade3c842215aca"
