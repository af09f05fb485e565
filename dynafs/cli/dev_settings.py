"""The settings files of `dynafs dev`: one for each node of a local cluster, below its data directory."""

import secrets
import socket
import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from dynafs.errors import ConfigError
from dynafs.ring.names import PORT_MAX, excerpt
from dynafs.storage.directory import PRIVATE_DIRECTORY, is_in_use, write_durably

#: Peers listen this far above their node's HTTP port.
PEER_PORT_OFFSET = 500
CLUSTER_ID = "dev"


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
    """Write one settings file per node below `data`, as new or for other ports; return their paths. Raises ConfigError
    before anything is written: a cluster that runs there goes on with the settings that it has."""
    plan_path = data / "dev.json"
    _check_path(data)
    if plan_path.exists():
        plan = _read(plan_path)
        if plan.nodes != nodes:
            raise ConfigError(
                [f"--nodes: {data} holds a cluster of {plan.nodes} nodes; use --nodes {plan.nodes} or another --data"]
            )
        plan = msgspec.structs.replace(plan, port=port, shared_port=shared_port)
    else:
        plan = DevPlan(nodes, port, secrets.token_hex(32), zone=socket.gethostname(), shared_port=shared_port)
    numbers = range(1, nodes + plan.added + 1)
    _check_ports(plan)
    own = [one for number in numbers for one in ports_of(number, port)]
    _check_free([*own, shared_port] if shared_port else own)
    _check_unused(numbers, data)
    data.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    _keep(plan, plan_path)
    return [_write_settings(plan, number, data) for number in numbers]


def _read(path: Path) -> DevPlan:
    try:
        return msgspec.json.decode(path.read_bytes(), type=DevPlan)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise ConfigError([f"--data: {path} cannot be read: {error}"]) from None


def _check_path(data: Path) -> None:
    if not str(data.resolve()).isprintable():
        raise ConfigError([f"--data: {excerpt(str(data))} cannot stand in a settings file; use printable characters"])


def _check_ports(plan: DevPlan) -> None:
    last = plan.port + PEER_PORT_OFFSET + plan.nodes + plan.added
    if last > PORT_MAX:
        raise ConfigError([f"--port: {plan.port} needs ports up to {last}; use at most {PORT_MAX - last + plan.port}"])
    own = {port for number in range(1, plan.nodes + plan.added + 1) for port in ports_of(number, plan.port)}
    if plan.shared_port in own:
        raise ConfigError([f"--shared-port: {plan.shared_port} is the port of one node already; use another one"])


def _check_free(ports: Iterable[int]) -> None:
    """Raise ConfigError for ports that something else listens on: it would answer in place of a node."""
    taken = [str(port) for port in ports if not _is_free(port)]
    if taken:
        raise ConfigError(
            [f"--port: another process uses 127.0.0.1 port {', '.join(taken)}; stop it or use other ports"]
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _check_unused(numbers: Iterable[int], data: Path) -> None:
    """Raise ConfigError for nodes that run already, on whatever ports."""
    running = [f"n{number}" for number in numbers if is_in_use(data / f"n{number}")]
    if running:
        raise ConfigError([f"--data: {', '.join(running)} of {data} runs already; stop it or use another --data"])


def ports_of(number: int, port: int) -> tuple[int, int]:
    """Return the HTTP port of a node and the one for its peers. port: of the first node's HTTP."""
    return port + number - 1, port + PEER_PORT_OFFSET + number


def _keep(plan: DevPlan, path: Path) -> None:
    write_durably(path, msgspec.json.encode(plan))


def _write_settings(plan: DevPlan, number: int, data: Path) -> Path:
    path = data / f"n{number}.toml"
    text = node_settings(plan, number, data)
    tomllib.loads(text)
    write_durably(path, text.encode())
    return path


def prepare_newcomer(data: Path) -> tuple[int, DevPlan, Path]:
    """Write settings for one more node beside those of `data`; return its number, the plan, and the settings' path."""
    plan_path = data / "dev.json"
    _check_path(data)
    if not plan_path.exists():
        raise ConfigError([f"--data: {data} holds no cluster yet; start one with `dynafs dev` first"])
    plan = _read(plan_path)
    plan = msgspec.structs.replace(plan, added=plan.added + 1)
    _check_ports(plan)
    number = plan.nodes + plan.added
    _check_free(ports_of(number, plan.port))
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
    data_dir, zone = _quoted(str((data / f"n{number}").resolve())), _quoted(plan.zone)
    listen = f'listen = "{peer_address(number, plan.port)}"\nzone = {zone}\n' if number > plan.nodes else ""
    shared = f'shared_listen = "127.0.0.1:{plan.shared_port}"\n' if plan.shared_port else ""
    return (
        f'[node]\nname = "n{number}"\ndata_dir = {data_dir}\n{listen}\n'
        f'[http]\nlisten = "127.0.0.1:{plan.port + number - 1}"\n{shared}\n'
        f'[cluster]\nid = "{CLUSTER_ID}"\nsecret = "{plan.secret}"\n{cluster}'
    )


def _member(number: int, plan: DevPlan) -> str:
    address = peer_address(number, plan.port)
    return f'\n[[cluster.members]]\nnode = "n{number}"\naddress = "{address}"\nzone = {_quoted(plan.zone)}\n'


def peer_address(number: int, port: int) -> str:
    """Return where the peers of a node reach it. port: of the first node's HTTP."""
    return f"127.0.0.1:{port + PEER_PORT_OFFSET + number}"


def _quoted(text: str) -> str:
    """Return a text as TOML has it."""
    return msgspec.json.encode(text).decode()
