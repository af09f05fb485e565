"""A cluster of real nodes in this process, over loopback sockets and temporary directories."""

from pathlib import Path

import msgspec
from aiohttp import ClientSession

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
from tests.support.ports import free_port
from tests.support.store_rows import StoreRows

SECRET = "a secret for tests only"


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

    def rows(self, name: str) -> StoreRows:
        """The rows below a running node's store."""
        return StoreRows(self.nodes[name].store)

    def url(self, name: str = "n1") -> str:
        return f"http://127.0.0.1:{self.http_ports[name]}"

    def file_url(self, path: str, name: str = "n1") -> str:
        return f"{self.url(name)}/v1/files/{path}"
