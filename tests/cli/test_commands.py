"""The command as a user types it, against a running cluster; the client it is built on."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from dynafs.client import DynafsClient
from dynafs.errors import ServerRefused, ServerUnreachable


async def dynafs(*arguments: object, url: str = "", data: bytes | None = None) -> tuple[int, str, str]:
    """Run the command; return exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dynafs", *map(str, arguments), env={**os.environ, "DYNAFS_URL": url, "COLUMNS": "200"},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(data), 30)
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


async def test_files_go_in_and_out(cluster, tmp_path: Path) -> None:
    """put, ls, stat, get and rm do what they say, also with names that need quoting."""
    source, target = tmp_path / "a file [1].bin", tmp_path / "back"
    source.write_bytes(os.urandom(3_000_000))
    url = cluster.url("n2")
    assert (await dynafs("put", source, "demo/dir/", url=url))[0] == 0
    assert (await dynafs("put", "-", "demo/..", url=url, data=b"from stdin"))[0] == 0
    _, out, _ = await dynafs("ls", "demo", "--json", url=url)
    assert [row.get("path") or row["prefix"] for row in json.loads(out)] == ["dir/", ".."]
    _, out, _ = await dynafs("ls", "demo", "-r", url=url)
    assert "dir/a file [1].bin" in out
    _, out, _ = await dynafs("stat", f"demo/dir/{source.name}", "--json", url=url)
    found = json.loads(out)
    assert (found["size_bytes"], len(found["chunks"])) == (3_000_000, 3)
    _, out, _ = await dynafs("stat", f"demo/dir/{source.name}", url=url)
    assert "n1 present" in out
    assert (await dynafs("get", f"demo/dir/{source.name}", target, url=url))[0] == 0
    assert target.read_bytes() == source.read_bytes()
    assert (await dynafs("get", "demo/..", "-", url=url))[1] == "from stdin"
    assert (await dynafs("rm", "demo/..", f"demo/dir/{source.name}", url=url))[0] == 0
    assert (await dynafs("ls", "demo", url=url))[1] == ""


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("get", "demo/none"), 1, "bucket not found: demo"),
        (("get", "demo"), 2, "name a file as BUCKET/PATH"),
        (("put", "/no/such/file", "demo/x"), 2, "no such file"),
        (("put", __file__, "b d/x"), 1, "bucket: use 1 to 63"),
        (("frob",), 2, "No such command"),
        (("get", "demo/x", "--url", "http://127.0.0.1:1"), 2, "no answer from http://127.0.0.1:1"),
        (("serve", "--config", "/no/such.toml"), 2, "cannot be read"),
    ],
)
async def test_errors_say_what_is_wrong_and_set_the_exit_code(cluster, arguments, code: int, told: str) -> None:
    """1 for not found or refused, 2 for wrong usage or unreachable; no traceback."""
    found, _, err = await dynafs(*arguments, url=cluster.url())
    assert found == code, err
    assert told in " ".join(err.split())
    assert "Traceback" not in err


async def test_ring_is_shown(cluster) -> None:
    """Members with state and share; owners of a name; what is wrong, by the exit code."""
    code, out, _ = await dynafs("ring", "status", url=cluster.url())
    assert code == 0
    assert out.count("UN ") == 3
    code, out, _ = await dynafs("ring", "check", url=cluster.url())
    assert (code, out.strip()) == (0, "epoch 1: all 3 nodes are up and agree")
    _, out, _ = await dynafs("ring", "locate", "demo/x", "--json", url=cluster.url())
    assert [node["role"] for node in json.loads(out)["nodes"]] == ["owner"] * 3
    await cluster.stop("n3")
    code, out, _ = await dynafs("ring", "check", url=cluster.url())
    assert (code, "n3 does not answer (peer_unreachable)" in out) == (1, True)
    _, out, _ = await dynafs("ring", "status", url=cluster.url())
    assert (out.count("UN "), out.count("DN ")) == (2, 1)
    await cluster.stop("n2")
    code, out, _ = await dynafs("ring", "check", "--json", url=cluster.url())
    assert (code, json.loads(out)["has_quorum"]) == (2, False)


async def test_client_streams_and_lists(cluster) -> None:
    """The Python client: whole files, ranges, many pages, clear errors."""
    contents = os.urandom(2_500_000)
    async with DynafsClient(cluster.url()) as client:
        receipt = await client.put("demo", "big", contents, metadata={"k": "v"})
        assert receipt["size_bytes"] == len(contents)
        assert await client.get("demo", "big") == contents
        async with client.open("demo", "big", start=1_000_000, stop=1_000_010) as file:
            assert b"".join([piece async for piece in file.pieces()]) == contents[1_000_000:1_000_010]
        assert (await client.stat("demo", "big"))["metadata"] == {"k": "v"}
        for i in range(5):
            await client.put("demo", f"d/{i}", b"")
        assert {"prefix": "d/"} in [row async for row in client.list("demo", delimiter="/")]
        assert [row["path"] async for row in client.list("demo", "d/")] == [f"d/{i}" for i in range(5)]
        assert [name async for name in client.buckets()] == ["demo"]
        await client.delete("demo", "big")
        with pytest.raises(ServerRefused) as caught:
            await client.get("demo", "big")
        assert (caught.value.status, caught.value.remote_code) == (404, "not_found")
    async with DynafsClient("http://127.0.0.1:1") as client:
        with pytest.raises(ServerUnreachable):
            await client.get("demo", "big")


@pytest.mark.parametrize("action", ["put", "delete", "get"])
async def test_client_never_sends_a_request_twice(action: str) -> None:
    """A server that takes the request and hangs up sees it once; what became of it is the caller's to find out."""
    seen = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with DynafsClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        calls = {"put": (client.put, b""), "delete": (client.delete,), "get": (client.get,)}
        call, *rest = calls[action]
        with pytest.raises(ServerUnreachable):
            await call("demo", "f", *rest)
    server.close()
    assert len(seen) == 1


async def test_rebuild_index_command_restores_a_lost_index(cluster, tmp_path: Path) -> None:
    """A node whose index is gone gets its chunks back from its segments."""
    contents = os.urandom(3_000_000)
    async with DynafsClient(cluster.url()) as client:
        await client.put("demo", "f", contents)
        while any("missing" in chunk["copies"].values() for chunk in (await client.stat("demo", "f"))["chunks"]):
            pass
    await cluster.stop("n1")
    config = tmp_path / "n1.toml"
    members = "".join(
        f'[[cluster.members]]\nnode = "{n}"\naddress = "127.0.0.1:{port}"\n' for port, n in enumerate(cluster.names, 1)
    )
    config.write_text(
        f'[node]\nname = "n1"\ndata_dir = "{cluster.path}/n1"\n[cluster]\nid = "test"\npartitions = 64\n'
        f'secret = "0123456789abcdef"\n{members}'
    )
    code, out, err = await dynafs("storage", "rebuild-index", "--config", config, "--from-scratch")
    assert (code, "3 chunks indexed" in out) == (0, True), err
    await cluster.start("n1")
    async with DynafsClient(cluster.url("n1")) as client:
        assert await client.get("demo", "f") == contents
        found = await client.stat("demo", "f")
        assert {chunk["copies"]["n1"] for chunk in found["chunks"]} == {"present"}


async def test_jobs_and_scrub_commands(cluster) -> None:
    """Tables for people; a wrong action names the right ones."""
    url = cluster.url()
    code, out, _ = await dynafs("jobs", "--url", url)
    assert code == 0
    assert "walk" in out
    assert "scrub" in out
    code, out, _ = await dynafs("scrub", "pause", "--url", url)
    assert (code, "paused" in out) == (0, True)
    code, out, _ = await dynafs("jobs", "--limit", "walk=3", "--url", url)
    assert (code, "3.0 MiB/s" in out) == (0, True)
    assert (await dynafs("jobs", "--limit", "walk", "--url", url))[0] == 2
    assert (await dynafs("jobs", "--limit", "census=1", "--url", url))[0] == 1
    code, out, _ = await dynafs("scrub", "start", "--url", url, "--json")
    assert (code, '"is_paused": false' in out) == (0, True)
    code, _, err = await dynafs("scrub", "dance", "--url", url)
    assert (code, "use start, pause, resume or status" in err) == (2, True)


async def test_census_explain_and_hints_commands(cluster, tmp_path: Path) -> None:
    """What is whole exits with 0; what is not says what is missing, and what happens next."""
    url, source = cluster.url(), tmp_path / "f"
    source.write_bytes(os.urandom(2_500_000))
    assert (await dynafs("put", source, "demo/f", url=url))[0] == 0
    code, out, _ = await dynafs("census", "--deep", url=url)
    assert (code, "everything has all its copies" in out) == (0, True)
    code, out, _ = await dynafs("explain", "demo/f", url=url)
    assert (code, "nothing: all owners hold all of it" in out) == (0, True)
    code, out, _ = await dynafs("hints", url=url)
    assert (code, out.strip()) == (0, "nothing is kept for other nodes")
    await cluster.stop("n3")
    code, out, _ = await dynafs("census", url=url)
    assert (code, "2 of 3  demo/f  record  n3 peer_unreachable" in out) == (1, True)
    code, out, _ = await dynafs("census", "--json", url=url)
    report = json.loads(out)
    assert (code, report["files"], report["chunks"]) == (1, {"2": 1}, {"2": 3})
    code, out, _ = await dynafs("explain", "demo/f", url=url)
    assert (code, "n3 is away: anti-entropy brings it up to date when it is back." in out) == (0, True)
    assert (await dynafs("explain", "demo/none", url=url))[0] == 1
    assert (await dynafs("hints", "wait", "--timeout", "0", url=url))[0] == 1


async def test_census_and_jobs_show_a_bug(cluster, session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The census ends with the error instead of waiting for ever; jobs, API and metrics show which one."""
    url = cluster.url()

    def fail(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(cluster.nodes["n1"].replication.census, "_all_records", fail)
    code, _, err = await dynafs("census", url=url)
    assert (code, "KeyError" in err) == (1, True), err
    code, out, _ = await dynafs("jobs", url=url)
    assert (code, "failed" in out, "KeyError" in out) == (0, True, True)
    async with session.get(f"{url}/v1/jobs") as response:
        (job,) = (one for one in (await response.json())["jobs"] if one["name"] == "census")
    assert (job["state"], job["runs"], job["failures"]) == ("failed", 0, 1)
    assert job["last_error"].startswith("KeyError: ")
    async with session.get(f"{url}/metrics") as response:
        assert 'dynafs_job_failures_total{code="internal_error",job="census"}' in await response.text()
    monkeypatch.undo()
    assert (await dynafs("census", url=url))[0] == 0
    code, _, err = await dynafs("hints", "dance", url=url)
    assert (code, "use status, wait, pause, resume" in err) == (2, True)
