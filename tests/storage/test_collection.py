"""References and the space they hold, on the real disk and on the simulated one."""

import asyncio
import os

import pytest

from dynafs.errors import ChunkMissing
from dynafs.wire.segments import chunk_id_of

FIRST, SECOND = b"1" * 16, b"2" * 16
KEY = b"bucket\0path"


async def put(store, body: bytes, upload: bytes = FIRST) -> bytes:
    chunk_id = chunk_id_of(body)
    await store.put_chunk(chunk_id, upload, KEY, body)
    return chunk_id


async def test_chunk_goes_with_its_last_reference(box) -> None:
    """One of two references keeps it; the second to go takes it along."""
    store = box.open()
    chunk_id = await put(store, b"contents")
    await put(store, b"contents", SECOND)
    await store.drop_reference(store.reference(chunk_id, FIRST))
    assert bytes(await store.read_chunk(chunk_id)) == b"contents"
    await store.drop_reference(store.reference(chunk_id, SECOND))
    assert store.chunk_state(chunk_id) == "missing"
    assert store.reference_of(chunk_id) is None
    with pytest.raises(ChunkMissing):
        await store.confirm_reference(chunk_id, FIRST, KEY)


async def test_reference_confirmed_meanwhile_is_not_dropped(box) -> None:
    """Who decided on an older word than the last one changes nothing."""
    store = box.open()
    chunk_id = await put(store, b"contents")
    judged = store.reference(chunk_id, FIRST)
    await store.release_reference(chunk_id, FIRST)
    assert store.reference(chunk_id, FIRST).since_ms == 0
    await store.drop_reference(judged._replace(since_ms=judged.since_ms + 1))
    assert store.chunk_state(chunk_id) == "present"
    await store.drop_reference(store.reference(chunk_id, FIRST))
    assert store.chunk_state(chunk_id) == "missing"


async def test_chunk_stored_while_it_is_dropped_is_kept(box) -> None:
    """Both orders in one commit: the new reference counts, and the bytes are there."""
    for new_first in (False, True):
        store = box.open()
        chunk_id = await put(store, b"contents %d" % new_first)
        old = store.reference(chunk_id, FIRST)
        if new_first:
            await asyncio.gather(put(store, b"contents 1", SECOND), store.drop_reference(old))
        else:
            await asyncio.gather(store.drop_reference(old), put(store, b"contents 0", SECOND))
        assert store.reference_of(chunk_id).upload_id == SECOND
        assert bytes(await store.read_chunk(chunk_id)) == b"contents %d" % new_first
        await box.close()


async def test_compaction_gives_space_back_and_keeps_what_lives(box) -> None:
    """Moved out of its segment, a chunk is read from the new one, also after reopening; the old file is gone."""
    store = box.open()
    kept = os.urandom(10_000)
    chunk_ids = [await put(store, os.urandom(100_000)) for _ in range(5)]
    kept_id = await put(store, kept)
    for chunk_id in chunk_ids:
        await store.drop_reference(store.reference(chunk_id, FIRST))
    (segment,) = store.segment_sizes()
    await store.seal_segment(segment)
    await store.move_chunk(kept_id, segment)
    await store.remove_segment(segment)
    assert segment not in store.segment_sizes()
    assert box.segment_bytes() < 20_000
    assert bytes(await store.read_chunk(kept_id)) == kept
    await box.close()
    store = box.open()
    assert bytes(await store.read_chunk(kept_id)) == kept
    assert [store.chunk_state(one) for one in chunk_ids] == ["missing"] * 5
    assert await put(store, b"more")


async def test_segment_of_a_bad_copy_is_pinned_until_a_good_one_came(box) -> None:
    """What cannot be rebuilt yet is not thrown away."""
    store = box.open()
    body = os.urandom(1000)
    chunk_id = await put(store, body)
    (segment,) = store.segment_sizes()
    box.flip_last_byte()
    assert store.pinned_segments() == set()
    with pytest.raises(Exception, match="corrupt"):
        await store.read_chunk(chunk_id)
    await put(store, b"wait for the commit")
    assert store.pinned_segments() == {segment}
    await put(store, body)
    assert store.pinned_segments() == set()


async def test_reference_without_a_time_is_read_and_can_go(box) -> None:
    """As they were written by earlier versions: the key alone."""
    store = box.open()
    chunk_id = await put(store, b"contents")
    box.rows.put("references", {chunk_id + FIRST: KEY})
    assert store.reference(chunk_id, FIRST) == (chunk_id, FIRST, KEY, 0)
    await store.drop_reference(store.reference(chunk_id, FIRST))
    assert store.chunk_state(chunk_id) == "missing"
