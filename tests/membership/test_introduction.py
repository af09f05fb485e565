"""Nodes that meet: by one seed, through gossip, wherever they move."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from aiohttp import ClientSession

from dynafs.config import TimeoutSettings
from dynafs.errors import PeerError, PeerUnreachable
from dynafs.node import Node, SystemClock
from dynafs.peers.asking import ask_at
from dynafs.wire.handshake import WIRE_VERSION, Hello
from dynafs.wire.ring_messages import AskIntroduction
from tests.support.local_cluster import SECRET, LocalCluster
from tests.support.ports import free_port


async def until(is_so: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.05)


def newcomer(cluster: LocalCluster, name: str, seed: str, **changes: object) -> Node:
    """Return a node that knows the secret and one other."""
    cluster.peer_ports[name], cluster.http_ports[name] = free_port(), free_port()
    settings = cluster.settings(name)
    bare = msgspec.structs.replace(
        settings.cluster, members=(), seeds=(f"127.0.0.1:{cluster.peer_ports[seed]}",), n=1, r=1, w=1, partitions=2
    )
    node = msgspec.structs.replace(settings.node, **{"zone": "attic", **changes})
    cluster.nodes[name] = Node(msgspec.structs.replace(settings, cluster=bare, node=node))
    return cluster.nodes[name]


async def join(session: ClientSession, cluster: LocalCluster, name: str) -> None:
    async with session.post(f"{cluster.url()}/v1/ring/stage", json={"kind": "join", "node": name}) as response:
        plan = await response.json()
        assert response.status == 200, plan
    async with session.post(f"{cluster.url()}/v1/ring/commit", json={"hash": plan["hash"]}) as response:
        assert response.status == 200, await response.text()
    await until(lambda: all(node.replication.ring.epoch == 2 for node in cluster.nodes.values()))
    await until(lambda: all(node.replication.reach.view.is_stable for node in cluster.nodes.values()), 30)


async def test_secret_address_and_one_seed_are_enough(cluster: LocalCluster, session: ClientSession) -> None:
    """A newcomer becomes known to everybody, is staged by its name alone, and moves to another address later."""
    node = newcomer(cluster, "n4", seed="n2")
    await node.start()
    assert (node.settings.cluster.n, node.settings.cluster.w, node.settings.cluster.partitions) == (3, 2, 64)
    address = f"127.0.0.1:{cluster.peer_ports['n4']}"
    for name in ("n1", "n2", "n3"):
        await until(lambda name=name: cluster.nodes[name].replication.waiting == {"n4": address})
    for number in range(12):
        async with session.put(cluster.file_url(f"demo/f{number}"), data=bytes(100_000)) as response:
            assert response.status == 201
    await join(session, cluster, "n4")
    assert node.replication.ring.zones["n4"] == "attic"
    assert node.store.segment_sizes()
    await cluster.stop("n4")
    moved = newcomer(cluster, "n4", seed="n3")
    await moved.start()
    await until(lambda: all(one.pool.is_up("n4") for name, one in cluster.nodes.items() if name != "n4"))
    async with session.get(cluster.file_url("demo/f3", "n4")) as response:
        assert await response.read() == bytes(100_000)


async def test_node_that_nobody_answers_keeps_asking(make_cluster, session: ClientSession) -> None:
    """The cluster may start after the newcomer."""
    cluster = make_cluster()
    node = newcomer(cluster, "n4", seed="n1")
    starting = asyncio.create_task(node.start())
    await asyncio.sleep(0)
    await cluster.launch("n1", "n2", "n3")
    await asyncio.wait_for(starting, 15)
    await until(lambda: "n4" in cluster.nodes["n3"].replication.waiting)


async def test_node_of_which_nobody_heard_is_not_staged(cluster: LocalCluster, session: ClientSession) -> None:
    """There is nowhere to reach it."""
    async with session.post(f"{cluster.url()}/v1/ring/stage", json={"kind": "join", "node": "n9"}) as response:
        told = await response.json()
    assert (response.status, "nobody has heard of n9" in told["error"]["message"]) == (400, True)


async def test_reads_turn_away_from_who_is_doubted(cluster: LocalCluster, session: ClientSession) -> None:
    """A node that says no more, or that is being drained, is asked last, though it can be called; then as before."""
    one = cluster.nodes["n1"]
    await until(lambda: set(one.gossip.kin) == {"n2", "n3"})
    order = one.replication.membership.nearest_first
    assert order(["n2", "n3"]) == ["n2", "n3"]
    async with session.post(f"{cluster.url('n3')}/v1/nodes/n2/drain") as response:
        assert response.status == 202
    await until(lambda: order(["n2", "n3"]) == ["n3", "n2"])
    async with session.post(f"{cluster.url('n3')}/v1/nodes/n2/resume") as response:
        assert response.status == 202
    await until(lambda: order(["n2", "n3"]) == ["n2", "n3"])
    await cluster.nodes["n2"].introducer.close()
    await cluster.nodes["n2"].gossip.close()
    await until(lambda: order(["n2", "n3"]) == ["n3", "n2"])
    assert one.pool.is_up("n2")
    async with session.get(f"{cluster.url()}/readyz") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("secret", "cluster_id", "problem"), [(b"x" * 20, "test", "secret"), (b"", "other", "cluster")]
)
async def test_strangers_are_told_nothing(cluster, secret: bytes, cluster_id: str, problem: str) -> None:
    """Whoever does not know the secret, or looks for another cluster, learns neither members nor the ring."""
    me = Hello(WIRE_VERSION, cluster_id, "n9", "control", b"", b"")
    address = f"127.0.0.1:{cluster.peer_ports['n1']}"
    with pytest.raises(PeerUnreachable, match=problem):
        await ask_at(address, me, secret or SECRET.encode(), AskIntroduction(), TimeoutSettings(), SystemClock())
    with pytest.raises((PeerError, OSError)):
        await ask_at(f"127.0.0.1:{free_port()}", me, secret, AskIntroduction(), TimeoutSettings(), SystemClock())
