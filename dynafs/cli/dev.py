"""`dynafs dev`: a local cluster of real processes, for trying things out and for tests."""

import asyncio
import os
import signal
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from dynafs.attach.address import SOCKET_NAME, short_path
from dynafs.cli.dev_settings import prepare, prepare_newcomer
from dynafs.cli.interpreter import own_command, own_environment
from dynafs.cli.terminal import err, out

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.1
#: struct ucred: pid, uid, gid
_PEER = struct.Struct("3i")


async def run(nodes: int, port: int, data: Path, shared_port: int) -> int:
    """Run the cluster until interrupted; return the exit code. Raises ConfigError."""
    paths = dict(enumerate(prepare(nodes, port, data, shared_port), 1))
    return await _run(paths, port, data, ["cluster ready"])


async def run_newcomer(data: Path) -> int:
    """Run one more node, which waits to be staged, until interrupted; return the exit code. Raises ConfigError."""
    number, plan, path = prepare_newcomer(data)
    stage = f"dynafs ring stage join n{number}"
    return await _run({number: path}, plan.port, data, [f"n{number} waits to be staged:", f"  {stage}"])


async def _run(paths: dict[int, Path], port: int, data: Path, done: Sequence[str]) -> int:
    """Run nodes, {number: settings}, until interrupted; say `done` when all of them are ready."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, stopped.set)
    processes = {number: await _start(path, data / f"n{number}.log") for number, path in paths.items()}
    watchers = [asyncio.create_task(_watch(number, one, stopped, data)) for number, one in processes.items()]
    try:
        ready = asyncio.create_task(_wait_ready(port, data, processes))
        stop = asyncio.create_task(stopped.wait())
        await asyncio.wait([ready, stop], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            return 0
        if code := ready.result():
            err.say(f"the cluster did not become ready; see {data}/n*.log")
            return code
        for number, process in processes.items():
            out.say(f"n{number}  http://127.0.0.1:{port + number - 1}  pid {process.pid}  log {data}/n{number}.log")
        for line in done:
            out.say(line)
        await stop
        return 0
    finally:
        stopped.set()
        await _stop(list(processes.values()))
        await asyncio.gather(*watchers)


async def _start(config: Path, log: Path) -> asyncio.subprocess.Process:
    log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            *own_command("serve", "--config", str(config)), env=own_environment(),
            stdin=asyncio.subprocess.DEVNULL, stdout=log_fd, stderr=log_fd, start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(log_fd)


async def _watch(number: int, process: asyncio.subprocess.Process, stopped: asyncio.Event, data: Path) -> None:
    """Tell when a node ends by itself; once the cluster is ready, the others go on."""
    code = await process.wait()
    if not stopped.is_set():
        how = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        log = data / f"n{number}.log"
        try:
            last_line = log.read_text(errors="replace").strip().rpartition("\n")[2]
        except OSError as error:
            last_line = f"cannot read it: {error.strerror}"
        err.say(f"n{number} {how}; see {log}")
        if code > 0:
            err.say(f"  {last_line}")


async def _wait_ready(port: int, data: Path, processes: dict[int, asyncio.subprocess.Process]) -> int:
    """Wait until every node is ready; return 0, the exit code of one that ended before, or 1 when it takes too long."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        waiting = dict(processes)
        while time.monotonic() < deadline:
            for number, process in list(waiting.items()):
                is_ready = await _is_ready(session, port + number - 1)
                if is_ready and _opened_by(data / f"n{number}" / SOCKET_NAME) == process.pid:
                    del waiting[number]
            # After the answers: what ended meanwhile is not what answered.
            codes = [code for process in processes.values() if (code := process.returncode) is not None]
            if codes:
                return max(*codes, 1)
            if not waiting:
                return 0
            await asyncio.sleep(POLL_S)
    return 1


async def _is_ready(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _opened_by(prompt: Path) -> int:
    """Return the process that listens at a node's prompt, 0 for none. A node opens it after all of its ports."""
    try:
        with short_path(prompt) as place, socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            probe.connect(place)
            pid, _, _ = _PEER.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    except OSError:
        return 0
    return int(pid)


async def _stop(processes: list[asyncio.subprocess.Process]) -> None:
    for process in processes:
        if process.returncode is None:
            process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await asyncio.gather(*(process.wait() for process in processes))
    except TimeoutError:
        for process in processes:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*(process.wait() for process in processes))
