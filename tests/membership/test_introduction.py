"""Nodes that meet: by one seed, through gossip, wherever they move."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from aiohttp import ClientSession

from dynafs.config import TimeoutSettings
from dynafs.errors import PeerError, PeerUnreachable, RemoteProtocolError
from dynafs.membership.discovery import checked_introduction
from dynafs.membership.gossip import About, Gossip, GossipObserver
from dynafs.node import Node, SystemClock
from dynafs.peers.asking import ask_at
from dynafs.ports import Answer
from dynafs.wire.handshake import WIRE_VERSION, Hello
from dynafs.wire.message import Stored
from dynafs.wire.ring_messages import AskIntroduction, Introduction
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
    await until(lambda: all(node.replication.cluster.view.is_stable for node in cluster.nodes.values()), 30)


async def test_secret_address_and_one_seed_are_enough(cluster: LocalCluster, session: ClientSession) -> None:
    """A newcomer becomes known to everybody, is staged by its name alone, and moves to another address later."""
    node = newcomer(cluster, "n4", seed="n2")
    await node.start()
    assert (node.settings.cluster.n, node.settings.cluster.w, node.settings.cluster.partitions) == (3, 2, 64)
    address = f"127.0.0.1:{cluster.peer_ports['n4']}"
    for name in ("n1", "n2", "n3"):
        await until(lambda name=name: cluster.nodes[name].replication.newcomers.waiting == {"n4": address})
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
    await until(lambda: "n4" in cluster.nodes["n3"].replication.newcomers.waiting)


async def test_node_of_which_nobody_heard_is_not_staged(cluster: LocalCluster, session: ClientSession) -> None:
    """There is nowhere to reach it."""
    async with session.post(f"{cluster.url()}/v1/ring/stage", json={"kind": "join", "node": "n9"}) as response:
        told = await response.json()
    assert (response.status, "no address of n9 is known" in told["error"]["message"]) == (400, True)


async def test_reads_turn_away_from_who_is_doubted(cluster: LocalCluster, session: ClientSession) -> None:
    """A node that says no more, or that is being drained, is asked last, though it can be called; then as before."""
    one = cluster.nodes["n1"]
    await until(lambda: set(one.gossip.kin) == {"n2", "n3"})
    order = one.replication.cluster.membership.nearest_first
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


async def test_names_that_no_node_can_have_are_kept_out(cluster: LocalCluster, session: ClientSession, events) -> None:
    """Who knows the secret may not call itself anything: what it says is shown to operators, on terminals."""
    for name in ("\x1b[2J", "../x", "n 9", ""):
        me = Hello(WIRE_VERSION, "test", name, "control", b"", b"")
        address = f"127.0.0.1:{cluster.peer_ports['n1']}"
        with pytest.raises(PeerUnreachable, match="is no name of a node"):
            await ask_at(address, me, SECRET.encode(), AskIntroduction(), TimeoutSettings(), SystemClock())
    stranger = Gossip("n\x1b9", "test", SECRET.encode(), About(port="7400"), GossipObserver())
    await stranger.start("127.0.0.1", 0)
    try:
        assert await stranger.join("127.0.0.1", cluster.nodes["n1"].gossip.port)
        await until(lambda: any(event["event"] == "gossip.name_refused" for event in events))
    finally:
        await stranger.close()
    async with session.get(f"{cluster.url()}/v1/ring/status") as response:
        assert (await response.json())["waiting"] == {}


async def test_what_a_node_says_in_gossip_is_kept_to_its_form(cluster: LocalCluster, session: ClientSession) -> None:
    """No port, zone or version that it makes up reaches operators or a staged change."""
    stranger = Gossip(
        "n9", "test", SECRET.encode(), About(port="99999", zone="\x1b[2J", ring="9" * 30), GossipObserver()
    )
    await stranger.start("127.0.0.1", 0)
    try:
        assert await stranger.join("127.0.0.1", cluster.nodes["n1"].gossip.port)
        await until(lambda: "n9" in cluster.nodes["n1"].gossip.kin)
        kin = cluster.nodes["n1"].gossip.kin["n9"]
        assert (kin.address, kin.about.zone, kin.ring_version) == ("", "", 0)
        async with session.post(f"{cluster.url()}/v1/ring/stage", json={"kind": "join", "node": "n9"}) as response:
            told = await response.json()
        assert (response.status, "--address HOST:PORT" in told["error"]["message"]) == (400, True)
    finally:
        await stranger.close()


SOUND = Introduction(3, 2, 2, 64, b"digest", 7401, {"n1": "n1:7400"})


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 0}, {"r": 0}, {"w": 4}, {"partitions": 0}, {"partitions": 63}, {"partitions": 1 << 17},
        {"gossip_port": -1}, {"gossip_port": 70_000},
    ],
    ids=str,
)  # fmt: skip
def test_introduction_to_a_cluster_that_cannot_be_is_refused(changes: dict[str, int]) -> None:
    """A newcomer keeps what it is told beside its data, so it looks at it first."""
    assert checked_introduction(Answer(SOUND)) == SOUND
    with pytest.raises(RemoteProtocolError, match="a cluster that cannot be"):
        checked_introduction(Answer(msgspec.structs.replace(SOUND, **changes)))


def test_introduction_brings_only_addresses_that_can_be_called() -> None:
    told = msgspec.structs.replace(SOUND, addresses={"n1": "n1:7400", "n2": "a..b:1", "n/3": "n3:1", "n4": "n4:0"})
    assert checked_introduction(Answer(told)).addresses == {"n1": "n1:7400"}
    with pytest.raises(RemoteProtocolError, match="Stored is no introduction"):
        checked_introduction(Answer(Stored()))


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
