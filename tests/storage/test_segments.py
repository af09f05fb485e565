"""Segment files on a real file system."""

from pathlib import Path

import pytest

from dynafs.storage.disk import ChunkPlace
from dynafs.storage.posix import PosixSegments
from dynafs.storage.segments import EVICTED_SIZE_BYTES_MIN, LAID_OUT_SIZE_BYTES, SegmentFiles

BLOCK_SIZE_BYTES = 512


def allocated_bytes(path: Path) -> int:
    """Return what a file takes on its file system."""
    return path.stat().st_blocks * BLOCK_SIZE_BYTES


def test_room_is_laid_out_ahead_and_given_back(tmp_path: Path) -> None:
    medium = PosixSegments(tmp_path)
    segments = SegmentFiles(medium, size_bytes_max=1 << 30)
    places = segments.append([(b"head", b"x" * 1000)])
    segments.sync()
    path = tmp_path / "00000001.segment"
    assert medium.size_bytes(1) == path.stat().st_size == 1004
    assert allocated_bytes(path) >= LAID_OUT_SIZE_BYTES
    segments.seal(1)
    assert allocated_bytes(path) < LAID_OUT_SIZE_BYTES // 8
    assert segments.read(places[0]) == b"x" * 1000


def test_next_append_after_a_seal_has_room_of_its_own(tmp_path: Path) -> None:
    segments = SegmentFiles(PosixSegments(tmp_path), size_bytes_max=2000)
    for _ in range(3):
        segments.append([(b"head", b"y" * 2000)])
        segments.sync()
    segments.close()
    sizes = {path.name: (path.stat().st_size, allocated_bytes(path)) for path in tmp_path.glob("*.segment")}
    assert len(sizes) == 3
    assert all(size == 2004 and allocated < 1 << 20 for size, allocated in sizes.values()), sizes


def is_cached(segments: SegmentFiles, place: ChunkPlace) -> bool:
    """Return whether the medium needs no disk to read a place."""
    return segments.read(place, cached_only=True) is not None


def test_large_bodies_leave_the_page_cache_and_come_back_by_being_read(tmp_path: Path) -> None:
    """Once they are durable; small ones, which readers want soon and often, stay."""
    segments = SegmentFiles(PosixSegments(tmp_path), size_bytes_max=1 << 30)
    sizes = [EVICTED_SIZE_BYTES_MIN - 1, 9000, EVICTED_SIZE_BYTES_MIN + 1, 3 * EVICTED_SIZE_BYTES_MIN, 1000]
    bodies = [bytes([number]) * size_bytes for number, size_bytes in enumerate(sizes)]
    places = []
    for body in bodies:
        places += segments.append([(b"head", body)])
        assert is_cached(segments, places[-1])
        segments.sync()
    kept = [is_cached(segments, place) for place in places]
    if all(kept):
        pytest.skip("this file system keeps what is on it in memory")
    # What shares a page with a large one may go with it.
    assert (kept[0], kept[2], kept[3], kept[4]) == (True, False, False, True)
    assert [segments.read(place) for place in places] == bodies
    assert all(is_cached(segments, place) for place in places)
