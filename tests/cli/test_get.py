"""`dynafs get` and the files of the machine it runs on: none is harmed."""

import asyncio
import os
import signal
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from dynafs.cli.destination import draft
from dynafs.client import DynafsClient
from tests.cli.test_commands import dynafs
from tests.client.serving import answering

CONTENTS = b"from the cluster"


@pytest.fixture
async def url(cluster) -> str:
    async with DynafsClient(cluster.url()) as client:
        await client.put("demo", "x", CONTENTS)
    return cluster.url()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return an empty directory."""
    made = tmp_path / "here"
    made.mkdir()
    return made


async def test_neighbours_of_the_target_stay(url: str, tmp_path: Path) -> None:
    """What is beside the target stays, whatever its name; a link there is not followed, nothing else is left."""
    (tmp_path / "mine.part").write_bytes(b"precious")
    (tmp_path / "victim").write_bytes(b"victim")
    (tmp_path / "note.part").symlink_to("victim")
    for name in ("mine", "note"):
        assert (await dynafs("get", "demo/x", tmp_path / name, url=url))[0] == 0
        assert (tmp_path / name).read_bytes() == CONTENTS
    assert (tmp_path / "mine.part").read_bytes() == b"precious"
    assert (tmp_path / "victim").read_bytes() == b"victim"
    assert {one.name for one in tmp_path.iterdir()} >= {"mine", "mine.part", "note", "note.part", "victim"}
    assert not list(tmp_path.glob(".*"))


async def test_links_and_modes_stay_and_a_whole_file_takes_the_place(url: str, tmp_path: Path) -> None:
    """A link is followed to its file, also one that leads nowhere yet; the mode of a replaced file stays."""
    real, link = tmp_path / "real", tmp_path / "sub" / "link"
    (tmp_path / "sub").mkdir()
    real.write_bytes(b"old")
    real.chmod(0o604)
    link.symlink_to("../real")
    assert (await dynafs("get", "demo/x", link, url=url))[0] == 0
    assert (link.is_symlink(), real.read_bytes()) == (True, CONTENTS)
    assert stat.S_IMODE(real.stat().st_mode) == 0o604
    dangling = tmp_path / "dangling"
    dangling.symlink_to("sub/new")
    assert (await dynafs("get", "demo/x", dangling, url=url))[0] == 0
    assert (dangling.is_symlink(), (tmp_path / "sub" / "new").read_bytes()) == (True, CONTENTS)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "sub" / "new").stat().st_mode) == 0o666 & ~mask
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    code, _, err = await dynafs("get", "demo/x", loop, url=url)
    assert (code, "Traceback" in err, loop.is_symlink()) == (2, False, True)


async def test_devices_and_pipes_are_written_to(url: str, tmp_path: Path) -> None:
    """What is no regular file stays what it is, and gets the contents, whether named itself or by a link."""
    fifo, link = tmp_path / "fifo", tmp_path / "null"
    os.mkfifo(fifo)
    link.symlink_to("/dev/null")
    assert (await dynafs("get", "demo/x", link, url=url))[0] == 0
    assert stat.S_ISCHR(link.stat().st_mode)
    task = asyncio.create_task(dynafs("get", "demo/x", fifo, url=url))
    assert await asyncio.to_thread(fifo.read_bytes) == CONTENTS
    assert (await task)[0] == 0
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert (await dynafs("get", "demo/x", "/dev/stdout", url=url))[1] == CONTENTS.decode()
    code, _, err = await dynafs("get", "demo/x", "/dev/full", url=url)
    assert (code, "/dev/full: no space left on device" in err) == (2, True)


async def test_stdout_that_is_a_file_is_written_to_by_any_name(url: str, tmp_path: Path) -> None:
    """`/dev/fd/1 >> log` adds to the log."""
    log = tmp_path / "log"
    log.write_bytes(b"before ")
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dynafs", "get", "demo/x", "/dev/fd/1", "--url", url, stdout=out
        )
        assert await process.wait() == 0
    assert log.read_bytes() == b"before " + CONTENTS


async def test_directories_take_the_last_part_of_the_name(url: str, here: Path) -> None:
    """Names that are no local name are refused; a name as long as the file system allows works."""
    long = "n" * 255
    async with DynafsClient(url) as client:
        for path in (f"a/{long}", "a/..", "dir/"):
            await client.put("demo", path, CONTENTS)
    assert (await dynafs("get", f"demo/a/{long}", here, url=url))[0] == 0
    assert [one.name for one in here.iterdir()] == [long]
    for path in ("a/..", "dir/"):
        code, _, err = await dynafs("get", f"demo/{path}", here, url=url)
        assert (code, "give one as FILE" in err) == (2, True)
    code, _, err = await dynafs("get", "demo/x", f"{here}/none/", url=url)
    assert (code, "no such directory" in err) == (2, True)
    assert (await dynafs("get", "demo/x", "", url=url))[0] == 2
    assert (await dynafs("get", "demo/x", "/dev/fd/99", url=url))[0] == 2
    assert [one.name for one in here.iterdir()] == [long]


async def test_what_fails_leaves_the_local_file(url: str, here: Path) -> None:
    """Missing in the cluster, broken off, other bytes, a directory that cannot be written: nothing changes."""
    local = here / "local"
    local.write_bytes(b"mine")
    assert (await dynafs("get", "demo/none", local, url=url))[0] == 1
    head = b'HTTP/1.1 200 OK\r\nX-Dynafs-Version: 1-n1-0\r\nETag: "' + b"0" * 32 + b'"\r\nContent-Length: '
    async with answering(head + b"9\r\n\r\nshort") as other:
        code, _, err = await dynafs("get", "demo/x", local, url=other)
        assert (code, "broke off" in err) == (2, True)
    async with answering(head + b"5\r\n\r\nwrong") as other:
        code, _, err = await dynafs("get", "demo/x", local, url=other)
        assert (code, "not those of version" in err) == (1, True)
    page = b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
    for status in (b"200 OK", b"404 Not Found", b"502 Bad Gateway"):
        async with answering(page % status) as other:
            code, _, err = await dynafs("get", "demo/x", local, url=other)
            assert (code, "dynafs node" in err, other in err) == (2, True, True)
    assert local.read_bytes() == b"mine"
    code, _, err = await dynafs("get", "demo/x", here / "none" / "x", url=url)
    assert (code, "no such file or directory" in err) == (2, True)
    code, _, err = await dynafs("get", "demo/x", "/proc/x", url=url)
    assert (code, "/proc: no file can be made in it" in err) == (2, True)
    assert list(here.iterdir()) == [local]


async def test_a_full_disk_is_named_and_leaves_nothing(cluster, here: Path) -> None:
    """A limit on the size of files stands for it."""
    async with DynafsClient(cluster.url()) as client:
        await client.put("demo", "big", bytes(3_000_000))
    script = f"ulimit -f 1000; exec {sys.executable} -m dynafs get demo/big {here}/big --url {cluster.url()}"
    process = await asyncio.create_subprocess_exec("sh", "-c", script, stderr=asyncio.subprocess.PIPE)
    _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (2, f"error: {here}/big: file too large\n")
    assert list(here.iterdir()) == []


def test_a_file_that_may_not_be_written_stays() -> None:
    """A read-only file is not replaced by way of its directory, which may be written."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as directory:
        local = Path(directory) / "local"
        local.write_bytes(b"mine")
        local.chmod(0o444)
        Path(directory).chmod(0o777)
        os.seteuid(user or 65534)  # root may write anything
        try:
            with pytest.raises(PermissionError), draft(local) as destination:
                destination.write(b"x")
        finally:
            os.seteuid(user)
        assert local.read_bytes() == b"mine"
        assert list(Path(directory).iterdir()) == [local]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_signals_leave_nothing(here: Path, number: signal.Signals, code: int) -> None:
    """Ctrl-C in the midst of a download: the draft, which only its owner may read, is gone; no traceback."""
    head = b'HTTP/1.1 200 OK\r\nX-Dynafs-Version: 1-n1-0\r\nETag: "x"\r\nContent-Length: 99\r\n\r\n'
    async with answering(head + b"some", hold=True) as other:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dynafs", "get", "demo/x", str(here / "x"), "--url", other,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(30):
            while not (drafts := list(here.iterdir())) or drafts[0].stat().st_size == 0:
                await asyncio.sleep(0.02)
        assert stat.S_IMODE(drafts[0].stat().st_mode) == 0o600
        process.send_signal(number)
        _, err = await process.communicate()
    assert (process.returncode, err) == (code, b"")
    assert list(here.iterdir()) == []


def test_a_draft_replaces_files_only(tmp_path: Path) -> None:
    """A FIFO that appears at the target meanwhile stays, and so does a directory."""
    target = tmp_path / "x"
    with pytest.raises(OSError, match="something else"), draft(target) as destination:  # noqa: PT012
        destination.write(b"x")
        os.mkfifo(target)
    assert [one.name for one in tmp_path.iterdir()] == ["x"]
    assert stat.S_ISFIFO(target.stat().st_mode)
