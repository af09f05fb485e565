"""`dynafs put`: files, streams, names and types."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from dynafs.cli.content_type import content_type_of
from dynafs.client import DynafsClient
from dynafs.errors import SourceChanged
from tests.cli.test_commands import dynafs


async def stored(cluster, name: str) -> bytes:
    async with DynafsClient(cluster.url()) as client:
        return await client.get("demo", name)


async def test_streams_of_any_name_are_read(cluster, tmp_path: Path) -> None:
    """Standard input by its names, process substitution, a FIFO whose writer comes late, a device, /proc, a file
    as standard input from where it stands."""
    url, fifo, source = cluster.url(), tmp_path / "fifo", tmp_path / "source"
    for name in ("-", "/dev/stdin"):
        assert (await dynafs("put", name, "demo/x", url=url, data=b"in " + name.encode()))[0] == 0
        assert await stored(cluster, "x") == b"in " + name.encode()
    os.mkfifo(fifo)
    task = asyncio.create_task(dynafs("put", fifo, "demo/fifo", url=url))
    contents = os.urandom(300_000)
    await asyncio.to_thread(fifo.write_bytes, contents)
    assert (await task)[0] == 0
    assert await stored(cluster, "fifo") == contents
    source.write_bytes(b"0123456789")
    script = (
        'dynafs() { "$PYTHON" -m dynafs "$@"; }; set -e; dynafs put <(printf sub) demo/sub; '
        f"dynafs put /proc/self/cmdline demo/proc; (dd bs=1 count=4 of=/dev/null; dynafs put - demo/rest) < {source}; "
        "dynafs put /dev/null demo/null"
    )
    environment = {**os.environ, "PYTHON": sys.executable, "DYNAFS_URL": url}
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 0, err
    assert [await stored(cluster, name) for name in ("sub", "rest", "null")] == [b"sub", b"456789", b""]
    assert b"dynafs\0put\0/proc/self/cmdline" in await stored(cluster, "proc")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("{dir}", "demo/x"), "is a directory"),
        (("", "demo/x"), "'': no such file or directory"),
        (("{dir}/none", "demo/x"), "none: no such file or directory"),
        (("-", "demo/dir/"), "standard input has no name of its own"),
        (("/dev/null", "demo/dir/"), "/dev/null has no name of its own"),
        (("{dir}/caf\udce9", "demo/"), "is not valid UTF-8"),
        (("{dir}/caf\udce9", "demo/caf\udce9"), "is not valid UTF-8"),
        (("{dir}/a", "{dir}/a", "demo/x"), "several files need a name that ends in /"),
        (("{dir}/a", "demo"), "name a file as BUCKET/PATH"),
    ],
)
async def test_what_cannot_be_stored_is_wrong_usage(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    """Exit code 2, in words, before anything is asked of a node."""
    (tmp_path / "caf\udce9").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"")
    given = [one.replace("{dir}", str(tmp_path)) for one in arguments]
    code, _, err = await dynafs("put", *given, url="http://127.0.0.1:1", data=b"")
    assert (code, told in err, "Traceback" in err) == (2, True, False), err


@pytest.mark.parametrize("command", ["get", "rm", "stat", "ls", "explain"])
async def test_remote_names_that_are_not_utf8_are_wrong_usage(command: str) -> None:
    """Exit code 2, in words; nothing is asked of a node."""
    code, _, err = await dynafs(command, "demo/caf\udce9", url="http://127.0.0.1:1")
    assert (code, "is not valid UTF-8" in err, "Traceback" in err) == (2, True, False), err


async def test_local_names_that_are_not_utf8_work(cluster, tmp_path: Path) -> None:
    """A local name only has to be one that the file system takes, and is shown with its bytes escaped."""
    source = tmp_path / "caf\udce9"
    source.write_bytes(b"coffee")
    assert (await dynafs("put", source, "demo/x", url=cluster.url()))[0] == 0
    code, _, err = await dynafs("put", f"{source}.none", "demo/x", url=cluster.url())
    assert (code, "caf\\xe9.none: no such file" in err) == (2, True)


async def test_several_files_go_on_when_one_fails(cluster, tmp_path: Path) -> None:
    """What can be stored is; the worst exit code and an error for each that failed are left."""
    for name in "ac":
        (tmp_path / name).write_bytes(name.encode())
    files = [tmp_path / "a", tmp_path / "none", tmp_path, tmp_path / "c"]
    code, out, err = await dynafs("put", *files, "demo/d/", "--json", url=cluster.url())
    assert [await stored(cluster, f"d/{name}") for name in "ac"] == [b"a", b"c"]
    assert (code, "none: no such file" in err, "is a directory" in err) == (2, True, True)
    assert [row.get("path") for row in json.loads(out)] == ["d/a", None, None, "d/c"]


async def test_rm_goes_on_when_one_fails(cluster) -> None:
    """The others are deleted; exit code 1 and the name of the one that failed."""
    async with DynafsClient(cluster.url()) as client:
        for name in "ac":
            await client.put("demo", name, b"")
        code, _, err = await dynafs("rm", "demo/a", "demo/missing", "demo", "demo/c", url=cluster.url())
        assert (code, "missing" in err, "'demo': name a file" in err) == (2, True, True), err
        assert (await dynafs("rm", "demo/missing", url=cluster.url()))[0] == 1
        assert [row async for row in client.list("demo")] == []


@pytest.mark.parametrize("change", ["grow", "shrink"])
async def test_a_file_that_changes_its_size_is_not_stored(cluster, tmp_path: Path, change: str) -> None:
    """What was announced is what is sent, or nothing is stored and the client says why."""
    source = tmp_path / "log"
    source.write_bytes(bytes(5_000_000))

    def disturb(_: int) -> None:
        os.truncate(source, 5_000_100 if change == "grow" else 2_000_000)

    async with DynafsClient(cluster.url()) as client:
        await client.put("demo", "other", b"")
        with pytest.raises(SourceChanged, match="grew" if change == "grow" else "shrank"):
            await client.put("demo", "log", source, on_progress=disturb)
        assert [row["path"] async for row in client.list("demo")] == ["other"]
        source.write_bytes(b"")
        assert (await client.put("demo", "log", source))["size_bytes"] == 0


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.tar.gz", "application/gzip"),
        ("a.TGZ", "application/gzip"),
        ("page.html.gz", "application/gzip"),
        ("a.tar.bz2", "application/x-bzip2"),
        ("a.csv.xz", "application/x-xz"),
        ("a.tar.zst", "application/zstd"),
        ("page.html", "text/html"),
        ("dir.gz/page.html", "text/html"),
        ("b//[x", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
        ("http://x/y.png", "image/png"),
        ("", "application/octet-stream"),
    ],
)
def test_content_type_is_of_the_outside(name: str, content_type: str) -> None:
    """A compressed file is no HTML, and no name is a URL."""
    assert content_type_of(name) == content_type


async def test_ctrl_c_ends_a_put_that_waits_for_its_source(cluster) -> None:
    """Also while standard input is open and silent; nothing is stored."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dynafs", "put", "-", "demo/x", "--url", cluster.url(),
        stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    process.stdin.write(b"some")
    async with DynafsClient(cluster.url()) as client, asyncio.timeout(30):
        while [name async for name in client.buckets()] != ["demo"]:
            await asyncio.sleep(0.02)
        process.send_signal(2)
        assert (await process.stderr.read(), await process.wait()) == (b"", 130)
        assert [row async for row in client.list("demo")] == []
