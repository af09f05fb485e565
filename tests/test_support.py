"""What tests and tools share: ports that are handed out once, a proxy."""

import asyncio
import importlib
import re
import subprocess
import sys
from pathlib import Path

import conftest
import pytest

import tests.conftest
from tests.support.ports import PortAllocator, free_port
from tests.support.proxy import Proxy

ROOT = Path(__file__).parents[1]
OTHER_PROCESS = """
import sys
from pathlib import Path
from tests.support.ports import PortAllocator
allocator = PortAllocator(Path(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3])))
print(*[allocator.take() for _ in range(10)], flush=True)
sys.stdin.read()
"""


def test_every_import_of_free_port_is_the_same_allocator() -> None:
    assert conftest.free_port is free_port
    assert tests.conftest.free_port is free_port


def test_no_port_is_handed_out_twice_between_two_processes(tmp_path: Path) -> None:
    """Each takes half of a range that has exactly enough ports for both; the range is given back when one ends."""
    first = free_port(20)
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "claims"), str(first), str(first + 20)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    theirs = {int(port) for port in other.stdout.readline().split()}
    allocator = PortAllocator(tmp_path / "claims", range(first, first + 20))
    ours = {allocator.take() for _ in range(10)}
    assert ours | theirs == set(range(first, first + 20))
    with pytest.raises(AssertionError, match="no 1 free ports"):
        allocator.take()
    other.communicate()
    assert {allocator.take() for _ in range(10)} == theirs


def test_ports_far_above_are_claimed_with_the_first() -> None:
    """Neighbours and offsets are all of the taker: no later one gets any of them."""
    first = free_port(2, [500])
    taken = {first, first + 1, first + 500}
    assert not taken & {free_port() for _ in range(300)}


def test_only_store_rows_reaches_behind_a_store() -> None:
    modules = [path for folder in ("tests", "tools") for path in (ROOT / folder).rglob("*.py")]
    reaching = [path.name for path in modules if re.search(r"\bstore\._\w", path.read_text())]
    assert reaching == ["store_rows.py"]


@pytest.mark.parametrize("script", sorted((ROOT / "tools").rglob("*.py")), ids=lambda path: path.stem)
def test_tools_are_packages(script: Path) -> None:
    """Every module of tools can be imported by its full name, from anywhere, without running."""
    parts = script.relative_to(ROOT).with_suffix("").parts
    importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))


async def test_proxy_delays_and_damages_what_passes() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    host, _, port = (await proxy.start()).partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"before")
    assert await reader.readexactly(6) == b"before"
    proxy.damage, proxy.delay_s = bytes.upper, 0.1
    started_s = asyncio.get_running_loop().time()
    writer.write(b"after")
    assert await reader.readexactly(5) == b"AFTER"
    assert asyncio.get_running_loop().time() - started_s >= 0.2
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await proxy.close()
    server.close()
