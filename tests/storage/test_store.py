"""The local store: what is put is there, also after reopening; what is damaged is not served."""

import asyncio
import os
from pathlib import Path

import pytest

from dynafs.config import StorageSettings
from dynafs.errors import ChunkCorrupt, ChunkMismatch, ChunkMissing, StoreRefused
from dynafs.storage.directory import DataDirectory
from dynafs.storage.mending import rebuild_index, set_index_aside
from dynafs.wire.segments import chunk_id_of

UPLOAD = b"u" * 16


async def put(store, body: bytes, upload: bytes = UPLOAD) -> bytes:
    chunk_id = chunk_id_of(body)
    await store.put_chunk(chunk_id, upload, b"b\0p", body)
    return chunk_id


async def test_chunks_and_records_survive_reopening(open_store) -> None:
    """A store that is closed and opened again has everything."""
    store = open_store()
    bodies = [os.urandom(size) for size in (1, 100, 400_000, 700_000, 300_000)]
    ids = [await put(store, body) for body in bodies]
    await store.put_record(b"b\0p", b"record")
    await open_store.close()
    store = open_store()
    assert [bytes(await store.read_chunk(one)) for one in ids] == bodies
    assert store.read_record(b"b\0p") == b"record"
    assert [store.chunk_state(one) for one in ids] == ["present"] * 5


async def test_chunk_that_does_not_hash_to_its_name_is_refused_alone(open_store) -> None:
    """A bad chunk fails its own writer and nobody else of the same batch."""
    store = open_store()
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


async def test_flipped_byte_on_disk_is_quarantined_and_a_good_copy_heals_it(open_store, tmp_path: Path) -> None:
    """A damaged chunk is never returned; afterwards the same chunk can be stored again."""
    store = open_store()
    body = os.urandom(10_000)
    chunk_id = await put(store, body)
    (segment,) = (tmp_path / "data/segments").iterdir()
    damaged = bytearray(segment.read_bytes())
    damaged[-1] ^= 1
    segment.write_bytes(damaged)
    with pytest.raises(ChunkCorrupt):
        await store.read_chunk(chunk_id)
    await put(store, os.urandom(10))
    assert store.chunk_state(chunk_id) == "quarantined"
    with pytest.raises(ChunkMissing):
        await store.read_chunk(chunk_id)
    await put(store, body)
    assert store.chunk_state(chunk_id) == "present"
    assert bytes(await store.read_chunk(chunk_id)) == body


async def test_same_chunk_twice_is_stored_once(open_store, tmp_path: Path) -> None:
    """A second reference to a chunk costs no second copy."""
    store = open_store()
    body = os.urandom(50_000)
    await put(store, body)
    await put(store, body, b"v" * 16)
    assert sum(file.stat().st_size for file in (tmp_path / "data/segments").iterdir()) < 60_000


async def test_latest_record_is_seen_before_it_is_durable(open_store) -> None:
    """Merges build on what is on its way; reads see what is durable, step by step."""
    store = open_store()
    await store.put_record(b"k", b"v0")
    futures = [store.put_record(b"k", b"v%d" % i) for i in (1, 2)]
    assert store.latest_record(b"k") == b"v2"
    assert store.read_record(b"k") == b"v0"
    await futures[0]
    assert store.read_record(b"k") in (b"v1", b"v2")
    await futures[1]
    assert store.read_record(b"k") == store.latest_record(b"k") == b"v2"


async def test_record_whose_writer_gave_up_is_still_built_upon(open_store) -> None:
    """Cancelling the wait for a write does not hide the write from the next merge."""
    store = open_store()
    future = store.put_record(b"k", b"v")
    future.cancel()
    await asyncio.sleep(0)
    assert store.latest_record(b"k") == b"v"
    await store.put_record(b"other", b"")
    assert store.read_record(b"k") == b"v"


async def test_same_bytes_put_twice_while_on_their_way_settle_once(open_store) -> None:
    """A replica told to hold what it is already writing leaves nothing half-settled behind."""
    store, problems = open_store(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    data = b"v"
    await asyncio.gather(store.put_record(b"k", data), store.put_record(b"k", data))
    assert store.read_record(b"k") == store.latest_record(b"k") == data
    assert problems == []


async def test_listing_is_sorted_limited_and_seeks_past_prefixes(open_store) -> None:
    """Rows come in order, behind the cursor, of one bucket only."""
    store = open_store()
    for path in ("a", "b/1", "b/2", "c", "\U0010ffff\U0010ffff"):
        await store.put_record(b"bucket\0" + path.encode(), b"")
    await store.put_record(b"bucket2\0x", b"")
    page = await store.list_records("bucket", "", "", b"", 3)
    assert ([row.path for row in page.records], page.is_end) == (["a", "b/1", "b/2"], False)
    page = await store.list_records("bucket", "", "", b"b/2", 10)
    assert ([row.path for row in page.records], page.is_end) == (["c", "\U0010ffff\U0010ffff"], True)


async def test_index_is_rebuilt_from_segments_alone(open_store, tmp_path: Path) -> None:
    """Losing the index loses no chunk."""
    store = open_store()
    bodies = [os.urandom(300_000) for _ in range(6)]
    ids = [await put(store, body) for body in bodies]
    await open_store.close()
    assert set_index_aside(tmp_path / "data") is not None
    with DataDirectory(tmp_path / "data", "c", "n1", "x") as directory:
        assert rebuild_index(directory, StorageSettings()) == 6
    store = open_store()
    assert [bytes(await store.read_chunk(one)) for one in ids] == bodies


async def test_directory_in_use_or_of_another_node_is_refused(open_store, tmp_path: Path) -> None:
    """A data directory has one owner; format, cluster and node must fit."""
    open_store()
    with pytest.raises(StoreRefused, match="in use"):
        DataDirectory(tmp_path / "data", "c", "n1", "x")
    await open_store.close()
    for cluster, node in (("other", "n1"), ("c", "n2")):
        with pytest.raises(StoreRefused, match="belongs to node n1 of cluster c"):
            DataDirectory(tmp_path / "data", cluster, node, "x")
    identity = tmp_path / "data/dynafs.json"
    identity.write_text(identity.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(StoreRefused, match="format 2"):
        DataDirectory(tmp_path / "data", "c", "n1", "x")


async def test_generation_is_kept_and_new_for_an_empty_directory(tmp_path: Path) -> None:
    """A node that lost its disk comes back as another actor."""
    with DataDirectory(tmp_path / "a", "c", "n1", "first") as directory:
        assert directory.identity.generation == "first"
    with DataDirectory(tmp_path / "a", "c", "n1", "second") as directory:
        assert directory.identity.generation == "first"
    with DataDirectory(tmp_path / "b", "c", "n1", "second") as directory:
        assert directory.identity.generation == "second"
