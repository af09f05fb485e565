"""`dynafs dev`: a local cluster of real processes, for trying things out and for tests."""

import asyncio
import secrets
import signal
import socket
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import msgspec

from dynafs.cli.terminal import err, out
from dynafs.errors import ConfigError

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
#: Peers listen this far above their node's HTTP port.
PEER_PORT_OFFSET = 500
POLL_S = 0.1


class DevPlan(msgspec.Struct, frozen=True):
    """What a data directory was made for; kept beside the data. nodes: the founders. added: those that came later.
    zone: of all of them, the machine. shared_port: that all of them listen on, 0 for none."""

    nodes: int
    port: int
    secret: str
    added: int = 0
    zone: str = "local"
    shared_port: int = 0


def prepare(nodes: int, port: int, data: Path, shared_port: int = 0) -> list[Path]:
    """Write one settings file per node below `data`, or check those that are there; return their paths."""
    plan_path = data / "dev.json"
    data.mkdir(parents=True, exist_ok=True)
    if plan_path.exists():
        plan = msgspec.json.decode(plan_path.read_bytes(), type=DevPlan)
        if plan.nodes != nodes:
            raise ConfigError(
                [f"--nodes: {data} holds a cluster of {plan.nodes} nodes; use --nodes {plan.nodes} or another --data"]
            )
        plan = msgspec.structs.replace(plan, port=port, shared_port=shared_port)
    else:
        plan = DevPlan(nodes, port, secrets.token_hex(32), zone=socket.gethostname(), shared_port=shared_port)
    _keep(plan, plan_path)
    return [_write_settings(plan, number, data) for number in range(1, nodes + plan.added + 1)]


def _keep(plan: DevPlan, path: Path) -> None:
    path.write_bytes(msgspec.json.encode(plan))
    path.chmod(0o600)


def _write_settings(plan: DevPlan, number: int, data: Path) -> Path:
    path = data / f"n{number}.toml"
    path.write_text(node_settings(plan, number, data))
    path.chmod(0o600)
    tomllib.loads(path.read_text())
    return path


def prepare_newcomer(data: Path) -> tuple[int, DevPlan, Path]:
    """Write settings for one more node beside those of `data`; return its number, the plan, and the settings' path."""
    plan_path = data / "dev.json"
    if not plan_path.exists():
        raise ConfigError([f"--data: {data} holds no cluster yet; start one with `dynafs dev` first"])
    plan = msgspec.json.decode(plan_path.read_bytes(), type=DevPlan)
    plan = msgspec.structs.replace(plan, added=plan.added + 1)
    number = plan.nodes + plan.added
    path = _write_settings(plan, number, data)
    _keep(plan, plan_path)
    return number, plan, path


def node_settings(plan: DevPlan, number: int, data: Path) -> str:
    """Return the settings file of one node."""
    n = min(3, plan.nodes)
    majority = n // 2 + 1
    if number > plan.nodes:
        seeds = [peer_address(founder, plan.port) for founder in range(1, plan.nodes + 1)]
        cluster = f"seeds = {msgspec.json.encode(seeds).decode()}\n"
    else:
        members = "".join(_member(i, plan) for i in range(1, plan.nodes + 1))
        cluster = f"n = {n}\nr = {majority}\nw = {majority}\n{members}"
    data_dir = msgspec.json.encode(str((data / f"n{number}").resolve())).decode()
    listen = f'listen = "{peer_address(number, plan.port)}"\nzone = "{plan.zone}"\n' if number > plan.nodes else ""
    shared = f'shared_listen = "127.0.0.1:{plan.shared_port}"\n' if plan.shared_port else ""
    return (
        f'[node]\nname = "n{number}"\ndata_dir = {data_dir}\n{listen}\n'
        f'[http]\nlisten = "127.0.0.1:{plan.port + number - 1}"\n{shared}\n'
        f'[cluster]\nid = "dev"\nsecret = "{plan.secret}"\n{cluster}'
    )


def _member(number: int, plan: DevPlan) -> str:
    address = peer_address(number, plan.port)
    return f'\n[[cluster.members]]\nnode = "n{number}"\naddress = "{address}"\nzone = "{plan.zone}"\n'


def peer_address(number: int, port: int) -> str:
    """Return where the peers of a node reach it. port: of the first node's HTTP."""
    return f"127.0.0.1:{port + PEER_PORT_OFFSET + number}"


async def run(nodes: int, port: int, data: Path, shared_port: int) -> int:
    """Run the cluster until interrupted; return the exit code."""
    paths = prepare(nodes, port, data, shared_port)
    return await _run(dict(enumerate(paths, 1)), port, data, ["cluster ready"])


async def run_newcomer(data: Path) -> int:
    """Run one more node, which waits to be staged, until interrupted; return the exit code."""
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
        ready = asyncio.create_task(_wait_ready(port, processes))
        stop = asyncio.create_task(stopped.wait())
        await asyncio.wait([ready, stop], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            return 0
        if not ready.result():
            err.say(f"the cluster did not become ready; see {data}/n*.log")
            return 1
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
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dynafs", "serve", "--config", str(config),
            stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip


async def _watch(number: int, process: asyncio.subprocess.Process, stopped: asyncio.Event, data: Path) -> None:
    """Tell when a node ends by itself; the others go on."""
    code = await process.wait()
    if not stopped.is_set():
        how = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        log = data / f"n{number}.log"
        last_line = log.read_text(errors="replace").strip().rpartition("\n")[2]
        err.say(f"n{number} {how}; see {log}")
        if code > 0:
            err.say(f"  {last_line}")


async def _wait_ready(port: int, processes: dict[int, asyncio.subprocess.Process]) -> bool:
    deadline = time.monotonic() + READY_TIMEOUT_S
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        waiting = [number - 1 for number in processes]
        while waiting and time.monotonic() < deadline:
            if any(process.returncode is not None for process in processes.values()):
                return False
            waiting = [i for i in waiting if not await _is_ready(session, port + i)]
            if waiting:
                await asyncio.sleep(POLL_S)
    return not waiting


async def _is_ready(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


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
