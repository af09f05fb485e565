"""A cluster of real processes, as `dynafs dev` runs them, that can be killed and started again node by node."""

import asyncio
import signal
import sys
from pathlib import Path

import aiohttp

from dynafs.cli.dev_settings import PEER_PORT_OFFSET, prepare
from tests.support.ports import free_port


class ProcessCluster:
    """Three `dynafs serve` processes on loopback."""

    def __init__(self, path: Path, count: int = 3) -> None:
        self.port, self.path = free_port(count, [PEER_PORT_OFFSET + i for i in range(1, count + 1)]), path
        self.configs = dict(zip([f"n{i}" for i in range(1, count + 1)], prepare(count, self.port, path), strict=True))
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    @property
    def names(self) -> list[str]:
        return list(self.configs)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port + int(name[1:]) - 1}"

    async def start(self, *names: str) -> None:
        for name in names or self.names:
            with (self.path / f"{name}.log").open("ab") as log:
                self.processes[name] = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "dynafs", "serve", "--config", str(self.configs[name]), stdout=log, stderr=log
                )

    async def wait_ready(self, *names: str) -> None:
        async with aiohttp.ClientSession() as session, asyncio.timeout(30):
            for name in names or self.names:
                while True:
                    try:
                        async with session.get(f"{self.url(name)}/readyz") as response:
                            if response.status == 200:
                                break
                    except aiohttp.ClientError:
                        assert self.processes[name].returncode is None, (self.path / f"{name}.log").read_text()[-2000:]
                    await asyncio.sleep(0.05)

    async def kill(self, *names: str) -> None:
        for name in names:
            self.processes[name].send_signal(signal.SIGKILL)
        for name in names:
            await self.processes.pop(name).wait()

    async def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        codes = [await asyncio.wait_for(process.wait(), 20) for process in self.processes.values()]
        self.processes.clear()
        assert codes == [0] * len(codes), "a node did not stop cleanly"
