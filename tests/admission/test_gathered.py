"""Pieces of a chunk: whole and in order, in about as much memory as they have bytes."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from dynafs.admission.gathered import PIECE_SIZE_BYTES_MIN, Gathered

SIZES = st.sampled_from([1, 7, PIECE_SIZE_BYTES_MIN - 1, PIECE_SIZE_BYTES_MIN, 3 * PIECE_SIZE_BYTES_MIN])


@given(st.lists(st.lists(SIZES, max_size=12), max_size=3))
def test_pieces_come_back_whole_and_in_order(chunks: list[list[int]]) -> None:
    """However they were cut; and the next chunk begins empty."""
    gathered, number = Gathered(), 0
    for sizes in chunks:
        expected = b""
        for size_bytes in sizes:
            number = (number + 1) % 256
            piece = bytes([number]) * size_bytes
            gathered.add(memoryview(piece) if number % 2 else piece)
            expected += piece
            assert gathered.size_bytes == len(expected)
        assert gathered.take() == expected
    assert gathered.size_bytes == 0


def test_tiny_pieces_do_not_multiply_memory() -> None:
    """A client that sends byte by byte holds bytes, not objects."""
    tracemalloc.start()
    try:
        gathered = Gathered()
        for number in range(100_000):
            gathered.add(memoryview(bytes([number % 256])))
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 2 * gathered.size_bytes
