"""Requests of the client go to owners of their file, and to the given address whenever that is not sure."""

import asyncio
from collections import Counter

import pytest

from dynafs.client import DynafsClient, routing
from dynafs.client.placement import OwnerNode, Placement
from dynafs.client.routing import Routing
from dynafs.errors import RingError, ServerUnreachable
from dynafs.files import FileName
from dynafs.ring.change import Change
from tests.client.nodes import FakeNode, asked_node, description, json_body, learned, owners_of
from tests.conftest import LocalCluster

PATHS = [f"f{i}" for i in range(24)]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn and try again without pauses made for large clusters."""
    monkeypatch.setattr(routing, "LEARN_PAUSE_S", 0.05)
    monkeypatch.setattr(routing, "REST_MIN_S", 0.05)


@pytest.fixture
async def five(make_cluster) -> LocalCluster:
    """Return a running cluster of five nodes, three copies."""
    made = make_cluster(count=5)
    await made.start()
    return made


async def settled(client: DynafsClient, cluster: LocalCluster) -> None:
    """Send requests until the client has proven the owners of all files."""
    for path in PATHS:
        await learned(client, cluster, path)


async def test_writes_go_to_the_first_owner_and_reads_to_all_of_them(five) -> None:
    """By the ring that the nodes use."""
    async with DynafsClient(five.url()) as client:
        await settled(client, five)
        for path in PATHS:
            owners = owners_of(five, path)
            assert await asked_node(client, "PUT", path) == owners[0]
            assert {await asked_node(client, "GET", path) for _ in range(12)} == set(owners)
            assert await asked_node(client, "DELETE", path) == owners[0]


async def test_contents_come_back_through_owners(five) -> None:
    """The methods that people call, with large and small files, streams and versions."""
    async with DynafsClient(five.url()) as client:
        await settled(client, five)

        async def stream():
            for _ in range(3):
                yield bytes(100_000)

        for path in PATHS[:8]:
            await client.put("demo", path, stream())
            assert await client.get("demo", path) == bytes(300_000)
            await client.put("demo", path, path.encode())
            assert await client.get("demo", path) == path.encode()
            await client.delete("demo", path)


async def test_a_client_that_is_not_aware_of_the_ring_asks_the_given_node(five) -> None:
    """For proxies in front of all nodes."""
    async with DynafsClient(five.url("n2"), is_ring_aware=False) as client:
        for path in PATHS:
            assert await asked_node(client, "PUT", path) == "n2"


async def test_one_request_asks_for_nothing_else() -> None:
    """A program that makes one request pays for that only; owners are asked for at the second."""
    async with FakeNode().running() as node, DynafsClient(f"http://{node.address}") as client:
        await client.put("demo", "x", b"")
        await asyncio.sleep(0)
        assert node.lines == ["PUT /v1/files/demo/x"]
        while "GET /v1/ring/owners" not in node.lines:
            await client.put("demo", "x", b"")


async def test_no_request_fails_when_an_owner_stops(five) -> None:
    """Not even the first one after it: nothing of it reached the owner."""
    async with DynafsClient(five.url("n1")) as client:
        await settled(client, five)
        gone = next(node for path in PATHS if (node := owners_of(five, path)[0]) != "n1")
        await five.stop(gone)
        for path in PATHS:
            await client.put("demo", path, b"contents")
            assert await client.get("demo", path) == b"contents"


async def test_the_given_node_may_stop_when_the_owners_are_known(five) -> None:
    """Requests go on, and the owners are learned from other nodes."""
    async with DynafsClient(five.url("n5")) as client:
        await settled(client, five)
        await five.stop("n5")
        for path in PATHS:
            await client.put("demo", path, b"contents")
            assert await client.get("demo", path) == b"contents"


async def test_a_drained_owner_is_left_out_and_taken_back(five, session, monkeypatch) -> None:
    """It says so in its answers; when that is over the owners say, which are learned again from time to time."""
    path = PATHS[0]
    first, second, _ = owners_of(five, path)
    async with DynafsClient(five.url("n1")) as client:
        await settled(client, five)
        async with session.post(f"{five.url('n1')}/v1/nodes/{first}/drain") as response:
            assert response.status == 202
        while await asked_node(client, "PUT", path) != second:
            pass
        async with session.post(f"{five.url('n1')}/v1/nodes/{first}/resume") as response:
            assert response.status == 202
        monkeypatch.setattr(routing, "PLACEMENT_AGE_S", 0.1)
        while await asked_node(client, "PUT", path) != first:
            pass


async def test_owners_are_learned_again_when_the_ring_moved(five, session) -> None:
    """A node that left names the owners; from then on they are asked."""
    async with DynafsClient(five.url("n1")) as client:
        await settled(client, five)
        keeper = five.nodes["n1"].replication.consensus
        await keeper.propose(keeper.state.staging(Change("leave", "n5")))
        async with session.get(f"{five.url()}/v1/ring/plan") as response:
            plan = await response.json()
        async with session.post(f"{five.url()}/v1/ring/commit", json={"hash": plan["hash"]}) as response:
            assert response.status == 200
        while keeper.state.step != "stable" or keeper.state.ring.epoch == 1:
            await asyncio.sleep(0.05)
        for path in PATHS:
            while await asked_node(client, "PUT", path) not in owners_of(five, path):
                pass


async def test_the_token_goes_to_proven_owners_only() -> None:
    """Who answers at an address as somebody else sees neither the token nor a file."""
    async with FakeNode().running() as given, FakeNode().running() as wrong, FakeNode().running() as right:
        wrong.told_to_be("somebody else")
        right.told_to_be("second")
        told = description((wrong.address, "first"), (right.address, "second"))
        given.answers[b"GET /v1/ring/owners"] = json_body(told)
        async with DynafsClient(f"http://{given.address}", "a secret") as client:
            while "PUT /v1/files/demo/x" not in right.lines:
                await client.put("demo", "x", b"")
            for _ in range(5):
                await client.put("demo", "x", b"")
        assert set(wrong.lines) == {"GET /readyz"}
        assert b"secret" not in b"".join(wrong.heads)
        first, second, *rest = right.heads
        assert (b"a secret" in first, b"a secret" in second) == (False, True)
        assert all(b"Bearer a secret" in head for head in rest)


async def test_an_owner_with_another_token_gets_no_files() -> None:
    """It refuses at the trial, and the given node goes on being asked."""
    async with FakeNode().running() as given, FakeNode().running() as owner:
        owner.told_to_be("first")
        owner.answers[b"GET /v1/cluster"] = json_body({}, 401)
        given.answers[b"GET /v1/ring/owners"] = json_body(description((owner.address, "first")))
        async with DynafsClient(f"http://{given.address}", "a secret") as client:
            while owner.lines.count("GET /v1/cluster") < 2:
                await client.put("demo", "x", b"")
        assert set(owner.lines) == {"GET /readyz", "GET /v1/cluster"}


async def proven(client: DynafsClient, owner: FakeNode) -> None:
    """Send requests until an owner gets them."""
    while not any("files" in line for line in owner.lines):
        await client.get("demo", "x")


async def test_a_write_that_may_have_arrived_is_not_sent_twice() -> None:
    """It ends in an error that names the owner; a read goes to the next address."""
    async with FakeNode().running() as given, FakeNode().running() as owner:
        owner.told_to_be("first")
        given.answers[b"GET /v1/ring/owners"] = json_body(description((owner.address, "first")))
        async with DynafsClient(f"http://{given.address}") as client:
            for call in (client.put("demo", "x", b"y"), client.delete("demo", "x")):
                owner.answers.pop(b"PUT", None), owner.answers.pop(b"DELETE", None), owner.heads.clear()
                await proven(client, owner)
                owner.answers |= {b"PUT": b"", b"DELETE": b""}
                given.heads.clear()
                with pytest.raises(
                    ServerUnreachable, match=f"no answer from http://{owner.address}: the connection cl"
                ):
                    await call
                assert not any(line.startswith(("PUT", "DELETE")) for line in given.lines)
            owner.heads.clear()
            await proven(client, owner)
            owner.answers[b"GET /v1/files"] = b""
            given.heads.clear()
            assert await client.get("demo", "x") == b""
            assert "GET /v1/files/demo/x" in given.lines


@pytest.mark.parametrize(
    "told",
    [
        {}, {"owners": []}, {"owners": [[5]]}, {"owners": [[-1]]}, {"owners": [[0, 0]]}, {"owners": [[0]] * 3},
        {"owners": [["n1"]]}, {"owners": [[]]}, {"n": 2}, {"nodes": []}, {"nodes": [{"node": "n1"}]},
        {"owners": [[0]] * 131072}, {"epoch": "x"}, {"version": None},
    ],
)  # fmt: skip
async def test_what_is_no_ring_changes_nothing(told: dict[str, object]) -> None:
    """The given node gets all requests."""
    async with FakeNode().running() as node:
        wrong = {**description((node.address, "first")), **told} if told else told
        node.answers[b"GET /v1/ring/owners"] = json_body(wrong)
        with pytest.raises(RingError):
            Placement.decode(node.answers[b"GET /v1/ring/owners"].partition(b"\r\n\r\n")[2], is_near=True)
        async with DynafsClient(f"http://{node.address}") as client:
            while "GET /v1/ring/owners" not in node.lines:
                await client.put("demo", "x", b"")
            await client.put("demo", "x", b"")
        assert "GET /readyz" not in node.lines


async def test_nodes_without_the_route_are_asked_as_before() -> None:
    """As those of an earlier version."""
    async with FakeNode().running() as node, DynafsClient(f"http://{node.address}") as client:
        node.answers[b"GET /v1/ring/owners"] = json_body({"error": {"code": "not_found", "message": "no route"}}, 404)
        for _ in range(20):
            await client.put("demo", "x", b"")
        assert Counter(node.lines) == {"PUT /v1/files/demo/x": 20, "GET /v1/ring/owners": 1}


def test_addresses_of_other_machines_loopback_are_left_out() -> None:
    """A client elsewhere would reach itself."""
    body = json_body(description(("127.0.0.1:80", "a"), ("10.0.0.2:80", "b"), ("", "c"), ("x y", "d"))).partition(
        b"\r\n\r\n"
    )[2]
    for is_near, wanted in ((True, ["127.0.0.1:80", "10.0.0.2:80"]), (False, ["10.0.0.2:80"])):
        placement = Placement.decode(body, is_near=is_near)
        assert [node.http for node in placement.owners(FileName("demo", "x"))] == wanted


class Unreachable:
    """A network in which no owner can be reached."""

    def __init__(self, placement: Placement) -> None:
        self._placement, self.trials, self.lessons = placement, Counter(), 0

    async def placement(self, base: str) -> Placement:
        self.lessons += 1
        return self._placement

    async def try_out(self, node: OwnerNode) -> None:
        self.trials[node.node] += 1
        raise ServerUnreachable("no way")


async def test_addresses_that_cannot_be_reached_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy nothing is waited for, and what fails is left alone longer each time."""
    monkeypatch.setattr(routing, "REST_MIN_S", 10.0)
    told = json_body(description(("10.0.0.1:80", "a"), ("10.0.0.2:80", "b"))).partition(b"\r\n\r\n")[2]
    network = Unreachable(Placement.decode(told, is_near=False))
    one = Routing("http://proxy", network)
    for _ in range(200):
        assert [address.base for address in one.addresses(FileName("demo", "x"), is_write=True)] == ["http://proxy"]
        await asyncio.sleep(0)
    assert network.trials == {"n1": 1, "n2": 1}
    assert network.lessons == 1
    await one.close()
