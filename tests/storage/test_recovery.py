"""Recovery: crashes at every byte of a segment's tail, damage in the middle."""

import os
import random
from pathlib import Path

import pytest

from dynafs.errors import ChunkMissing
from dynafs.storage.disk import ChunkPlace
from dynafs.storage.index import RocksIndex
from dynafs.storage.posix import PosixSegments
from dynafs.storage.recovery import rebuild, recover, scan_segment
from dynafs.wire.segments import chunk_id_of, encode_entry_header

BODIES = [b"a" * 50, b"b" * 3, b"c" * 120]


def write_segment(path: Path, bodies: list[bytes]) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(encode_entry_header(chunk_id_of(b), b"u" * 16, b"key", len(b)) + b for b in bodies)
    path.write_bytes(data)
    return data


def found(path: Path, start: int = 0) -> list[bytes]:
    return [entry.header.chunk_id for entry in scan_segment(PosixSegments(path.parent).open(1), 1, start)]


def test_scan_after_a_cut_anywhere_finds_exactly_the_whole_entries(tmp_path: Path) -> None:
    """A crash may leave any prefix of the last write; what is whole counts, the rest does not."""
    path = tmp_path / "00000001.segment"
    data = write_segment(path, BODIES)
    ends = [sum(64 + 3 + len(b) for b in BODIES[: i + 1]) for i in range(3)]
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert found(path) == [chunk_id_of(body) for body in BODIES[:whole]]


def test_scan_after_damage_anywhere_loses_only_the_damaged_entry(tmp_path: Path) -> None:
    """One flipped byte costs the entry it is in, and no other."""
    path = tmp_path / "00000001.segment"
    data = write_segment(path, BODIES)
    ids = [chunk_id_of(body) for body in BODIES]
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        survivors = found(path)
        assert len(survivors) == 2
        assert [one for one in ids if one in survivors] == survivors


def test_scan_of_zeroes_and_random_bytes_ends(tmp_path: Path, rng: random.Random) -> None:
    """Unwritten blocks and garbage hold no entries."""
    path = tmp_path / "00000001.segment"
    path.write_bytes(bytes(3 << 20))
    assert found(path) == []
    path.write_bytes(rng.randbytes(200_000) + b"DFSc" * 100)
    assert found(path) == []


def test_recover_indexes_only_what_lies_behind_the_durable_offset(tmp_path: Path) -> None:
    """Entries written after the last synced index come back; a second recovery has nothing to do."""
    path = tmp_path / "segments/00000001.segment"
    write_segment(path, BODIES)
    index, segments = RocksIndex(tmp_path / "index", 1 << 20, 1 << 20), PosixSegments(path.parent)
    batch = index.batch()
    batch.put("node", b"indexed:00000001", b"%d" % (64 + 3 + 50))
    index.apply(batch)
    assert recover(index, segments) == 2
    assert index.chunk(chunk_id_of(BODIES[0])) is None
    assert index.chunk(chunk_id_of(BODIES[2])) == ChunkPlace(1, len(path.read_bytes()) - 120, 120)
    assert recover(index, segments) == 0
    assert rebuild(index, segments) == 3
    index.close()


async def test_store_appends_to_a_new_segment_after_a_torn_tail(posix_box) -> None:
    """Garbage at a segment's end neither hides nor spoils what is written later."""
    store = posix_box.open()
    body = os.urandom(1000)
    await store.put_chunk(chunk_id_of(body), b"u" * 16, b"k", body)
    await posix_box.close()
    (segment,) = (posix_box.path / "segments").iterdir()
    with segment.open("ab") as file:
        file.write(encode_entry_header(chunk_id_of(b"lost"), b"u" * 16, b"k", 4) + b"lo")
    store = posix_box.open()
    later = os.urandom(1000)
    await store.put_chunk(chunk_id_of(later), b"u" * 16, b"k", later)
    assert bytes(await store.read_chunk(chunk_id_of(body))) == body
    assert bytes(await store.read_chunk(chunk_id_of(later))) == later
    with pytest.raises(ChunkMissing):
        await store.read_chunk(chunk_id_of(b"lost"))
    assert len(list((posix_box.path / "segments").iterdir())) == 2
