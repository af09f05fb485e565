"""Versions side by side, for users of the client and the command."""

from pathlib import Path

import pytest

from dynafs.client import DynafsClient
from dynafs.errors import ServerRefused, SiblingsFound
from tests.cli.test_commands import dynafs


@pytest.fixture
async def url(cluster, session) -> str:
    """Return the URL of a cluster with two versions of both/f."""
    policy = {"consistency": "available", "conflict": "keep-both"}
    async with session.put(f"{cluster.url()}/v1/buckets/both", json=policy) as response:
        assert response.status == 201
    for name, contents in (("n1", b"one"), ("n2", b"three")):
        async with DynafsClient(cluster.url(name)) as client:
            await client.put("both", "f", contents)
    return cluster.url()


async def test_client_names_versions_takes_one_and_resolves(url: str) -> None:
    """They are never content; each can be had; a write with their context leaves one."""
    async with DynafsClient(url) as client:
        with pytest.raises(SiblingsFound, match="2 versions") as caught:
            await client.get("both", "f")
        found = caught.value
        assert {one["size_bytes"] for one in found.versions} == {3, 5}
        assert all(stamp in found.message for stamp in found.stamps)
        assert {await client.get("both", "f", version=stamp) for stamp in found.stamps} == {b"one", b"three"}
        with pytest.raises(ServerRefused, match="version not found"):
            await client.get("both", "f", version="none")
        async with client.open("both", "f", version=found.stamps[0]) as file:
            assert (file.version, file.context) == (found.stamps[0], found.context)
        await client.put("both", "f", b"merged", seen=found.context)
        assert await client.get("both", "f") == b"merged"
        assert (await client.stat("both", "f"))["siblings"] == []


async def test_command_shows_chooses_and_resolves(url: str, tmp_path: Path) -> None:
    """get writes nothing and says how to go on; ls and stat show that versions stand."""
    target = tmp_path / "f"
    code, _, err = await dynafs("get", "both/f", target, url=url)
    assert (code, target.exists()) == (1, False)
    assert "both/f has 2 versions side by side" in err
    rows = [line.split() for line in err.splitlines() if line.endswith(" B")]
    context = err.split("--context ")[1].strip()
    assert {" ".join(row[1:]) for row in rows} == {"3 B", "5 B"}
    for row in rows:
        assert (await dynafs("get", "both/f", target, "--version", row[0], url=url))[0] == 0
        assert len(target.read_bytes()) == int(row[1])
    code, out, err = await dynafs("stat", "both/f", url=url)
    assert (code, "sibling " in out, "2 versions stand side by side" in out) == (0, True, True)
    assert (await dynafs("put", target, "both/f", "--context", context, url=url))[0] == 0
    assert (await dynafs("get", "both/f", "-", url=url))[1] == target.read_text()


async def test_listings_count_versions(url: str) -> None:
    """Clients, scripts and people see from a listing that versions stand side by side, and that they are resolved."""
    async with DynafsClient(url) as client:
        assert [(row["path"], row["siblings"]) async for row in client.list("both")] == [("f", 1)]
        assert (await dynafs("ls", "both", url=url))[1].split() == ["2", "versions", "f"]
        with pytest.raises(SiblingsFound) as caught:
            await client.get("both", "f")
        await client.put("both", "f", b"merged", seen=caught.value.context)
        assert [(row["path"], row["siblings"]) async for row in client.list("both")] == [("f", 0)]
        assert (await dynafs("ls", "both", url=url))[1].split() == ["6", "B", "f"]
