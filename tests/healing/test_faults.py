"""What a cluster of three promises while nodes are away, lie or rot."""

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError, ClientSession

from dynafs.causality import Stamp
from dynafs.errors import StoreFailed
from dynafs.files import FileName, Version, VersionKind
from dynafs.wire.messages import StoreRecord
from dynafs.wire.records import decode_record, encode_record
from tests.support.proxy import Proxy

MIB = 1 << 20
WITHIN_S = 5.0


async def put(session: ClientSession, url: str, contents: bytes) -> int:
    async with session.put(url, data=contents) as response:
        await response.read()
        return response.status


async def get(session: ClientSession, url: str) -> tuple[int, bytes]:
    async with session.get(url) as response:
        return response.status, await response.read()


async def failed(session: ClientSession, url: str) -> dict[str, object]:
    async with session.get(url) as response:
        assert response.status == 503
        return (await response.json())["error"]


def held(cluster, node: str, path: str) -> int | None:
    """Return the hybrid time of the newest version a node holds durably."""
    record = decode_record(cluster.nodes[node].store.read_record(FileName("demo", path).key))
    return record.newest.stamp.time if record.newest else None


@pytest.mark.parametrize("size", [100, 3 * MIB])
async def test_with_one_of_three_nodes_away_everything_works(cluster, session: ClientSession, size: int) -> None:
    """PUT, GET, list and delete go on through both remaining nodes."""
    before, after = os.urandom(size), os.urandom(size)
    assert await put(session, cluster.file_url("demo/a"), before) == 201
    await cluster.stop("n3")
    for name in ("n1", "n2"):
        assert await get(session, cluster.file_url("demo/a", name)) == (200, before)
        assert await put(session, cluster.file_url(f"demo/{name}", name), after) == 201
    assert await get(session, cluster.file_url("demo/n1", "n2")) == (200, after)
    async with session.delete(cluster.file_url("demo/a", "n2")) as response:
        assert response.status == 204
    async with session.get(cluster.file_url("demo")) as response:
        assert [row["path"] for row in (await response.json())["files"]] == ["n1", "n2"]
    await cluster.start("n3")
    assert (await get(session, cluster.file_url("demo/a", "n3")))[0] == 404
    assert await get(session, cluster.file_url("demo/n2", "n3")) == (200, after)


async def test_with_two_of_three_nodes_away_nothing_lies(cluster, session: ClientSession) -> None:
    """503 with the right code, in time, for what exists and what does not; all is back when the nodes are."""
    contents = os.urandom(2 * MIB)
    assert await put(session, cluster.file_url("demo/a"), contents) == 201
    await cluster.stop("n2", "n3")
    started = time.monotonic()
    for method, path, code in (
        ("GET", "demo/a", "read_quorum_lost"), ("GET", "demo/none", "read_quorum_lost"),
        ("GET", "nobucket/x", "read_quorum_lost"), ("GET", "demo", "read_quorum_lost"),
        ("PUT", "demo/large", "write_quorum_lost"), ("PUT", "demo/small", "write_quorum_lost"),
        ("DELETE", "demo/a", "read_quorum_lost"),
    ):  # fmt: skip
        body = {"demo/large": contents, "demo/small": b"x"}.get(path)
        async with session.request(method, cluster.file_url(path), data=body) as response:
            error = (await response.json())["error"]
            assert (response.status, error["code"]) == (503, code), error
            assert response.headers["Retry-After"]
            assert error["retryable"]
            assert error.get("outcome") == ("not_written" if method == "PUT" else None)
            assert set(error["failures"]) == {"n2", "n3"}
    assert time.monotonic() - started < WITHIN_S
    async with session.get(f"{cluster.url()}/readyz") as response:
        assert response.status == 503
    async with session.get(f"{cluster.url()}/healthz") as response:
        assert response.status == 200
    await cluster.start("n2", "n3")
    assert await get(session, cluster.file_url("demo/a")) == (200, contents)
    assert (await get(session, cluster.file_url("demo/large")))[0] == 404


async def test_small_write_without_quorum_tells_that_its_outcome_is_unknown(cluster, session: ClientSession) -> None:
    """Owners vanish between the version read and the store: the record may be on one node, and the error says so."""
    assert await put(session, cluster.file_url("demo/a"), b"one") == 201
    for name in ("n2", "n3"):
        node = cluster.nodes[name]
        original = node.listener.handler

        def refuse(peer, request, body, original=original):
            if isinstance(request, StoreRecord):
                raise StoreFailed("the disk is gone")
            return original(peer, request, body)

        node.listener.handler = refuse
    async with session.put(cluster.file_url("demo/a"), data=b"two") as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"], error["outcome"]) == (503, "write_quorum_lost", "unknown")
    assert set(error["answered"]) <= {"n1"}
    assert error["failures"] == {"n2": "store_failed", "n3": "store_failed"}


async def test_read_repairs_before_it_returns_what_fewer_than_w_hold(cluster, session: ClientSession, events) -> None:
    """A version on one node only is brought to a second before any reader is told of it."""
    assert await put(session, cluster.file_url("demo/a"), b"old") == 201
    while len({held(cluster, name, "a") for name in cluster.names}) > 1:
        await asyncio.sleep(0.01)
    await cluster.stop("n2", "n3")
    await put(session, cluster.file_url("demo/a"), b"new")
    # Nobody confirmed the write; put it into the one store that is up, as a coordinator that died would have.
    store = cluster.nodes["n1"].store
    key = FileName("demo", "a").key
    old = decode_record(store.read_record(key))
    version = Version(Stamp(old.time_max + 1, "n1-x"), VersionKind.FILE, b"", 3, "text/plain", "e", {}, b"new")
    await store.put_record(key, encode_record(old.write(version)))
    await cluster.start("n2", "n3")
    assert await get(session, cluster.file_url("demo/a", "n1")) == (200, b"new")
    assert sum(held(cluster, name, "a") == version.stamp.time for name in cluster.names) >= 2
    assert any(event["event"] == "record.repaired" for event in events)
    await cluster.stop("n1")
    assert await get(session, cluster.file_url("demo/a", "n2")) == (200, b"new")


async def test_deleted_file_does_not_come_back_with_a_node_that_was_away(cluster, session: ClientSession) -> None:
    """A tombstone outlives the absence of an owner, also in listings."""
    assert await put(session, cluster.file_url("demo/a"), b"x") == 201
    await cluster.stop("n3")
    async with session.delete(cluster.file_url("demo/a")) as response:
        assert response.status == 204
    await cluster.start("n3")
    for name in cluster.names:
        assert (await get(session, cluster.file_url("demo/a", name)))[0] == 404
        async with session.get(cluster.file_url("demo", name)) as response:
            assert (await response.json())["files"] == []


async def test_byte_flipped_on_the_way_to_a_replica_is_refused_and_not_counted(make_cluster, session) -> None:
    """The replica checks the chunk's hash; the write succeeds on the others, or fails when there are too few."""
    cluster = make_cluster()
    proxies = []
    for name in ("n2", "n3"):
        proxy = Proxy(cluster.peer_ports[name])
        cluster.addresses["n1", name] = await proxy.start()
        proxies.append(proxy)
    await cluster.start()
    marker = b"MARK" * 8

    def flip(data: bytes) -> bytes:
        return data.replace(marker, b"XARK" * 8)

    proxies[0].damage = flip
    contents = os.urandom(200_000) + marker + os.urandom(200_000)
    async with session.put(cluster.file_url("demo/a"), data=contents) as response:
        assert response.status == 201
    async with session.get(f"{cluster.url('n3')}/v1/metadata/demo/a") as response:
        (chunk,) = (await response.json())["chunks"]
    assert chunk["copies"] == {"n1": "present", "n2": "missing", "n3": "present"}
    proxies[1].damage = flip
    async with session.put(cluster.file_url("demo/b"), data=contents + b"!") as response:
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (503, "write_quorum_lost")
        assert error["failures"] == {"n2": "chunk_mismatch", "n3": "chunk_mismatch"}
        assert error["outcome"] == "not_written"
    assert await get(session, cluster.file_url("demo/a", "n2")) == (200, contents)
    for proxy in proxies:
        await proxy.close()


async def test_byte_flipped_on_disk_is_never_served_and_heals(cluster, session: ClientSession, tmp_path: Path) -> None:
    """The GET through the node with the bad copy is right, the copy is quarantined and replaced by a good one."""
    contents = os.urandom(3 * MIB)
    assert await put(session, cluster.file_url("demo/a"), contents) == 201
    for name in cluster.names:
        while await get(session, cluster.file_url("demo/a", name)) != (200, contents):
            pass
    (segment,) = (tmp_path / "cluster0/n1/segments").iterdir()
    damaged = bytearray(segment.read_bytes())
    for position in (500_000, 1_500_000, 2_500_000):
        damaged[position] ^= 0x40
    segment.write_bytes(damaged)
    assert await get(session, cluster.file_url("demo/a", "n2")) == (200, contents)
    assert await get(session, cluster.file_url("demo/a", "n1")) == (200, contents)
    async with asyncio.timeout(5):
        while True:
            async with session.get(f"{cluster.url()}/v1/metadata/demo/a") as response:
                states = [chunk["copies"]["n1"] for chunk in (await response.json())["chunks"]]
            if states == ["present"] * 3:
                break


async def test_owner_that_lost_a_chunk_gets_it_back_from_a_read(cluster, session: ClientSession) -> None:
    """Reading through a node without its copy fetches from another and stores it here."""
    contents = os.urandom(2 * MIB)
    await cluster.stop("n3")
    assert await put(session, cluster.file_url("demo/a"), contents) == 201
    await cluster.start("n3")
    assert await get(session, cluster.file_url("demo/a", "n3")) == (200, contents)
    async with asyncio.timeout(5):
        while True:
            async with session.get(f"{cluster.url()}/v1/metadata/demo/a") as response:
                found = await response.json()
            if all(chunk["copies"]["n3"] == "present" for chunk in found["chunks"]):
                break


async def test_chunk_that_cannot_be_had_mid_stream_cuts_the_connection(cluster, session: ClientSession) -> None:
    """A download that cannot go on never looks like a whole file; one that cannot begin is a 503."""
    contents = os.urandom(4 * MIB)
    assert await put(session, cluster.file_url("demo/a"), contents) == 201
    async with session.get(f"{cluster.url()}/v1/metadata/demo/a") as response:
        ids = [bytes.fromhex(chunk["id"]) for chunk in (await response.json())["chunks"]]
    # The PUT was acknowledged by two owners; a copy that arrives at the third one later would be read.
    async with asyncio.timeout(10):
        while any(node.store.chunk_state(one) != "present" for node in cluster.nodes.values() for one in ids):
            await asyncio.sleep(0.01)
    for name in cluster.names:
        cluster.rows(name).delete("chunks", ids[2])
    with pytest.raises(ClientPayloadError):
        await get(session, cluster.file_url("demo/a"))
    for name in cluster.names:
        cluster.rows(name).delete("chunks", ids[0])
    async with session.get(cluster.file_url("demo/a")) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (503, "chunk_unavailable")


async def test_frozen_owner_costs_a_hedge_not_the_deadline(cluster, session: ClientSession) -> None:
    """A peer that takes requests and never answers does not hold up reads or writes."""
    assert await put(session, cluster.file_url("demo/a"), b"x") == 201

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    cluster.nodes["n2"].listener.handler = never
    started = time.monotonic()
    for i in range(3):
        assert await put(session, cluster.file_url(f"demo/f{i}"), os.urandom(100_000)) == 201
        assert await get(session, cluster.file_url("demo/a", "n3")) == (200, b"x")
    assert time.monotonic() - started < 4.0


async def test_node_that_lost_its_disk_refuses_reads_until_it_is_refilled(
    make_cluster, session: ClientSession, events: list[dict]
) -> None:
    """An owner that forgot a write and one that missed it must not agree that it never was."""
    cluster = make_cluster(timeouts={"request_s": 0.5, "reconnect_max_s": 0.1})
    await cluster.start()
    assert await put(session, cluster.file_url("demo/f"), b"old") == 201
    await cluster.stop("n3")
    assert await put(session, cluster.file_url("demo/f"), b"new") == 201
    await cluster.stop("n1", "n2")
    shutil.rmtree(cluster.path / "n2")
    await cluster.launch("n2", "n3")
    refused = {"n1": "peer_unreachable", "n2": "replica_incomplete"}
    for name in ("n2", "n3"):
        async with asyncio.timeout(WITHIN_S):
            while (told := await failed(session, cluster.file_url("demo/f", name)))["failures"] != refused:
                assert told["code"] == "read_quorum_lost"
    async with session.get(f"{cluster.url('n2')}/readyz") as response:
        assert response.status == 503
    await cluster.start("n1")
    await cluster.stop("n1")
    for name in ("n2", "n3"):
        assert await get(session, cluster.file_url("demo/f", name)) == (200, b"new")
    assert {"node.disk_lost", "node.refilled"} <= {event["event"] for event in events}


async def test_anti_entropy_brings_back_what_a_node_missed_and_lost_without_anybody_reading(
    make_cluster, session: ClientSession
) -> None:
    """Records and chunks written while a node was away, and all it had on a lost disk, are there again soon."""
    cluster = make_cluster(
        timeouts={"request_s": 0.5, "reconnect_max_s": 0.1},
        healing={"anti_entropy_interval_s": 1.0, "anti_entropy_after_return_s": 0.2},
    )
    await cluster.start()
    contents = os.urandom(3 * MIB)
    assert await put(session, cluster.file_url("demo/before"), contents) == 201
    await cluster.stop("n3")
    shutil.rmtree(cluster.path / "n3")
    assert await put(session, cluster.file_url("demo/while"), contents[::-1]) == 201
    async with session.delete(cluster.file_url("demo/before")) as response:
        assert response.status == 204
    await cluster.start("n3")
    async with session.get(f"{cluster.url('n3')}/v1/metadata/demo/while") as response:
        chunks = [bytes.fromhex(chunk["id"]) for chunk in (await response.json())["chunks"]]
    store = cluster.nodes["n3"].store
    async with asyncio.timeout(15):
        while not all(store.chunk_state(one) == "present" for one in chunks):
            await asyncio.sleep(0.05)
    for path in ("before", "while"):
        assert held(cluster, "n3", path) == held(cluster, "n1", path) == held(cluster, "n2", path)
    assert sum(cluster.nodes[name].replication.jobs["anti-entropy"].status.mended for name in cluster.names) > 0


async def test_scrub_finds_rot_that_nobody_reads_and_replaces_it(cluster, session: ClientSession) -> None:
    """A flipped bit on one disk is found by reading everything, and a good copy stands there afterwards."""
    contents = os.urandom(MIB)
    assert await put(session, cluster.file_url("demo/a"), contents) == 201
    async with asyncio.timeout(5):
        while not (segments := list((cluster.path / "n3/segments").iterdir())):
            await asyncio.sleep(0.01)
    (segment,) = segments
    damaged = bytearray(segment.read_bytes())
    damaged[-1] ^= 1
    segment.write_bytes(damaged)
    job = cluster.nodes["n3"].replication.jobs["scrub"]
    async with session.post(f"{cluster.url('n3')}/v1/jobs/scrub/start") as response:
        assert response.status == 202
    async with asyncio.timeout(10):
        while not job.status.runs:
            await asyncio.sleep(0.02)
    assert (job.status.items, job.status.mended) == (1, 1)
    async with session.get(f"{cluster.url('n3')}/v1/metadata/demo/a") as response:
        (chunk,) = (await response.json())["chunks"]
    assert chunk["copies"] == {"n1": "present", "n2": "present", "n3": "present"}
    assert bytes(await cluster.nodes["n3"].store.read_chunk(bytes.fromhex(chunk["id"]))) == contents
