"""X-Dynafs-Context: what a client may claim to have seen of a file, and what records with very many actors cost."""

import asyncio
import base64
import time

import msgspec
import pytest
from aiohttp import ClientSession

from dynafs.causality import Stamp
from dynafs.coordinator.commit import SIBLINGS_MAX
from dynafs.files import FileName, Record, Version, VersionKind
from dynafs.files.version import etag_of
from dynafs.replica import actors
from dynafs.ring import file_hash
from dynafs.wire.messages import ReadRecord
from dynafs.wire.records import decode_context, decode_record, encode_record
from dynafs.wire.segments import chunk_id_of

HEADER = "X-Dynafs-Context"
HEADER_BYTES_MAX = 4096


async def make_bucket(session: ClientSession, url: str, name: str = "both", conflict: str = "keep-both") -> None:
    policy = {"consistency": "available", "conflict": conflict}
    async with session.put(f"{url}/v1/buckets/{name}", json=policy) as response:
        assert response.status == 201, await response.text()


async def put(session: ClientSession, url: str, body: bytes, token: str | None = None) -> tuple[int, dict]:
    async with session.put(url, data=body, headers={HEADER: token} if token is not None else {}) as response:
        return response.status, {**await response.json(), "retry": response.headers.get("Retry-After")}


async def token_of(session: ClientSession, url: str) -> str:
    async with session.get(url) as response:
        assert response.status in (200, 300)
        assert len(response.headers[HEADER]) <= HEADER_BYTES_MAX
        return response.headers[HEADER]


def made_up(context: dict[str, int]) -> str:
    """Return a context in the form that it has in a token, without the MAC that makes it one."""
    return base64.urlsafe_b64encode(b"\x01" + bytes(16) + msgspec.msgpack.encode(context)).decode()


def records(cluster, path: str) -> list[Record]:
    """Return what every node holds of a file."""
    key = FileName("both", path).key
    return [decode_record(node.store.read_record(key)) for node in cluster.nodes.values()]


async def test_context_that_the_cluster_did_not_issue_is_a_clients_mistake(cluster, session: ClientSession) -> None:
    """400 about the header for PUT and DELETE, in every kind of bucket; nothing is stored, no clock moves, and nothing
    says to try again."""
    await make_bucket(session, cluster.url())
    await make_bucket(session, cluster.url(), "last", "last-writer-wins")
    far = (time.time_ns() // 1_000_000 + 50_000) << 16
    assert (await put(session, cluster.file_url("both/other"), b"other"))[0] == 201
    foreign = await token_of(session, cluster.file_url("both/other"))
    claims = [
        made_up({"zz": far}), made_up({"zz": 2**63}), made_up({"zz": 2**64 - 1}), made_up({"zz": -1}), made_up({}),
        base64.urlsafe_b64encode(msgspec.msgpack.encode({"zz": far})).decode(), foreign, "", "!", "AAAA", "A" * 9000,
        "\N{SNOWMAN}",
    ]  # fmt: skip
    for path in ("both/f", "last/f", "strong/f"):
        url = cluster.file_url(path)
        assert (await put(session, url, b"first"))[0] == 201
        for claim in claims:
            status, reply = await put(session, url, b"lie", claim)
            assert (status, reply["error"]["code"], reply["error"]["field"]) == (400, "request_invalid", HEADER), claim
            assert reply["retry"] is None
            assert not reply["error"]["retryable"]
            async with session.delete(url, headers={HEADER: claim}) as response:
                assert response.status == 400
        async with session.get(url) as response:
            assert (response.status, await response.read()) == (200, b"first")
        status, reply = await put(session, url, b"second")
        assert status == 201
        assert int(reply["version"][:16], 16) >> 16 <= time.time_ns() // 1_000_000
    assert all("zz" not in record.context for record in records(cluster, "f"))


async def test_context_sent_twice_is_refused(cluster, session: ClientSession) -> None:
    """No rule says which of the two holds."""
    await make_bucket(session, cluster.url())
    url = cluster.file_url("both/f")
    assert (await put(session, url, b"one"))[0] == 201
    token = await token_of(session, url)
    async with session.put(url, data=b"two", headers=[(HEADER, token), (HEADER, token)]) as response:
        assert response.status == 400


async def test_delete_with_a_context_deletes_what_was_seen(cluster, session: ClientSession) -> None:
    """What was written since stays; without a context all goes."""
    await make_bucket(session, cluster.url())
    url = cluster.file_url("both/f")
    assert (await put(session, url, b"one"))[0] == 201
    token = await token_of(session, url)
    assert (await put(session, cluster.file_url("both/f", "n2"), b"two"))[0] == 201
    async with session.delete(url, headers={HEADER: token}) as response:
        assert response.status == 204
    async with session.get(url) as response:
        assert (response.status, await response.read()) == (200, b"two")
    async with session.delete(url) as response:
        assert response.status == 204
    async with session.get(url) as response:
        assert response.status == 404


async def test_siblings_are_bounded_whatever_a_client_has_seen(make_cluster, session: ClientSession) -> None:
    """An old context replaces nothing any more, so it does not lift the limit; through a node that forwards the write
    the refusal is the same. The context of all that stands resolves them."""
    cluster = make_cluster(count=5)
    await cluster.start()
    await make_bucket(session, cluster.url())
    url = cluster.file_url("both/f")
    assert (await put(session, url, b"first"))[0] == 201
    old = await token_of(session, url)
    for number in range(SIBLINGS_MAX):
        assert (await put(session, url, b"%d" % number, old))[0] == 201
    for name in cluster.names:
        for token in (None, old):
            status, reply = await put(session, cluster.file_url("both/f", name), b"more", token)
            assert (status, reply["error"]["code"]) == (409, "too_many_siblings"), name
    assert (await put(session, url, b"resolved", await token_of(session, url)))[0] == 201
    async with session.get(url) as response:
        assert (response.status, await response.read()) == (200, b"resolved")


def bombed() -> bytes:
    """Return a record whose context no head of a message can carry, with two versions that stand."""
    context = {f"made up {number:0100}": 2**40 + number for number in range(2000)}
    versions = [
        Version(
            Stamp((1_700_000_000_000 + number) << 16, f"n{number}-0123456789abcdef"), VersionKind.FILE, bytes(16),
            len(body), "text/plain", etag_of([chunk_id_of(body)]), inline=body, keeps_both=True,
        )
        for number, body in ((1, b"one"), (2, b"two"))
    ]  # fmt: skip
    return encode_record(Record.of(context, versions))


async def test_record_with_very_many_actors_stays_usable(cluster, session: ClientSession, events: list[dict]) -> None:
    """Normal clients read it, a write with the context resolves it through any node, writes without one go on, and no
    connection between nodes breaks."""
    await make_bucket(session, cluster.url())
    for path in ("f1", "f2", "f3"):
        await asyncio.gather(
            *(node.replication.record_service.merge_record(FileName("both", path).key, bombed()) for node in
              cluster.nodes.values())
        )  # fmt: skip
    for name, path in zip(cluster.names, ("f1", "f2", "f3"), strict=True):
        url = cluster.file_url(f"both/{path}", name)
        async with session.get(url) as response:
            assert response.status == 300
            assert len(await response.json()) == 4
        assert (await put(session, url, b"late"))[0] == 201
        assert (await put(session, url, b"resolved", await token_of(session, url)))[0] == 201
        async with session.get(url) as response:
            assert (response.status, await response.read()) == (200, b"resolved")
        async with session.delete(url) as response:
            assert response.status == 204
    async with session.get(f"{cluster.url()}/v1/files/both") as response:
        assert response.status == 200
    assert not [event for event in events if event["event"].startswith("peer.") and event["log_level"] != "info"]


async def test_context_travels_as_the_asker_can_read_it(cluster) -> None:
    """In the body for nodes that say so, when a head might be too small; else in the head, as before."""
    replication = cluster.nodes["n1"].replication
    dispatcher, records = replication.dispatcher, replication.record_service
    small, large = FileName("both", "small").key, FileName("both", "large").key
    context = dict(decode_record(bombed()).context)
    await records.merge_record(large, bombed())
    await records.merge_record(small, encode_record(Record.of({"a": 1}, ())))
    assert dispatcher.handle("n2", ReadRecord(large, context=True), b"").message.context == context
    answer = dispatcher.handle("n2", ReadRecord(large, context=True, context_in_body=True), b"")
    assert answer.message.context == {}
    assert answer.message.context_in_body
    assert decode_context(answer.body) == context
    answer = dispatcher.handle("n2", ReadRecord(small, context=True, context_in_body=True), b"")
    assert (answer.message.context, answer.message.context_in_body, answer.body) == ({"a": 1}, False, b"")


async def test_stand_in_without_a_name_lets_an_owner_write(
    make_cluster, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a record has as many actors as it may, a node that stands in for an owner adds none; the write goes on."""
    cluster = make_cluster(count=5)
    await cluster.start()
    await make_bucket(session, cluster.url())
    for name in cluster.names:
        async with session.get(cluster.file_url("both/none", name)) as response:
            assert response.status == 404
    place, reach = file_hash(FileName("both", "f").key), cluster.nodes["n1"].replication.cluster
    away, fallback = reach.owners(place)[0], reach.fallbacks(place)[0]
    await cluster.stop(away)
    async with asyncio.timeout(10):
        while cluster.nodes[fallback].replication.cluster.is_up(away):
            await asyncio.sleep(0.01)
    monkeypatch.setattr(actors, "ACTORS_MAX", 0)
    assert (await put(session, cluster.file_url("both/f", fallback), b"x"))[0] == 201
    written = {stamp.actor for record in records(cluster, "f") for stamp in record.stamps}
    assert {actor.partition("-")[0] for actor in written} == {reach.owners(place)[1]}
    assert not any("~" in actor for actor in written)


async def test_last_writer_wins_buckets_need_no_names_of_stand_ins(make_cluster, session: ClientSession) -> None:
    """The greatest stamp wins whether it covers the others or not, so a node writes under its own name always."""
    cluster = make_cluster(count=5)
    await cluster.start()
    await make_bucket(session, cluster.url(), "both", "last-writer-wins")
    for name in cluster.names:
        async with session.get(cluster.file_url("both/none", name)) as response:
            assert response.status == 404
    place, reach = file_hash(FileName("both", "f").key), cluster.nodes["n1"].replication.cluster
    away, fallback = reach.owners(place)[0], reach.fallbacks(place)[0]
    await cluster.stop(away)
    async with asyncio.timeout(10):
        while cluster.nodes[fallback].replication.cluster.is_up(away):
            await asyncio.sleep(0.01)
    assert (await put(session, cluster.file_url("both/f", fallback), b"x"))[0] == 201
    written = {actor for record in records(cluster, "f") for actor in record.context}
    assert len(written) == 1
    assert not any("~" in actor for actor in written)
