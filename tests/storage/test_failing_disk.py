"""A disk that fails writes for a while: what is there is served, nothing is lost, and no restart is needed."""

import asyncio
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dynafs.errors import StoreError
from dynafs.ring import LEAF_COUNT
from dynafs.storage import LocalStore
from dynafs.wire.segments import chunk_id_of

UPLOAD = b"u" * 16


@contextmanager
def failing_writes() -> Iterator[None]:
    """Have the operating system fail every write behind the first byte of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


async def put(store: LocalStore, body: bytes) -> bytes:
    chunk_id = chunk_id_of(body)
    await store.put_chunk(chunk_id, UPLOAD, b"b\0p", body)
    return chunk_id


async def until_written(store: LocalStore, key: bytes) -> None:
    """Write until the store takes it."""
    async with asyncio.timeout(10):
        while True:
            try:
                await store.put_record(key, b"after")
            except StoreError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_store_goes_on_when_the_disk_takes_writes_again(posix_box, events: list[dict]) -> None:
    """Records and chunks of before are readable all the time; failed writes say so; later ones are kept."""
    store = posix_box.open()
    bodies = [os.urandom(1000) for _ in range(3)]
    first = await put(store, bodies[0])
    await store.put_record(b"b\0before", b"before")
    with failing_writes():
        for _ in range(3):
            with pytest.raises(StoreError):
                await store.put_record(b"b\0lost", b"lost")
            with pytest.raises(StoreError):
                await put(store, bodies[1])
        assert store.read_record(b"b\0before") == b"before"
        assert bytes(await store.read_chunk(first)) == bodies[0]
    await until_written(store, b"b\0after")
    last = await put(store, bodies[2])
    assert "store.mended" in {event["event"] for event in events}
    for _ in range(2):
        assert store.read_record(b"b\0before") == b"before"
        assert store.read_record(b"b\0after") == b"after"
        assert store.read_record(b"b\0lost") == b""
        assert bytes(await store.read_chunk(first)) == bodies[0]
        assert bytes(await store.read_chunk(last)) == bodies[2]
        kept = await store.tree_sums("chunks", range(LEAF_COUNT), 1)
        store = await posix_box.reopen_without_trees()
        assert await store.tree_sums("chunks", range(LEAF_COUNT), 1) == kept


async def test_index_that_cannot_be_opened_anew_is_tried_again(posix_box, events: list[dict]) -> None:
    """The disk takes writes and RocksDB cannot open: the index is readable in the end without another write."""
    store = posix_box.open()
    await store.put_record(b"b\0before", b"before")
    with failing_writes(), pytest.raises(StoreError):
        await store.put_record(b"b\0lost", b"lost")
    with posix_box.unreadable_index():
        with pytest.raises(StoreError):
            await store.put_record(b"b\0lost", b"lost")
        with pytest.raises(StoreError):
            store.read_record(b"b\0before")
    async with asyncio.timeout(10):
        while "store.mended" not in {event["event"] for event in events}:
            await asyncio.sleep(0.05)
    assert store.read_record(b"b\0before") == b"before"
    await store.put_record(b"b\0after", b"after")


async def test_bug_in_recovery_keeps_the_index_from_being_written_to(
    posix_box, events: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that only its segment has must not be forgotten because what brings it back met a bug."""
    store = posix_box.open()
    first = await put(store, b"first")
    index = posix_box.rows.index
    reopened = index.on_reopened
    with failing_writes(), pytest.raises(StoreError):
        await store.put_record(b"b\0lost", b"lost")
    with monkeypatch.context() as patch:
        patch.setattr(index, "on_reopened", lambda: {}["a bug"])
        async with asyncio.timeout(10):
            while "task.failed" not in {event["event"] for event in events}:
                with pytest.raises(StoreError):
                    await put(store, b"second")
                await asyncio.sleep(0.05)
        with pytest.raises(StoreError):
            await put(store, b"second")
    assert index.on_reopened is reopened
    await until_written(store, b"b\0after")
    assert bytes(await store.read_chunk(first)) == b"first"
    assert bytes(await store.read_chunk(await put(store, b"second"))) == b"second"


async def test_readers_meanwhile_get_an_answer_or_a_clear_error(posix_box, events: list[dict]) -> None:
    """Opening the index anew under readers in other threads harms none of them."""
    store = posix_box.open()
    for number in range(50):
        await store.put_record(b"b\0%d" % number, b"%d" % number)

    async def read() -> int:
        answered = 0
        while not is_over:
            try:
                page = await store.scan_records(b"", 100)
                assert len(page.rows) >= 50
                assert store.read_record(b"b\0%d" % 7) == b"7"
                answered += 1
            except StoreError:
                await asyncio.sleep(0.001)
        return answered

    is_over = False
    readers = [asyncio.create_task(read()) for _ in range(4)]
    for number in range(3):
        with failing_writes(), pytest.raises(StoreError):
            await store.put_record(b"b\0lost", b"lost")
        await until_written(store, b"b\0after%d" % number)
    is_over = True
    assert all(answered > 0 for answered in await asyncio.gather(*readers))
    assert sum(event["event"] == "store.mended" for event in events) == 3
