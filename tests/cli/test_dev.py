"""`dynafs dev`: its own nodes on its own ports, files for its user only, and no code of the working directory."""

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

import dynafs
from dynafs.cli.dev import _opened_by, _wait_ready
from dynafs.cli.dev_settings import PEER_PORT_OFFSET, prepare
from dynafs.cli.interpreter import own_command, own_environment
from dynafs.storage.directory import DataDirectory
from tests.support.ports import free_port

START_S = 60


def dev_port(nodes: int) -> int:
    return free_port(nodes, [PEER_PORT_OFFSET + number for number in range(1, nodes + 1)])


async def start_dev(*arguments: object, cwd: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "dynafs", "dev", *map(str, arguments), cwd=cwd, start_new_session=True,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
async def foreign_server() -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Return a starter of servers that say that they are ready, whatever they are."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"status": "ready", "cluster": "dev", "seen_by": "n1"})

    servers: list[asyncio.Server] = []

    async def start(port: int) -> None:
        loop = asyncio.get_running_loop()
        servers.append(await loop.create_server(web.Server(answer), "127.0.0.1", port))

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize("offset", [1, PEER_PORT_OFFSET + 2])
async def test_port_in_use_is_named_before_anything_starts(tmp_path: Path, foreign_server, offset: int) -> None:
    """Whoever has a port of a node, for clients or for peers, would answer in its place."""
    port = dev_port(2)
    await foreign_server(port + offset)
    process = await start_dev("--nodes", 2, "--port", port, "--data", "d", cwd=tmp_path)
    _, err = await asyncio.wait_for(process.communicate(), START_S)
    assert process.returncode == 2
    assert f"another process uses 127.0.0.1 port {port + offset}" in err.decode()
    assert not (tmp_path / "d").exists(), "what never began holds no cluster of so many nodes"


async def test_cluster_that_runs_keeps_its_settings(tmp_path: Path, foreign_server) -> None:
    """A second `dynafs dev` on its data, with the same or other ports, changes no file: nodes that start again read
    them; neither does a newcomer whose port is taken."""
    port, data = dev_port(2), tmp_path / "d"
    prepare(2, port, data)
    await foreign_server(port + 2)
    before = {path: path.read_bytes() for path in data.iterdir()}
    running = DataDirectory(data / "n2", "dev", "n2", "0000")
    try:
        for arguments, problem in (
            (["--nodes", 2, "--port", dev_port(2)], "n2 of d runs already"),
            (["--add"], f"another process uses 127.0.0.1 port {port + 2}"),
        ):
            process = await start_dev("--data", "d", *arguments, cwd=tmp_path)
            _, err = await asyncio.wait_for(process.communicate(), START_S)
            assert (process.returncode, problem in " ".join(err.decode().split())) == (2, True), err
            assert {path: path.read_bytes() for path in data.iterdir() if path.is_file()} == before
    finally:
        running.close()


async def test_ports_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for arguments, problem in (
        (["--port", 65_000, "--nodes", 64], "needs ports up to 65564"),
        (["--port", 12_000, "--shared-port", 12_001], "is the port of one node already"),
    ):
        process = await start_dev("--data", "d", *arguments, cwd=tmp_path)
        _, err = await asyncio.wait_for(process.communicate(), START_S)
        assert (process.returncode, problem in " ".join(err.decode().split())) == (2, True), err


async def test_node_that_ends_early_ends_the_command_with_its_code(tmp_path: Path) -> None:
    """Data of another cluster in a node's directory: the others do not wait for it."""
    DataDirectory(tmp_path / "d/n2", "another", "n2", "0000").close()
    process = await start_dev("--nodes", 2, "--port", dev_port(2), "--data", "d", cwd=tmp_path)
    out, err = await asyncio.wait_for(process.communicate(), START_S)
    assert process.returncode == 2
    assert b"cluster ready" not in out
    assert b"n2 ended with exit code 2" in err
    assert b"belongs to node n2 of cluster another" in err


async def test_answer_of_another_process_is_not_taken_for_a_node(tmp_path: Path, foreign_server) -> None:
    """Something takes the port after the look, and says that it is ready; the node is still starting, then ends."""
    port = dev_port(1)
    await foreign_server(port)
    (tmp_path / "n1").mkdir()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(3)",
        stdin=asyncio.subprocess.PIPE)  # fmt: skip
    waiting = asyncio.create_task(_wait_ready(port, tmp_path, {1: process}))
    prompt = await asyncio.start_unix_server(lambda _, writer: writer.close(), tmp_path / "n1/attach.sock")
    while _opened_by(tmp_path / "n1/attach.sock") != os.getpid():
        await asyncio.sleep(0.01)
    done, _ = await asyncio.wait([waiting], timeout=0.5)
    assert not done, "a prompt of another process counts as little as its answer"
    process.stdin.close()
    assert await asyncio.wait_for(waiting, START_S) == 3
    prompt.close()


def test_checkout_that_is_not_installed_starts_itself_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the working directory at first, it is found by its own path afterwards."""
    root = str(Path(dynafs.__file__).parents[1])
    elsewhere = [path for path in sys.path if os.path.abspath(path) != root]
    monkeypatch.setattr(sys, "path", [root, *elsewhere])
    assert own_environment()["PYTHONPATH"].split(os.pathsep)[0] == root
    monkeypatch.setattr(sys, "path", [root, *elsewhere, root])
    assert own_environment() == dict(os.environ)
    assert "-P" in own_command("serve")


async def test_settings_file_that_shows_secrets_is_logged(tmp_path: Path) -> None:
    """A node that cannot start says so, too: its file is as readable as before."""
    (path,) = prepare(1, dev_port(1), tmp_path / "d")
    path.chmod(0o644)
    (tmp_path / "d/n1").write_text("no directory")
    process = await asyncio.create_subprocess_exec(
        *own_command("serve", "--config", str(path)), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(process.communicate(), START_S)
    assert process.returncode == 2
    told = [json.loads(line) for line in err.decode().splitlines() if line.startswith("{")]
    (event,) = [one for one in told if one["event"] == "settings.exposed"]
    assert (event["level"], event["settings"], event["path"]) == ("warning", ["cluster.secret"], str(path))


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Let files be made as widely readable as their makers ask for."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_settings_files_are_never_readable_by_others(tmp_path: Path, open_umask: None) -> None:
    """Not for a moment: who had opened a draft that lay there before sees nothing of what is written."""
    data = tmp_path / "d"
    data.mkdir()
    drafts = [data / "n1.new", data / "dev.new"]
    held = []
    for draft in drafts:
        draft.write_bytes(b"")
        draft.chmod(0o666)
        held.append(draft.open("rb"))
    prepare(1, dev_port(1), data)
    for file in held:
        assert file.read() == b""
        file.close()
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()} == {
        "dev.json": 0o600, "n1.toml": 0o600,
    }  # fmt: skip
    prepare(1, dev_port(1), tmp_path / "fresh")
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o700


async def test_restart_runs_no_code_of_the_working_directory_and_all_files_are_private(tmp_path: Path) -> None:
    """A folder named dynafs beside the data is not what starts, at first or after a restart; and what nodes write is
    for their user alone."""
    trap = tmp_path / "dynafs"
    trap.mkdir()
    for name in ("__init__.py", "__main__.py"):
        (trap / name).write_text("import pathlib; pathlib.Path('trapped').touch()\n")
    port = dev_port(1)
    process = await start_dev("--nodes", 1, "--port", port, "--data", "d", cwd=tmp_path)
    try:
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            while (await process.stdout.readline()).strip() != b"cluster ready":
                assert process.returncode is None
            async with session.put(f"http://127.0.0.1:{port}/v1/files/b/x", data=bytes(200_000)) as response:
                assert response.status == 201
            before = await _started(session, port)
            async with session.post(f"http://127.0.0.1:{port}/v1/nodes/n1/restart") as response:
                assert response.status == 202
            while await _started(session, port) in (0, before):
                await asyncio.sleep(0.05)
        assert not (tmp_path / "trapped").exists()
        wide = [
            f"{stat.S_IMODE(path.lstat().st_mode):o} {path}"
            for path in [tmp_path / "d", *(tmp_path / "d").rglob("*")]
            if path.lstat().st_mode & 0o077
        ]
        assert wide == []
        assert (tmp_path / "d/n1/index/CURRENT").exists()
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), START_S)
    assert process.returncode == 0


async def _started(session: aiohttp.ClientSession, port: int) -> int:
    try:
        async with session.get(f"http://127.0.0.1:{port}/v1/ring/status") as response:
            return (await response.json())["nodes"][0]["started_unix_ms"]
    except aiohttp.ClientError:
        return 0
