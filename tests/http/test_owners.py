"""What nodes say of owners: the description of all of them, and the header of a node that owns no copy."""

import pytest
from aiohttp import ClientSession

from dynafs.files import FileName
from dynafs.http.owners import OWNERS_HEADER, is_for_client
from dynafs.ring import file_hash, partition_of
from tests.conftest import LocalCluster

LARGE = bytes(200_000)


@pytest.fixture
async def five(make_cluster) -> LocalCluster:
    """Return a running cluster of five nodes, three copies."""
    made = make_cluster(count=5)
    await made.start()
    return made


def owners_of(cluster: LocalCluster, path: str) -> list[str]:
    """Return the owners of demo/PATH by the ring of the product."""
    ring = cluster.nodes["n1"].replication.ring
    return list(ring.owners[partition_of(file_hash(FileName("demo", path).key), ring.partition_count)])


async def exchanged(session: ClientSession, cluster: LocalCluster, node: str, path: str) -> dict[str, str | None]:
    """Return, for each method, the header of an answer about demo/PATH from a node."""
    found = {}
    url = cluster.file_url(f"demo/{path}", node)
    for method, data in (
        ("PUT", LARGE),
        ("GET", None),
        ("HEAD", None),
        ("PUT", b"small"),
        ("GET", None),
        ("DELETE", None),
    ):
        async with session.request(method, url, data=data) as response:
            assert response.ok
            await response.read()
            found[method if data != b"small" else "small PUT"] = response.headers.get(OWNERS_HEADER)
    return found


async def test_a_node_that_owns_no_copy_names_the_owners(five, session) -> None:
    """In the order of the ring, on every answer about the file; owners add nothing."""
    for path in ("a", "b", "c/d e", "é"):
        owners = owners_of(five, path)
        for node in five.names:
            wanted = None if node in owners else ", ".join(owners)
            assert set((await exchanged(session, five, node, path)).values()) == {wanted}


async def test_owners_that_are_down_or_drained_are_not_named(five, session) -> None:
    """A drained owner names the other ones; who is down is left out."""
    first, second, third = owners_of(five, "a")
    async with session.post(f"{five.url(first)}/v1/nodes/{first}/drain") as response:
        assert response.status == 202
    assert set((await exchanged(session, five, first, "a")).values()) == {f"{second}, {third}"}
    await five.stop(third)
    await five.wait_connected()
    while five.nodes[first].replication.cluster.membership.is_up(third):
        async with session.get(f"{five.url(first)}/healthz"):
            pass
    assert set((await exchanged(session, five, first, "a")).values()) == {second}


async def test_description_is_that_of_the_ring(five, session) -> None:
    """Owners, addresses and instances are those by which nodes themselves go and answer."""
    async with session.get(f"{five.url('n2')}/v1/ring/owners") as response:
        assert response.status == 200
        told = await response.json()
    ring = five.nodes["n1"].replication.ring
    names = [node["node"] for node in told["nodes"]]
    assert [tuple(names[place] for place in row) for row in told["owners"]] == list(ring.owners)
    assert (told["partitions"], told["n"], told["step"], told["epoch"]) == (64, 3, "stable", 1)
    for node in told["nodes"]:
        assert node["http"] == f"127.0.0.1:{five.http_ports[node['node']]}"
        assert (node["is_up"], node["is_draining"]) == (True, False)
        async with session.get(f"http://{node['http']}/readyz") as response:
            assert (await response.json())["instance"] == node["instance"]
    assert len({node["instance"] for node in told["nodes"]}) == 5


async def test_description_says_who_is_down_and_who_is_drained(five, session) -> None:
    """As the nodes say themselves at that moment."""
    async with session.post(f"{five.url('n1')}/v1/nodes/n2/drain") as response:
        assert response.status == 202
    await five.stop("n4")
    async with session.get(f"{five.url('n1')}/v1/ring/owners") as response:
        told = {node["node"]: (node["is_up"], node["is_draining"]) for node in (await response.json())["nodes"]}
    assert told == {
        "n1": (True, False),
        "n2": (True, True),
        "n3": (True, False),
        "n4": (False, False),
        "n5": (True, False),
    }


async def test_route_takes_no_query_and_only_looks(cluster, session) -> None:
    """As the other routes that only look."""
    async with session.get(f"{cluster.url()}/v1/ring/owners?x=1") as response:
        assert response.status == 400
    async with session.post(f"{cluster.url()}/v1/ring/owners") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


async def test_advertised_address_is_told_and_let_in(make_cluster, session) -> None:
    """Where clients reach a node behind another address; its host is one of the node's names."""
    cluster = make_cluster(http={"advertise": "files.example:8080"})
    await cluster.start()
    async with session.get(f"{cluster.url()}/v1/ring/owners", headers={"Host": "files.example:8080"}) as response:
        assert {node["http"] for node in (await response.json())["nodes"]} == {"files.example:8080"}


@pytest.mark.parametrize(
    ("http", "peers", "is_near", "wanted"),
    [
        ("10.0.0.1:80", "10.0.0.1:7400", False, True),
        ("10.0.0.1:80", "", True, True),
        ("127.0.0.1:80", "", True, True),
        ("127.0.0.1:80", "127.0.0.1:7400", True, True),
        ("localhost:80", "localhost:7400", True, True),
        ("127.0.0.1:80", "", False, False),
        ("127.0.0.1:80", "127.0.0.1:7400", False, False),
        ("127.0.0.1:80", "10.0.0.2:7400", True, False),
        ("[::1]:80", "10.0.0.2:7400", True, False),
        ("localhost:80", "10.0.0.2:7400", True, False),
        ("", "10.0.0.2:7400", True, False),
        ("no address", "10.0.0.2:7400", True, False),
    ],
)
def test_loopback_addresses_stay_on_their_machine(http: str, peers: str, is_near: bool, wanted: bool) -> None:
    """They are for clients on this machine, and only those of nodes on this machine."""
    assert is_for_client(http, peers, is_near=is_near) is wanted
