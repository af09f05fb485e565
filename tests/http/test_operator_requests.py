"""What operators POST about the ring, nodes, jobs and buckets is refused by its field, or does what it says."""

import json
import random
from dataclasses import replace

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st

from dynafs.errors import PeerRefused, RequestInvalid
from dynafs.http.changes import parse_change
from dynafs.ring.change import Change
from dynafs.wire.operator_messages import LimitJob
from tests.support.local_cluster import LocalCluster

STAGE, COMMIT = "/v1/ring/stage", "/v1/ring/commit"
JOIN = {"kind": "join", "node": "n4", "address": "n4:7400"}


async def staged(session: ClientSession, cluster: LocalCluster) -> list[str]:
    async with session.get(f"{cluster.url()}/v1/ring/plan") as response:
        assert response.status == 200
        return (await response.json())["staged"]


IMPOSSIBLE = [
    ({"kind": "weight", "node": "n1"}, "weight"),
    ({"kind": "weight", "node": "n1", "wieght": 2}, "wieght"),
    ({"kind": "weight", "node": "n1", "weight": None}, "weight"),
    ({"kind": "weight", "node": "n1", "weight": "2"}, "weight"),
    ({"kind": "weight", "node": "n1", "weight": 0}, "weight"),
    ({"kind": "weight", "node": "n1", "weight": 1e300}, "weight"),
    (b'{"kind": "weight", "node": "n1", "weight": 1e999}', "weight"),
    (b'{"kind": "weight", "node": "n1", "weight": NaN}', "body"),
    ({"kind": "zone", "node": "n1"}, "zone"),
    ({"kind": "zone", "node": "n1", "zone": None}, "zone"),
    ({"kind": "zone", "node": "n1", "zone": ""}, "zone"),
    ({"kind": "zone", "node": "n1", "zone": "\x1b[2J"}, "zone"),
    ({"kind": "zone", "node": "n1", "zone": "z", "weight": 2}, "weight"),
    ({**JOIN, "node": "../x"}, "node"),
    ({**JOIN, "node": "n/9"}, "node"),
    ({**JOIN, "node": ""}, "node"),
    ({**JOIN, "node": 4}, "node"),
    ({**JOIN, "zone": ""}, "zone"),
    ({**JOIN, "weight": -1}, "weight"),
    ({**JOIN, "address": "n4:0"}, "address"),
    ({**JOIN, "address": "n 4:80"}, "address"),
    ({**JOIN, "addres": "n4:80"}, "addres"),
    ({"kind": "leave", "node": "n\x1b"}, "node"),
    ({"kind": "leave"}, "node"),
    ({"kind": "leave", "node": "n1", "by": "n4"}, "by"),
    ({"kind": "replace", "node": "n1"}, "by"),
    ({"kind": "replace", "node": "n1", "by": "n/4", "address": "n4:80"}, "by"),
    ({"kind": "replace", "node": "n1", "by": "n4", "address": "n4:80", "weight": 0}, "weight"),
    ({"kind": "dance", "node": "n1"}, "kind"),
    ({"node": "n1"}, "kind"),
    ([], "body"),
    (b"", "body"),
    (b"null", "body"),
    (b'{"kind": "leave", "node": "\xff"}', "body"),
    (b'{"a": ' * 600, "body"),
    (b'{"kind": "leave", "node": "n1", "node": "n2"}', "node"),
]
BAD_POLICIES = [
    (b'{"zz": 1}', "zz"),
    (b'{"R": 1}', "R"),
    (b'{"r": "2"}', "r"),
    (b'{"r": 2.5}', "r"),
    (b'{"r": null}', "r"),
    (b'{"chunk_size_bytes": true}', "chunk_size_bytes"),
    (b'{"r": 3, "r": 2}', "r"),
    (b'{"w": 2, "r": 2, "w": 2}', "w"),
    (b'\xef\xbb\xbf{"r": 2}', "body"),
    ('{"r": 2}'.encode("utf-16"), "body"),
]


async def test_bad_policy_is_refused_by_its_field(cluster: LocalCluster, session: ClientSession) -> None:
    """Wrong types, unknown and repeated keys; no bucket is made."""
    url = f"{cluster.url()}/v1/buckets/refused"
    for body, field in BAD_POLICIES:
        async with session.put(url, data=body) as response:
            told = (await response.json())["error"]
        assert (response.status, told["field"]) == (400, field), (body, told)
    async with session.get(url) as response:
        assert response.status == 404


async def test_body_of_an_operator_is_plain(cluster: LocalCluster, session: ClientSession) -> None:
    """A coding is not undone, and a digest not checked, so that neither is dropped in silence."""
    url = f"{cluster.url()}/v1/buckets/plain"
    for name, value in (("Content-Encoding", "gzip"), ("Content-MD5", "AAAA"), ("Repr-Digest", "sha-256=:AAAA:")):
        for method, asked in (("PUT", url), ("POST", cluster.url() + STAGE), ("POST", cluster.url() + COMMIT)):
            # Without compress=False the client library compresses a body that has a Content-Encoding.
            headers = {name: value}
            async with session.request(method, asked, data=b"{}", headers=headers, compress=False) as response:
                assert response.status == 501, (name, asked)
                assert (await response.json())["error"]["field"] == name
    async with session.get(url) as response:
        assert response.status == 404
    async with session.put(url, data=b"{}", headers={"Content-Encoding": "identity"}, compress=False) as response:
        assert response.status == 201


async def test_unknown_query_parameters_are_refused(cluster: LocalCluster, session: ClientSession) -> None:
    """Probes and scrapers may send what they like; what operators ask for is not dropped."""
    for path in ("ring", "ring/plan", "ring/history", "ring/status", "ring/transfers", "cluster", "census", "hints"):
        async with session.get(f"{cluster.url()}/v1/{path}?epoch=1") as response:
            assert response.status == 400, path
            assert (await response.json())["error"]["field"] == "epoch"
    async with session.get(f"{cluster.url()}/v1/nowhere?epoch=1") as response:
        assert response.status == 404
    for path in ("healthz", "readyz", "metrics"):
        async with session.get(f"{cluster.url()}/{path}?x=1") as response:
            assert response.status == 200, path


async def test_changes_that_cannot_be_are_not_staged(cluster: LocalCluster, session: ClientSession) -> None:
    """400 naming the field; nothing is staged, and plans go on."""
    for body, field in IMPOSSIBLE:
        data = body if isinstance(body, bytes) else json.dumps(body)
        async with session.post(cluster.url() + STAGE, data=data) as response:
            told = (await response.json())["error"]
        assert (response.status, told["code"], told["field"]) == (400, "request_invalid", field), (body, told)
        assert await staged(session, cluster) == [], body


def _values(rng: random.Random, depth: int = 0) -> object:
    """Return something that JSON can say."""
    leaves = ["n1", "n9", "../x", "", "join", "leave", "\x1b", "n4:80", 0, -1, 2, 2**70, 1.5, 1e308, True, None]
    if depth > 2 or rng.random() < 0.7:
        return rng.choice(leaves)
    if rng.random() < 0.5:
        return [_values(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {rng.choice(["kind", "node", "x"]): _values(rng, depth + 1) for _ in range(rng.randrange(3))}


def _body(rng: random.Random) -> bytes:
    """Return a body that is nearly right, or something else."""
    fields = ["kind", "node", "by", "weight", "zone", "address", "hash", "r", "w", "consistency", "chunk_size_bytes"]
    told = {field: _values(rng) for field in rng.sample(fields, rng.randrange(5))}
    if rng.random() < 0.6:
        told |= {"kind": rng.choice(["join", "leave", "replace", "weight", "zone"]), "node": rng.choice(["n1", "n4"])}
    body = json.dumps(told if rng.random() < 0.9 else _values(rng)).encode()
    if rng.random() < 0.1:
        place = rng.randrange(len(body))
        body = body[:place] + rng.randbytes(2) + body[place:]
    return body


async def test_no_body_is_an_error_of_ours(cluster: LocalCluster, session: ClientSession, rng: random.Random) -> None:
    """Whatever is sent: no 500, what is staged changes by a 200 of `stage` alone, and the plan can always be shown."""
    before: list[str] = []
    for _ in range(300):
        path, body = rng.choice([STAGE, STAGE, COMMIT, "/v1/buckets/fuzzed"]), _body(rng)
        method = "PUT" if "buckets" in path else "POST"
        async with session.request(method, cluster.url() + path, data=body) as response:
            assert response.status < 500 or response.status == 503, (path, body, await response.text())
        after = await staged(session, cluster)
        assert after == before or (path, response.status) == (STAGE, 200), (path, body)
        before = after


async def test_no_query_is_an_error_of_ours(cluster: LocalCluster, session: ClientSession, rng: random.Random) -> None:
    """Paces are whole numbers in their range; names that no node has are refused by the rule or not found."""
    paces = ["", "-1", "nan", "inf", "1e3", "9" * 5000, "%C2%B2", "1.5", "0x1", " 1", str((1 << 40) + 1), "%FF", "%00"]
    for path in ("/v1/ring/throttle", "/v1/jobs/walk/limit", "/v1/jobs/scrub/limit"):
        for pace in paces:
            async with session.post(f"{cluster.url()}{path}?bytes_per_s_max={pace}") as response:
                assert response.status == 400, (path, pace)
        async with session.post(f"{cluster.url()}{path}?bytes_per_s_max={1 << 40}") as response:
            assert response.status in (200, 202)
    for node, status in (("n9", 404), ("n%2F9", 400), ("%1b", 400), ("..%2Fx", 400), ("%FF", 400), ("", 400)):
        for action in ("drain", "resume", "restart"):
            async with session.post(f"{cluster.url()}/v1/nodes/{node}/{action}") as response:
                assert response.status == status, (node, action, await response.text())
    async with session.post(f"{cluster.url()}/v1/jobs/census/start?deep=maybe") as response:
        assert response.status == 400


async def test_pace_that_cannot_be_is_refused_by_the_node_that_is_asked(cluster: LocalCluster) -> None:
    """Between nodes, too: a peer of another version may not have looked."""
    reach = cluster.nodes["n1"].replication.cluster
    for pace in (-5, 1 << 41):
        with pytest.raises(PeerRefused, match="bytes_per_s_max: use 0 to"):
            await reach.ask("n2", LimitJob("walk", pace))
    await reach.ask("n2", LimitJob("walk", 1 << 20))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["kind", "node", "by", "weight", "zone", "address"])
KINDS = st.sampled_from(["join", "leave", "replace", "weight", "zone"])


@given(st.binary() | JSON_VALUES.map(json.dumps).map(str.encode) | st.builds(
    lambda kind, rest: json.dumps({**rest, "kind": kind}).encode(), KINDS, st.dictionaries(FIELDS, JSON_VALUES)
))  # fmt: skip
def test_every_body_is_a_change_or_a_refusal_that_names_a_field(body: bytes) -> None:
    try:
        answer: Change | RequestInvalid = parse_change(body)
    except RequestInvalid as error:
        answer = error
    assert isinstance(answer, Change) or answer.evidence["field"]
    assert str(answer).encode("utf-8", "strict")


@pytest.mark.parametrize(
    "bad", [Change("weight", "n1"), Change("zone", "n1"), Change("join", "../x"), Change("weight", "n1", weight=1e30)]
)
async def test_what_an_earlier_version_staged_can_be_cleared(cluster, session, bad: Change) -> None:
    """A state that was staged without checks answers with the way out, on every route and every node."""
    await cluster.nodes["n1"].replication.consensus.amend(
        lambda state: replace(state, version=state.version + 1, staged=(bad,))
    )
    for method, path, body in (
        ("GET", "/v1/ring/plan", None),
        ("POST", STAGE, JOIN),
        ("POST", COMMIT, {"hash": "0" * 16}),
    ):
        async with session.request(method, cluster.url() + path, json=body) as response:
            told = (await response.json())["error"]
        assert (response.status, told["code"]) == (400, "staged_unusable"), (path, told)
        assert "`dynafs ring clear`" in told["message"]
    async with session.get(f"{cluster.url()}/v1/ring/status") as response:
        assert response.status == 200
    async with session.post(f"{cluster.url()}/v1/ring/clear") as response:
        assert (response.status, (await response.json())["staged"]) == (200, [])
    async with session.post(cluster.url() + STAGE, json=JOIN) as response:
        assert response.status == 200
