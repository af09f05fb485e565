"""Rings that change between real nodes, and what they refuse."""

import asyncio
import os

import msgspec
import pytest
from aiohttp import ClientSession

from dynafs.errors import PeerRefused, RingBehind
from dynafs.files.name import FileName
from dynafs.node import Node
from dynafs.replica.fence import Fence
from dynafs.ring import file_hash
from dynafs.ring.view import RingView
from dynafs.wire.messages import CompareTrees, ReadRecord
from tests.support.local_cluster import LocalCluster
from tests.support.ports import free_port

FILES = 24


async def post(session: ClientSession, url: str, **body: object) -> tuple[int, dict]:
    async with session.post(url, data=msgspec.json.encode(body)) as response:
        return response.status, await response.json()


async def grow(cluster: LocalCluster) -> Node:
    """Start a node that the cluster does not know."""
    cluster.peer_ports["n4"], cluster.http_ports["n4"] = free_port(), free_port()
    cluster.nodes["n4"] = Node(cluster.settings("n4"))
    await cluster.nodes["n4"].start()
    return cluster.nodes["n4"]


async def commit(session: ClientSession, url: str, **change: object) -> None:
    status, plan = await post(session, f"{url}/v1/ring/stage", **change)
    assert (status, plan.get("error")) == (200, None)
    status, told = await post(session, f"{url}/v1/ring/commit", hash=plan["hash"])
    assert (status, told.get("error")) == (200, None)


async def wait_over(session: ClientSession, cluster: LocalCluster, epoch: int) -> None:
    async with asyncio.timeout(30):
        for name in cluster.nodes:
            while True:
                async with session.get(f"{cluster.url(name)}/v1/ring/transfers") as response:
                    told = await response.json()
                if response.status == 200 and (told["step"], told["epoch"]) == ("stable", epoch):
                    break
                await asyncio.sleep(0.1)


async def test_node_joins_and_another_leaves_while_files_are_read_and_written(
    make_cluster, session: ClientSession
) -> None:
    """Nobody sees anything of it but the newcomer, which has its share then; who left has nothing any more."""
    cluster = make_cluster(healing={"collection_interval_s": 1.0, "collection_grace_s": 1.0})
    await cluster.start()
    bodies = {f"f{number}": os.urandom(300_000 if number % 3 else 300) for number in range(FILES)}
    for path, body in bodies.items():
        async with session.put(cluster.file_url(f"demo/{path}"), data=body) as response:
            assert response.status == 201
    node = await grow(cluster)
    async with asyncio.timeout(10):
        while list(cluster.nodes["n1"].replication.newcomers.waiting) != ["n4"]:
            await asyncio.sleep(0.05)
    is_over = asyncio.Event()

    async def work() -> int:
        count = 0
        while not is_over.is_set():
            path = f"f{count % FILES}"
            bodies[path] = os.urandom(len(bodies[path]))
            async with session.put(cluster.file_url(f"demo/{path}", f"n{1 + count % 4}"), data=bodies[path]) as put:
                assert put.status == 201, await put.text()
            async with session.get(cluster.file_url(f"demo/{path}", f"n{1 + (count + 1) % 4}")) as got:
                assert (got.status, await got.read() == bodies[path]) == (200, True)
            count += 1
        return count

    task = asyncio.create_task(work())
    address = f"127.0.0.1:{cluster.peer_ports['n4']}"
    await commit(session, cluster.url(), kind="join", node="n4", address=address)
    await wait_over(session, cluster, 2)
    await commit(session, cluster.url("n4"), kind="leave", node="n1")
    await wait_over(session, cluster, 3)
    is_over.set()
    assert await task > 0
    assert node.store.segment_sizes()
    async with asyncio.timeout(30):
        while (
            await cluster.nodes["n1"].store.scan_chunks(b"", 1)
            or (await cluster.nodes["n1"].store.scan_records(b"", 1)).rows
        ):
            await asyncio.sleep(0.1)
    await cluster.stop("n1")
    for path, body in bodies.items():
        async with session.get(cluster.file_url(f"demo/{path}", "n4")) as response:
            assert (response.status, await response.read() == body) == (200, True)
    await cluster.stop("n4")
    cluster.nodes["n4"] = Node(cluster.settings("n4"))
    await cluster.nodes["n4"].start()
    assert cluster.nodes["n4"].replication.ring.epoch == 3


async def test_what_cannot_be_committed_says_so(cluster, session: ClientSession) -> None:
    """Nothing staged, another plan, a newcomer without an address, a change that is not there to be cancelled."""
    url = f"{cluster.url()}/v1/ring"
    status, told = await post(session, f"{url}/commit", hash="0" * 16)
    assert (status, "dynafs ring stage" in told["error"]["message"]) == (400, True)
    for body, problem in (({}, "hash"), ({"hash": 1}, "hash"), ({"hash": "", "force": True}, "force")):
        status, told = await post(session, f"{url}/commit", **body)
        assert (status, problem in told["error"]["message"]) == (400, True)
    status, told = await post(session, f"{url}/stage", kind="join", node="n9")
    assert (status, "--address" in told["error"]["message"]) == (400, True)
    status, told = await post(session, f"{url}/stage", kind="join", node="n9", address="nowhere")
    assert (status, "HOST:PORT" in told["error"]["message"]) == (400, True)
    status, plan = await post(session, f"{url}/stage", kind="weight", node="n1", weight=2)
    assert status == 200
    status, told = await post(session, f"{url}/commit", hash="0" * 16)
    assert (status, told["error"]["code"], plan["hash"] in told["error"]["message"]) == (409, "plan_outdated", True)
    status, told = await post(session, f"{url}/cancel")
    assert (status, "nothing to cancel" in told["error"]["message"]) == (400, True)
    async with session.get(f"{url}/commit") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_peers_that_go_by_another_ring_are_told(cluster) -> None:
    """An older version is refused where it counts; a newer one where it must be known."""
    reach = cluster.nodes["n1"].replication.cluster
    keeper = cluster.nodes["n1"].replication.consensus
    await keeper.amend(lambda state: state.cleared())
    async with asyncio.timeout(10):
        while cluster.nodes["n2"].replication.consensus.state.version != 2:
            await asyncio.sleep(0.05)
    for request, code in (
        (ReadRecord(b"b\0p", ring_version=1), "ring_outdated"),
        (CompareTrees("records", 64, ring_version=3), "ring_behind"),
    ):
        with pytest.raises(PeerRefused) as raised:
            await reach.ask("n2", request, msgspec.msgpack.encode([]))
        assert raised.value.remote_code == code
    await reach.ask("n2", ReadRecord(b"b\0p", ring_version=2))


async def test_fence_waits_for_what_was_accepted(cluster) -> None:
    """Before a node tells what it holds, everything is on the disk that it took by an older ring."""
    replication = cluster.nodes["n1"].replication
    fence = Fence("n1", replication.register, replication.disk)
    loop = asyncio.get_running_loop()
    stored = fence.store(loop.create_future())
    told = asyncio.create_task(fence.passed(1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not told.done()
    stored.set_result(None)
    await told
    with pytest.raises(RingBehind):
        await fence.passed(2)


async def test_gateway_with_an_old_ring_learns_who_commits_now(make_cluster, session: ClientSession) -> None:
    """A write that it sends to an owner of before is not lost, nor refused: the present owner gets it."""
    cluster = make_cluster(n=1, r=1, w=1)
    await cluster.start()
    replication = cluster.nodes["n2"].replication
    paths = [f"f{number}" for number in range(64)]
    path = next(one for one in paths if replication.cluster.owners(file_hash(FileName("demo", one).key)) == ("n1",))
    async with session.put(cluster.file_url("demo/first", "n2"), data=b"the bucket is known now") as response:
        assert response.status == 201
    before = replication.consensus.state
    await commit(session, cluster.url(), kind="leave", node="n1")
    await wait_over(session, cluster, 2)
    replication.register.view = RingView(before)
    async with session.put(cluster.file_url(f"demo/{path}", "n2"), data=b"contents") as response:
        assert response.status == 201, await response.text()
    assert replication.cluster.view.version > before.version
    async with session.get(cluster.file_url(f"demo/{path}", "n3")) as response:
        assert await response.read() == b"contents"
