"""A cluster of real processes on loopback, as `dynafs dev` sets it up. Nodes can be killed, stopped and started one by
one, and each can run the code of another checkout."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import aiohttp

from dynafs.cli.dev_settings import PEER_PORT_OFFSET, prepare
from tests.support.ports import free_port

#: The checkout that these tests belong to.
ROOT = Path(__file__).parents[2]
START_S_MAX = 60
STOP_S_MAX = 20
#: Settings of `[healing]` with which copies come together at the pace of a test.
QUICK_HEALING = {
    "handoff_interval_s": 2.0, "anti_entropy_interval_s": 20.0, "anti_entropy_after_return_s": 1.0,
    "walk_interval_s": 60.0, "collection_interval_s": 1.0, "collection_grace_s": 4.0, "compaction_interval_s": 2.0,
}  # fmt: skip


class NodeEnded(Exception):
    """A node's process ended while it was expected to become ready; the message ends with its log."""


class ProcessCluster:
    """Nodes n1, n2, …: each a `dynafs serve` process with a settings file below `path`."""

    def __init__(self, path: Path, count: int = 3, *, room: int = 0, **sections: dict[str, object]) -> None:
        """room: reserve ports for this many nodes, if that is more than `count`. sections: settings of every node in
        addition to those that `dynafs dev` writes; values are TOML."""
        reserved = max(count, room)
        self.path, self.names = path.resolve(), [f"n{i}" for i in range(1, count + 1)]
        self.port = free_port(reserved, [PEER_PORT_OFFSET + i for i in range(1, reserved + 1)])
        self.configs = dict(zip(self.names, prepare(count, self.port, self.path), strict=True))
        self._sections = sections
        for config in self.configs.values():
            self.add_sections(config)
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        #: {node: environment variables of its own}, read when it is started
        self.environment: dict[str, dict[str, str]] = {}

    def add_sections(self, config: Path) -> None:
        """Append the settings that every node of this cluster has."""
        with config.open("a") as file:
            for section, values in self._sections.items():
                file.write(f"\n[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items()))

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port + int(name[1:]) - 1}"

    def peer_port(self, name: str) -> int:
        return self.port + PEER_PORT_OFFSET + int(name[1:])

    def data(self, name: str) -> Path:
        return self.path / name

    def set_peer_address(self, name: str, peer: str, address: str) -> None:
        """Have one node connect to a peer at another address: a proxy's."""
        old, config = f"127.0.0.1:{self.peer_port(peer)}", self.configs[name]
        text = re.sub(rf'(node = "{peer}"\naddress = ")({re.escape(old)})"', rf'\g<1>{address}"', config.read_text())
        config.write_text(text)

    async def start(self, *names: str, source: Path = ROOT) -> None:
        """Start nodes, all unless some are named, and wait until they are ready. Raises NodeEnded, TimeoutError."""
        await self.launch(*names, source=source)
        await self.wait_ready(*names)

    async def launch(self, *names: str, source: Path = ROOT) -> None:
        """Start processes without waiting for them. source: the checkout whose code they run."""
        command = [sys.executable, "-P", "-m", "dynafs", "serve", "--config"]
        for name in names or self.names:
            environment = {**os.environ, "PYTHONPATH": str(source), **self.environment.get(name, {})}
            with self.log(name).open("ab") as log:
                self.processes[name] = await asyncio.create_subprocess_exec(
                    *command, str(self.configs[name]), stdout=log, stderr=log, env=environment
                )

    async def wait_ready(self, *names: str) -> None:
        """Wait until nodes serve a quorum. Raises NodeEnded, TimeoutError."""
        timeout = aiohttp.ClientTimeout(total=2)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.timeout(START_S_MAX):
            for name in names or self.names:
                while await _status(session, f"{self.url(name)}/readyz") != 200:
                    if self.processes[name].returncode is not None:
                        raise NodeEnded(f"{name} ended: {self.log(name).read_text()[-2000:]}")
                    await asyncio.sleep(0.05)

    def log(self, name: str) -> Path:
        """Return where a node's output goes."""
        return self.path / f"{name}.log"

    async def kill(self, *names: str) -> None:
        for name in names:
            self.processes[name].send_signal(signal.SIGKILL)
        for name in names:
            await self.processes.pop(name).wait()

    async def stop(self, *names: str) -> dict[str, int]:
        """Stop nodes, all unless some are named; return their exit codes. A node that takes too long is killed."""
        stopping = {name: self.processes.pop(name) for name in names or tuple(self.processes)}
        for process in stopping.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        return {name: await _exit_code(process) for name, process in stopping.items()}

    def wipe(self, name: str) -> None:
        """Empty a stopped node's data directory."""
        for entry in self.data(name).iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def size_bytes(self, name: str) -> int:
        """Return what a node keeps on disk."""
        total = 0
        for file in self.data(name).rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                total += file.stat().st_size if file.is_file() else 0
        return total


async def _exit_code(process: asyncio.subprocess.Process) -> int:
    try:
        return await asyncio.wait_for(process.wait(), STOP_S_MAX)
    except TimeoutError:
        process.kill()
        return await process.wait()


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    """Return the status of a GET, 0 without a response."""
    try:
        async with session.get(url) as response:
            return response.status
    except (aiohttp.ClientError, TimeoutError):
        return 0
