"""The contract of a store, on the real disk and on the simulated one.

What is put is there, also after reopening; what is damaged is not served.
"""

import asyncio
import os

import pytest

from dynafs.errors import ChunkCorrupt, ChunkMismatch, ChunkMissing
from dynafs.storage import LocalStore
from dynafs.wire.segments import chunk_id_of

UPLOAD = b"u" * 16


async def with_a_rotten_chunk(box) -> tuple[LocalStore, bytes, bytes]:
    """Return a store, what a chunk in it was, and the chunk's id; the copy was found to be bad."""
    store = box.open()
    body = os.urandom(10_000)
    chunk_id = await put(store, body)
    box.flip_last_byte()
    with pytest.raises(ChunkCorrupt):
        await store.read_chunk(chunk_id)
    return store, body, chunk_id


async def put(store, body: bytes, upload: bytes = UPLOAD) -> bytes:
    chunk_id = chunk_id_of(body)
    await store.put_chunk(chunk_id, upload, b"b\0p", body)
    return chunk_id


async def test_chunks_and_records_survive_reopening(box) -> None:
    """A store that is closed and opened again has everything."""
    store = box.open()
    bodies = [os.urandom(size) for size in (1, 100, 400_000, 700_000, 300_000)]
    ids = [await put(store, body) for body in bodies]
    await store.put_record(b"b\0p", b"record")
    await box.close()
    store = box.open()
    assert [bytes(await store.read_chunk(one)) for one in ids] == bodies
    assert store.read_record(b"b\0p") == b"record"
    assert [store.chunk_state(one) for one in ids] == ["present"] * 5


async def test_chunk_that_does_not_hash_to_its_name_is_refused_alone(box) -> None:
    """A bad chunk fails its own writer and nobody else of the same batch."""
    store = box.open()
    good, bad = os.urandom(1000), os.urandom(1000)
    results = await asyncio.gather(
        store.put_chunk(chunk_id_of(good), UPLOAD, b"k", good),
        store.put_chunk(chunk_id_of(bad), UPLOAD, b"k", b"tampered"),
        return_exceptions=True,
    )
    assert results[0] is None
    assert isinstance(results[1], ChunkMismatch)
    assert store.chunk_state(chunk_id_of(bad)) == "missing"
    assert bytes(await store.read_chunk(chunk_id_of(good))) == good


async def test_flipped_byte_on_disk_is_quarantined_and_a_good_copy_heals_it(box) -> None:
    """A damaged chunk is never returned; afterwards the same chunk can be stored again."""
    store, body, chunk_id = await with_a_rotten_chunk(box)
    await put(store, os.urandom(10))
    assert store.chunk_state(chunk_id) == "quarantined"
    with pytest.raises(ChunkMissing):
        await store.read_chunk(chunk_id)
    await put(store, body)
    assert store.chunk_state(chunk_id) == "present"
    assert bytes(await store.read_chunk(chunk_id)) == body


async def test_same_chunk_twice_is_stored_once(box) -> None:
    """A second reference to a chunk costs no second copy."""
    store = box.open()
    body = os.urandom(50_000)
    await put(store, body)
    await put(store, body, b"v" * 16)
    assert box.segment_bytes() < 60_000


async def test_latest_record_is_seen_before_it_is_durable(box) -> None:
    """Merges build on what is on its way; reads see what is durable, step by step."""
    store = box.open()
    await store.put_record(b"k", b"v0")
    futures = [store.put_record(b"k", b"v%d" % i) for i in (1, 2)]
    assert store.latest_record(b"k") == b"v2"
    assert store.read_record(b"k") == b"v0"
    await futures[0]
    assert store.read_record(b"k") in (b"v1", b"v2")
    await futures[1]
    assert store.read_record(b"k") == store.latest_record(b"k") == b"v2"


async def test_record_on_its_way_hides_nothing_older_than_the_last_durable_one(box) -> None:
    """Whatever was looked at before: readers get the last durable record until the next one is."""
    store = box.open()
    for number in range(3):
        store.latest_record(b"k")
        store.latest_record(b"j")
        store.latest_record(b"k")
        on_its_way = [store.put_record(b"k", b"v%d" % number)]
        assert store.read_record(b"k") == (b"v%d-again" % (number - 1) if number else b"")
        on_its_way.append(store.put_record(b"j", b"w%d" % number))
        await asyncio.gather(*on_its_way)
        again = store.put_record(b"k", b"v%d-again" % number)
        assert store.read_record(b"k") == b"v%d" % number
        await again


async def test_record_whose_writer_gave_up_is_still_built_upon(box) -> None:
    """Cancelling the wait for a write does not hide the write from the next merge."""
    store = box.open()
    future = store.put_record(b"k", b"v")
    future.cancel()
    await asyncio.sleep(0)
    assert store.latest_record(b"k") == b"v"
    await store.put_record(b"other", b"")
    assert store.read_record(b"k") == b"v"


async def test_same_bytes_put_twice_while_on_their_way_settle_once(box) -> None:
    """A replica told to hold what it is already writing leaves nothing half-settled behind."""
    store, problems = box.open(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    data = b"v"
    await asyncio.gather(store.put_record(b"k", data), store.put_record(b"k", data))
    assert store.read_record(b"k") == store.latest_record(b"k") == data
    assert problems == []


async def test_listing_is_sorted_limited_and_seeks_past_prefixes(box) -> None:
    """Rows come in order, behind the cursor, of one bucket only."""
    store = box.open()
    for path in ("a", "b/1", "b/2", "c", "\U0010ffff\U0010ffff"):
        await store.put_record(b"bucket\0" + path.encode(), b"record")
    await store.put_record(b"bucket2\0x", b"record")
    page = await store.list_records("bucket", "", "", b"", 3)
    assert ([row.path for row in page.records], page.is_end) == (["a", "b/1", "b/2"], False)
    page = await store.list_records("bucket", "", "", b"b/2", 10)
    assert ([row.path for row in page.records], page.is_end) == (["c", "\U0010ffff\U0010ffff"], True)


async def test_good_copy_that_arrives_with_the_quarantine_of_the_bad_one_is_kept(box) -> None:
    """Acknowledged means there, also when the same commit takes the damaged copy away."""
    store, body, chunk_id = await with_a_rotten_chunk(box)
    # Nothing was awaited since the copy was found bad, so both wait for the same commit.
    await store.put_chunk(chunk_id, UPLOAD, b"k", body)
    assert store.chunk_state(chunk_id) == "present"
    assert bytes(await store.read_chunk(chunk_id)) == body
