"""Segment files on a real file system."""

from pathlib import Path

from dynafs.storage.posix import PosixSegments
from dynafs.storage.segments import LAID_OUT_SIZE_BYTES, SegmentFiles

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
