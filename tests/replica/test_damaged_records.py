"""A record that the node's own disk no longer holds as it was: the disk is blamed, and only that record suffers."""

import asyncio

import pytest
from aiohttp import ClientSession

from dynafs.errors import StoreCorrupt
from dynafs.files import FileName
from dynafs.ring import file_hash
from dynafs.storage.disk import decode_place
from dynafs.storage.hints import decode_hint
from dynafs.storage.stored import decode_stored, stored_record


@pytest.mark.parametrize(
    ("what", "decode", "value"),
    [
        ("record", stored_record, b"\1rot"),
        ("place of a chunk", decode_place, b"\x93\1\2"),
        ("place of a chunk", decode_place, b"\xa1x"),
        ("count", lambda data: decode_stored("count", int, data), b"x1"),
        ("hint", lambda data: decode_stored("hint", lambda value: decode_hint(b"n2\0rk", value), data), b"\0\1"),
    ],
)
def test_damage_of_any_kind_is_blamed_on_the_disk(what: str, decode, value: bytes, events: list[dict]) -> None:
    """Whatever the decoder raises, callers see one error, and the log says what is damaged."""
    with pytest.raises(StoreCorrupt) as caught:
        decode(value)
    assert caught.value.evidence["what"] == what
    assert [(one["event"], one["what"]) for one in events] == [("record.corrupt", what)]


async def test_listings_and_hints_blame_the_disk(cluster) -> None:
    """Pages that meet a damaged row."""
    store, rows = cluster.nodes["n1"].store, cluster.rows("n1")
    rows.corrupt("records", b"demo\0a/b")
    rows.corrupt("hints", b"n2\0rk")
    rows.corrupt("hints", b"\xff\xfe\0rk")
    with pytest.raises(StoreCorrupt):
        await store.list_records("demo", "", "/", b"", 10)
    with pytest.raises(StoreCorrupt):
        await store.scan_hints("n2", None, 10)
    with pytest.raises(StoreCorrupt):
        await store.hint_targets()


async def test_walk_and_reaping_pass_by_a_damaged_record(cluster, session: ClientSession, events: list[dict]) -> None:
    """The walk comes to its end, and whether tombstones beside it may go is judged without it."""
    node = cluster.nodes["n1"]
    keys = {path: FileName("demo", path).key for path in map(str, range(100))}
    path = next(path for path, key in keys.items() if node.replication.cluster.owners(file_hash(key))[0] == "n1")
    async with session.put(cluster.file_url(f"demo/{path}"), data=b"one") as response:
        assert response.status == 201
    cluster.rows("n1").corrupt("records", keys[path])
    assert await node.replication.reaper.reap([keys[path]]) == 0
    job = node.replication.walker.job
    job.hurry()
    async with asyncio.timeout(20):
        while job.status.runs + job.status.failures == 0:
            await asyncio.sleep(0.05)
    assert job.status.failures == 0
    corrupt = [one for one in events if one["event"] == "record.corrupt"]
    assert {one["what"] for one in corrupt} == {"record"}
