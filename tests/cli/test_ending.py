"""How the command ends when its streams do not work, or nothing is given to it."""

import asyncio
import os
import sys

import pytest

from dynafs.client import DynafsClient
from tests.cli.test_commands import dynafs
from tests.client.serving import answering, json_answer


async def shell(script: str, url: str) -> tuple[int, str, str]:
    """Run a script in which `dynafs` is the command; return exit code, standard output and error."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f'dynafs() {{ "$PYTHON" -m dynafs "$@"; }}; {script}',
        env={**os.environ, "PYTHON": sys.executable, "DYNAFS_URL": url},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def url(cluster) -> str:
    async with DynafsClient(cluster.url()) as client:
        await client.put("demo", "big", bytes(3_000_000))
        for i in range(3):
            await client.put("demo", f"{i}" + "n" * 900, b"x")
    return cluster.url()


@pytest.mark.parametrize(
    ("script", "code", "told"),
    [
        ("dynafs ls demo >&-", 2, "standard output: bad file descriptor"),
        ("dynafs ls demo --json >&-", 2, "standard output: bad file descriptor"),
        ("dynafs get demo/big - >&-", 2, "standard output: bad file descriptor"),
        ("dynafs ls demo > /dev/full", 2, "standard output: no space left on device"),
        ("dynafs ls demo --json > /dev/full", 2, "standard output: no space left on device"),
        ("dynafs ls demo -0 > /dev/full", 2, "standard output: no space left on device"),
        ("dynafs --version > /dev/full", 2, "standard output: no space left on device"),
        ("dynafs --help > /dev/full", 2, "standard output: no space left on device"),
        ("dynafs get demo/big - > /dev/full", 2, "standard output: no space left on device"),
        ("dynafs put - demo/x <&-", 2, "standard input: bad file descriptor"),
        ("dynafs get demo/none x 2>&-", 1, ""),
        ("dynafs get demo/none x 2>/dev/full", 2, ""),
        ("dynafs ls demo >&- 2>&- <&-", 2, ""),
        ("dynafs get demo/none x >&- 2>&-", 1, ""),
        ("dynafs ls demo -r | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("dynafs ls demo --json | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("dynafs get demo/big - | head -c 1 > /dev/null; exit ${PIPESTATUS[0]}", 141, ""),
        ("dynafs get demo/big /dev/stdout | head -c 1 > /dev/null; exit ${PIPESTATUS[0]}", 141, ""),
    ],
)
async def test_output_that_cannot_be_written(url: str, script: str, code: int, told: str) -> None:
    """An exit code and words; never a traceback, never a word about a reader that went away."""
    found, _, err = await shell(script, url)
    assert (found, err.strip()) == (code, f"error: {told}" if told else ""), err


async def test_an_answer_that_cannot_be_read_is_blamed_on_the_input(url: str) -> None:
    """Not on standard output, which works."""
    found, _, err = await shell("dynafs cluster restart --rolling <&-", url)
    assert (found, "error: standard input: bad file descriptor" in err) == (2, True), err


async def test_a_directory_that_is_a_file_is_named(tmp_path) -> None:
    """In words, without the number of the error."""
    found, _, err = await shell(f"touch {tmp_path}/x; dynafs dev --data {tmp_path}/x", "")
    assert (found, err.strip().startswith(f"error: {tmp_path}/x: "), "Errno" in err) == (2, True, False), err


async def test_closed_streams_do_not_get_into_files(url: str, tmp_path) -> None:
    """A file that is opened never becomes standard output by its number."""
    found, _, err = await shell(f"dynafs get demo/big {tmp_path}/x >&- 2>&- <&-", url)
    assert (found, err) == (0, "")
    assert (tmp_path / "x").read_bytes() == bytes(3_000_000)


@pytest.mark.parametrize(
    ("script", "code", "told"),
    [
        ("dynafs", 2, "Usage:"),
        ("dynafs get", 2, "error: Missing argument"),
        ("dynafs get a b c", 2, "error: Got unexpected extra argument"),
        ("dynafs cluster restart --rolling", 1, "error: aborted"),
        ("dynafs ls --url http://x:99999", 2, "error: url: 'http://x:99999' is not the URL of a node"),
        ("dynafs ls --url nonsense", 2, "use http://HOST:PORT"),
        ("dynafs ls --url http://a:b@127.0.0.1", 2, "use http://HOST:PORT"),
        ("dynafs ls --token $'a\\nb'", 2, "error: token: use printable ASCII"),
        ("dynafs put /dev/null demo/x --context $'a\\nb'", 2, "X-Dynafs-Context: use printable"),
        ("dynafs ring stage join $'\\xe9'", 2, "is no name of a node"),
    ],
)
async def test_wrong_usage(url: str, script: str, code: int, told: str) -> None:
    """Exit code 2 and the way to do it right, 1 for a question that nobody answers with yes."""
    found, out, err = await shell(script, url)
    assert (found, told in out + err, "Traceback" in err) == (code, True, False), out + err


@pytest.mark.parametrize("arguments", [("jobs",), ("ls",), ("census",), ("ring", "status"), ("scrub",), ("rm", "b/x")])
async def test_commands_end_in_words(arguments: tuple[str, ...]) -> None:
    """Exit code 2 without a traceback; control characters of the answer are escaped."""
    for answer in (json_answer(b'{"jobs": [{"name": "\\u001b"}]}'), b"HTTP/1.1 302 Found\r\nLocation: \x1b[2J\r\n\r\n"):
        async with answering(answer) as url:
            code, out, err = await dynafs(*arguments, url=url)
            assert (code, "Traceback" in err, "\x1b" in out + err) == (2, False, False), err


async def test_ctrl_c_while_the_command_loads() -> None:
    """It ends by the signal, without a traceback."""
    script = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["dynafs", "ls"]
from dynafs.__main__ import run
run()
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stderr=asyncio.subprocess.PIPE)
    _, err = await process.communicate()
    assert (process.returncode, err) == (-2, b"")
