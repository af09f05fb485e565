"""Listings against a model: any files and deletes, prefix, delimiter and page size, with a node that missed some."""

import random

import pytest
from aiohttp import ClientSession

from dynafs.errors import PeerRefused
from dynafs.files import FileName
from dynafs.wire.messages import StoreRecord

ALPHABET = ["a", "b", "/", "é", "\U0010ffff"]


def expected(paths: list[str], prefix: str, delimiter: str) -> tuple[list[str], list[str]]:
    files, prefixes = [], {}
    for path in sorted((p for p in paths if p.startswith(prefix)), key=str.encode):
        cut = path.find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            files.append(path)
        else:
            prefixes[path[: cut + 1]] = None
    return files, list(prefixes)


async def list_all(session, cluster, node: str, prefix: str, delimiter: str, limit: int) -> tuple[list[str], list[str]]:
    files, prefixes, query = [], [], {"prefix": prefix, "delimiter": delimiter, "limit": str(limit)}
    for _ in range(200):
        async with session.get(cluster.file_url("demo", node), params=query) as response:
            page = await response.json()
            assert response.status == 200, page
        assert len(page["files"]) + len(page["prefixes"]) <= limit
        files += [row["path"] for row in page["files"]]
        prefixes += page["prefixes"]
        if page["cursor"] is None:
            return files, prefixes
        query["cursor"] = page["cursor"]
    raise AssertionError("a listing that does not end")


async def test_listing_equals_the_model(cluster, session: ClientSession, rng: random.Random) -> None:
    """Every acknowledged file and no deleted one, each once, in order, through every node, in pages of any size."""
    alive: dict[str, None] = {}

    async def change(names: list[str], count: int) -> None:
        for _ in range(count):
            node = rng.choice(names)
            if alive and rng.random() < 0.4:
                path = rng.choice(list(alive))
                async with session.delete(cluster.file_url("demo/", node) + path) as response:
                    assert response.status == 204
                del alive[path]
            else:
                path = "".join(rng.choices(ALPHABET, k=rng.randint(1, 5)))
                async with session.put(cluster.file_url("demo/", node) + path, data=b"") as response:
                    assert response.status == 201
                alive[path] = None

    await change(cluster.names, 40)
    await cluster.stop("n2")
    await change(["n1", "n3"], 40)
    await cluster.start("n2")
    for _ in range(30):
        prefix = "".join(rng.choices(ALPHABET, k=rng.randint(0, 2)))
        delimiter, limit = rng.choice(["", "/", "a"]), rng.choice([1, 2, 7, 1000])
        found = await list_all(session, cluster, rng.choice(cluster.names), prefix, delimiter, limit)
        assert found == expected(list(alive), prefix, delimiter), (prefix, delimiter, limit)


async def test_listed_file_has_what_its_metadata_say(cluster, session: ClientSession) -> None:
    """Every field of a version, with a client's metadata and headers, and without any."""
    headers = {"X-Meta-Color": "red", "Cache-Control": "no-cache", "Content-Type": "text/plain"}
    for path, sent in (("a", headers), ("b", {})):
        async with session.put(cluster.file_url(f"demo/{path}"), data=b"contents", headers=sent) as response:
            assert response.status == 201
    async with session.get(cluster.file_url("demo", "n2")) as response:
        rows = (await response.json())["files"]
    assert [row["path"] for row in rows] == ["a", "b"]
    for row in rows:
        async with session.get(f"{cluster.url('n3')}/v1/metadata/demo/{row['path']}") as response:
            shown = await response.json()
        version = {name: shown[name] for name in row if name != "siblings"}
        assert row == {**version, "siblings": 0}
    assert rows[0]["metadata"] == {"color": "red"}
    assert rows[0]["headers"] == {"Cache-Control": "no-cache"}


async def test_buckets_are_listed_and_made_with_a_policy_of_their_own(cluster, session: ClientSession) -> None:
    """A bucket's policy holds for its files, is shown, and cannot be changed."""
    url = f"{cluster.url()}/v1/buckets/wide"
    async with session.put(url, json={"w": 3, "r": 1, "chunk_size_bytes": 65536}) as response:
        assert response.status == 201
    async with session.put(url, json={"w": 2}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (409, "bucket_exists")
    for policy in ({"w": 1, "r": 1}, {"w": 9}, {"chunk_size_bytes": 5}, {"color": "red"}, [1]):
        async with session.put(f"{cluster.url()}/v1/buckets/other", json=policy) as response:
            assert response.status == 400, await response.text()
    async with session.put(cluster.file_url("wide/f"), data=bytes(200_000)) as response:
        assert len((await response.json())["stored_on"]) == 3
    async with session.get(f"{cluster.url('n2')}/v1/metadata/wide/f") as response:
        assert (await response.json())["chunk_count"] == 4
    async with session.put(cluster.file_url("plain/f"), data=b"x") as response:
        assert response.status == 201
    async with session.get(f"{cluster.url('n3')}/v1/files") as response:
        assert (await response.json())["buckets"] == ["plain", "wide"]
    await cluster.stop("n3")
    async with session.put(cluster.file_url("wide/g"), data=b"x") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (503, "write_quorum_lost")
    # One of three copies cannot be confirmed, so a read that promises what later reads will see must refuse as well.
    async with session.get(cluster.file_url("wide/f")) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (503, "read_quorum_lost")


@pytest.mark.parametrize("key", [b"demo\0\xfe\xfe", b"\0\xfe", b"demo", b"demo\0a\0b", b"a/b\0c"])
async def test_record_under_a_key_that_is_no_name_is_refused(cluster, session: ClientSession, key: bytes) -> None:
    """A peer that sends one gets name_invalid, and listings stay as they are."""
    async with session.put(cluster.file_url("demo/f"), data=b"x") as response:
        assert response.status == 201
    data = cluster.nodes["n1"].store.read_record(FileName("demo", "f").key)
    with pytest.raises(PeerRefused) as caught:
        await cluster.nodes["n1"].pool.call("n2", StoreRecord(key), data, timeout_s=2)
    assert caught.value.remote_code == "name_invalid"
    for url in (f"{cluster.url('n2')}/v1/files", f"{cluster.url('n2')}/v1/files/demo"):
        async with session.get(url) as response:
            assert response.status == 200
