"""Taking nodes out of service, and what is refused because others are needed."""

import asyncio

import pytest
from aiohttp import ClientSession

from dynafs.errors import PeerOutdated
from dynafs.node import Node
from dynafs.wire.handshake import WIRE_VERSION
from dynafs.wire.listing_messages import ReadRows
from tests.support.local_cluster import LocalCluster


async def act(session: ClientSession, cluster: LocalCluster, path: str) -> tuple[int, dict]:
    async with session.post(f"{cluster.url()}/v1/{path}") as response:
        return response.status, await response.json()


async def stage(session: ClientSession, cluster: LocalCluster, **change: object) -> tuple[int, dict]:
    async with session.post(f"{cluster.url()}/v1/ring/stage", json=change) as response:
        return response.status, await response.json()


async def readiness(session: ClientSession, cluster: LocalCluster, name: str) -> str:
    async with session.get(f"{cluster.url(name)}/readyz") as response:
        return (await response.json())["status"]


async def wait_seen_down(cluster: LocalCluster, seer: str, name: str) -> None:
    async with asyncio.timeout(10):
        while cluster.nodes[seer].replication.cluster.is_up(name):
            await asyncio.sleep(0.05)


async def test_drained_node_is_not_ready_but_serves(cluster: LocalCluster, session: ClientSession) -> None:
    """Balancers turn away from it; whoever still comes is served; resume takes it back."""
    status, told = await act(session, cluster, "nodes/n2/drain")
    assert (status, told) == (202, {"node": "n2", "action": "drain"})
    assert await readiness(session, cluster, "n2") == "draining"
    async with session.put(cluster.file_url("demo/late", "n2"), data=b"x") as response:
        assert response.status == 201
    async with session.get(f"{cluster.url()}/v1/ring/status") as response:
        told = await response.json()
    assert [row["node"] for row in told["nodes"] if row["is_draining"]] == ["n2"]
    assert any("dynafs node resume n2" in problem for problem in told["problems"])
    assert (await act(session, cluster, "nodes/n2/resume"))[0] == 202
    assert await readiness(session, cluster, "n2") == "ready"


async def test_two_nodes_are_not_drained_at_the_same_moment(cluster: LocalCluster, session: ClientSession) -> None:
    """By two operators, each through another node: one of them at most is let, and what is refused stays in service."""
    for _ in range(20):
        orders = [("n1", "n2"), ("n2", "n3"), ("n3", "n1")]
        posts = [session.post(f"{cluster.url(via)}/v1/nodes/{node}/drain") for via, node in orders]
        statuses = {}
        for (_, node), response in zip(orders, await asyncio.gather(*posts), strict=True):
            statuses[node] = response.status
            response.release()
        drained = {name for name in cluster.names if await readiness(session, cluster, name) == "draining"}
        assert set(statuses.values()) <= {202, 409}
        assert drained == {name for name, status in statuses.items() if status == 202}
        assert len(drained) <= 1
        for name in drained:
            assert (await act(session, cluster, f"nodes/{name}/resume"))[0] == 202


async def test_node_that_is_needed_is_not_drained(cluster: LocalCluster, session: ClientSession) -> None:
    """With one of three away no other may go, by whatever name it is asked for; the reasons say who is away."""
    assert (await act(session, cluster, "nodes/n2/drain?for_restart=true"))[0] == 202
    for query in ("", "?for_restart=true"):
        status, told = await act(session, cluster, f"nodes/n3/drain{query}")
        assert (status, told["error"]["code"]) == (409, "not_safe")
        assert "n2 is being drained" in told["error"]["message"]
    assert await readiness(session, cluster, "n3") == "ready"
    assert (await act(session, cluster, "nodes/n2/resume"))[0] == 202
    assert (await act(session, cluster, "nodes/n3/drain"))[0] == 202


async def test_orders_that_cannot_be_followed_say_so(cluster: LocalCluster, session: ClientSession) -> None:
    """Unknown nodes, actions and flags; a node that nobody can start again; a pace that is none."""
    for path, status, part in (
        ("nodes/n9/drain", 404, "n9"), ("nodes/n9/resume", 404, "n9"), ("nodes/n2/explode", 400, "drain"),
        ("nodes/n2/drain?for_restart=maybe", 400, "for_restart"), ("nodes/n2/resume?for_restart=true", 400, "drain"),
        ("nodes/n2/restart", 503, "dynafs serve"), ("ring/throttle", 400, "bytes_per_s_max"),
        ("ring/throttle?bytes_per_s_max=-1", 400, "whole number"),
    ):  # fmt: skip
        got, told = await act(session, cluster, path)
        assert (got, part in told["error"]["message"]) == (status, True), (path, told)
    async with session.get(f"{cluster.url()}/v1/nodes/n2/drain") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_throttle_is_set_on_every_node(cluster: LocalCluster, session: ClientSession) -> None:
    """One order to any node; 0 takes it back; a node that is away is named."""
    own = cluster.nodes["n3"].replication.rebalancer.job.status.bytes_per_s_max
    status, told = await act(session, cluster, "ring/throttle?bytes_per_s_max=4096")
    assert (status, told) == (200, {"bytes_per_s_max": 4096, "failed": {}})
    assert {node.replication.rebalancer.job.status.bytes_per_s_max for node in cluster.nodes.values()} == {4096}
    await act(session, cluster, "ring/throttle?bytes_per_s_max=0")
    job = cluster.nodes["n3"].replication.rebalancer.job
    assert job.pace_s(own, own) == 1.0
    await cluster.stop("n2")
    await wait_seen_down(cluster, "n1", "n2")
    _, told = await act(session, cluster, "ring/throttle?bytes_per_s_max=1")
    assert list(told["failed"]) == ["n2"]


async def test_leaving_is_refused_while_too_few_others_are_up(make_cluster, session: ClientSession) -> None:
    """Who is down may go while everybody else is up, and who is up, too; with two of five down nobody may."""
    cluster = make_cluster(count=5)
    await cluster.start()
    await cluster.stop("n5")
    await wait_seen_down(cluster, "n1", "n5")
    for node in ("n5", "n4"):
        status, told = await stage(session, cluster, kind="leave", node=node)
        assert status == 200, told
        await act(session, cluster, "ring/clear")
    await cluster.stop("n4")
    await wait_seen_down(cluster, "n1", "n4")
    for node in ("n5", "n3"):
        status, told = await stage(session, cluster, kind="leave", node=node)
        assert (status, told["error"]["code"]) == (409, "not_safe")
        assert "n4 is down, n5 is down" in told["error"]["message"]
    async with session.get(f"{cluster.url()}/v1/ring/plan") as response:
        assert (await response.json())["staged"] == []
    status, told = await stage(session, cluster, kind="weight", node="n3", weight=2)
    assert status == 200


async def test_versions_of_the_wire_work_together(make_cluster, session: ClientSession) -> None:
    """A node of the version before serves and is served, takes part in a change of the ring, and is spared what it
    does not know."""
    cluster = make_cluster(count=4)
    for name in cluster.names:
        cluster.nodes[name] = Node(cluster.settings(name), WIRE_VERSION - (name in ("n2", "n4")))
    await asyncio.gather(*(node.start() for node in cluster.nodes.values()))
    await cluster.wait_connected()
    for number in range(12):
        path, body = cluster.file_url(f"demo/f{number}", f"n{number % 4 + 1}"), bytes(100_000 * (number % 2) + number)
        async with session.put(path, data=body) as response:
            assert response.status == 201
        async with session.get(cluster.file_url(f"demo/f{number}", f"n{(number + 1) % 4 + 1}")) as response:
            assert await response.read() == body
    for number in range(0, 12, 3):
        async with session.delete(cluster.file_url(f"demo/f{number}", f"n{number % 4 + 1}")) as response:
            assert response.status == 204
    for name in cluster.names:
        async with session.get(cluster.file_url("demo", name)) as response:
            listed = {row["path"] for row in (await response.json())["files"]}
        assert listed == {f"f{number}" for number in range(12) if number % 3}
    with pytest.raises(PeerOutdated, match="update it"):
        await cluster.nodes["n1"].replication.cluster.ask("n2", ReadRows("demo"))
    status, plan = await stage(session, cluster, kind="leave", node="n4")
    assert status == 200, plan
    async with session.post(f"{cluster.url()}/v1/ring/commit", json={"hash": plan["hash"]}) as response:
        assert response.status == 200
    async with asyncio.timeout(30):
        while {node.replication.ring.epoch for node in cluster.nodes.values()} != {2}:
            await asyncio.sleep(0.1)


async def test_nobody_is_drained_while_another_lacks_something(make_cluster, session: ClientSession) -> None:
    """A node that was away and has not got back yet what it missed is no copy to count on."""
    cluster = make_cluster(count=4)
    await cluster.start()
    for name in cluster.names:
        cluster.nodes[name].replication.handoff.job.pause()
    async with session.put(cluster.file_url("demo/first"), data=b"x") as response:
        assert response.status == 201
    await cluster.stop("n3")
    await wait_seen_down(cluster, "n1", "n3")
    for number in range(12):
        async with session.put(cluster.file_url(f"demo/f{number}"), data=b"x") as response:
            assert response.status == 201
    await cluster.launch("n3")
    await cluster.wait_connected()
    status, told = await act(session, cluster, "nodes/n2/drain?for_restart=true")
    assert (status, "n3 lack what is kept for them" in told["error"]["message"]) == (409, True)
    for name in cluster.names:
        cluster.nodes[name].replication.handoff.job.start_now()
    async with asyncio.timeout(20):
        while (await act(session, cluster, "nodes/n2/drain?for_restart=true"))[0] != 202:
            await asyncio.sleep(0.1)
