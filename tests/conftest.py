"""Fixtures: clusters of real nodes in this process, over loopback sockets and temporary directories."""

import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest
import structlog
from aiohttp import ClientSession
from hypothesis import settings as hypothesis_settings

from dynafs.config import (
    ClusterSettings,
    HealingSettings,
    HttpSettings,
    MemberSettings,
    NodeSettings,
    Settings,
    StorageSettings,
    TimeoutSettings,
    check_settings,
)
from dynafs.node import Node

hypothesis_settings.register_profile("dynafs", deadline=None, print_blob=True)
hypothesis_settings.load_profile("dynafs")

SECRET = "a secret for tests only"


#: Below the ports that the kernel hands to outgoing connections, so that a node can be stopped and find its port again.
PORTS = range(11_000, 31_000)
#: Ports handed out in this run; none is handed out twice, or two nodes of one test could be given the same.
_taken: set[int] = set()


def free_port(count: int = 1, also: Sequence[int] = ()) -> int:
    """Return the first of `count` neighbouring ports that were free a moment ago, with those `also` far above it."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        wanted = {port + offset for offset in [*range(count), *also]}
        if wanted & _taken:
            continue
        try:
            for offset in [*range(count), *also]:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        _taken.update(wanted)
        return port


class LocalCluster:
    """Nodes in this process. `addresses[(a, b)]` overrides where a finds b, for proxies in between."""

    def __init__(self, path: Path, count: int = 3, n: int = 3, r: int = 2, w: int = 2, **changes: object) -> None:
        self.path, self.n, self.r, self.w, self.changes = path, n, r, w, changes
        self.names = [f"n{i}" for i in range(1, count + 1)]
        self.peer_ports = {name: free_port() for name in self.names}
        self.http_ports = {name: free_port() for name in self.names}
        self.addresses: dict[tuple[str, str], str] = {}
        self.nodes: dict[str, Node] = {}

    def settings(self, name: str, **changes: object) -> Settings:
        members = tuple(
            MemberSettings(node=other, address=self.addresses.get((name, other), f"127.0.0.1:{self.peer_ports[other]}"))
            for other in self.names
        )
        cluster = ClusterSettings(
            id="test", secret=SECRET, n=self.n, r=self.r, w=self.w, partitions=64, members=members
        )
        settings = Settings(
            node=NodeSettings(name=name, data_dir=str(self.path / name), listen=f"127.0.0.1:{self.peer_ports[name]}"),
            cluster=cluster,
            http=HttpSettings(listen=f"127.0.0.1:{self.http_ports[name]}"),
            # Tests of repair by reading must not be overtaken; who tests anti-entropy sets these.
            healing=HealingSettings(anti_entropy_interval_s=3600, anti_entropy_after_return_s=3600),
            # Whatever else fills the disk of the machine that runs the tests.
            storage=StorageSettings(soft_mark=1.0, hard_mark=1.0, reserve_mark=1.0),
            timeouts=TimeoutSettings(request_s=2.0, shutdown_s=0.5, reconnect_max_s=0.2, hedge_min_ms=200),
        )
        for section, values in {**self.changes, **changes}.items():
            part = msgspec.structs.replace(getattr(settings, section), **values)
            settings = msgspec.structs.replace(settings, **{section: part})
        check_settings(settings)
        return settings

    async def start(self, *names: str, **changes: object) -> None:
        await self.launch(*(names or self.names), **changes)
        await self.wait_connected()

    async def launch(self, *names: str, **changes: object) -> None:
        """Start nodes without waiting until they are of use."""
        for name in names:
            self.nodes[name] = Node(self.settings(name, **changes))
            await self.nodes[name].start()

    async def wait_connected(self) -> None:
        """Wait until every running node reaches every other running one, and a majority of new ones has met."""
        is_majority = 2 * len(self.nodes) > len(self.names)
        async with ClientSession() as session:
            for name in self.nodes:
                while True:
                    async with session.get(f"{self.url(name)}/v1/cluster") as response:
                        seen = await response.json()
                    if all(seen["is_up"][other] for other in self.nodes) and (seen["is_refilled"] or not is_majority):
                        break

    async def stop(self, *names: str) -> None:
        for name in names or tuple(self.nodes):
            await self.nodes.pop(name).stop()

    def url(self, name: str = "n1") -> str:
        return f"http://127.0.0.1:{self.http_ports[name]}"

    def file_url(self, path: str, name: str = "n1") -> str:
        return f"{self.url(name)}/v1/files/{path}"


@pytest.fixture
async def make_cluster(tmp_path: Path) -> AsyncIterator[Callable[..., LocalCluster]]:
    """Return a maker of clusters that are stopped after the test."""
    made: list[LocalCluster] = []

    def make(**changes: object) -> LocalCluster:
        made.append(LocalCluster(tmp_path / f"cluster{len(made)}", **changes))
        return made[-1]

    yield make
    for cluster in made:
        await cluster.stop()


@pytest.fixture
async def cluster(make_cluster: Callable[..., LocalCluster]) -> LocalCluster:
    """Return a running cluster of three nodes, n=3 r=2 w=2."""
    made = make_cluster()
    await made.start()
    return made


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    """Return an HTTP session."""
    async with ClientSession(auto_decompress=False) as opened:
        yield opened


@pytest.fixture
def events() -> list[dict[str, object]]:
    """Return the log events of the test, as they happen."""
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Return a seeded source of randomness; the seed is shown when the test fails."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)
